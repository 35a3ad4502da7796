"""Rates with their uncertainty: pure functions on counts, one number per behavior.

`successes` is what is counted and `scored` the verdicts it is counted among, both of shape (behaviors,), in any order.
One set of functions serves both rates: attack success rate (ASR) counts "success"; over-refusal on benign prompts
counts "refused" and "filtered". Nothing scored gives None, never 0 and never NaN; impossible counts raise `ValueError`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.stats.clusters import Groups, effective, kept
from withstand.stats.winners import clopper_pearson

Counts: TypeAlias = Sequence[int] | npt.NDArray[np.integer[Any]]
"""Whole numbers, 0 or more, one per behavior."""

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, 0 <= low <= rate <= high <= 1. `method` is shown beside it."""

    low: float
    high: float
    method: Literal["Wilson", "Wilson on effective cases", "Clopper-Pearson on effective clusters"]


def mean_rate(successes: Counts, scored: Counts) -> float | None:
    """Mean over behaviors of successes / scored, in [0, 1]; behaviors without a scored case are left out.

    Over several samples of a case it is the expected success of one of them, as `rate_at_k` is that of any of k.
    The figure that `evaluate_completions` of HarmBench prints (Mazeika et al. 2024, arXiv:2402.04249).
    """
    successes, scored = _scored(successes, scored)
    return float(_in_any_order(successes / scored).mean()) if scored.size else None


def pooled_rate(successes: Counts, scored: Counts) -> float | None:
    """All successes / all scored cases, in [0, 1]: `asr_micro`, as in the published tables of HarmBench.

    Equal to `mean_rate` where every behavior has the same number of scored cases.
    """
    successes, scored = _scored(successes, scored)
    return float(successes.sum() / scored.sum()) if scored.size else None


def rate_bounds(successes: Counts, unknown: Counts, cases: Counts) -> tuple[float, float] | None:
    """What the rate would be if no unknown case were a success, and if all were: means over behaviors, in [0, 1].

    `unknown`: unscored and error together; `cases`: all that were wanted. `mean_rate` over the scored cases
    (cases - unknown) always lies inside (worst-case bounds: Manski 2003, "Partial Identification of Probability
    Distributions").
    """
    successes, unknown, cases = counted(successes, unknown, cases)
    if (successes + unknown > cases).any():
        raise ValueError("a behavior has more successes and unknown cases than cases")
    wanted = cases > 0
    if not wanted.any():
        return None
    successes, unknown, cases = successes[wanted], unknown[wanted], cases[wanted]
    low, high = successes / cases, (successes + unknown) / cases
    return float(_in_any_order(low).mean()), float(_in_any_order(high).mean())


def rate_at_k(successes: Counts, scored: Counts, k: int) -> tuple[float | None, int]:
    """The chance that k cases of a behavior hold a success (ASR@k), and how many behaviors that is the mean over.

    Mean of 1 - C(n - s, k) / C(n, k) over the behaviors with n >= k scored cases, s of them successes: unbiased for
    cases drawn alike (Chen et al. 2021, arXiv:2107.03374, eq. 1), as a product, so that nothing overflows. At k = 1
    it is `mean_rate`; (None, 0) if no behavior has k scored cases. Time and memory go with behaviors * k.
    """
    if k < 1:
        raise ValueError(f"k is {k}; it must be 1 or more")
    successes, scored = _scored(successes, scored)
    enough = scored >= k
    if not enough.any():
        return None, 0
    chances = chance_at_k(successes[enough], scored[enough], np.full(int(enough.sum()), k))
    return float(_in_any_order(chances).mean()), int(enough.sum())


def chance_at_k(successes: npt.NDArray[Any], scored: npt.NDArray[Any], k: npt.NDArray[Any]) -> Floats:
    """1 - C(n - s, k) / C(n, k) of each behavior, with 1 <= k <= n of its own: see `rate_at_k`."""
    drawn = np.arange(k.max(initial=0))
    all_cases = np.maximum(scored[:, None] - drawn, 1)
    failures = np.maximum(scored[:, None] - drawn - successes[:, None], 0)
    chances: Floats = 1 - np.prod(np.where(drawn < k[:, None], failures / all_cases, 1.0), axis=1)
    return chances


def ks(n: int) -> list[int]:
    """The k at which ASR@k is shown, for n cases per behavior: 1, 2, 5, 10, 20, 50, ... below n, and n itself."""
    if n < 0:
        raise ValueError(f"n is {n}; it must be 0 or more")
    steps = (step * 10**power for power in range(len(str(n))) for step in (1, 2, 5))
    return [k for k in steps if k < n] + [n] * (n > 0)


def wilson(successes: float, n: float, level: float = 0.95) -> tuple[float, float] | None:
    """Wilson's score interval for a binomial proportion, in [0, 1]; None if n is 0. Wilson 1927, JASA 22:209.

    The counts may be effective ones, and then need not be whole.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes among {n} cases")
    if n == 0:
        return None
    low, high = _score(np.float64(successes / n), np.float64(n), level)
    return float(low), float(high)


def rate_interval(
    successes: Counts, scored: Counts, level: float = 0.95, clusters: Sequence[str] | None = None
) -> Interval | None:
    """Interval of `mean_rate` over behaviors like these: Wilson's, on the effective number of cases.

    With one scored case per behavior, or at 0 or all successes, the effective number is that of the behaviors, m.
    Otherwise it is m times the variance that behaviors of one case would have over the variance seen between
    behaviors (the design effect; Korn and Graubard 1998, Survey Methodology 24:193; Franco et al. 2019, J. Survey
    Statistics and Methodology 7:334), at most what independent cases would give. Both variances are taken as if two
    more behaviors had been seen, one broken in all of its cases and one in none (the added 1/2): a few successes say
    little about how alike the cases of a behavior are, and without these the upper limit is too low.

    Against bootstraps over behaviors: 660 points of a beta-binomial (p 0.05-0.95; 20, 50 and 200 behaviors;
    2, 3, 5, 10 and mixed cases each; correlation within a behavior 0, 0.3, 0.7 and 1), 1000 draws each, nominal 95%,
    bootstraps of 1000 resamples, and Wilson at m where nothing or everything succeeded:

    | method                                       | mean | lowest | points < 90% | mean width |
    | -------------------------------------------- | ---- | ------ | ------------- | ---------- |
    | this one                                     | 95.8 | 91.3   | 0             | 0.171      |
    | bootstrap, BCa                               | 95.7 | 90.1   | 0             | 0.170      |
    | bootstrap, percentile                        | 94.4 | 84.3   | 32            | 0.161      |
    | bootstrap, studentized                       | 93.4 | 66.4   | 98            | 0.179      |
    | without the added 1/2, t quantile at m - 1   | 95.6 | 89.1   | 2             | 0.173      |
    | without the added 1/2, normal quantile       | 95.0 | 88.2   | 5             | 0.166      |
    | Korn and Graubard's (Clopper-Pearson, t)     | 96.6 | 91.6   | 0             | 0.186      |

    The lowest of this one is Wilson's own, at full correlation. Of the three without a point below 90% it is as narrow
    as BCa with a higher floor, and needs no resampling and no seed.
    """
    successes, scored, of = _scored_in(successes, scored, clusters)
    if not scored.size:
        return None
    low, high = share_interval(successes / scored, 1 / scored, level, of)
    if Groups.of(of):
        return Interval(low, high, "Clopper-Pearson on effective clusters")
    return Interval(low, high, "Wilson" if (scored == 1).all() else "Wilson on effective cases")


def effective_cases(
    successes: Counts, scored: Counts, clusters: Sequence[str] | None = None, level: float = 0.95
) -> tuple[float, float] | None:
    """`mean_rate`, and the number of independent cases that would know it as well, see `rate_interval`."""
    successes, scored, of = _scored_in(successes, scored, clusters)
    if not scored.size:
        return None
    rate, cases = _effective(successes / scored, 1 / scored)
    return float(rate), float(_in_clusters(successes / scored, cases, Groups.of(of), level))


def share_interval(
    shares: Floats, per_case: Floats, level: float = 0.95, clusters: Sequence[str] | None = None, exact: bool = False
) -> tuple[float, float]:
    """The limits of `rate_interval` for the mean of any shares in [0, 1], one per behavior and at least one.

    per_case: 1 over how many independent draws of its share a behavior has, in (0, 1]; of a rate of n cases 1/n.
    clusters: the name of each behavior's cluster, "" for one of its own. Where two share one, the limits are the outer
    ones of those without clusters and of Clopper and Pearson's on the effective number of `stats.clusters`; with one
    cluster in all they are 0 and 1.   exact: Clopper and Pearson's limits in place of Wilson's.
    """
    rate, cases = map(float, _effective(shares, per_case))
    low, high = clopper_pearson(rate * cases, cases, level) if exact else _score(rate, cases, level)
    groups = Groups.of(clusters)
    if groups:
        number = float(_in_clusters(shares, cases, groups, level))
        ends = clopper_pearson(rate * number, number, level) if number else (0.0, 1.0)
        low, high = min(low, ends[0], rate), max(high, ends[1], rate)
    return float(low), float(high)


def effective_shares(shares: Floats, per_case: Floats, clusters: Sequence[str] | None = None) -> float:
    """How many behaviors of one case would know the mean of such shares as well, see `share_interval`."""
    return float(_in_clusters(shares, _effective(shares, per_case)[1], Groups.of(clusters)))


def _in_clusters(shares: Floats, cases: Any, groups: Groups | None, level: float = 0.95) -> Any:
    """The effective number of cases in clusters, at most that without them, for shares of shape (..., behaviors)."""
    if groups is None:
        return cases
    rate = shares.mean(axis=-1)
    return np.minimum(cases, effective(shares, rate * (1 - rate), groups, level))


def _effective(shares: Floats, per_case: Floats) -> tuple[Floats, Floats]:
    """Mean and effective number of cases of shares of shape (..., behaviors)."""
    rates = _in_any_order(shares)
    behaviors = rates.shape[-1]
    rate = rates.mean(axis=-1)
    single = behaviors * rate * (1 - rate)
    seen = np.square(rates - rate[..., None]).sum(axis=-1)
    independent = behaviors**2 / _in_any_order(per_case).sum(axis=-1)
    return rate, np.minimum(behaviors * (single + 0.5) / (seen + 0.5), independent)


def _score(rate: Any, cases: Any, level: float) -> tuple[Any, Any]:
    """Wilson's limits, elementwise; `cases` need not be whole. Rounding never leaves `rate` outside."""
    z = normal_limit(level)
    center = rate + z**2 / (2 * cases)
    reach = z * np.sqrt(rate * (1 - rate) / cases + (z / (2 * cases)) ** 2)
    low, high = (center - reach) / (1 + z**2 / cases), (center + reach) / (1 + z**2 / cases)
    return np.clip(low, 0, rate), np.clip(high, rate, 1)


def normal_limit(level: float) -> float:
    """The quantile of the standard normal distribution that limits a two-sided interval; `level` in (0, 1)."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie in (0, 1)")
    return NormalDist().inv_cdf((1 + level) / 2)


def _in_any_order(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sorted along the last axis, so that a sum rounds alike whatever the order of the behaviors."""
    return np.sort(values, axis=-1)


def counted(*columns: Counts) -> list[npt.NDArray[np.int64]]:
    """The columns as flat arrays of one length; `ValueError` for anything but whole numbers of 0 or more."""
    arrays = [np.asarray(column) for column in columns]
    for array in arrays:
        if array.ndim != 1 or array.shape != arrays[0].shape:
            raise ValueError("counts must be flat and of one length, one per behavior")
        if array.size and (array.dtype.kind not in "iu" or (array < 0).any()):
            raise ValueError("counts must be whole numbers, 0 or more")
    return [array.astype(np.int64) for array in arrays]


def _scored(successes: Counts, scored: Counts) -> list[npt.NDArray[np.int64]]:
    """Successes and scored of the behaviors that have a scored case."""
    successes, scored = counted(successes, scored)
    if (successes > scored).any():
        raise ValueError("a behavior has more successes than scored cases")
    return [successes[scored > 0], scored[scored > 0]]


def _scored_in(
    successes: Counts, scored: Counts, clusters: Sequence[str] | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], list[str] | None]:
    """The same with the clusters of these behaviors."""
    of = kept(clusters, np.asarray(scored) > 0)
    successes, scored = _scored(successes, scored)
    return successes, scored, of
