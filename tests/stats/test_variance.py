"""Variance of a rate by its sources: a textbook's analysis, statsmodels, what was drawn, and the extremes."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta, f, f_oneway
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.anova import anova_lm

from withstand.stats import variance
from withstand.stats.special import beta_quantile, f_quantile
from withstand.stats.variance import parts_of_seeds, variance_parts


def test_quantiles_are_those_of_scipy():
    for a, b in ((0.5, 0.5), (0.5, 40), (3, 3), (200, 7.5), (500, 500)):
        for q in (0.001, 0.025, 0.5, 0.975, 0.999):
            assert beta_quantile(q, a, b) == pytest.approx(beta.ppf(q, a, b), rel=1e-9, abs=1e-10)
            assert f_quantile(q, 2 * a, 2 * b) == pytest.approx(f.ppf(q, 2 * a, 2 * b), rel=1e-7)


def test_the_parts_are_those_that_were_drawn_and_the_mean_squares_those_of_scipy(monkeypatch):
    rng = np.random.default_rng(6)
    chance = rng.beta(1, 3, 400)
    hits = rng.binomial(5, chance)
    parts = variance_parts(hits, [5] * 400)
    true = np.array([np.var(chance), np.mean(chance * (1 - chance)) / 5])  # of a behavior, and of its draws
    true /= true.sum()
    assert [parts.behaviors, parts.draws] == pytest.approx(true, abs=0.06)
    assert parts.interval[0] < true[0] < parts.interval[1]
    monkeypatch.setattr(variance, "ADDED", 0)
    small = variance_parts([2, 0, 1, 3], [3, 2, 3, 4])
    ratio = f_oneway([1, 1, 0], [0, 0], [1, 0, 0], [1, 1, 1, 0]).statistic
    assert small.behaviors == pytest.approx(1 - 1 / ratio)
    assert small.interval == pytest.approx([max(0, 1 - f.ppf(q, 3, 8) / ratio) for q in (0.975, 0.025)])


def test_the_parts_of_seeds_are_those_of_statsmodels_and_of_a_case_by_hand(monkeypatch):
    monkeypatch.setattr(variance, "ADDED", 0)
    shares = np.random.default_rng(3).integers(0, 5, (7, 3)) / 4
    table = pd.DataFrame([(b, s, shares[b, s]) for b in range(7) for s in range(3)], columns=["b", "s", "y"])
    squares = anova_lm(OLS.from_formula("y ~ C(b) + C(s)", table).fit())["mean_sq"].tolist()
    expected = np.array([max(0, squares[0] - squares[2]), max(0, squares[1] - squares[2]), squares[2]])
    parts = parts_of_seeds(shares)
    assert [parts.behaviors, parts.seeds, parts.draws] == pytest.approx(expected / expected.sum())
    # rows 0 and 1, columns alike but for one of four: mean squares 9/16, 1/16 and 1/16, so 8/9 behaviors and 1/9 draws
    parts = parts_of_seeds(np.array([[0, 0], [1, 0.5]]))
    assert (parts.behaviors, parts.seeds, parts.draws) == pytest.approx((8 / 9, 0, 1 / 9))


def test_what_is_said_of_behaviors_is_seldom_wrong():
    rng = np.random.default_rng(8)
    wrong = 0
    for _ in range(400):  # behaviors have half of the variance of the mean, which is where the sentence begins
        chance = rng.beta(0.3 * 3, 0.7 * 3, 30)  # var p(1-p)/4, and within 3/4 p(1-p) over 3 draws
        parts = variance_parts(rng.binomial(3, chance), [3] * 30)
        wrong += parts is not None and parts.mostly_behaviors
    assert wrong / 400 <= 0.05


def test_extremes():
    agree = variance_parts([5, 0, 5, 0], [5] * 4)
    assert agree.behaviors > 0.95
    assert agree.mostly_behaviors
    assert not variance_parts([2, 0, 0, 0], [2] * 4).mostly_behaviors  # a few draws alike show nothing
    alike = variance_parts([2, 3, 2, 3], [5] * 4)
    assert (alike.behaviors, alike.interval[0], alike.mostly_behaviors) == (0, 0, False)
    for hits, draws in (([1, 0], [1, 1]), ([3], [5]), ([0, 0], [5, 5]), ([5, 5], [5, 5]), ([], [])):
        assert variance_parts(hits, draws) is None
    for shares in (np.zeros((4, 3)), np.ones((1, 3)), np.eye(3)[:, :1]):
        assert parts_of_seeds(shares) is None
