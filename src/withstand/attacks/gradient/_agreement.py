"""How far two rankings of the same candidates agree."""

import math
from typing import Any

import numpy as np


def rank_correlation(a: Any, b: Any) -> float:
    """Spearman's, ties at their mean rank; -1, the least agreement, where one side ranks nothing."""
    x, y = (_mean_ranks(np.asarray(values, dtype=float)) for values in (a, b))
    x, y = x - x.mean(), y - y.mean()
    size = math.sqrt(float((x @ x) * (y @ y)))
    return float(x @ y) / size if size else -1.0


def _mean_ranks(values: Any) -> Any:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return (ends - (counts - 1) / 2)[group]
