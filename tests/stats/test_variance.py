"""Variance of a rate by its sources: a textbook's analysis, and the extremes."""

import numpy as np
import pytest
from scipy.stats import f_oneway

from withstand.stats.variance import variance_parts


def test_the_test_is_that_of_scipy_and_the_parts_are_those_that_were_drawn():
    rng = np.random.default_rng(6)
    chance = rng.beta(1, 3, 400)
    hits = rng.binomial(5, chance)
    draws = [np.repeat([1, 0], [k, 5 - k]) for k in hits]
    parts = variance_parts(hits, [5] * 400)
    assert parts.p == pytest.approx(f_oneway(*draws).pvalue, abs=1e-9)
    true = np.array([np.var(chance), np.mean(chance * (1 - chance)) / 5])  # of a behavior, and of its draws
    assert [parts.behaviors, parts.draws] == pytest.approx(true / true.sum(), abs=0.06)
    small = variance_parts([2, 0, 1, 3], [3, 2, 3, 4])
    theirs = f_oneway([1, 1, 0], [0, 0], [1, 0, 0], [1, 1, 1, 0])
    assert small.p == pytest.approx(theirs.pvalue)


def test_extremes():
    agree = variance_parts([5, 0, 5, 0], [5] * 4)
    assert (agree.behaviors, agree.draws, agree.p) == (1, 0, 0)
    alike = variance_parts([2, 3, 2, 3], [5] * 4)
    assert alike.behaviors == 0
    assert alike.p > 0.5
    for hits, draws in (([1, 0], [1, 1]), ([3], [5]), ([0, 0], [5, 5]), ([5, 5], [5, 5]), ([], [])):
        assert variance_parts(hits, draws) is None
