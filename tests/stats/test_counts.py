"""Tails of counts against scipy, and what is usual in an hour of the week, with past incidents in it."""

import numpy as np
import pytest
from scipy import stats

from withstand.stats import counts


def test_the_tail_and_the_mass_are_those_of_scipy() -> None:
    count, mean, dispersion = np.array([0, 1, 5, 40, 300]), np.array([2.0, 0.01, 2.0, 12.0, 200.0]), 0.4
    size = 1 / dispersion
    peer = stats.nbinom(size, size / (size + mean))
    assert counts.tail(count, mean, dispersion) == pytest.approx(peer.sf(count - 1), rel=1e-9)
    assert counts.mass(count, mean, dispersion) == pytest.approx(peer.pmf(count), rel=1e-9)
    # by hand: of a geometric number of events with mean 1, k or more have the chance 2^-k
    assert counts.tail([0, 1, 3], 1.0, 1.0) == pytest.approx([1, 0.5, 0.125])
    assert counts.tail(7, 2.0, 0.0) == pytest.approx(stats.poisson.sf(6, 2.0), rel=2e-3)  # Poisson, to 1e-4 of the mean
    assert counts.tail([0, 1], 0.0, 0.4).tolist() == [1, 0]


def test_an_estimated_spread_widens_a_tail_as_students_t() -> None:
    p = np.array([0.9, 0.1, 1e-4])
    expected = [0.9, *stats.t.sf(stats.norm.isf(p[1:]), 7)]
    assert counts.widened(p, 7) == pytest.approx(expected, rel=1e-8)


def test_scores_are_normal_where_the_forecast_holds() -> None:
    drawn = stats.nbinom.rvs(5, 5 / 45, size=4000, random_state=1).astype(float)
    scores = counts.scores(drawn, 40.0, 0.2)
    assert (scores.mean(), scores.std()) == (pytest.approx(0, abs=0.04), pytest.approx(1, abs=0.03))
    assert counts.scores(1.0, 1.0, 1.0) == pytest.approx(stats.norm.ppf(0.5 + 0.25 / 2))  # by hand: mid-p is 3/8


def week(days: int, rates: list[float], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Counts by hour of series with a daily and a weekly cycle, and their means."""
    weekday = np.arange(days) % 7
    cycle = (1 + 0.6 * np.sin(np.arange(24) * np.pi / 12)) * np.where(weekday < 5, 1.0, 0.5)[:, None]
    means = cycle[:, :, None] * np.array(rates)
    return rng.poisson(means * rng.gamma(5, 0.2, means.shape)).astype(float), means


def test_the_usual_count_is_estimated_and_a_past_incident_does_not_move_it() -> None:
    rng = np.random.default_rng(4)
    history, means = week(57, [0.2, 3.0, 30.0], rng)
    days, weekday = history[:-1], np.arange(56) % 7
    quiet = counts.forecast(days, weekday, 0)
    assert quiet.dispersion[:, 2] == pytest.approx(0.2, rel=0.4)
    assert np.abs(quiet.mean / means[56] - 1).mean(axis=0) == pytest.approx([0.3, 0.1, 0.06], abs=0.1)
    assert quiet.error[:, 2].mean() < quiet.error[:, 0].mean()  # the rarer, the less is known
    struck = days.copy()
    struck[20:23] *= 15  # three days of an incident
    struck[40, 5] += 400
    robust = counts.forecast(struck, weekday, 0)
    assert robust.mean[:, 2] == pytest.approx(quiet.mean[:, 2], rel=0.15)
    assert robust.spread[:, 2].mean() < 1.6 * quiet.spread[:, 2].mean()
    assert robust.p(np.full((24, 3), [0.0, 60.0, 400.0])).max(axis=0)[1:] == pytest.approx([0, 0], abs=1e-4)
    weights = np.ones_like(struck)
    weights[20:23] = weights[40, 5] = 0
    confirmed = counts.forecast(struck, weekday, 0, weights)
    assert confirmed.mean == pytest.approx(quiet.mean, rel=0.35)
    # nothing was ever seen: one event is no alarm, ten are
    never = counts.forecast(np.zeros((28, 24, 1)), np.arange(28) % 7, 0)
    assert never.p(np.full((24, 1), 1.0)).min() > 5e-4
    assert never.p(np.full((24, 1), 10.0)).max() < 1e-4


def test_a_ratio_has_an_interval() -> None:
    ratio, low, high = counts.rate_ratio(40, 10, 0.0)
    assert (ratio, low, high) == (
        4,
        pytest.approx(4 / np.exp(1.96 / np.sqrt(40)), rel=1e-3),
        pytest.approx(5.45, rel=1e-2),
    )
    assert counts.rate_ratio(3, 0, 0.1)[0] == np.inf
