"""Rates and intervals: worked values, parity with statsmodels, properties, and coverage by simulation."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

from cases import walk_cases
from clocks import subquadratic
from withstand.stats import rates

behaviors = st.lists(st.integers(0, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), max_size=40)
levels = st.floats(0.01, 0.999)


def columns(rows):
    return [row[0] for row in rows], [row[1] for row in rows]


# --- rates -----------------------------------------------------------------------------------------------------


def test_mean_rate_weighs_behaviors_and_pooled_rate_cases():
    assert rates.mean_rate([1, 0, 3], [1, 10, 4]) == pytest.approx((1 + 0 + 0.75) / 3)
    assert rates.pooled_rate([1, 0, 3], [1, 10, 4]) == pytest.approx(4 / 15)


def test_behaviors_without_a_scored_case_are_left_out():
    assert rates.mean_rate([1, 0, 0], [2, 0, 1]) == pytest.approx(0.25)
    assert rates.rate_interval([1, 0, 0], [2, 0, 1]) == rates.rate_interval([1, 0], [2, 1])
    assert rates.rate_at_k([1, 0, 0], [2, 0, 1], 1) == (pytest.approx(0.25), 2)


@pytest.mark.parametrize("nothing", [[], [0], [0, 0], np.zeros(3, np.int64)])
def test_nothing_scored_is_none(nothing):
    assert rates.mean_rate(nothing, nothing) is None
    assert rates.pooled_rate(nothing, nothing) is None
    assert rates.rate_interval(nothing, nothing) is None
    assert rates.rate_bounds(nothing, nothing, nothing) is None
    assert rates.rate_at_k(nothing, nothing, 1) == (None, 0)
    assert rates.wilson(0, 0) is None


@walk_cases(
    "counts",
    [([2], [1]), ([-1], [1]), ([0], [-1]), ([0, 1], [1]), ([0.0], [1.0]), ([None], [1]), ([[0]], [[1]]), (0, 1)],
)
@walk_cases(
    "call",
    [
        rates.mean_rate,
        rates.pooled_rate,
        rates.rate_interval,
        lambda successes, scored: rates.rate_at_k(successes, scored, 1),
        lambda successes, scored: rates.rate_bounds(successes, successes, scored),
    ],
)
def test_impossible_counts(call, counts):
    with pytest.raises(ValueError, match=r"count|success"):
        call(*counts)


def test_impossible_arguments():
    for successes, n in ((2, 1), (-1, 1), (0, -1)):
        with pytest.raises(ValueError, match="cases"):
            rates.wilson(successes, n)
    for level in (0, 1, 95, math.nan):
        with pytest.raises(ValueError, match="level"):
            rates.rate_interval([1], [2], level)
    with pytest.raises(ValueError, match="k is 0"):
        rates.rate_at_k([1], [2], 0)
    with pytest.raises(ValueError, match="n is -1"):
        rates.ks(-1)
    with pytest.raises(ValueError, match="unknown"):
        rates.rate_bounds([1], [2], [2])


def test_bounds_by_hand():
    assert rates.rate_bounds([1, 0], [1, 4], [4, 4]) == (pytest.approx(0.125), pytest.approx(0.75))
    assert rates.rate_bounds([1, 0], [0, 0], [1, 0]) == (1, 1)


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 4), max_size=30))
def test_the_rate_of_the_scored_lies_inside_the_bounds(rows):
    success, failure, unscored, error = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    rate = rates.mean_rate(success, success + failure)
    bounds = rates.rate_bounds(success, unscored + error, success + failure + unscored + error)
    if bounds is None:
        assert rate is None
    else:
        assert 0 <= bounds[0] <= bounds[1] <= 1
        assert rate is None or bounds[0] - 1e-12 <= rate <= bounds[1] + 1e-12


# --- ASR@k -----------------------------------------------------------------------------------------------------


def test_rate_at_k_by_hand():
    # of 4 cases 1 succeeds: 2 drawn hold it in 3 of 6 pairs; of 3 cases 2 succeed: in all 3 pairs
    assert rates.rate_at_k([1, 2, 1], [4, 3, 1], 2) == (pytest.approx((0.5 + 1) / 2), 2)
    assert rates.rate_at_k([1, 2], [4, 3], 5) == (None, 0)


@given(behaviors, st.integers(1, 30))
def test_rate_at_k_is_the_binomial_ratio(rows, k):
    chances = [1 - Fraction(math.comb(n - s, k), math.comb(n, k)) for s, n in rows if n >= k]
    value, used = rates.rate_at_k(*columns(rows), k)
    assert used == len(chances)
    assert value == (pytest.approx(float(sum(chances) / used), rel=1e-12, abs=1e-12) if used else None)


def test_rate_at_k_is_stable_for_many_cases():
    exact = 1 - Fraction(math.comb(9_990, 3_000), math.comb(10_000, 3_000))
    assert rates.rate_at_k([10, 10_000, 0], [10_000] * 3, 3_000)[0] == pytest.approx(float(exact + 1) / 3, rel=1e-12)


@given(behaviors)
def test_rate_at_1_is_the_mean_rate_and_rises_with_k(rows):
    rows = [(s, n) for s, n in rows if n >= 5]
    assume(rows)
    successes, scored = columns(rows)
    values = [rates.rate_at_k(successes, scored, k)[0] for k in range(1, 6)]
    assert values[0] == pytest.approx(rates.mean_rate(successes, scored), abs=1e-12)
    assert all(0 <= a <= b + 1e-12 and b <= 1 for a, b in itertools.pairwise(values))


def test_ks():
    assert [rates.ks(n) for n in (0, 1, 2, 3, 10)] == [[], [1], [1, 2], [1, 2, 3], [1, 2, 5, 10]]
    assert rates.ks(101) == [1, 2, 5, 10, 20, 50, 100, 101]
    assert rates.ks(1000)[-3:] == [200, 500, 1000]


# --- intervals -------------------------------------------------------------------------------------------------


def test_wilson_is_that_of_statsmodels():
    for n, level in itertools.product((1, 2, 7, 20, 159, 400), (0.5, 0.9, 0.95, 0.99)):
        for successes in range(n + 1):
            theirs = proportion_confint(successes, n, 1 - level, "wilson")
            assert rates.wilson(successes, n, level) == pytest.approx(theirs, rel=1e-10, abs=1e-14)


def test_one_case_per_behavior_is_wilson():
    for s in range(13):
        interval = rates.rate_interval([1] * s + [0] * (12 - s), [1] * 12)
        assert interval.method == "Wilson"
        assert (interval.low, interval.high) == pytest.approx(rates.wilson(s, 12), rel=1e-12, abs=1e-15)


@given(st.lists(st.integers(1, 10), min_size=1, max_size=40), st.floats(0, 1))
def test_cases_that_all_agree_count_as_one(scored, part):
    broken = round(part * len(scored))
    successes = [n if i < broken else 0 for i, n in enumerate(scored)]
    interval = rates.rate_interval(successes, scored)
    assert (interval.low, interval.high) == pytest.approx(rates.wilson(broken, len(scored)), rel=1e-9, abs=1e-12)


def test_clustered_interval_by_hand():
    # rates 0, 1/2, 1/2, 1 of 2 cases: rate 1/2; variance sums: 1 for single cases, 1/2 seen; (4 * 1.5 / 1) = 6 cases
    interval = rates.rate_interval([0, 1, 1, 2], [2] * 4)
    assert interval.method == "Wilson on effective cases"
    assert (interval.low, interval.high) == pytest.approx(proportion_confint(3, 6, 0.05, "wilson"))
    # rates all 1/2: 2 * (1/2 + 1/2) / (1/2) = 4 cases, as many as there are
    interval = rates.rate_interval([1, 1], [2, 2])
    assert (interval.low, interval.high) == pytest.approx(proportion_confint(2, 4, 0.05, "wilson"))
    # and 40 behaviors at 1/2: 40 * 10.5 / 0.5 = 840 cases, but there are 80
    interval = rates.rate_interval([1] * 40, [2] * 40)
    assert (interval.low, interval.high) == pytest.approx(proportion_confint(40, 80, 0.05, "wilson"))


@given(behaviors, levels, levels)
def test_the_interval_holds_the_rate_and_widens_with_the_level(rows, first, second):
    successes, scored = columns(rows)
    rate = rates.mean_rate(successes, scored)
    assume(rate is not None)
    narrow, wide = (rates.rate_interval(successes, scored, level) for level in sorted((first, second)))
    assert 0 <= wide.low <= narrow.low <= rate <= narrow.high <= wide.high <= 1


@given(behaviors, levels)
def test_the_interval_mirrors(rows, level):
    successes, scored = columns(rows)
    interval = rates.rate_interval(successes, scored, level)
    mirror = rates.rate_interval([n - s for s, n in rows], scored, level)
    assume(interval is not None)
    assert (interval.low, interval.high) == pytest.approx((1 - mirror.high, 1 - mirror.low), abs=1e-9)


@given(behaviors, st.randoms(use_true_random=False))
def test_the_order_of_behaviors_changes_no_bit(rows, random):
    mixed = random.sample(rows, len(rows))
    for measure in (rates.mean_rate, rates.pooled_rate, rates.rate_interval, lambda s, n: rates.rate_at_k(s, n, 3)):
        assert measure(*columns(mixed)) == measure(*columns(rows))
    unknown = [n - s for s, n in rows], [n - s for s, n in mixed]
    assert rates.rate_bounds(columns(rows)[0], unknown[0], columns(rows)[1]) == rates.rate_bounds(
        columns(mixed)[0], unknown[1], columns(mixed)[1]
    )


def test_the_work_of_an_interval_does_not_grow_with_the_square_of_the_behaviors():
    rng = np.random.default_rng(0)
    scored = np.full(20_000, 10)
    successes = rng.binomial(scored, rng.random(len(scored)))
    assert subquadratic(lambda behaviors: rates.rate_interval(successes[:behaviors], scored[:behaviors]), len(scored))


# --- coverage of nominal 95% ----------------------------------------------------------------------------------

PS = [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95]
MANY = [20, 50, 200]
DRAWS = 2000  # a standard error of 0.5 points at 95%, 0.67 at 90%


def covered(successes, scored, p):
    """The share of the draws, arrays of shape (draws, behaviors), whose interval holds p."""
    low, high = rates._score(*rates._effective(successes / scored, 1 / scored), 0.95)
    first = rates.rate_interval(successes[0], scored[0])
    assert (first.low, first.high) == pytest.approx((low[0], high[0]), rel=1e-12, abs=1e-15)
    return np.mean((low <= p + 1e-12) & (p - 1e-12 <= high))


def beta_binomial(rng, p, behaviors, alike):
    """Whether each of ten cases of a behavior succeeds, shape (10, DRAWS, behaviors); `alike`: correlation within."""
    shape = (DRAWS, behaviors)
    if alike == 1:
        chances = rng.random(shape) < p
    elif alike == 0:
        chances = np.full(shape, p)
    else:
        weight = (1 - alike) / alike
        chances = rng.beta(p * weight, (1 - p) * weight, shape)
    return rng.random((10, *shape), dtype=np.float32) < chances.astype(np.float32)


def test_coverage_of_the_clustered_interval():
    rng = np.random.default_rng(20240207)
    lower = [p for p in PS if p <= 0.5]  # the interval mirrors, as tested above: 1 - p is covered as p is
    coverage = {}
    for p, behaviors, alike in itertools.product(lower, MANY, [0, 0.3, 0.7, 1]):
        successes = np.cumsum(beta_binomial(rng, p, behaviors, alike), axis=0, dtype=np.int8)
        mixed = rng.integers(2, 11, successes.shape[1:])
        for cases in (2, 5, mixed):
            scored = np.broadcast_to(cases, mixed.shape)
            drawn = np.take_along_axis(successes, scored[None] - 1, axis=0)[0]
            coverage[p, behaviors, alike, str(cases)[:4]] = covered(drawn, scored, p)
    assert len(coverage) == 252
    assert 0.94 <= np.mean([*coverage.values()]) <= 0.97
    assert min(coverage.values()) >= 0.90, min(coverage, key=coverage.get)


@pytest.mark.parametrize("behaviors", MANY)
def test_coverage_where_few_behaviors_differ_from_the_rest(behaviors):
    """Populations of two or more kinds that no beta distribution resembles: {chance of success: share}."""
    rng = np.random.default_rng(7)
    kinds = [
        {0.02: 0.7, 0.95: 0.3},
        {0.01: 0.95, 0.9: 0.05},
        {0.0: 0.9, 1.0: 0.1},
        {0.0: 0.9, 0.5: 0.1},
        {0.03: 0.97, 1.0: 0.03},
        {0.9: 0.9, 0.1: 0.1},
        {0.1: 0.25, 0.4: 0.25, 0.6: 0.25, 0.9: 0.25},
    ]
    coverage = []
    for kind, cases, stops in itertools.product(kinds, [2, 5, 10], [False, True]):
        chance = rng.choice(list(kind), (DRAWS, behaviors), p=list(kind.values()))
        scored = np.where(chance == max(kind), 1, cases) if stops else np.full(chance.shape, cases)
        coverage.append(covered(rng.binomial(scored, chance), scored, sum(p * share for p, share in kind.items())))
    assert 0.94 <= np.mean(coverage) <= 0.97
    assert min(coverage) >= 0.90


def test_coverage_with_one_case_per_behavior():
    """Exact, by summing over what can be drawn."""
    coverage = []
    for n in MANY:
        intervals = [rates.rate_interval([1] * s + [0] * (n - s), [1] * n) for s in range(n + 1)]
        for p in np.arange(0.05, 0.951, 0.01):
            holds = [interval.low <= p <= interval.high for interval in intervals]
            coverage.append(binom.pmf(range(n + 1), n, p) @ holds)
    assert 0.94 <= np.mean(coverage) <= 0.97
    assert min(coverage) >= 0.90
