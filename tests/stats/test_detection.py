"""Sensitivity and criterion against scipy's normal quantiles, and on dummies that say one word; costs by hand."""

import math

import pytest
from scipy.stats import norm

from withstand.stats.detection import Cheapest, cheapest, paying, precision_at, sensitivity


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


def test_what_flags_are_worth_and_what_a_threshold_costs():
    """8 of 10 signals caught with 10 false alarms among 40: of 18 flagged 8 are signals."""
    assert precision_at(0.2, 0.8, 0.25) == pytest.approx(8 / 18)
    assert precision_at(0.01, 0.8, 0.25) == pytest.approx(0.008 / (0.008 + 0.2475))
    assert precision_at(0.5, 0.0, 0.0) is None
    low, high = paying(0.2, 0.8, 0.25)
    assert (low, high) == pytest.approx((10 / 8, 30 / 2))
    for ratio, better in ((1.2, False), (1.3, True), (14.9, True), (15.1, False)):
        assert (2 * ratio + 10 < min(10 * ratio, 40)) is better
    assert paying(0.2, 1.0, 0.25) == (pytest.approx(1), math.inf)
    for worthless in ((0.2, 0.0, 0.0), (0.2, 0.3, 0.3), (0.2, 0.2, 0.6), (0.0, 0.5, 0.1), (1.0, 0.5, 0.1)):
        assert paying(*worthless) is None
    high_scores, low_scores = [0.9, 0.6, 0.4, -math.inf], [0.5, 0.2, 0.1, math.inf]
    assert cheapest(high_scores, low_scores, 1) == Cheapest(0.4, 1, 2)  # 3, as at 0.6: the lower misses less
    assert cheapest(high_scores, low_scores, 0.4) == Cheapest(0.6, 2, 1)
    assert cheapest([0.3], [0.4, 0.5], 0.1) == Cheapest(math.inf, 1, 0)
