"""How often the interval of a paired difference holds the true one, and how often "unchanged" is said wrongly.

Run: python bench/paired.py. A few minutes on one core; docs/statistics.md and `stats/paired.py` quote its output. With
one case per behavior every outcome is summed, so that nothing is left to chance; with several, behaviors are drawn with
a fixed seed. Bonett and Price's interval with half a pair is beside ours: what the package had before.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import gammaln, xlogy
from scipy.stats import norm

from withstand.stats import paired

BEHAVIORS = (20, 50, 56, 100, 200)
DIFFERENCES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
BETTER = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.45)
"""Share of behaviors that change for the better; 0: all changes go one way."""
RATES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
SHARED = (0.0, 0.5, 0.9, 1.0)
"""Correlation of all cases of A and B within a behavior, on the normal scale of the thresholds."""
CASES = (2, 5)
DRAWS = 2000
Z = norm.ppf(0.975)


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


def half_pairs(changes_sum: Any, squares: Any, n: int, difference: float) -> Any:
    """Whether the interval with half a pair in each direction holds the difference."""
    center = changes_sum / (n + 1)
    error = np.sqrt((squares + 1) / (n + 1) - center**2) / math.sqrt(n + 1)
    return np.abs(center - difference) <= Z * error + 1e-12


def of_one_case() -> Iterator[tuple[float, float, str]]:
    """Coverage of ours and of half pairs at every point, exact."""
    for n in BEHAVIORS:
        worse, better = outcomes(n)
        for difference in DIFFERENCES:
            ours = np.abs(paired.tango_score(worse, better, n, difference)) <= Z + 1e-9
            before = half_pairs(worse - better, worse + better, n, difference)
            for down in BETTER:
                if difference + 2 * down <= 1:
                    chance = chances(worse, better, n, difference + down, down)
                    yield chance[ours].sum(), chance[before].sum(), f"{n} behaviors, +{difference} and {down} back"


def of_several_cases() -> Iterator[tuple[float, float, str]]:
    """The same of behaviors with several cases, drawn from thresholds that are correlated within a behavior."""
    rng = np.random.default_rng(20240911)
    points = itertools.product(RATES, RATES, SHARED, (20, 50, 200), CASES)
    for rate_a, rate_b, shared, n, cases in points:
        if rate_a > rate_b:
            continue
        common = math.sqrt(shared) * rng.standard_normal((DRAWS, n, 1))
        a, b = (
            (common + math.sqrt(1 - shared) * rng.standard_normal((DRAWS, n, cases)) < norm.ppf(rate)).mean(axis=-1)
            for rate in (rate_a, rate_b)
        )
        gained, lost, pairs = paired.effective_pairs(a, b, np.full(n, 1 / cases))
        ours = np.abs(paired.tango_score(pairs * gained, pairs * lost, pairs, rate_b - rate_a)) <= Z + 1e-9
        before = half_pairs((b - a).sum(-1), np.square(b - a).sum(-1), n, rate_b - rate_a)
        yield ours.mean(), before.mean(), f"{n} behaviors of {cases}, {rate_a} and {rate_b}, correlation {shared}"


def false_unchanged() -> Iterator[tuple[float, str]]:
    """How often "unchanged within the margin" is claimed of a difference that is the margin, exact."""
    for n, margin in itertools.product((30, 52, 60, 73, 100, 150), (0.05, 0.1)):
        worse, better = outcomes(n)
        zeros = np.zeros(n)
        claims = np.array(
            [
                paired.Difference(0, 0, n, w, b, w / n, b / n, n, "exact McNemar", zeros, zeros).unchanged(margin)
                < 0.05
                for w, b in zip(worse.tolist(), better.tolist(), strict=True)
            ]
        )
        for down in BETTER[:-2]:
            chance = chances(worse, better, n, margin + down, down)
            yield chance[claims].sum(), f"{n} behaviors, margin {margin}, {down} back"


def main() -> None:
    for title, points in (("one case", of_one_case()), ("several cases", of_several_cases())):
        rows = list(points)
        print(f"{title}: {len(rows)} points")
        for name, place in (("ours", 0), ("half a pair added", 1)):
            coverage = [row[place] for row in rows]
            lowest = min(rows, key=lambda row, place=place: row[place])
            below = sum(value < 0.92 for value in coverage)
            print(
                f"  {name}: mean {np.mean(coverage):.3f}, lowest {min(coverage):.3f} ({lowest[2]}), {below} below 92%"
            )
    claimed, point = max(false_unchanged())
    print(f"unchanged, at a difference of the margin: at most {claimed:.3f} ({point})")


if __name__ == "__main__":
    main()
