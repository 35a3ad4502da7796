"""Differences of rates on the same behaviors: worked values, parity with statsmodels, coverage and error rates."""

import functools
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm, permutation_test
from statsmodels.stats import weightstats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import normal_sample_size_one_tail

from withstand.stats import paired

single = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)
several = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
        lambda n: st.tuples(st.integers(0, n[0]), st.just(n[0]), st.integers(0, n[1]), st.just(n[1]))
    ),
    min_size=1,
    max_size=30,
)


def of_single(pairs):
    a, b = zip(*pairs, strict=True)
    return paired.difference(a, [1] * len(a), b, [1] * len(b))


# --- one comparison ----------------------------------------------------------------------------------------------


def test_mcnemar_is_that_of_statsmodels():
    for worse, better in itertools.product(range(16), range(16)):
        theirs = mcnemar([[3, better], [worse, 4]], exact=True).pvalue
        assert paired.mcnemar(worse, better) == pytest.approx(theirs, rel=1e-9)
    # by hand: 9 changes, all for the worse: 2 / 2^9
    assert paired.mcnemar(9, 0) == pytest.approx(2 / 512)


@settings(deadline=None)
@given(single)
def test_with_one_case_a_difference_counts_changes(pairs):
    found = of_single(pairs)
    assert found.method == "exact McNemar"
    assert (found.worse, found.better) == (sum(b > a for a, b in pairs), sum(b < a for a, b in pairs))
    assert found.difference == pytest.approx((found.worse - found.better) / len(pairs))
    low, high = found.limits()
    assert -1 <= low <= found.difference <= high <= 1


@settings(deadline=None, max_examples=60)
@given(several)
def test_exchanging_a_and_b_mirrors_everything(rows):
    a, n_a, b, n_b = zip(*rows, strict=True)
    one, other = paired.difference(a, n_a, b, n_b), paired.difference(b, n_b, a, n_a)
    assert one.difference == pytest.approx(-other.difference)
    assert one.limits() == pytest.approx([-end for end in reversed(other.limits())])
    assert (one.worse, one.better) == (other.better, other.worse)
    if one.worse + one.better <= 8:  # few enough to be exact
        assert one.p == pytest.approx(other.p)
    assert one.unchanged(0.1) == pytest.approx(other.unchanged(0.1))


def test_the_permutation_is_scipys_where_both_are_exact():
    rng = np.random.default_rng(3)
    for behaviors in (2, 3, 5, 8, 13):
        a, b = rng.integers(0, 4, (2, behaviors)) / 3
        b[:2] = 1 - a[:2] / 2  # two changes at least
        changed = a != b
        theirs = permutation_test(
            (a[changed], b[changed]), lambda x, y, axis: np.mean(y - x, axis=axis), permutation_type="samples",
            vectorized=True,
        )  # fmt: skip
        assert paired._permuted(a, b) == pytest.approx(theirs.pvalue, abs=1e-12)
    assert paired._permuted(np.array([0.5, 1]), np.array([0.5, 0])) == 1


def test_the_permutation_of_many_is_near_the_exact_p_and_stays_the_same():
    """20 changes of 1/2, 14 of them up: exact as McNemar's, drawn here."""
    before, after = np.full(20, 0.5), np.repeat([1.0, 0.0], [14, 6])
    drawn = paired._permuted(before, after)
    assert drawn == pytest.approx(paired.mcnemar(14, 6), abs=0.015)
    assert drawn == paired._permuted(before, after)
    assert paired._permuted(np.zeros(300), np.ones(300)) == 1 / (paired.RESAMPLES + 1)


@pytest.mark.parametrize("alpha", [0.3, 0.125, 0.05, 1e-4])
def test_what_mcnemar_rejects_is_scipys(alpha):
    changed = np.arange(3_000)
    few = paired._rejected_up_to(changed, alpha / 2)
    share = alpha / 2 * (1 + 1e-12)
    assert (binom.cdf(few, changed, 0.5) <= share).all()
    assert (binom.cdf(few + 1, changed, 0.5) > share).all()


def test_the_permutation_is_mcnemar_where_behaviors_have_one_case():
    for worse, better in [(7, 2), (9, 0), (4, 5), (1, 1), (6, 0)]:  # few enough to be exact
        a = np.array([0.0] * worse + [1.0] * better + [1.0, 0.0])
        b = np.array([1.0] * worse + [0.0] * better + [1.0, 0.0])
        assert paired._permuted(a, b) == pytest.approx(paired.mcnemar(worse, better))


def test_one_or_no_changed_behavior_shows_nothing():
    assert paired.difference([2, 0], [2, 2], [2, 0], [2, 2]).p == 1
    assert paired.difference([2, 0], [2, 2], [2, 2], [2, 2]).p == 1


def test_behaviors_without_a_scored_case_in_both_are_left_out():
    assert paired.difference([1, 0], [1, 0], [0, 1], [0, 1]) is None
    assert paired.difference([], [], [], []) is None
    found = paired.difference([1, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1])
    assert (found.behaviors, found.rate_a, found.rate_b, found.better) == (2, 1.0, 0.5, 1)


@pytest.mark.parametrize("bad", [([2], [1], [0], [1]), ([-1], [1], [0], [1]), ([1, 1], [1, 1], [0], [1])])
def test_impossible_counts(bad):
    with pytest.raises(ValueError, match=r"successes|one length"):
        paired.difference(*bad)


def test_the_limits_by_hand():
    # 10 behaviors, 3 worse, 1 better, half a pair more each way: mean 2 / 11, squares (4 + 1) / 11
    found = of_single([(0, 1)] * 3 + [(1, 0)] + [(1, 1)] * 6)
    se = math.sqrt((5 / 11 - (2 / 11) ** 2) / 11)
    assert (found.center, found.se) == pytest.approx((2 / 11, se))
    assert found.limits(0.9) == pytest.approx((2 / 11 - 1.6448536 * se, 2 / 11 + 1.6448536 * se))


@settings(deadline=None, max_examples=60)
@given(several, st.floats(0.01, 0.5))
def test_limits_and_equivalence_are_those_of_statsmodels(rows, margin):
    """Weighted, so that the added half pairs can be said to it."""
    found = paired.difference(*zip(*rows, strict=True))
    changes = [b / n_b - a / n_a for a, n_a, b, n_b in rows]
    theirs = weightstats.DescrStatsW([*changes, 1, -1], weights=[*[1] * len(changes), 0.5, 0.5])
    assert found.center == pytest.approx(theirs.mean, abs=1e-12)
    assert found.se == pytest.approx(theirs.std / math.sqrt(theirs.sum_weights))
    low, high = weightstats._zconfint_generic(theirs.mean, found.se, 0.05, "two-sided")
    assert found.limits() == pytest.approx(
        (max(-1, min(low, found.difference)), min(1, max(high, found.difference))), abs=1e-9
    )
    upward = weightstats._zstat_generic(theirs.mean, 0, found.se, "larger", -margin)[1]
    downward = weightstats._zstat_generic(theirs.mean, 0, found.se, "smaller", margin)[1]
    assert found.unchanged(margin) == pytest.approx(max(upward, downward), abs=1e-12)
    inside = abs(found.center) + norm.ppf(0.95) * found.se < margin
    assert (found.unchanged(margin) < 0.05) == inside


# --- many comparisons --------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_corrections_are_those_of_statsmodels(ps):
    assert paired.holm(ps) == pytest.approx(list(multipletests(ps, method="holm")[1]), abs=1e-12)
    assert paired.benjamini_hochberg(ps) == pytest.approx(list(multipletests(ps, method="fdr_bh")[1]), abs=1e-12)


def test_corrections_by_hand_and_without_a_p():
    # 3 comparisons: .01 * 3, then max(.03, .02 * 2), then max(.04, .03)
    assert paired.holm([0.02, None, 0.01, 0.03]) == pytest.approx([0.04, None, 0.03, 0.04])
    assert paired.holm([None]) == [None]
    assert paired.benjamini_hochberg([]) == []


# --- planning ----------------------------------------------------------------------------------------------------


def test_the_planner_starts_from_connors_formula():
    for discordant, delta, power in itertools.product((0.1, 0.3, 0.5), (0.05, 0.1), (0.8, 0.9)):
        theirs = normal_sample_size_one_tail(
            delta, power, 0.025, std_null=math.sqrt(discordant), std_alternative=math.sqrt(discordant - delta**2)
        )
        found = paired.behaviors_needed(delta, discordant, power)
        assert theirs <= found + 1
        assert found <= 1.25 * theirs + 12  # the exact test needs a little more


def test_the_exact_power_by_hand():
    # 6 behaviors, all discordant: p <= .05 only if all 6 go one way (2 / 64 = .031)
    assert paired.mcnemar_power(6, 0.5, 1.0) == pytest.approx(0.75**6 + 0.25**6)
    assert paired.mcnemar_power(5, 0.5, 1.0) == 0  # 2 / 32 is above .05


def test_what_the_planner_promises_is_what_the_test_does():
    rng = np.random.default_rng(3)
    test = functools.cache(paired.mcnemar)
    for delta, discordant in [(0.1, 0.3), (0.05, 0.1), (0.2, 0.42)]:
        n = paired.behaviors_needed(delta, discordant)
        worse = rng.binomial(n, (discordant + delta) / 2, 3000)
        better = rng.binomial(n - worse, (discordant - delta) / 2 / (1 - (discordant + delta) / 2))
        shown = np.mean([test(int(w), int(b)) <= 0.05 for w, b in zip(worse, better, strict=True)])
        assert shown == pytest.approx(paired.mcnemar_power(n, delta, discordant), abs=0.025)
        assert 0.8 <= paired.mcnemar_power(n, delta, discordant) < 0.84
        assert paired.mcnemar_power(n - max(1, n // 100) - 8, delta, discordant) < 0.82


def test_how_discordant_two_targets_are():
    assert paired.discordance(0.3, 0.05) == pytest.approx(0.3 * 0.75 + 0.7 * 0.25)
    assert paired.discordance(0.3, 0.05, alike=0.5) == pytest.approx(
        0.3 + 0.25 - 2 * (0.075 + 0.5 * math.sqrt(0.21 * 0.1875))
    )
    assert paired.discordance(0.05, 0.05, alike=0.9) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="must lie in"):
        paired.discordance(0.1, 0.2)


def test_a_pilot_gives_both_variances_back():
    """Chances of A and B drawn per behavior: the variance of their difference, and of cases, are known."""
    rng = np.random.default_rng(11)
    a = rng.beta(2, 3, 20_000)
    b = rng.beta(2, 4, 20_000)
    for k in (2, 5):
        found = paired.spread(rng.binomial(k, a), [k] * len(a), rng.binomial(k, b), [k] * len(b))
        assert found.between == pytest.approx(np.var(b - a), rel=0.05)
        assert found.within == pytest.approx(np.mean(a * (1 - a) + b * (1 - b)), rel=0.02)
        assert found.sd(k) == pytest.approx(math.sqrt(np.var(b - a) + found.within / k), rel=0.05)
    alone = paired.spread(rng.binomial(1, a), [1] * len(a), rng.binomial(1, b), [1] * len(b))
    assert alone.within == 0
    assert paired.spread([1], [1], [0], [1]) is None


def test_several_cases_by_hand():
    # ((1.96 + 0.8416) * 0.5 / 0.1)^2 = 196.2
    assert paired.behaviors_needed_at(0.1, 0.5) == 197


# --- simulations -------------------------------------------------------------------------------------------------

DRAWS = 1000


def alike(rng, rate_a, rate_b, shared, behaviors, cases):
    """Changes of DRAWS x behaviors, from normal thresholds whose correlation within a behavior is `shared`."""
    common = math.sqrt(shared) * rng.standard_normal((DRAWS, behaviors, 1))
    rates = []
    for rate in (rate_a, rate_b):
        own = math.sqrt(1 - shared) * rng.standard_normal((DRAWS, behaviors, cases))
        rates.append((common + own < norm.ppf(rate)).mean(axis=-1))
    return rates


GRID = [
    (a, b, shared, m, k)
    for a, b, shared, m, k in itertools.product(
        (0.05, 0.3, 0.5, 0.95), (0.05, 0.3, 0.5, 0.95), (0, 0.5, 0.9), (20, 50, 200), (1, 3)
    )
    if a <= b
]


def test_coverage_of_the_difference():
    rng = np.random.default_rng(20240911)
    coverage = []
    for point in GRID:
        one, other = alike(rng, *point)
        center, se = paired._adjusted(other - one)
        delta = point[1] - point[0]
        coverage.append(np.mean(np.abs(center - delta) <= norm.ppf(0.975) * se + 1e-12))
    assert 0.94 <= np.mean(coverage) <= 0.975
    assert min(coverage) >= 0.90, GRID[int(np.argmin(coverage))]


def test_false_alarms_of_the_tests(monkeypatch):
    """Without a difference p <= .05 comes in at most 5% of the draws, also where the changes lie to one side."""
    monkeypatch.setattr(paired, "RESAMPLES", 1_999)
    rng = np.random.default_rng(5)
    for rate, shared, cases in itertools.product((0.1, 0.5), (0, 0.7), (1, 4)):
        one, other = (array[:300] for array in alike(rng, rate, rate, shared, 30, cases))
        n = [cases] * 30
        alarms = [
            paired.difference(np.rint(a * cases).astype(int), n, np.rint(b * cases).astype(int), n).p <= 0.05
            for a, b in zip(one, other, strict=True)
        ]
        assert np.mean(alarms) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
    skewed = rng.choice([0.25, -1.0], (300, 40), p=[0.8, 0.2])  # mean 0, and no change is mirrored
    none, up, down = np.zeros(40), np.clip(skewed, 0, 1), np.clip(-skewed, 0, 1)
    alarms = [paired._permuted(none + d, u) <= 0.05 for u, d in zip(up, down, strict=True)]
    assert np.mean(alarms) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_equivalence_is_rarely_claimed_at_the_margin():
    rng = np.random.default_rng(9)
    for shared, behaviors in itertools.product((0, 0.5), (50, 200)):
        one, other = alike(rng, 0.3, 0.4, shared, behaviors, 1)
        center, se = paired._adjusted(other - one)
        claimed = np.maximum(norm.cdf(-(center + 0.1) / se), norm.cdf((center - 0.1) / se)) < 0.05
        assert claimed.mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / DRAWS)
