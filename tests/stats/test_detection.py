"""Sensitivity and criterion against scipy's normal quantiles, and on dummies that say one word."""

import pytest
from scipy.stats import norm

from withstand.stats.detection import sensitivity


def test_it_is_the_formula():
    hit, alarm = norm.ppf(8.5 / 11), norm.ppf(3.5 / 21)
    assert sensitivity(8, 10, 3, 20) == pytest.approx((hit - alarm, -(hit + alarm) / 2))
    d_prime, criterion = sensitivity(10, 10, 10, 10)  # yes to everything
    assert d_prime == pytest.approx(0)
    assert criterion < 0
    assert sensitivity(0, 10, 0, 10)[1] == pytest.approx(-criterion)
    for wrong in ((11, 10, 0, 1), (0, 0, 0, 1), (0, 1, -1, 1)):
        with pytest.raises(ValueError, match="no counts"):
            sensitivity(*wrong)
