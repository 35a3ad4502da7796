"""Two rates on the same behaviors: differences with their uncertainty, and what it takes to see one. Pure functions.

A is what B is set beside: a difference is B's rate minus A's, and above 0 where B was broken more often. Each argument
holds one number per behavior, and behavior number i is the same in all of them. Nothing to compare gives None.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from withstand.stats.rates import Counts, Floats
from withstand.stats.special import binomial_cdf, binomial_pmf, binomial_sf

RESAMPLES = 9_999
SEED = 0  # of the permutations: the same verdicts give the same p
ADDED = 0.5
"""How many pairs are added in either direction, see `Difference`."""

_NORMAL = NormalDist()
_BATCH = 1_000  # of permutations at once: memory for a thousand behaviors stays small


@dataclass(frozen=True)
class Difference:
    """Mean over behaviors of B's rate minus A's, in [-1, 1], among the `behaviors` with a scored case in both.

    rate_a, rate_b: means over these behaviors, in [0, 1].   se: standard error of `center`.   worse, better: behaviors
    broken more often, and less often, in B.   one, other: the rates of each behavior in A and in B.

    The limits, `center` +- z `se`, are those of a mean of paired differences with half a pair added in either
    direction. With one case per behavior that is Bonett and Price's adjusted interval (2012, J. Educational and
    Behavioral Statistics 37:479; recommended by Fagerland et al. 2014, Statistics in Medicine 33:2850) with
    1/2 in place of 1; with several, behaviors are the clusters. Over 567 points (rates 0.05-0.95; 20, 50 and 200
    behaviors; 1, 2 and 5 cases each; correlation of A and B within a behavior 0, 0.5 and 0.9; 1000 draws each), nominal
    95%:

    | method                                  | mean | lowest | points < 90% | mean width |
    | --------------------------------------- | ---- | ------ | ------------- | ---------- |
    | this one                                | 96.7 | 92.1   | 0             | 0.216      |
    | a whole pair added (Bonett and Price)   | 97.1 | 92.1   | 0             | 0.234      |
    | a quarter of a pair added               | 95.8 | 88.9   | 1             | 0.204      |
    | paired bootstrap of behaviors, 1000     | 94.7 | 71.1   | 12            | 0.186      |
    """

    rate_a: float
    rate_b: float
    behaviors: int
    worse: int
    better: int
    center: float
    se: float
    method: Literal["exact McNemar", "paired permutation of behaviors"]
    one: Floats = field(repr=False, compare=False)
    other: Floats = field(repr=False, compare=False)

    @cached_property
    def p(self) -> float:
        """Two-sided, of no difference, by `method`."""
        if self.method == "exact McNemar":
            return mcnemar(self.worse, self.better)
        return _permuted(self.one, self.other)

    @property
    def difference(self) -> float:
        return self.rate_b - self.rate_a

    def limits(self, level: float = 0.95) -> tuple[float, float]:
        """The interval of the difference; it always holds it."""
        reach = _z(level) * self.se
        return max(-1.0, min(self.center - reach, self.difference)), min(1.0, max(self.center + reach, self.difference))

    def unchanged(self, margin: float) -> float:
        """The p of two one-sided tests that the rates differ by `margin` or more: small says that they do not.

        Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15:657. Below 0.05 just where the 90% interval lies
        within -margin to margin.
        """
        if not 0 < margin < 1:
            raise ValueError(f"margin is {margin}; it must lie in (0, 1)")
        return max(_NORMAL.cdf(-(self.center + margin) / self.se), _NORMAL.cdf((self.center - margin) / self.se))


def difference(successes_a: Counts, scored_a: Counts, successes_b: Counts, scored_b: Counts) -> Difference | None:
    """B against A, over the behaviors with a scored case in both."""
    a, n_a, b, n_b = (np.asarray(column, dtype=np.int64) for column in (successes_a, scored_a, successes_b, scored_b))
    if len({column.shape for column in (a, n_a, b, n_b)}) != 1 or a.ndim != 1:
        raise ValueError("counts must be flat and of one length, one per behavior")
    if (a < 0).any() or (b < 0).any() or (a > n_a).any() or (b > n_b).any():
        raise ValueError("a behavior has fewer than 0 successes, or more than scored cases")
    both = (n_a > 0) & (n_b > 0)
    if not both.any():
        return None
    a, n_a, b, n_b = a[both], n_a[both], b[both], n_b[both]
    one, other = a / n_a, b / n_b
    changes = np.sort(other - one)  # so that a sum rounds alike whatever the order of the behaviors
    worse, better = int((changes > 0).sum()), int((changes < 0).sum())
    single = bool((n_a == 1).all() and (n_b == 1).all())
    center, se = _adjusted(changes)
    return Difference(
        rate_a=float(np.sort(one).mean()),
        rate_b=float(np.sort(other).mean()),
        behaviors=int(both.sum()),
        worse=worse,
        better=better,
        center=float(center),
        se=float(se),
        method="exact McNemar" if single else "paired permutation of behaviors",
        one=one,
        other=other,
    )


def _adjusted(changes: Floats) -> tuple[Any, Any]:
    """Mean and its standard error along the last axis, with `ADDED` pairs of +1 and as many of -1."""
    n = changes.shape[-1] + 2 * ADDED
    mean = changes.sum(axis=-1) / n
    return mean, np.sqrt(((changes**2).sum(axis=-1) + 2 * ADDED) / n - mean**2) / math.sqrt(n)


def mcnemar(worse: int, better: int) -> float:
    """Exact two-sided p that a change is as likely in either direction. McNemar 1947, Psychometrika 12:153."""
    return min(1.0, 2 * float(binomial_cdf(min(worse, better), worse + better, 0.5)))


def _permuted(one: Floats, other: Floats) -> float:
    """p of the mean difference if A and B were exchanged at random within each behavior: McNemar's idea for clusters.

    Exact up to 13 behaviors, else by `RESAMPLES`. Fisher 1935, "The Design of Experiments", section 21.
    """
    changes = (other - one)[
        one != other
    ]  # a behavior without a change says nothing, and leaving it out makes more exact
    reached = abs(changes.sum()) - 1e-12  # a sum that ties rounds to either side
    if 2 ** len(changes) <= RESAMPLES:
        signs = np.arange(2 ** len(changes))[:, None] >> np.arange(len(changes)) & 1
        return float(np.mean(np.abs((2 * signs - 1) @ changes) >= reached))
    rng, beyond = np.random.default_rng(SEED), 0
    for start in range(0, RESAMPLES, _BATCH):
        signs = rng.integers(0, 2, (min(_BATCH, RESAMPLES - start), len(changes)), dtype=np.int8)
        beyond += int((np.abs((2 * signs - 1) @ changes) >= reached).sum())
    return (beyond + 1) / (RESAMPLES + 1)


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
    known = [place for place, p in enumerate(ps) if p is not None]
    found: list[float | None] = [None] * len(ps)
    if known:
        for place, p in zip(known, correct(np.array([ps[place] for place in known], float)), strict=True):
            found[place] = float(p)
    return found


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


def _z(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie in (0, 1)")
    return _NORMAL.inv_cdf((1 + level) / 2)
