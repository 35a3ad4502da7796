"""Least squares with errors of series and clusters: parity with statsmodels, coverage of related neighbors."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS, WLS

from withstand.stats.effect import Effect
from withstand.stats.regression import interrupted, least_squares, two_way


def rows(seed=0, n=40, k=3):
    draw = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n), draw.normal(size=(n, k - 1))])
    return x, x @ np.arange(1, k + 1) + draw.standard_t(4, n), draw.uniform(0.5, 2, n)


def test_errors_are_those_of_statsmodels():
    x, y, weights = rows()
    clusters = np.arange(40) // 5
    fit, peer = least_squares(x, y, weights), WLS(y, x, weights=weights)
    assert fit.coefficients == pytest.approx(peer.fit().params)
    series = peer.fit(cov_type="HAC", cov_kwds={"maxlags": 4, "use_correction": True}).cov_params()
    assert fit.newey_west(4) == pytest.approx(series)
    clustered = peer.fit(cov_type="cluster", cov_kwds={"groups": clusters}).cov_params()
    assert fit.clustered(clusters) == pytest.approx(clustered)
    with pytest.raises(ValueError, match="do not fix"):
        least_squares(np.column_stack([x, x[:, 1]]), y)


def test_a_coefficient_with_means_of_units_and_periods_is_that_with_their_dummies():
    draw = np.random.default_rng(1)
    unit, period = np.repeat(np.arange(12), 6), np.tile(np.arange(6), 12)
    keep = draw.random(72) < 0.85  # a panel with gaps
    unit, period = unit[keep], period[keep]
    treated = ((unit < 5) & (period >= 3)).astype(float)
    y, weights = unit * 0.1 + period + treated + draw.normal(size=len(unit)), draw.uniform(1, 9, len(unit))
    dummies = np.column_stack(
        [treated, unit[:, None] == np.arange(12), (period[:, None] == np.arange(6))[:, 1:]]
    ).astype(float)
    peer = WLS(y, dummies, weights=weights).fit(cov_type="cluster", cov_kwds={"groups": unit, "use_correction": False})
    n = len(unit)
    ours = two_way(y, treated, unit, period, weights)
    assert ours.difference == pytest.approx(peer.params[0])
    assert ours.error == pytest.approx(peer.bse[0] * np.sqrt(12 / 11 * (n - 1) / (n - 6)))
    with pytest.raises(ValueError, match="do not fix"):
        two_way(y, (unit < 5).astype(float), unit, period, weights)


def test_a_break_without_noise_is_read_off_with_its_season():
    """2 + .1 t, .5 less at once and .02 less a period from the 20th of 35 on, weekends 1 more."""
    after = np.arange(35) - 20
    post = after >= 0
    y = 2 + 0.1 * after - post * (0.5 + 0.02 * after) + (after % 7 >= 5)
    got = interrupted(y, np.ones(35), after, after % 7)
    assert (got.level.difference, got.slope.difference) == pytest.approx((-0.5, -0.02))
    assert got.average.difference == pytest.approx(-0.5 - 0.02 * 7)
    fit = OLS(y[:20], np.column_stack([np.ones(20), after[:20], after[:20] % 7 >= 5]).astype(float)).fit()
    assert fit.params[0] == pytest.approx(2)


def test_intervals_of_a_break_cover_where_neighbors_are_related():
    """Nominal 95%, errors with a correlation of 0.4 from day to day, where Newey and West alone cover under 85%."""
    draw, after, covered, usual = np.random.default_rng(2), np.arange(56) - 28, 0, 0
    for _ in range(150):
        noise = draw.normal(size=66)
        for day in range(1, 66):
            noise[day] += 0.4 * noise[day - 1]
        got = interrupted(noise[10:], np.ones(56), after)
        low, high = got.average.limits()
        covered += low < 0 < high
        usual += abs(got.average.difference) < 1.96 * got.newey_west
    assert 0.92 <= covered / 150 <= 0.99
    assert usual / 150 < 0.85


def test_an_effect_is_called_nothing_only_within_a_margin():
    effect = Effect(0.5, 1.0, 12.0)
    assert effect.limits() == pytest.approx(stats.t.interval(0.95, 12, 0.5, 1))
    assert effect.p == pytest.approx(2 * stats.t.sf(0.5, 12))
    assert (Effect(0, 0, 9).p, Effect(1, 0, 9).p) == (1, 0)
    # both one-sided tests at 5% reject at 2.29 and no less
    edge = 0.5 + stats.t.ppf(0.95, 12)
    assert effect.conclusion() == effect.conclusion(edge - 0.01) == "undecided"
    assert effect.conclusion(edge + 0.01) == "equivalent"
    assert (Effect(3, 1, 50).conclusion(9), Effect(-3, 1, 50).conclusion()) == ("higher", "lower")
