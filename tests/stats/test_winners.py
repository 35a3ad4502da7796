"""Intervals for the highest of several rates: exact limits, and coverage where many equal rates compete."""

import numpy as np
import pytest
from scipy.stats import binomtest

from withstand.stats import rates
from withstand.stats.winners import clopper_pearson, level_of_each


def test_limits_are_those_of_scipy():
    for k, n, level in ((0, 56, 0.95), (56, 56, 0.95), (7, 56, 0.9974), (1, 20, 0.99), (300, 1000, 0.9)):
        theirs = binomtest(k, n).proportion_ci(level, method="exact")
        assert clopper_pearson(k, n, level) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    low, high = clopper_pearson(2.5, 40.5)
    assert clopper_pearson(2, 40)[0] < low < high < clopper_pearson(3, 41)[1]
    for bad in ((3, 2), (0, 0)):
        with pytest.raises(ValueError, match="successes among"):
            clopper_pearson(*bad)


def test_the_highest_of_20_equal_rates_is_covered():
    """20 attacks at 5%, 56 behaviors: the winner's own interval holds 5% in 3 of 10 runs, this one in 95 of 100."""
    seen = np.random.default_rng(4).binomial(56, 0.05, (4000, 20)).max(axis=1)
    own = {k: rates.wilson(int(k), 56) for k in set(seen)}
    together = {k: clopper_pearson(int(k), 56, level_of_each(20)) for k in set(seen)}
    covered = [np.mean([low <= 0.05 <= high for low, high in map(ends.get, seen)]) for ends in (own, together)]
    assert covered[0] == pytest.approx(0.29, abs=0.05)
    assert covered[1] >= 0.95
    assert level_of_each(1) == 0.95
