"""Rates that are watched and curves: published bounds, error rates by simulation, censoring."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom, binom, kstwobign, nbinom, poisson
from statsmodels.duration.survfunc import SurvfuncRight

from withstand.stats import rates, sequential

shares = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=60)


@settings(deadline=None, max_examples=60)
@given(shares)
def test_the_sequence_holds_the_rate_and_mirrors(rates):
    low, high = sequential.confidence_sequence(rates)
    assert 0 <= low <= np.mean(rates) + 1e-12
    assert np.mean(rates) - 1e-12 <= high <= 1
    mirror = sequential.confidence_sequence([1 - rate for rate in rates])
    assert mirror == pytest.approx((1 - high, 1 - low), abs=1e-6)


def test_the_wealth_is_the_ratio_of_published_probabilities():
    """Robbins's mixture by another way: beta-binomial over binomial probability of the successes."""
    for n, s, mean in [(10, 3, 0.5), (40, 0, 0.1), (25, 25, 0.7), (200, 60, 0.2)]:
        theirs = betabinom.logpmf(s, n, 0.5, 0.5) - binom.logpmf(s, n, mean)
        assert sequential._wealth(mean, s, n) == pytest.approx(theirs, abs=1e-8)
    # and by numbers: nothing broken among n; B(1/2, n + 1/2) / B(1/2, 1/2) = (1 - p)^n / 20 at the upper limit
    low, high = sequential.confidence_sequence([0] * 30)
    weight = math.exp(betabinom.logpmf(0, 30, 0.5, 0.5))
    assert (low, high) == (0, pytest.approx(1 - (weight * 0.05) ** (1 / 30)))


def test_it_is_wider_than_an_interval_for_one_look_and_narrows():
    for n in (20, 100, 1000):
        wide, narrow = sequential.confidence_sequence([1, 0, 0, 0] * (n // 4)), rates.wilson(n // 4, n)
        assert wide[0] < narrow[0] < narrow[1] < wide[1]
        assert wide[1] - wide[0] < 2 * (narrow[1] - narrow[0])
    assert sequential.confidence_sequence([]) == (0, 1)


@pytest.mark.parametrize("bad", [[2.0], [-0.1]])
def test_impossible_rates(bad):
    with pytest.raises(ValueError, match="must lie in"):
        sequential.confidence_sequence(bad)


@pytest.mark.parametrize("kind", ["coin", "shares"])
@pytest.mark.parametrize("mean", [0.1, 0.4])
def test_looking_after_every_behavior_errs_in_5_of_100_at_most(kind, mean):
    """At any of 400 looks together. Wilson's interval, looked at as often, leaves the rate out far more often."""
    rng = np.random.default_rng(17)
    draws, n = 400, 400
    drawn = (
        rng.random((draws, n)) < mean if kind == "coin" else rng.binomial(4, rng.beta(mean, 1 - mean, (draws, n))) / 4
    )
    totals, counts = drawn.cumsum(axis=1), np.arange(1, n + 1)
    wealth = np.vectorize(lambda total, n: sequential._wealth(mean, total, n))
    left_out = (wealth(totals, counts) >= math.log(20)).any(axis=1)
    assert left_out.mean() <= 0.05
    if kind == "coin":
        at = range(20, n, 10)
        intervals = [[rates.wilson(total[i], counts[i]) for i in at] for total in totals[:100]]
        looked = [[not low <= mean <= high for low, high in row] for row in intervals]
        assert np.mean(np.any(looked, axis=1)) > 0.1


# --- curves ------------------------------------------------------------------------------------------------------


def test_a_curve_with_censoring_is_that_of_statsmodels():
    rng = np.random.default_rng(3)
    spent, ends = rng.integers(1, 30, 60).astype(float), rng.integers(5, 40, 60).astype(float)
    times, censored = spent[spent <= ends], ends[spent > ends]
    theirs = SurvfuncRight(np.minimum(spent, ends), spent <= ends)
    curve = sequential.band(list(times), list(censored))[1:]
    assert [point["spent"] for point in curve] == list(theirs.surv_times)
    assert [point["rate"] for point in curve] == pytest.approx(list(1 - theirs.surv_prob))


def test_without_censoring_a_curve_counts_and_its_band_is_kolmogorovs():
    times = [0.0, 3.0, 3.0, 8.0]
    curve = sequential.band(times, [math.inf] * 36)
    assert [point["spent"] for point in curve] == [0, 3, 8]
    assert [point["rate"] for point in curve] == pytest.approx([1 / 40, 3 / 40, 4 / 40])
    assert curve[-1]["high"] - curve[-1]["rate"] == pytest.approx(kstwobign.ppf(0.95) / math.sqrt(40))
    assert sequential.band([], []) == []
    assert [(p["spent"], p["rate"], p["low"]) for p in sequential.band([], [5.0])] == [(0, 0, 0)]


def test_a_search_that_was_cut_off_says_nothing_later():
    # of 2 cut off at 5 and 2 broken at 3 and 9: 1/4 by 3, then the one of risk at 9 is all that is left
    curve = sequential.band([3.0, 9.0], [5.0, 5.0])
    assert [point["rate"] for point in curve] == pytest.approx([0, 1 / 4, 1])


def test_the_band_holds_the_whole_curve():
    rng = np.random.default_rng(8)
    for cut, never in [(math.inf, 0.0), (math.inf, 0.5), (1.0, 0.3)]:
        held = []
        for _ in range(300):
            spent = np.where(rng.random(60) < never, math.inf, rng.exponential(1, 60))
            ends = rng.exponential(2, 60) if cut < math.inf else np.full(60, math.inf)
            seen = (spent <= ends) & np.isfinite(spent)
            curve = sequential.band(list(spent[seen]), list(ends[~seen]))
            looked = [point for point in curve if (np.minimum(spent, ends) >= point["spent"]).sum() > 5]
            true = [(1 - never) * (1 - math.exp(-point["spent"])) for point in looked]
            held.append(all(p["low"] <= t <= p["high"] for p, t in zip(looked, true, strict=True)))
        assert np.mean(held) >= 0.93


def test_the_area_by_hand():
    curve = sequential.band([2.0, 6.0], [math.inf] * 2)  # 1/4 from 2 on, 1/2 from 6 on
    assert sequential.area(curve, 8) == pytest.approx((4 * 0.25 + 2 * 0.5) / 8)
    assert sequential.area(curve, 4) == pytest.approx(2 * 0.25 / 4)
    assert sequential.area(curve, 0) is None
    assert sequential.area(sequential.band([0.0] * 4, []), 5) == 1


def test_poisson_limits_are_where_a_negative_binomial_is_20_times_as_likely():
    """The gamma mixture of Poisson probabilities is a negative binomial, which scipy has."""
    for events, exposure, scale in [(0, 50.0, 0.1), (3, 100.0, 0.02), (40, 12.5, 1.0), (5, 0.5, 0.3)]:
        low, high = sequential.poisson_sequence(events, exposure, scale)
        prior = 0.5 / scale
        mixture = nbinom.logpmf(events, 0.5, prior / (prior + exposure))
        for limit in [high, *[low] * (events > 0)]:
            assert mixture - poisson.logpmf(events, limit * exposure) == pytest.approx(math.log(20), abs=1e-9)
        assert low <= events / exposure <= high
    assert sequential.poisson_sequence(0, 0.0, 1.0) == (0.0, math.inf)
    for wrong in [(1, 0.0, 1.0), (-1, 1.0, 1.0), (1, 1.0, 0.0), (1, math.inf, 1.0)]:
        with pytest.raises(ValueError, match="exposure"):
            sequential.poisson_sequence(*wrong)


def test_counts_give_the_limits_of_the_rates_that_they_sum():
    assert sequential.binomial_sequence(3, 100) == sequential.confidence_sequence([1.0] * 3 + [0.0] * 97)
    with pytest.raises(ValueError, match="sum"):
        sequential.binomial_sequence(4, 3)
