"""The median and its limits, beside exact binomial sums."""

import math

from scipy.stats import binom

from withstand.stats.median import median_interval


def test_the_limits_are_the_innermost_order_statistics_that_hold():
    assert median_interval([]) is None
    assert median_interval([3, 1, 2]) == (2, -math.inf, math.inf)
    for n in (6, 7, 10, 25, 60):
        middle, low, high = median_interval(range(1, n + 1))
        assert middle == (n + 1) / 2
        assert low + high == n + 1
        held = binom.cdf(high - 1, n, 0.5) - binom.cdf(low - 1, n, 0.5)  # low <= number below the median < high
        inner = binom.cdf(high - 2, n, 0.5) - binom.cdf(low, n, 0.5)
        assert held >= 0.95 > inner
