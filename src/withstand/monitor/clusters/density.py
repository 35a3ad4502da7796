"""Clusters of vectors by density, and whether they come back on other draws."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from withstand.core import SpecError, rng

LEAST = 10
"""Items of a cluster."""
NEIGHBORS = 5
DIMENSIONS = 32
DRAWS, SHARE = 8, 0.8
"""Draws without replacement on which the clustering is done again, and their share of the items."""
STABLE = 0.6
"""Mean Jaccard index of a cluster with its best match on the draws, below which it is unstable."""

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Density:
    """labels: of each item its cluster, from 0; -1 for none.   stability: of each cluster, in [0, 1]."""

    labels: Labels
    stability: tuple[float, ...]


def density(rows: Any, seed: int = 0) -> Density:
    """HDBSCAN (Campello, Moulavi and Sander 2013) on the main directions of vectors.

    stability: the mean over draws of the best Jaccard index (Hennig 2007, Computational Statistics & Data Analysis
    52:258); below 0.6 he calls a cluster unstable.
    """
    number = len(rows)
    if number < 2 * LEAST:
        return Density(np.full(number, -1), ())
    reduced = _reduced(rows, seed)
    labels = _clustered(reduced)
    overlaps: list[list[float]] = [[] for _ in range(int(labels.max()) + 1)]
    draws: Any = np.random.default_rng(rng("density", seed).getrandbits(64))
    for _ in range(DRAWS if overlaps else 0):
        chosen = np.sort(draws.choice(number, max(2 * LEAST, int(SHARE * number)), replace=False))
        again = _clustered(reduced[chosen])
        for label, indices in enumerate(overlaps):
            own = labels[chosen] == label
            sizes = np.bincount(again[own & (again >= 0)], minlength=int(again.max()) + 1 if len(again) else 0)
            whole = np.bincount(again[again >= 0], minlength=len(sizes))
            indices.append(float((sizes / (own.sum() + whole - sizes)).max()) if len(sizes) and own.any() else 0.0)
    return Density(labels, tuple(float(np.mean(indices)) for indices in overlaps))


def _reduced(rows: Any, seed: int) -> Any:
    """The rows along their main directions, where most of them differ."""
    try:
        from sklearn.decomposition import PCA
    except ImportError:
        raise SpecError("clusters need scikit-learn", hint='pip install "withstand[monitor]"') from None
    dimensions = min(DIMENSIONS, *(size - 1 for size in rows.shape))
    reduced = PCA(dimensions, svd_solver="randomized", random_state=seed).fit_transform(rows)
    return np.round(reduced.astype(np.float64), 6)  # so that the last bit of a sum decides nothing


def _clustered(rows: Any) -> Labels:
    from sklearn.cluster import HDBSCAN

    model = HDBSCAN(min_cluster_size=LEAST, min_samples=NEIGHBORS, algorithm="kd_tree", copy=True)
    return np.asarray(model.fit(rows).labels_, dtype=np.int64)
