"""Behaviors in clusters: the cluster-robust variance of statsmodels, a case by hand, exact coverage."""

import itertools

import numpy as np
import pytest
from scipy.stats import binom
from statsmodels.regression.linear_model import OLS

from withstand.stats import breaks, paired, rates
from withstand.stats.breaks import Attempts
from withstand.stats.clusters import Groups, effective, variance_of_mean

PAIRS = ["a", "a", "b", "b", "c", "c", "d", "d"]


def names(groups):
    return [f"g{number}" for number in groups]


def test_the_variance_is_that_of_statsmodels_and_the_design_effect_the_one_by_hand():
    rng = np.random.default_rng(4)
    for size in (12, 60):
        groups = rng.integers(0, size // 3, size)
        values = rng.integers(0, 4, size) / 3
        fit = OLS(values, np.ones(size)).fit(cov_type="cluster", cov_kwds={"groups": groups})
        assert variance_of_mean(values, Groups.of(names(groups))) == pytest.approx(fit.bse[0] ** 2)
    # four clusters of two: rho 1 where both are alike, -1 where they differ; 1 + (2 - 1) rho, and G / (G - 1)
    alike, unlike = np.array([1.0, 1, 0, 0, 1, 1, 0, 0]), np.array([1.0, 0, 1, 0, 1, 0, 1, 0])
    single = 0.5 * 0.5 / 8
    assert variance_of_mean(alike, Groups.of(PAIRS)) == pytest.approx(single * 2 * 4 / 3)
    assert variance_of_mean(unlike, Groups.of(PAIRS)) == 0
    # alike: G* = 4 and n = 4 (4 * 1/4 + 1) / (4/3 * 4 * 1/4 + 1) = 24/7
    assert effective(alike, 0.25, Groups.of(PAIRS)) == pytest.approx(24 / 7)
    # unlike: 4 * 2 / 1 = 8, of which Student's t with 3 degrees leaves less than G*
    assert effective(unlike, 0.25, Groups.of(PAIRS)) == pytest.approx(4)


@pytest.mark.parametrize("clusters", [None, [""] * 6, ["a", "b", "c", "d", "", ""]])
def test_clusters_of_one_behavior_change_nothing(clusters):
    hits, cases = [1, 0, 2, 0, 3, 1], [2, 2, 3, 1, 3, 2]
    assert Groups.of(clusters) is None
    assert rates.rate_interval(hits, cases, clusters=clusters) == rates.rate_interval(hits, cases)
    a, b = (paired.difference([0] * 6, cases, hits, cases, clusters=of) for of in (clusters, None))
    assert (a, a.p, a.limits()) == (b, b.p, b.limits())


def test_one_cluster_tells_nothing():
    one = ["soup"] * 6
    for hits in ([0] * 6, [1] * 6, [1, 0, 0, 1, 0, 1]):
        ends = rates.rate_interval(hits, [1] * 6, clusters=one)
        assert (ends.low, ends.high) == (0, 1)
        change = paired.difference([0] * 6, [1] * 6, hits, [1] * 6, clusters=one)
        assert (change.limits(), change.p, change.unchanged(0.5)) == ((-1, 1), 1, 1)
        seen = breaks.estimate("any_attack", [Attempts(hits, [0] * 6, [1] * 6)], clusters=one)
        assert (seen.interval, seen.limits, seen.effective) == ((0, 1), (0, 1), 0)
    alone = rates.rate_interval([1], [1], clusters=["soup"])
    assert alone == rates.rate_interval([1], [1])


def test_an_interval_is_never_narrower_than_without_clusters():
    rng = np.random.default_rng(9)
    for _ in range(25):
        n = int(rng.integers(2, 30))
        clusters = names(rng.integers(0, rng.integers(2, n + 1), n))
        cases = rng.integers(1, 4, n)
        hits = rng.binomial(cases, rng.choice([0.02, 0.3, 0.9]))
        level = float(rng.choice([0.9, 0.95, 0.999]))
        wide, narrow = (rates.rate_interval(hits, cases, level, of) for of in (clusters, None))
        assert wide.low <= narrow.low <= narrow.high <= wide.high
        before = rng.binomial(cases, 0.3)
        wide, narrow = (paired.difference(before, cases, hits, cases, clusters=of) for of in (clusters, None))
        assert wide.limits()[0] <= narrow.limits()[0] + 1e-6
        assert wide.limits()[1] >= narrow.limits()[1] - 1e-6
        assert wide.unchanged(0.1) >= narrow.unchanged(0.1)


def test_coverage_and_false_pass_where_clusters_stand_or_fall_as_a_whole():
    for number, size in ((5, 3), (20, 10)):
        of, cases = names(np.repeat(np.arange(number), size)), np.ones(number * size)
        ends = np.array(
            [
                rates.share_interval(np.repeat(np.arange(number) < k, size).astype(float), cases, clusters=of)
                for k in range(number + 1)
            ]
        )
        for rate in (0.02, 0.1, 0.37, 0.5):
            chance = binom.pmf(np.arange(number + 1), number, rate)
            assert chance[(ends[:, 0] <= rate) & (rate <= ends[:, 1])].sum() >= 0.93
            assert chance[ends[:, 1] < rate].sum() <= 0.03


def test_whole_clusters_are_exchanged():
    of = ["a", "a", "a", "b", "b", "c", "d", "d"]
    before, after = [0] * 8, [1, 1, 0, 1, 1, 1, 0, 1]
    change = paired.difference(before, [1] * 8, after, [1] * 8, clusters=of)
    sums = [2, 2, 1, 1]
    signs = np.array(list(itertools.product((1, -1), repeat=4)))
    by_hand = np.mean(np.abs(signs @ sums) >= sum(sums))
    assert change.method == "paired permutation of clusters"
    assert change.p >= by_hand == 2 / 16
    assert change.p > paired.difference(before, [1] * 8, after, [1] * 8).p
