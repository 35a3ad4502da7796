"""Behaviors that stand or fall together: dishes, paraphrases of one request, variants of one seed. Pure functions.

The mean of `m` behaviors in `G` clusters is known as well as by `n` independent ones:

    n = G* (G v + 1) / (G / (G - 1) sum_g (S_g - m_g mean)^2 / q + 1),  G* = m^2 / sum_g m_g^2,  q = sum_g m_g^2 / G

S_g: the sum of cluster g, of m_g behaviors.   v: the variance of a behavior if all of a cluster were alike. The second
sum is the cluster-robust variance (Liang and Zeger 1986, Biometrika 73:13), of which n is the inverse of the design
effect: equal clusters with a correlation r within give m / (1 + (m_g - 1) r) (Kish 1965). The added ones are two more
clusters, all broken and all held, as `rates.rate_interval` adds two behaviors: where few clusters broke, nothing shows
that their behaviors differ, and n is G*. What n has above G* is cut by Student's t (Korn and Graubard 1998) with
Satterthwaite's degrees of freedom, (sum m_g^2)^2 / sum m_g^4 - 1. `bench/clusters.py` measures what comes of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.stats.special import t_quantile

Floats: TypeAlias = npt.NDArray[np.float64]

ADDED = 1.0
"""Clusters added to both variances, half of them broken."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The clusters of some behaviors. numbers: of each behavior, from 0.   sizes: behaviors of each cluster."""

    numbers: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    @staticmethod
    def of(clusters: Sequence[str] | None) -> "Groups | None":
        """By the name of each behavior's cluster, "" for one of its own; None where no two share one."""
        if clusters is None or not any(clusters):
            return None
        names = {name: number for number, name in enumerate(dict.fromkeys(filter(None, clusters)))}
        alone = iter(range(len(names), len(names) + len(clusters)))
        numbers = np.array([names[name] if name else next(alone) for name in clusters], np.int64)
        sizes = np.bincount(numbers)
        return None if sizes.max() == 1 else Groups(numbers, sizes)

    def sums(self, values: Floats) -> Floats:
        """Of each cluster, of values of shape (..., behaviors)."""
        order = np.argsort(self.numbers, kind="stable")
        starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        totals: Floats = np.add.reduceat(values[..., order], starts, axis=-1)
        return totals

    @property
    def number(self) -> int:
        return len(self.sizes)

    @property
    def equivalent(self) -> float:
        """How many clusters of equal size know as much if the behaviors of each are all alike: G*."""
        return float(self.sizes.sum() ** 2 / np.square(self.sizes).sum())

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the variance between clusters, 1 or more."""
        squares = np.square(self.sizes.astype(float))
        return max(1.0, float(squares.sum() ** 2 / np.square(squares).sum() - 1))


def kept(clusters: Sequence[str] | None, mask: npt.NDArray[np.bool_]) -> list[str] | None:
    """The clusters of the behaviors that a mask keeps."""
    return None if clusters is None else [name for name, keep in zip(clusters, mask, strict=True) if keep]


def variance_of_mean(values: Floats, groups: Groups) -> Any:
    """The cluster-robust variance of the mean of values of shape (..., behaviors), with the factor G / (G - 1).

    Infinite with one cluster: nothing shows how clusters differ.
    """
    if groups.number == 1:
        return np.full(values.shape[:-1], np.inf)
    gaps = groups.sums(values - values.mean(axis=-1, keepdims=True))
    factor = groups.number / (groups.number - 1)
    return factor * np.square(gaps).sum(axis=-1) / values.shape[-1] ** 2


def effective(values: Floats, variance: Any, groups: Groups, level: float = 0.95) -> Any:
    """How many independent behaviors know the mean of `values`, shape (..., behaviors), as well; 0 with one cluster.

    variance: of a behavior if all of a cluster were alike, shape (...).   level: of the interval that is wanted.
    """
    if groups.number == 1:
        return np.zeros(values.shape[:-1])
    count, equivalent = groups.number, groups.equivalent
    seen = variance_of_mean(values, groups) * equivalent * count
    number = equivalent * (count * variance + ADDED) / (seen + ADDED)
    quantile = (1 + level) / 2
    cut = (NormalDist().inv_cdf(quantile) / t_quantile(quantile, groups.freedom)) ** 2
    return np.where(number > equivalent, np.maximum(equivalent, number * cut), number)
