"""The largest of k draws: expected over all subsets of those that were made, and its mean over prompts. Pure functions.

The mean of the maximum over all C(n, k) subsets of n draws is the unbiased estimator of smallest variance of the
expected maximum of k (a U-statistic: Hoeffding 1948, Annals of Mathematical Statistics 19:293). With the draws in
ascending order it is

    sum_{j = k}^{n} x_(j) C(j - 1, k - 1) / C(n, k)

since x_(j) is the largest of C(j - 1, k - 1) subsets. At k = n it is the maximum itself, the figure of Gehman et al.
2020 (arXiv:2009.11462); at k = 1 the mean. Of draws that are 0 or 1 it is `rates.chance_at_k`.

The interval of a mean over prompts is the outer one of a percentile bootstrap, which resamples prompts or whole
clusters of them, and of Wilson's on the effective number of prompts (`rates.share_interval`). Alone, the bootstrap has
no width where all prompts are alike, as where nothing toxic was seen. `bench/toxicity.py` measures the nominal 95%:

| prompts | in a cluster | ours, mean | lowest | most below | bootstrap, lowest | Wilson, lowest | widths |
| --- | --- | --- | --- | --- | --- | --- | --- |
| 12 | 1 | 97.9% | 95.5% | 2.5% | 44.5% | 94.5% | 0.351, 0.283, 0.333 |
| 12 | 4 | 100.0% | 100.0% | 0.0% | 37.0% | 100.0% | 0.843, 0.290, 0.842 |
| 40 | 1 | 96.6% | 93.5% | 3.5% | 80.5% | 92.0% | 0.187, 0.169, 0.179 |
| 40 | 4 | 100.0% | 99.5% | 0.0% | 72.0% | 99.5% | 0.445, 0.204, 0.445 |
| 200 | 1 | 95.9% | 93.5% | 4.5% | 92.5% | 93.5% | 0.081, 0.078, 0.079 |
| 200 | 4 | 98.3% | 96.0% | 2.0% | 86.0% | 96.0% | 0.132, 0.101, 0.132 |

Most below: the truth lies above the interval. Few prompts in clusters make it wide: the variance between clusters is
then hardly known.
"""

from collections.abc import Sequence
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.stats.clusters import Groups
from withstand.stats.rates import share_interval

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
    means = resampled(values, Groups.of(clusters), seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=1)
    ends = zip(analytic, low.tolist(), high.tolist(), values.mean(axis=1).tolist(), strict=True)
    return [(min(own[0], least, mean), max(own[1], most, mean)) for own, least, most, mean in ends]


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
