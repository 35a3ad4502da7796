"""How often the interval of a paired difference misses the true one, on which side, and how often "unchanged" is wrong.

Run: python bench/paired.py [SEED]. Eight minutes on one core; docs/statistics.md quotes its output for seed 20261203. A
first part takes the grid that the estimator was built on, a second one random points. With one case per behavior every
outcome is summed, so that nothing is left to chance; with several, behaviors are drawn. Tango's interval with normal
limits is beside ours.

A false PASS is an upper limit below the true difference, as `withstand gate --max-worse` would let it through where
the limit is just that difference. "Unchanged" is wrong where both limits lie within a margin that the difference has.
"""

import itertools
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.special import gammaln, xlogy
from scipy.stats import norm

from withstand.stats import paired, score

BEHAVIORS = (10, 20, 32, 39, 56, 100, 150)
DIFFERENCES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
BETTER = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.45)
"""Share of behaviors that change for the better; 0: all changes go one way."""
RATES = (0.05, 0.3, 0.9)
SHARED = (0.0, 0.5, 0.9, 1.0)
"""Correlation of the cases of a behavior, on the normal scale of the thresholds; 1: all of them are equal."""
CHANGED = (0.02, 0.05, 0.1, 0.3)
BROKEN = (0.2, 0.5, 0.8, 1.0)
CASES = (2, 5, 10)
DRAWS, AGAIN = 1000, 20_000
WORST = 8
"""Points that are drawn again with `AGAIN` draws, of each kind of error."""
HALF = 0.025  # of 5%: the chance of an error to each side
NEAR = 1.6  # scores nearer to 0 than this are never rejected at HALF
Z = norm.ppf(1 - HALF)


@dataclass(frozen=True)
class Rates:
    """Of one point: how often the interval covers, of ours and of Tango's with normal limits; how often the true
    difference lies above (a false PASS) and below it; how often "unchanged" is wrong; whether changes go one way."""

    covered: float
    normal: float
    above: float
    below: float
    unchanged: float
    one_way: bool
    point: str
    sure: bool = True
    """Whether it may be called the worst: it is exact, or from many draws."""


# --- one case per behavior: exact ---------------------------------------------------------------------------------


def outcomes(n: int) -> tuple[Any, Any]:
    """All (worse, better) of n pairs."""
    worse, better = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    possible = worse + better <= n
    return worse[possible], better[possible]


def chances(worse: Any, better: Any, n: int, up: float, down: float) -> Any:
    """The chance of each outcome where a pair gets worse with chance `up` and better with chance `down`."""
    same = n - worse - better
    logs = gammaln(n + 1) - gammaln(worse + 1) - gammaln(better + 1) - gammaln(same + 1)
    return np.exp(logs + xlogy(worse, up) + xlogy(better, down) + xlogy(same, max(1 - up - down, 0.0)))


def tails(worse: Any, better: Any, n: Any, difference: float, weights: Any = None) -> tuple[Any, Any, Any]:
    """Tango's score and whether the difference lies above and below our interval, of each outcome with a weight."""
    scores = score.tango_score(worse, better, n, difference)
    far = np.flatnonzero((np.abs(scores) > NEAR) & (True if weights is None else weights > 1e-8))
    rows = np.column_stack([np.broadcast_to(column, scores.shape)[far] for column in (worse, better, n)])
    rows, again = np.unique(rows.round(9), axis=0, return_inverse=True)
    low, high = (
        np.array([tail(w, b, int(k), difference) <= HALF for w, b, k in rows.tolist()], bool)[again.ravel()]
        for tail in (score.low_tail, score.high_tail)
    )
    above, below = np.zeros((2, *scores.shape), bool)
    above[far], below[far] = low, high
    return scores, above, below


def exactly(n: int, difference: float, downs: Iterable[float]) -> Iterator[Rates]:
    """Of n behaviors of one case, for several shares that change for the better."""
    worse, better = outcomes(n)
    weights = {down: chances(worse, better, n, difference + down, down) for down in downs if difference + 2 * down <= 1}
    if not weights:
        return
    likely = np.max(list(weights.values()), axis=0)
    scores, above, below = tails(worse, better, n, difference, likely)
    other_end = tails(worse, better, n, -difference, likely)[2] if difference else above
    for down, weight in weights.items():
        yield Rates(
            1 - weight[above | below].sum(), weight[np.abs(scores) <= Z].sum(), weight[above].sum(),
            weight[below].sum(), weight[above & other_end].sum() if difference else 0.0, not down,
            f"{n} behaviors, +{difference:.3g} and {down:.3g} back",
        )  # fmt: skip


# --- several cases: drawn ------------------------------------------------------------------------------------------


def of_cases(broken_a: Any, broken_b: Any, cases: Any) -> list[Any]:
    """Rates of both sides, and the share of cases that differ, of each behavior."""
    return [broken.sum(axis=-1) / cases for broken in (broken_a, broken_b, broken_a != broken_b)]


def thresholds(rates: tuple[float, float], shared: float, apart: bool, cases: Any, rng: Any, draws: int) -> list[Any]:
    """`of_cases` for draws x behaviors, from normal thresholds that are correlated within a behavior, of both
    sides together, or (apart) of each side alone. cases: of each behavior."""
    sides = []
    common = rng.standard_normal((draws, len(cases), 1))
    for rate in rates:
        common = rng.standard_normal((draws, len(cases), 1)) if apart else common
        own = rng.standard_normal((draws, len(cases), max(cases)))
        broken = math.sqrt(shared) * common + math.sqrt(1 - shared) * own < norm.ppf(rate)
        sides.append(broken & (np.arange(max(cases)) < cases[:, None]))
    return of_cases(*sides, cases)


def one_way(changed: float, broken: float, base: float, cases: Any, rng: Any, draws: int) -> list[Any]:
    """The same where a share `base` is always broken on both sides, and of the rest a share `changed` is broken in B in
    a share `broken` of its cases."""
    shape = (draws, len(cases))
    always = rng.random(shape) < base
    hit = (rng.random(shape) < changed) & ~always
    now = np.where(always, 1.0, rng.binomial(cases, np.where(hit, broken, 0.0)) / cases)
    return [always.astype(float), now, now - always]


def attacks(
    rates_a: Any, rates_b: Any, shared: float, equal: float, changed: float, cases: Any, rng: Any, draws: int
) -> list[Any]:
    """The same of the means over attacks of one case each, with rates of their own: the overall row of `compare`.

    shared: correlation of the attacks within a behavior.   equal: of an attack's two draws, besides; 1: a target whose
    answers never vary.   changed: the share of behaviors that all attacks break in B, on top.
    """
    shape = (draws, len(cases), len(rates_a))
    common = math.sqrt(shared) * rng.standard_normal((draws, len(cases), 1))
    common = common + math.sqrt((1 - shared) * equal) * rng.standard_normal(shape)
    own = math.sqrt((1 - shared) * (1 - equal)) * rng.standard_normal((2, *shape))
    a, b = (common + own[side] < norm.ppf(rates) for side, rates in enumerate((rates_a, rates_b)))
    return of_cases(a, b | (rng.random((draws, len(cases), 1)) < changed), cases)


@dataclass(frozen=True)
class Point:
    """Behaviors of several cases. draw: a generator and the number of draws -> rates of both sides."""

    draw: Callable[[Any, int], list[Any]]
    cases: Any
    difference: float
    one_way: bool
    text: str

    def rates(self, rng: Any, draws: int) -> Rates:
        """Drawn in parts of at most `DRAWS`, for memory."""
        parts = [self._part(rng, min(DRAWS, draws - start)) for start in range(0, draws, DRAWS)]
        return Rates(*np.mean(parts, axis=0), self.one_way, self.text, draws == AGAIN)

    def _part(self, rng: Any, draws: int) -> list[float]:
        gained, lost, *numbers = paired.effective_pairs(*self.draw(rng, draws), 1 / self.cases)
        tested, n = (np.floor(pairs + 1e-6) for pairs in numbers)
        scores, above, below = tails(n * gained, n * lost, n, self.difference)
        _, lower, higher = tails(tested * gained, tested * lost, tested, 0.0)  # where p says so, the interval ends at 0
        above |= lower & (self.difference >= 0)
        below |= higher & (self.difference <= 0)
        far_end = tails(n * gained, n * lost, n, -self.difference)[2] if self.difference else np.zeros_like(above)
        covered, normal = 1 - (above | below).mean(), np.mean(np.abs(scores) <= Z)
        return [covered, normal, above.mean(), below.mean(), (above & far_end).mean()]


def by_draws(points: Iterable[Point], seed: int) -> Iterator[Rates]:
    """Of every point; the worst are drawn again and more often, since the worst of hundreds is worst by chance."""
    points, rng = list(points), np.random.default_rng(seed)
    rates = [point.rates(rng, DRAWS) for point in points]
    again = set(sorted((at for at in range(len(rates)) if rates[at].one_way), key=lambda at: rates[at].covered)[:WORST])
    for name in ("covered", "normal", "above", "below", "unchanged"):
        order = sorted(range(len(rates)), key=lambda at, name=name: getattr(rates[at], name))
        again |= set(order[:WORST] if name in ("covered", "normal") else order[-WORST:])
    for at in sorted(again):
        rates[at] = points[at].rates(rng, AGAIN)
    yield from rates


# --- points --------------------------------------------------------------------------------------------------------


def grid_of_one() -> Iterator[Rates]:
    for n, difference in itertools.product(BEHAVIORS, DIFFERENCES):
        yield from exactly(n, difference, BETTER)


def grid_of_several() -> Iterator[Point]:
    pairs = [(a, b) for a, b in itertools.product(RATES, RATES) if a <= b]
    for rates, shared, apart, n, cases in itertools.product(pairs, SHARED, (False, True), (20, 56, 100), (2, 5)):
        if shared or not apart:
            each, ways = np.full(n, cases), shared == 1 and not apart
            text = f"{n} of {cases}, {rates[0]} and {rates[1]}, correlation {shared}{' apart' * apart}"
            yield Point(partial(thresholds, rates, shared, apart, each), each, rates[1] - rates[0], ways, text)
    for changed, broken, n, cases in itertools.product(CHANGED, BROKEN, (20, 39, 56, 100), CASES):
        each, text = np.full(n, cases), f"{n} of {cases}, {changed} broken in {broken}"
        yield Point(partial(one_way, changed, broken, 0.1, each), each, 0.9 * changed * broken, True, text)
    for base, shared, equal, changed, n, k in itertools.product(
        (0.03, 0.3), (0.0, 0.7), (0.0, 0.9, 1.0), (0.02, 0.05, 0.1), (20, 56, 100), (3, 10)
    ):
        rates, each = base * np.linspace(0.4, 1.6, k), np.full(n, k)
        text = f"{n} under {k} attacks at {base}, correlation {shared}, draws {equal}, {changed} broken by all"
        draw = partial(attacks, rates, rates, shared, equal, changed, each)
        yield Point(draw, each, changed * (1 - base), equal == 1, text)


def random_of_one(seed: int, points: int = 150) -> Iterator[Rates]:
    rng = np.random.default_rng([seed, 1])
    for _ in range(points):
        n, difference = int(np.exp(rng.uniform(math.log(8), math.log(200)))), float(np.exp(rng.uniform(-5, -0.2)))
        down = 0.0 if rng.random() < 0.4 else float((1 - difference) / 2 * rng.random() ** 3)
        yield from exactly(n, difference, [down])


def random_of_several(seed: int, points: int = 300) -> Iterator[Point]:
    rng = np.random.default_rng([seed, 2])
    for _ in range(points):
        n, most = int(np.exp(rng.uniform(math.log(15), math.log(200)))), int(rng.integers(2, 11))
        each = np.full(n, most) if rng.random() < 0.5 else rng.integers(1, most + 1, n)
        kind = rng.integers(5)
        if kind == 0:
            rates_a = rng.uniform(0.01, 0.8, most)
            lower = bool(rng.integers(2))
            rates_b = rates_a * rng.uniform(0.3, 1.0, most) if lower else rates_a
            changed = 0.0 if lower else float(np.exp(rng.uniform(-4.5, -1.5)))
            shared, equal = (float(rng.choice([1.0, rng.random()])) for _ in range(2))
            each, ways = np.full(n, most), 1.0 in (shared, equal)
            text = (
                f"{n} under {most} attacks, {rates_a.mean():.2f} and {rates_b.mean():.2f}, {changed:.3f} broken by all"
            )
            text += f", correlation {shared:.2f}, draws {equal:.2f}"
            difference = float((rates_b + changed * (1 - rates_b) - rates_a).mean())
            yield Point(partial(attacks, rates_a, rates_b, shared, equal, changed, each), each, difference, ways, text)
        elif kind < 3:
            changed, broken = float(np.exp(rng.uniform(-4.5, -0.7))), float(rng.choice([1.0, rng.uniform(0.1, 1)]))
            base = float(rng.uniform(0, 0.5))
            text = f"{n} of up to {most}, {changed:.3f} broken in {broken:.2f}"
            yield Point(partial(one_way, changed, broken, base, each), each, (1 - base) * changed * broken, True, text)
        else:
            low, high = sorted(rng.uniform(0.02, 0.98, 2))
            shared, apart = float(rng.choice([1.0, rng.random()])), bool(rng.integers(2))
            text = f"{n} of up to {most}, {low:.2f} and {high:.2f}, correlation {shared:.2f}{' apart' * apart}"
            yield Point(partial(thresholds, (low, high), shared, apart, each), each, high - low, False, text)


def report(title: str, points: Iterable[Rates]) -> None:
    rows = list(points)
    ways = [row for row in rows if row.one_way]
    print(f"{title}: {len(rows)} points, {len(ways)} of them one way", flush=True)

    def line(name: str, worst: Rates, value: float, mean: float) -> None:
        print(f"  {name}: mean {100 * mean:.1f}%, worst {100 * value:.1f}% ({worst.point})")

    for name, some in (("covered", rows), ("covered, one way", ways)):
        row = min((row for row in some if row.sure), key=lambda row: row.covered)
        line(name, row, row.covered, float(np.mean([row.covered for row in some])))
    sure = [row for row in rows if row.sure]
    row = min(sure, key=lambda row: row.normal)
    line("covered by Tango's with normal limits", row, row.normal, float(np.mean([row.normal for row in rows])))
    for name in ("above", "below", "unchanged"):
        row = max(sure, key=lambda row, name=name: getattr(row, name))
        line(f"wrongly {name}", row, getattr(row, name), float(np.mean([getattr(row, name) for row in rows])))


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 20261203
    report("grid, one case", grid_of_one())
    report("grid, several cases", by_draws(grid_of_several(), 20240911))
    report("random, one case", random_of_one(seed))
    report("random, several cases", by_draws(random_of_several(seed), seed))


if __name__ == "__main__":
    main()
