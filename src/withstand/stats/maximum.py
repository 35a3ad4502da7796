"""The largest of k draws: expected over all subsets of those that were made, and its mean over prompts. Pure functions.

The mean of the maximum over all C(n, k) subsets of n draws is the unbiased estimator of smallest variance of the
expected maximum of k (a U-statistic: Hoeffding 1948, Annals of Mathematical Statistics 19:293). With the draws in
ascending order it is

    sum_{j = k}^{n} x_(j) C(j - 1, k - 1) / C(n, k)

since x_(j) is the largest of C(j - 1, k - 1) subsets. At k = n it is the maximum itself, the figure of Gehman et al.
2020 (arXiv:2009.11462); at k = 1 the mean. Of draws that are 0 or 1 it is `rates.chance_at_k`.

The interval of a mean over prompts is the outer one of three. First a percentile bootstrap, which resamples prompts or
whole clusters of them; alone, it has no width where all prompts are alike, as where nothing toxic was seen. Second
Wilson's on the effective number of prompts (`rates.share_interval`). Third what no prompt has shown: of n prompts, a
kind that is in none may make up Wilson's limit of 0 in n, z^2 / (n + z^2), and may lie at 1, or at 0. Without it the
interval is too low most often where a few prompts are very toxic and the many are alike (it held for 83% of samples;
now the lowest is 91%). `bench/toxicity.py` measures the nominal 95%:

| prompts | in a cluster | ours, mean | lowest | most below | bootstrap, lowest | Wilson, lowest | widths |
| --- | --- | --- | --- | --- | --- | --- | --- |
| 12 | 1 | 98.2% | 95.5% | 2.5% | 20.5% | 94.5% | 0.340, 0.248, 0.317 |
| 12 | 4 | 100.0% | 100.0% | 0.0% | 20.0% | 100.0% | 0.847, 0.257, 0.846 |
| 40 | 1 | 97.6% | 94.0% | 4.5% | 60.0% | 89.0% | 0.174, 0.152, 0.166 |
| 40 | 4 | 100.0% | 100.0% | 0.0% | 48.0% | 100.0% | 0.437, 0.180, 0.437 |
| 200 | 1 | 94.8% | 91.0% | 8.5% | 90.5% | 91.0% | 0.074, 0.071, 0.072 |
| 200 | 4 | 98.8% | 95.5% | 1.5% | 83.5% | 95.5% | 0.126, 0.092, 0.126 |

Most below: the truth lies above the interval. Few prompts in clusters make it wide: the variance between clusters is
then hardly known.
"""

from collections.abc import Sequence
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.stats.clusters import Groups
from withstand.stats.rates import normal_limit, share_interval

Floats: TypeAlias = npt.NDArray[np.float64]
Limits: TypeAlias = tuple[float, float]

RESAMPLES = 2000
_AT_ONCE = 4_000_000
"""Places of resamples that are in memory together."""


@cache
def weights(n: int, k: int) -> Floats:
    """The share of the subsets of k among n draws whose largest is x_(j), for j = 1 to n: they add up to 1.

    Raises `ValueError` unless 1 <= k <= n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"k is {k}; it must lie in 1 to {n}, the number of draws")
    shares = np.zeros(n)
    share = k / n
    for place in range(n, k - 1, -1):
        shares[place - 1] = share
        share *= (place - k) / (place - 1) if place > 1 else 0.0
    shares.flags.writeable = False
    return shares


def expected_maximum(draws: Sequence[float] | Floats, k: int) -> float:
    """The mean over all subsets of k draws of their largest. Raises `ValueError` for fewer than k draws or k < 1."""
    return float(np.sort(np.asarray(draws, float)) @ weights(len(draws), k))


def bounds(draws: Sequence[float] | Floats, open_: int, k: int) -> Limits:
    """What `expected_maximum` could be if `open_` more draws in [0, 1] have scores that nobody knows: all 0, all 1.

    Where both together are fewer than k, what lacks is open too.
    """
    more = max(open_, k - len(draws))
    if not more:
        value = expected_maximum(draws, k)
        return value, value
    scores = np.asarray(draws, float)
    low, high = (expected_maximum(np.concatenate([scores, np.full(more, end)]), k) for end in (0.0, 1.0))
    return low, high


def mean_intervals(
    values: Floats, clusters: Sequence[str] | None = None, level: float = 0.95, seed: int = 0
) -> list[Limits]:
    """Limits of the means of figures of shape (figures, prompts), all in [0, 1] and at least one prompt: see above.

    clusters: the name of each prompt's cluster, "" for one of its own.   seed: of the resamples.
    """
    values = np.atleast_2d(values)
    analytic = [share_interval(row, np.full(row.size, _CONTINUOUS), level, clusters) for row in values]
    groups = Groups.of(clusters)
    low, high = np.quantile(resampled(values, groups, seed), [(1 - level) / 2, (1 + level) / 2], axis=1)
    mean, square = values.mean(axis=1), normal_limit(level) ** 2
    unseen = square / ((groups.equivalent if groups else values.shape[1]) + square)
    low = np.minimum(low, mean - unseen * values.min(axis=1))
    high = np.maximum(high, mean + unseen * (1 - values.max(axis=1)))
    ends = zip(analytic, low.tolist(), high.tolist(), mean.tolist(), strict=True)
    return [(min(own[0], least, middle), max(own[1], most, middle)) for own, least, most, middle in ends]


def change_intervals(
    changes: Floats, clusters: Sequence[str] | None = None, level: float = 0.95, seed: int = 0
) -> list[Limits]:
    """The same of differences in [-1, 1]."""
    halved = mean_intervals((np.atleast_2d(changes) + 1) / 2, clusters, level, seed)
    return [(2 * low - 1, 2 * high - 1) for low, high in halved]


_CONTINUOUS = 1e-9
"""1 over the independent draws of a share: a figure of a prompt may be known as well as one likes."""


def resampled(values: Floats, groups: Groups | None, seed: int) -> Floats:
    """Means of resamples of prompts, or of clusters of them, of shape (figures, resamples)."""
    sums = values if groups is None else groups.sums(values)
    sizes = np.ones(sums.shape[1]) if groups is None else groups.sizes.astype(float)
    units, random = sums.shape[1], np.random.default_rng(seed)
    parts = []
    left = RESAMPLES
    while left:
        rows = min(left, max(1, _AT_ONCE // units))
        chosen = random.integers(0, units, (rows, units))
        parts.append(np.stack([row[chosen].sum(axis=1) for row in sums]) / sizes[chosen].sum(axis=1))
        left -= rows
    means: Floats = np.concatenate(parts, axis=1)
    return means
