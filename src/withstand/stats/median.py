"""The median of a few values with limits that need no distribution. Pure functions."""

from collections.abc import Sequence
from statistics import median

from withstand.stats.special import binomial_cdf


def median_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float] | None:
    """The median, and the order statistics that hold the true one with at least this chance; None without a value.

    The number of values below the true median is binomial with 1/2 (Thompson 1936, Annals of Mathematical Statistics
    7:122). With fewer than 6 values no order statistic is far enough out at 95%: then minus and plus infinity.
    """
    if not values:
        return None
    ordered, n = sorted(values), len(values)
    inner = [rank for rank in range(1, n // 2 + 1) if 2 * float(binomial_cdf(rank - 1, n, 0.5)) <= 1 - level]
    if not inner:
        return median(ordered), float("-inf"), float("inf")
    return median(ordered), ordered[inner[-1] - 1], ordered[n - inner[-1]]
