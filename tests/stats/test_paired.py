"""Differences of rates on the same behaviors: worked values, parity with statsmodels, coverage and error rates."""

import functools
import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import binom, multinomial, norm, permutation_test
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.power import normal_sample_size_one_tail

from withstand.stats import paired, score

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


@settings(deadline=None, max_examples=25)
@given(single)
def test_with_one_case_a_difference_counts_changes(pairs):
    pair = of_single(pairs)
    assert pair.method == "exact McNemar"
    assert (pair.worse, pair.better) == (sum(b > a for a, b in pairs), sum(b < a for a, b in pairs))
    assert pair.difference == pytest.approx((pair.worse - pair.better) / len(pairs))
    low, high = pair.limits()
    assert -1 <= low <= pair.difference <= high <= 1


@settings(deadline=None, max_examples=25)
@given(several)
def test_exchanging_a_and_b_mirrors_everything(rows):
    a, n_a, b, n_b = zip(*rows, strict=True)
    forward, backward = paired.difference(a, n_a, b, n_b), paired.difference(b, n_b, a, n_a)
    assert forward.difference == pytest.approx(-backward.difference)
    assert forward.limits() == pytest.approx([-end for end in reversed(backward.limits())])
    assert (forward.worse, forward.better) == (backward.better, backward.worse)
    if forward.worse + forward.better <= 8:  # few enough to be exact
        assert forward.p == pytest.approx(backward.p)
    assert forward.unchanged(0.1) == pytest.approx(backward.unchanged(0.1))


def test_the_permutation_is_scipys():
    rng = np.random.default_rng(3)
    for behaviors in (2, 3, 5, 8, 13):
        a, b = rng.integers(0, 4, (2, behaviors)) / 3
        b[:2] = 1 - a[:2] / 2  # two changes at least
        changed = a != b
        theirs = permutation_test(
            (a[changed], b[changed]), lambda x, y, axis: np.mean(y - x, axis=axis), permutation_type="samples",
            vectorized=True,
        )  # fmt: skip
        assert paired.permuted(b - a) == pytest.approx(theirs.pvalue, abs=1e-12)
    assert paired.permuted(np.array([0.5, -0.5])) == pytest.approx(1)
    assert paired.permuted(np.zeros(3)) == paired.permuted(np.array([1.0])) == 1


def test_the_permutation_is_mcnemar_where_all_changes_are_equal():
    for worse, better in [(7, 2), (9, 0), (4, 5), (1, 1), (14, 6), (120, 90)]:
        for size in (1.0, 0.5, 1 / 7):
            changes = np.repeat([size, -size, 0], [worse, better, 5])
            assert paired.permuted(changes) == pytest.approx(paired.mcnemar(worse, better), abs=1e-12)
    assert 0 < paired.permuted(np.ones(300)) < 1e-15


@pytest.mark.parametrize("alpha", [0.3, 0.125, 0.05, 1e-4])
def test_what_mcnemar_rejects_is_scipys(alpha):
    changed = np.arange(3_000)
    few = paired._rejected_up_to(changed, alpha / 2)
    share = alpha / 2 * (1 + 1e-12)
    assert (binom.cdf(few, changed, 0.5) <= share).all()
    assert (binom.cdf(few + 1, changed, 0.5) > share).all()


def test_one_or_no_changed_behavior_shows_nothing():
    assert paired.difference([2, 0], [2, 2], [2, 0], [2, 2]).p == 1
    assert paired.difference([2, 0], [2, 2], [2, 2], [2, 2]).p == 1


def test_behaviors_without_a_scored_case_in_both_are_left_out():
    assert paired.difference([1, 0], [1, 0], [0, 1], [0, 1]) is None
    assert paired.difference([], [], [], []) is None
    compared = paired.difference([1, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1])
    assert (compared.behaviors, compared.rate_a, compared.rate_b, compared.better) == (2, 1.0, 0.5, 1)


@pytest.mark.parametrize("bad", [([2], [1], [0], [1]), ([-1], [1], [0], [1]), ([1, 1], [1, 1], [0], [1])])
def test_impossible_counts(bad):
    with pytest.raises(ValueError, match=r"successes|one length|0 or more"):
        paired.difference(*bad)


# --- the interval -------------------------------------------------------------------------------------------------


def tango(worse, better, n, level=0.95):
    """Tango's interval with normal limits, by scipy's root finder."""
    z, estimate = norm.ppf((1 + level) / 2), (worse - better) / n
    return tuple(
        brentq(lambda d, z=side: float(score.tango_score(worse, better, n, d)) - z, *ends)
        for side, ends in ((z, (-1 + 1e-9, estimate)), (-z, (estimate, 1 - 1e-9)))
    )


def test_the_statistic_gives_tangos_published_limits():
    """The data of Fagerland, Lydersen and Laake 2014 (Stat. Med. 33:2850); limits as in R's contingencytables 3.0."""
    assert tango(7, 1, 21) == pytest.approx((0.026, 0.517), abs=5e-4)  # airway reactivity, Bentur et al. 2009
    assert tango(16, 6, 161) == pytest.approx((0.0054, 0.1240), abs=5e-5)  # therapy, Cavo et al. 2012
    for n in (10, 56, 200):  # without a change equation 5 has a closed solution
        assert tango(0, 0, n)[1] == pytest.approx(norm.ppf(0.975) ** 2 / (n + norm.ppf(0.975) ** 2), abs=1e-6)


@pytest.mark.parametrize(("worse", "better", "n"), [(7, 1, 21), (0, 2, 12), (3, 3, 30)])
def test_the_tails_are_sums_over_every_outcome(worse, better, n):
    """By brute force: the likeliest nuisance from a grid of Tango's likelihood, the chances from scipy."""
    for difference in (-0.2, 0.0, 0.05, 0.3):
        shares = np.linspace(max(0, -difference), (1 - difference) / 2, 20_001)
        given = [worse, better, n - worse - better]
        likelihoods = multinomial.logpmf(
            given, n, np.stack([shares + difference, shares, 1 - 2 * shares - difference], 1)
        )
        likeliest = shares[np.argmax(np.nan_to_num(likelihoods, nan=-np.inf))]
        assert score.likeliest_better(worse, better, n, difference) == pytest.approx(likeliest, abs=5e-5)
        share = float(score.likeliest_better(worse, better, n, difference))
        seen, low, high = score.tango_score(worse, better, n, difference), 0.0, 0.0
        for up, down, chance in outcomes(n, share + difference, share):
            value = score.tango_score(up, down, n, difference)
            low, high = low + chance * (value <= seen + 1e-9), high + chance * (value >= seen - 1e-9)
        assert score.low_tail(worse, better, n, difference) == pytest.approx(low, abs=1e-12)
        assert score.high_tail(worse, better, n, difference) == pytest.approx(high, abs=1e-12)


def test_many_changes_have_nearly_normal_tails():
    """Where the sum gives way to the normal distribution, both say nearly the same, and so do the limits."""
    for worse, better, n in [(480, 470, 2000)]:
        assert of_counts(worse, better, n).limits() == pytest.approx(tango(worse, better, n), abs=1e-3)


def of_counts(worse, better, n):
    return of_single([(0, 1)] * worse + [(1, 0)] * better + [(0, 0)] * (n - worse - better))


def test_no_change_is_no_proof():
    """By hand: n behaviors without a change have the chance (1 - d)^n if a share d gets worse, and none better."""
    for n in (1, 10, 39, 56, 200):
        expected = 1 - 0.025 ** (1 / n)
        assert of_counts(0, 0, n).limits() == pytest.approx((-expected, expected), abs=1e-6)
        assert of_single([(1, 1)] * n).limits() == of_counts(0, 0, n).limits()
    assert of_counts(0, 0, 39).limits()[1] > 0.09  # not within 5 points, which .95^39 = 13.5% of worse models show too
    assert of_counts(0, 0, 71).unchanged(0.05) == pytest.approx(2 * 0.95**71)
    assert of_counts(0, 0, 32).unchanged(0.05) > 0.3
    assert of_counts(0, 0, 71).unchanged(0.05) > 0.05 > of_counts(0, 0, 72).unchanged(0.05)
    with pytest.raises(ValueError, match="margin"):
        of_counts(0, 0, 1).unchanged(0)


def test_one_behavior_says_next_to_nothing():
    low, high = of_counts(1, 0, 1).limits()
    assert (low, high, of_counts(1, 0, 1).p) == (pytest.approx(-0.95, abs=1e-6), 1, 1)


def test_several_cases_that_agree_count_as_one():
    """Cases of a behavior that always agree say no more than one of them."""
    pairs = [(0, 1)] * 5 + [(1, 0)] * 2 + [(1, 1)] * 9 + [(0, 0)] * 14
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    four = np.full(len(a), 4)
    clustered = paired.difference(4 * a, four, 4 * b, four)
    assert clustered.effective == pytest.approx(len(a))
    assert clustered.limits() == pytest.approx(of_single(pairs).limits())


def test_cases_that_never_vary_count_as_one_case_per_behavior():
    """Two runs of a target that always answers alike, under 3 attacks: 6.4 points of 56 behaviors, as under one."""
    broken = np.random.default_rng(2).random((56, 3)) < (0.1, 0.3, 0.8)
    rates, none = broken.mean(axis=1), np.zeros(56)
    same = paired.difference_of_rates(rates, rates, none, np.full(56, 1 / 3))
    assert same.limits() == pytest.approx(of_single([(0, 0)] * 56).limits())
    assert same.limits()[1] == pytest.approx(0.0637, abs=1e-4)
    one = paired.difference(broken.sum(axis=1), [3] * 56, broken.sum(axis=1), [3] * 56, none)
    assert one.limits() == same.limits()
    one_more = paired.difference(
        broken.sum(axis=1), [3] * 56, broken.sum(axis=1), [3] * 56, none + (np.arange(56) < 2) / 3
    )
    assert 56 < one_more.careful < 80  # two cases that differ do not make 168 pairs of 56 behaviors


def test_several_cases_that_are_independent_count_fully():
    rng = np.random.default_rng(4)
    n = np.full(400, 5)
    pair = paired.difference(rng.binomial(5, 0.3, 400), n, rng.binomial(5, 0.4, 400), n)
    assert 1700 < pair.effective <= 2000
    low, high = pair.limits()
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt((0.21 + 0.24) / 2000), rel=0.05)


@settings(deadline=None, max_examples=25)
@given(several, st.floats(0.02, 0.5), st.sampled_from([0.9, 0.95, 0.995]))
@example([(0, 1, 1, 1)] * 2 + [(0, 1, 1, 2)] + [(0, 2, 1, 2)] * 2, 0.5, 0.9)  # its limits add more than its p does
def test_p_and_interval_say_the_same(rows, margin, level):
    pair = paired.difference(*zip(*rows, strict=True))
    low, high = pair.limits(level)
    assert -1 <= low <= pair.difference <= high <= 1
    assert (pair.p <= 1 - level) == (not low <= 0 <= high)
    near_a_limit = min(abs(high - margin), abs(low + margin)) < 1e-6
    assert near_a_limit or (pair.unchanged(margin) <= 1 - level) == (-margin < low <= high < margin)


# --- planning ----------------------------------------------------------------------------------------------------


def test_the_planner_starts_from_connors_formula():
    for discordant, delta, power in itertools.product((0.1, 0.3, 0.5), (0.05, 0.1), (0.8, 0.9)):
        theirs = normal_sample_size_one_tail(
            delta, power, 0.025, std_null=math.sqrt(discordant), std_alternative=math.sqrt(discordant - delta**2)
        )
        needed = paired.behaviors_needed(delta, discordant, power)
        assert theirs <= needed + 1
        assert needed <= 1.25 * theirs + 12  # the exact test needs a little more


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
        spread = paired.spread(rng.binomial(k, a), [k] * len(a), rng.binomial(k, b), [k] * len(b))
        assert spread.between == pytest.approx(np.var(b - a), rel=0.05)
        assert spread.within == pytest.approx(np.mean(a * (1 - a) + b * (1 - b)), rel=0.02)
        assert spread.sd(k) == pytest.approx(math.sqrt(np.var(b - a) + spread.within / k), rel=0.05)
    alone = paired.spread(rng.binomial(1, a), [1] * len(a), rng.binomial(1, b), [1] * len(b))
    assert alone.within == 0
    assert paired.spread([1], [1], [0], [1]) is None


# --- coverage: bench/paired.py has the whole grid -------------------------------------------------------------------

DRAWS = 300


def outcomes(n, up, down):
    """All (worse, better) of n pairs and their chances."""
    pairs = [(worse, better) for worse in range(n + 1) for better in range(n - worse + 1)]
    counts = [(worse, better, n - worse - better) for worse, better in pairs]
    chances = multinomial.pmf(counts, n, [up, down, max(1 - up - down, 0.0)])
    return [(*pair, chance) for pair, chance in zip(pairs, chances, strict=True)]


@pytest.mark.parametrize(
    ("n", "up", "down"), [(39, 0.05, 0), (56, 0.02, 0), (32, 0.1, 0), (15, 0.3, 0.1), (25, 0.02, 0.07)]
)
def test_limits_err_rarely_to_either_side(n, up, down):
    """Exact: summed over every outcome. A false PASS is an upper limit below the true difference, "unchanged" is wrong
    where both limits lie within a margin of just that difference."""
    above = below = unchanged = 0.0
    for worse, better, chance in outcomes(n, up, down):
        if chance > 1e-5:
            pair = of_counts(worse, better, n)
            low, high = pair.limits()
            above, below = above + chance * (high < up - down), below + chance * (low > up - down)
            unchanged += chance * (pair.unchanged(abs(up - down)) <= 0.05)
    assert above <= 0.03
    assert below <= 0.03
    assert above + below <= 0.053
    assert unchanged <= 0.03


def drawn(rng, rate_a, rate_b, shared, behaviors, cases):
    """Rates of DRAWS x behaviors and the share of cases that differ, from correlated normal thresholds."""
    common = math.sqrt(shared) * rng.standard_normal((DRAWS, behaviors, 1))
    rates = []
    for rate in (rate_a, rate_b):
        own = math.sqrt(1 - shared) * rng.standard_normal((DRAWS, behaviors, cases))
        rates.append(common + own < norm.ppf(rate))
    return [broken.mean(axis=-1) for broken in (*rates, rates[0] != rates[1])]


def test_the_interval_covers_behaviors_of_several_cases():
    rng = np.random.default_rng(20240911)
    coverage, wrong = [], []
    for rate_a, rate_b, shared, behaviors in itertools.product((0.05, 0.3), (0.35,), (0.5, 1), (30,)):
        sides = drawn(rng, rate_a, rate_b, shared, behaviors, 3)
        pairs = [paired.difference_of_rates(*rates, np.full(behaviors, 1 / 3)) for rates in zip(*sides, strict=True)]
        counts = [count for pair in pairs for count in pair._counts(careful=True)]
        above = np.mean([score.low_tail(*count, rate_b - rate_a) <= 0.025 for count in counts])
        below = np.mean([score.high_tail(*count, rate_b - rate_a) <= 0.025 for count in counts])
        coverage.append(1 - above - below)
        wrong.append(above)
    assert np.mean(coverage) >= 0.95
    assert min(coverage) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / DRAWS)
    assert max(wrong) <= 0.03 + 2 * math.sqrt(0.03 * 0.97 / DRAWS)


def test_false_alarms_of_the_tests():
    """Without a difference p <= .05 comes in at most 5% of the draws, also where the changes lie to one side."""
    rng = np.random.default_rng(5)
    allowed = 0.05 + 3 * math.sqrt(0.05 * 0.95 / DRAWS)
    for rate, shared, cases in itertools.product((0.1, 0.5), (0.7,), (1, 4)):
        sides = drawn(rng, rate, rate, shared, 30, cases)
        share = np.full(30, 1 / cases)
        alarms = [paired.difference_of_rates(*rates, share).p <= 0.05 for rates in zip(*sides, strict=True)]
        assert np.mean(alarms) <= allowed
    skewed = rng.choice([0.25, -1.0], (DRAWS, 40), p=[0.8, 0.2])  # mean 0, and no change is mirrored
    assert np.mean([paired.permuted(changes) <= 0.05 for changes in skewed]) <= allowed
