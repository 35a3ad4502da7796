"""Two rates on the same behaviors: their difference with its uncertainty, and what it takes to see one. Pure functions.

B is compared with A: a difference is B's rate minus A's, above 0 where B was broken more often. Every argument holds
one number per behavior, and behavior number i is the same in all of them. Nothing to compare gives None.

The interval is Tango's score interval where every behavior has one case, and the same on an effective number of
behaviors where some have several. The test is McNemar's exact one, and a permutation of behaviors where some have
several cases. The exact test and not the mid-p: it never gives more false alarms than its level, whatever the number
of behaviors and of changes, and a gate relies on that. The price is power; `behaviors_needed` counts it in.

Coverage of the nominal 95% interval, by `bench/paired.py`:

| behaviors | points | mean | lowest | the interval before (half a pair added), lowest |
| --- | --- | --- | --- | --- |
| of one case, summed over every outcome | 395 | 95.9% | 92.5% | 86.5% |
| of 2 and 5 cases, 2000 draws each | 1080 | 96.4% | 92.4% | 86.6% |

The first grid has 20 to 200 behaviors and differences from 0 to 0.9, also where all changes go one way; the second has
20 to 200 behaviors, rates from 0.05 to 0.95, and correlations within a behavior from 0 to 1.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from withstand.stats.rates import Counts, Floats, counted, normal_limit
from withstand.stats.special import binomial_cdf, binomial_pmf, binomial_sf

RESAMPLES = 9_999
SEED = 0  # of the permutations: the same verdicts give the same p
ADDED = 0.5
"""Pairs added in each direction where few say little: to a pilot's changes, and to the variances of several cases."""

_NORMAL = NormalDist()
_BATCH = 1_000  # of permutations at once: memory for a thousand behaviors stays small


@dataclass(frozen=True)
class Difference:
    """Mean over behaviors of B's rate minus A's, in [-1, 1], among the `behaviors` with a scored case in both.

    rate_a, rate_b: means over these behaviors, in [0, 1].   worse, better: behaviors broken more often, and less often,
    in B.   gained, lost: the chance that a case of A and one of B of the same behavior differ, B's or A's alone being
    broken; `gained - lost` is the difference.   effective: how many behaviors of one case would know it as well.
    rates_a, rates_b: of each behavior, shape (behaviors,).
    """

    rate_a: float
    rate_b: float
    behaviors: int
    worse: int
    better: int
    gained: float
    lost: float
    effective: float
    method: Literal["exact McNemar", "paired permutation of behaviors"]
    rates_a: Floats = field(repr=False, compare=False)
    rates_b: Floats = field(repr=False, compare=False)

    @cached_property
    def p(self) -> float:
        """Two-sided p of no difference, by `method`."""
        if self.method == "exact McNemar":
            return mcnemar(self.worse, self.better)
        return _permuted(self.rates_a, self.rates_b)

    @property
    def difference(self) -> float:
        return self.rate_b - self.rate_a

    def limits(self, level: float = 0.95) -> tuple[float, float]:
        """The score interval of the difference, in [-1, 1]. It keeps a width where no behavior changed."""
        low, high = tango(self.effective * self.gained, self.effective * self.lost, self.effective, level)
        return min(low, self.difference), max(high, self.difference)

    def unchanged(self, margin: float) -> float:
        """The p of two one-sided tests that the rates differ by `margin` or more: a small p says that they do not.

        Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15:657, with Tango's statistic. A p below 0.05 implies
        that the 90% interval lies within -margin to margin. Where all changes go one way, the statistic alone claims
        equivalence too often (in 6.9% of the draws for 52 behaviors and 5 points), so p is at least the exact binomial
        tail of changes that go one way: without a change, 5 points need 59 behaviors.
        """
        if not 0 < margin < 1:
            raise ValueError(f"margin is {margin}; it must lie in (0, 1)")
        gained, lost, n = self.effective * self.gained, self.effective * self.lost, self.effective
        return max(_not_worse(gained, lost, n, margin), _not_worse(lost, gained, n, margin))

    def behaviors_to_exclude(self, limit: float, level: float = 0.95) -> int | None:
        """How many behaviors like these put `limit` outside the interval; None where no number does.

        Exact for the score interval: at equal shares its statistic grows with the square root of the number.
        """
        score = float(tango_score(self.effective * self.gained, self.effective * self.lost, self.effective, limit))
        return math.ceil(self.behaviors * (normal_limit(level) / score) ** 2) if abs(score) > 1e-6 else None


def difference(successes_a: Counts, scored_a: Counts, successes_b: Counts, scored_b: Counts) -> Difference | None:
    """B's rate minus A's over the behaviors with a scored case in both; None if there are none.

    Raises `ValueError` for impossible counts and for columns of different lengths.
    """
    columns = (successes_a, scored_a, successes_b, scored_b)
    a, n_a, b, n_b = counted(*(np.asarray(column, dtype=np.int64) for column in columns))
    if (a > n_a).any() or (b > n_b).any():
        raise ValueError("a behavior has more successes than scored cases")
    both = (n_a > 0) & (n_b > 0)
    if not both.any():
        return None
    a, n_a, b, n_b = a[both], n_a[both], b[both], n_b[both]
    rates_a, rates_b = a / n_a, b / n_b
    gained, lost, effective = effective_pairs(rates_a, rates_b, np.maximum(1 / n_a, 1 / n_b))
    single = bool((n_a == 1).all() and (n_b == 1).all())
    return Difference(
        rate_a=float(np.sort(rates_a).mean()),
        rate_b=float(np.sort(rates_b).mean()),
        behaviors=int(both.sum()),
        worse=int((rates_b > rates_a).sum()),
        better=int((rates_b < rates_a).sum()),
        gained=float(gained),
        lost=float(lost),
        effective=float(effective),
        method="exact McNemar" if single else "paired permutation of behaviors",
        rates_a=rates_a,
        rates_b=rates_b,
    )


def effective_pairs(rates_a: Floats, rates_b: Floats, share: Floats) -> tuple[Any, Any, Any]:
    """`gained`, `lost` and `effective` of `Difference`, for rates of shape (..., behaviors).

    share: 1 / cases of a behavior, of the side that has fewer, shape (behaviors,). The effective number is that of the
    behaviors times the variance that changes of one case would have over the variance seen (the design effect, as
    `rates.rate_interval` does it), both with half a pair added in each direction; at most what independent cases would
    give. With one case per behavior it is the number of behaviors, and the interval is Tango's own.
    """
    behaviors = rates_a.shape[-1]
    gained = np.sort(rates_b * (1 - rates_a), axis=-1).mean(axis=-1)  # sorted: alike in any order of behaviors
    lost = np.sort(rates_a * (1 - rates_b), axis=-1).mean(axis=-1)
    changes = np.sort(rates_b - rates_a, axis=-1)
    seen = np.square(changes - changes.mean(axis=-1, keepdims=True)).sum(axis=-1)
    single = behaviors * (gained + lost - np.square(gained - lost))
    independent = behaviors**2 / np.sort(share).sum()
    return gained, lost, np.minimum(behaviors * (single + ADDED) / (seen + ADDED), independent)


def tango_score(worse: Any, better: Any, n: Any, difference: Any) -> Any:
    """Tango's statistic of the null hypothesis that the rates differ by `difference`, elementwise; normal under it.

    worse, better: pairs that changed in either direction, among n; effective counts need not be whole. Tango 1998,
    Statistics in Medicine 17:891, equations 5 and 6: the nuisance parameter is at its likeliest under the hypothesis.
    """
    up, down = np.asarray(worse, float) / n, np.asarray(better, float) / n
    slope = (2 - up + down) * difference - up - down
    nuisance = (np.sqrt(np.maximum(slope**2 + 8 * down * difference * (1 - difference), 0)) - slope) / 4
    variance = np.maximum(2 * nuisance + difference * (1 - difference), 0) / n
    gap = up - down - difference
    with np.errstate(divide="ignore", invalid="ignore"):
        score = gap / np.sqrt(variance)
    return np.where(variance > 1e-12 / n, score, np.where(np.abs(gap) < 1e-9, 0.0, np.copysign(np.inf, gap)))


def tango(worse: float, better: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Tango's interval of (worse - better) / n: the differences whose `tango_score` is within the normal limits."""
    z, sign = normal_limit(level), np.array([1.0, -1.0])
    inside, outside = np.full(2, (worse - better) / n), np.array([-1.0, 1.0])
    for _ in range(50):  # halves the gap: the limits are exact to 1e-15
        middle = (inside + outside) / 2
        within = sign * tango_score(worse, better, n, middle) < z
        inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
    low, high = (inside + outside) / 2
    return float(low), float(high)


def _not_worse(worse: float, better: float, n: float, margin: float) -> float:
    """One-sided p of a difference of `margin` or more, see `Difference.unchanged`."""
    score = float(tango_score(worse, better, n, margin))
    whole = math.floor(n)
    one_way = tango_score(np.arange(whole + 1), 0, max(whole, 1), margin)  # rises with the number of changes
    as_strong = int((one_way <= score + 1e-9).sum()) - 1
    return max(_NORMAL.cdf(score), float(binomial_cdf(as_strong, whole, margin)))


def mcnemar(worse: int, better: int) -> float:
    """Exact two-sided p that a change is as likely in either direction. McNemar 1947, Psychometrika 12:153."""
    return min(1.0, 2 * float(binomial_cdf(min(worse, better), worse + better, 0.5)))


def _permuted(rates_a: Floats, rates_b: Floats) -> float:
    """p of the mean difference if A and B were exchanged at random within every behavior: McNemar's idea for clusters.

    Exact up to 13 behaviors, else by `RESAMPLES`. Fisher 1935, "The Design of Experiments", section 21.
    """
    changes = (rates_b - rates_a)[rates_a != rates_b]  # leaving out those without a change makes more of it exact
    reached = abs(changes.sum()) - 1e-12  # a sum that ties rounds to either side
    if 2 ** len(changes) <= RESAMPLES:
        signs = np.arange(2 ** len(changes))[:, None] >> np.arange(len(changes)) & 1
        return float(np.mean(np.abs((2 * signs - 1) @ changes) >= reached))
    rng, beyond = np.random.default_rng(SEED), 0
    for start in range(0, RESAMPLES, _BATCH):
        signs = rng.integers(0, 2, (min(_BATCH, RESAMPLES - start), len(changes)), dtype=np.int8)
        beyond += int((np.abs((2 * signs - 1) @ changes) >= reached).sum())
    return (beyond + 1) / (RESAMPLES + 1)


def seed_limits(
    changes: Floats, groups: Sequence[str], level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Limits of the mean of `changes`, shape (seeds, behaviors), by a bootstrap in two levels: seeds, then behaviors.

    groups: the category of every behavior, within which behaviors are drawn. The limits have no width where no change
    differs, which is no proof of anything: use them to widen a score interval, not alone.
    """
    places: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    source = np.random.default_rng(seed)
    seeds = source.integers(len(changes), size=(draws, len(changes)))
    sums = np.zeros(draws)
    for members in places.values():
        drawn = source.choice(members, size=(draws, len(members)))
        sums += changes[seeds[:, :, None], drawn[:, None, :]].sum(axis=(1, 2))
    low, high = np.quantile(sums / changes.size, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


# --- many comparisons --------------------------------------------------------------------------------------------


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Each p corrected so that the chance of any false alarm stays below the level.

    Holm 1979, Scandinavian J. Statistics 6:65. None (nothing to compare) stays None and counts as no comparison.
    """
    return _corrected(ps, _holm)


def benjamini_hochberg(ps: Sequence[float | None]) -> list[float | None]:
    """Each p corrected so that the expected share of false alarms among alarms stays below the level.

    Benjamini and Hochberg 1995, J. Royal Statistical Society B 57:289.
    """
    return _corrected(ps, _benjamini_hochberg)


def _corrected(ps: Sequence[float | None], correct: Callable[[Floats], Any]) -> list[float | None]:
    places = [place for place, p in enumerate(ps) if p is not None]
    corrected: list[float | None] = [None] * len(ps)
    if places:
        for place, p in zip(places, correct(np.array([ps[place] for place in places], float)), strict=True):
            corrected[place] = float(p)
    return corrected


def _holm(ps: Floats) -> Floats:
    """Written here because statsmodels would bring scipy and pandas into the core."""
    order = np.argsort(ps)
    corrected = np.empty_like(ps)
    corrected[order] = np.minimum(1, np.maximum.accumulate(ps[order] * np.arange(len(ps), 0, -1)))
    return corrected


def _benjamini_hochberg(ps: Floats) -> Floats:
    order = np.argsort(ps)[::-1]
    corrected = np.empty_like(ps)
    corrected[order] = np.minimum.accumulate(ps[order] * len(ps) / np.arange(len(ps), 0, -1))
    return corrected


# --- planning ----------------------------------------------------------------------------------------------------


def discordance(asr: float, difference: float, alike: float = 0.0) -> float:
    """The share of behaviors broken in one of A and B alone, in [0, 1], with one case per behavior.

    asr: A's rate; B's is asr - difference.   alike: correlation of A and B within a behavior; 0: they share nothing,
    the most careful assumption unless one attack breaks what the other cannot.
    """
    a, b = asr, asr - difference
    if not (0 <= a <= 1 and 0 <= b <= 1):
        raise ValueError(f"rates of {a} and {b}; they must lie in [0, 1]")
    shared = a * b + alike * math.sqrt(a * (1 - a) * b * (1 - b))
    return max(abs(difference), a + b - 2 * shared)


def behaviors_needed(difference: float, discordant: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """How many behaviors of one case show a difference with this power, by the exact McNemar test, two-sided.

    difference: of the rates, not 0, in (-1, 1).   discordant: share broken in one alone, at least |difference|.

    The least n from which the exact power stays at or above `power`, searched from the normal approximation (Connor
    1987, Biometrics 43:207), which is a little low since the exact test is conservative.
    """
    delta = abs(difference)
    if not 0 < delta <= discordant <= 1:
        raise ValueError(f"difference {difference} and discordance {discordant}: 0 < |difference| <= discordance <= 1")
    if not (0 < power < 1 and 0 < alpha < 1):
        raise ValueError(f"power {power} and alpha {alpha} must lie in (0, 1)")
    spread = _NORMAL.inv_cdf(1 - alpha / 2) * math.sqrt(discordant)
    rough = (spread + _NORMAL.inv_cdf(power) * math.sqrt(discordant - delta**2)) ** 2 / delta**2
    n = max(4, int(rough))
    step = max(1, n // 200)  # of thousands the last digits say nothing
    rejects = _rejects(2 * n + 100, delta, discordant, alpha)
    while _power(n, discordant, rejects) < power:
        n += step
        if n >= len(rejects):
            rejects = _rejects(2 * n, delta, discordant, alpha)
    return n


def mcnemar_power(n: int, difference: float, discordant: float, alpha: float = 0.05) -> float:
    """The chance that the exact McNemar test on n behaviors has p <= alpha: a sum over what can be drawn."""
    return _power(n, discordant, _rejects(n, difference, discordant, alpha))


def _power(n: int, discordant: float, rejects: Floats) -> float:
    return float(binomial_pmf(np.arange(n + 1), n, discordant) @ rejects[: n + 1])


def _rejects(most: int, difference: float, discordant: float, alpha: float) -> Floats:
    """The chance that the test rejects given 0, 1, ..., `most` changed behaviors."""
    changed = np.arange(most + 1)
    upward = (discordant + difference) / (2 * discordant)
    few = _rejected_up_to(changed, alpha / 2)  # rejects at most so many, or all but these
    chance = binomial_cdf(few, changed, upward) + binomial_sf(changed - few - 1, changed, upward)
    return np.where(few >= 0, chance, 0.0)


def _rejected_up_to(changed: npt.NDArray[np.int64], share: float) -> npt.NDArray[np.int64]:
    """The largest number whose chance, or that of fewer, is at most `share` < 1/2 of so many fair coins; -1: none."""
    share *= 1 + 1e-12  # a share that is reached exactly, such as 1/16 by four coins, must not be lost by rounding
    few = np.floor((changed + _NORMAL.inv_cdf(share) * np.sqrt(changed) - 1) / 2).astype(np.int64)
    few = np.maximum(few, -1)
    below = binomial_cdf(few, changed, 0.5)
    while (over := below > share).any():
        below = np.where(over, below - binomial_pmf(few, changed, 0.5), below)
        few = few - over
    while (under := (further := below + binomial_pmf(few + 1, changed, 0.5)) <= share).any():
        few, below = few + under, np.where(under, further, below)
    return few


def behaviors_needed_at(difference: float, sd: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """As `behaviors_needed` for several cases per behavior, from the standard deviation of the change of a behavior.

    Normal approximation: ((z_alpha + z_power) sd / difference)^2.
    """
    if not difference or sd < 0:
        raise ValueError(f"difference {difference} and sd {sd}: one must not be 0, the other 0 or more")
    z = _NORMAL.inv_cdf(1 - alpha / 2) + _NORMAL.inv_cdf(power)
    return max(4, math.ceil((z * sd / difference) ** 2))


@dataclass(frozen=True, slots=True)
class Spread:
    """How the change of a behavior varies: `between` behaviors, and `within` one from case to case (variances)."""

    between: float
    within: float

    def sd(self, cases: int) -> float:
        """Of the change of one behavior with so many cases in A and in B."""
        return math.sqrt(self.between + self.within / cases)


def spread(successes_a: Counts, scored_a: Counts, successes_b: Counts, scored_b: Counts) -> Spread | None:
    """The two variances in a pilot, None with fewer than 2 behaviors scored in both.

    Of one behavior, `within` is a(1 - a) + b(1 - b) of its chances in A and B; the variance seen between behaviors
    holds that of the cases too, which is taken off (Searle et al. 1992, "Variance Components", ch. 3).
    With one case in A and B alike the two cannot be told apart, and all of it is `between`.
    """
    a, n_a, b, n_b = (np.asarray(column, float) for column in (successes_a, scored_a, successes_b, scored_b))
    both = (n_a > 0) & (n_b > 0)
    if both.sum() < 2:
        return None
    a, n_a, b, n_b = a[both], n_a[both], b[both], n_b[both]
    seen = float(np.var(b / n_b - a / n_a, ddof=1))
    several = (n_a > 1) & (n_b > 1)
    if not several.any():
        return Spread(seen, 0.0)
    noise = np.zeros(len(a))
    for s, n in ((a, n_a), (b, n_b)):
        noise += np.where(several, s * (n - s) / (n * np.maximum(n - 1, 1)), 0.0)
    cases = 2 / float(np.mean(1 / n_a[several] + 1 / n_b[several]))
    within = float(noise[several].mean())
    return Spread(max(0.0, seen - within / cases), within)
