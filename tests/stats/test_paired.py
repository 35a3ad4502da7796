"""Differences of rates on the same behaviors: worked values, parity with statsmodels, coverage and error rates."""

import functools
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, multinomial, norm, permutation_test
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
    pair = of_single(pairs)
    assert pair.method == "exact McNemar"
    assert (pair.worse, pair.better) == (sum(b > a for a, b in pairs), sum(b < a for a, b in pairs))
    assert pair.difference == pytest.approx((pair.worse - pair.better) / len(pairs))
    low, high = pair.limits()
    assert -1 <= low <= pair.difference <= high <= 1


@settings(deadline=None, max_examples=60)
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
    compared = paired.difference([1, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1])
    assert (compared.behaviors, compared.rate_a, compared.rate_b, compared.better) == (2, 1.0, 0.5, 1)


@pytest.mark.parametrize("bad", [([2], [1], [0], [1]), ([-1], [1], [0], [1]), ([1, 1], [1, 1], [0], [1])])
def test_impossible_counts(bad):
    with pytest.raises(ValueError, match=r"successes|one length|0 or more"):
        paired.difference(*bad)


# --- the interval -------------------------------------------------------------------------------------------------


def test_the_limits_are_tangos_published_ones():
    """The data of Fagerland, Lydersen and Laake 2014 (Stat. Med. 33:2850); limits as in R's contingencytables 3.0."""
    lungs = of_single([(1, 1)] + [(1, 0)] + [(0, 1)] * 7 + [(0, 0)] * 12)  # airway reactivity, Bentur et al. 2009
    assert lungs.limits() == pytest.approx((0.026, 0.517), abs=5e-4)
    therapy = of_single([(1, 1)] * 59 + [(1, 0)] * 6 + [(0, 1)] * 16 + [(0, 0)] * 80)  # Cavo et al. 2012
    assert therapy.difference == pytest.approx(0.0621, abs=5e-5)
    assert therapy.limits() == pytest.approx((0.0054, 0.1240), abs=5e-5)
    assert therapy.p == pytest.approx(0.052479, abs=5e-7)


def test_56_pairs_without_a_change_reach_six_points():
    """With b = c = 0 Tango's equation 5 has a closed solution, z^2 / (n + z^2)."""
    for n in (10, 56, 200):
        expected = 1.959964**2 / (n + 1.959964**2)
        assert of_single([(0, 0)] * n).limits() == pytest.approx((-expected, expected), abs=1e-6)
    assert of_single([(1, 1)] * 56).limits() == pytest.approx((-0.0642, 0.0642), abs=5e-5)


def test_the_limits_solve_tangos_equation_by_brute_force():
    """They are where the likelihood-constrained z statistic is 1.96: a grid over the nuisance gives the same."""
    b, c, n = 9, 2, 40
    low, high = paired.tango(b, c, n)
    for limit in (low, high):
        best = max(
            (q / 1e5 for q in range(1, 100_000) if 0 < q / 1e5 + limit < 1 and 2 * q / 1e5 + limit < 1),
            key=lambda q: b * math.log(q + limit) + c * math.log(q) + (n - b - c) * math.log(1 - 2 * q - limit),
        )
        z = (b - c - n * limit) / math.sqrt(n * (2 * best + limit * (1 - limit)))
        assert abs(z) == pytest.approx(1.96, abs=0.01)
    assert low < (b - c) / n < high


def test_several_cases_that_agree_count_as_one():
    """Cases of a behavior that always agree say no more than one of them."""
    pairs = [(0, 1)] * 5 + [(1, 0)] * 2 + [(1, 1)] * 9 + [(0, 0)] * 14
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    four = np.full(len(a), 4)
    clustered = paired.difference(4 * a, four, 4 * b, four)
    assert clustered.effective == pytest.approx(len(a))
    assert clustered.limits() == pytest.approx(of_single(pairs).limits())


def test_several_cases_that_are_independent_count_fully():
    rng = np.random.default_rng(4)
    n = np.full(400, 5)
    pair = paired.difference(rng.binomial(5, 0.3, 400), n, rng.binomial(5, 0.4, 400), n)
    assert 1700 < pair.effective <= 2000
    low, high = pair.limits()
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt((0.21 + 0.24) / 2000), rel=0.05)


@settings(deadline=None, max_examples=60)
@given(several, st.floats(0.01, 0.5))
def test_unchanged_implies_that_the_interval_lies_within_the_margin(rows, margin):
    pair = paired.difference(*zip(*rows, strict=True))
    low, high = pair.limits(0.9)
    assert low <= pair.difference <= high
    if pair.unchanged(margin) < 0.05:
        assert -margin < low <= high < margin


def test_no_change_among_few_is_no_proof():
    """The chance of no change is .95^n where one behavior in twenty gets worse: below .05 from 59 behaviors on."""
    assert of_single([(0, 0)] * 58).unchanged(0.05) == pytest.approx(0.95**58)
    assert of_single([(0, 0)] * 58).unchanged(0.05) > 0.05 > of_single([(0, 0)] * 59).unchanged(0.05)
    with pytest.raises(ValueError, match="margin"):
        of_single([(0, 0)]).unchanged(0)


def test_the_number_of_behaviors_that_excludes_a_limit():
    pair = of_single([(0, 1)] * 2 + [(1, 0)] * 1 + [(0, 0)] * 37)
    assert pair.limits()[1] > 0.08
    needed = pair.behaviors_to_exclude(0.08)
    times = needed / 40
    assert paired.tango(2 * times, times, needed)[1] < 0.08 < paired.tango(1.95 * times, 0.95 * times, 0.95 * needed)[1]
    assert pair.behaviors_to_exclude(pair.difference) is None


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


def test_several_cases_by_hand():
    # ((1.96 + 0.8416) * 0.5 / 0.1)^2 = 196.2
    assert paired.behaviors_needed_at(0.1, 0.5) == 197


# --- coverage: bench/paired.py has the whole grid -------------------------------------------------------------------

DRAWS = 1000


def outcomes(n, up, down):
    """All (worse, better) of n pairs and their chances."""
    for worse in range(n + 1):
        for better in range(n - worse + 1):
            yield worse, better, multinomial.pmf([worse, better, n - worse - better], n, [up, down, 1 - up - down])


@pytest.mark.parametrize(("n", "up", "down"), [(56, 0.02, 0), (100, 0.02, 0), (56, 0.1, 0), (50, 0.25, 0.15)])
def test_the_interval_covers_changes_that_go_one_way(n, up, down):
    covered = sum(
        chance
        for worse, better, chance in outcomes(n, up, down)
        if chance > 1e-9 and abs(paired.tango_score(worse, better, n, up - down)) <= 1.959964
    )
    assert covered >= 0.93


@pytest.mark.parametrize(("n", "margin", "down"), [(52, 0.05, 0), (60, 0.1, 0), (60, 0.05, 0.01), (60, 0.1, 0.05)])
def test_unchanged_is_rarely_claimed_at_the_margin(n, margin, down):
    claimed = 0.0
    for worse, better, chance in outcomes(n, margin + down, down):
        if chance > 1e-6:
            pairs = [(0, 1)] * worse + [(1, 0)] * better + [(0, 0)] * (n - worse - better)
            claimed += chance * (of_single(pairs).unchanged(margin) < 0.05)
    assert claimed <= 0.05


def drawn(rng, rate_a, rate_b, shared, behaviors, cases):
    """Rates of DRAWS x behaviors, from normal thresholds whose correlation within a behavior is `shared`."""
    common = math.sqrt(shared) * rng.standard_normal((DRAWS, behaviors, 1))
    rates = []
    for rate in (rate_a, rate_b):
        own = math.sqrt(1 - shared) * rng.standard_normal((DRAWS, behaviors, cases))
        rates.append((common + own < norm.ppf(rate)).mean(axis=-1))
    return rates


def test_the_interval_covers_behaviors_of_several_cases():
    rng = np.random.default_rng(20240911)
    coverage = []
    for rate_a, rate_b, shared, behaviors in itertools.product((0.05, 0.3), (0.3, 0.95), (0, 0.5, 1), (20, 50)):
        a, b = drawn(rng, rate_a, rate_b, shared, behaviors, 3)
        gained, lost, n = paired.effective_pairs(a, b, np.full(behaviors, 1 / 3))
        coverage.append(np.mean(abs(paired.tango_score(n * gained, n * lost, n, rate_b - rate_a)) <= 1.959964))
    assert 0.94 <= np.mean(coverage) <= 0.98
    assert min(coverage) >= 0.91


def test_false_alarms_of_the_tests(monkeypatch):
    """Without a difference p <= .05 comes in at most 5% of the draws, also where the changes lie to one side."""
    monkeypatch.setattr(paired, "RESAMPLES", 1_999)
    rng = np.random.default_rng(5)
    for rate, shared, cases in itertools.product((0.1, 0.5), (0, 0.7), (1, 4)):
        before, after = (array[:300] for array in drawn(rng, rate, rate, shared, 30, cases))
        n = [cases] * 30
        alarms = [
            paired.difference(np.rint(a * cases).astype(int), n, np.rint(b * cases).astype(int), n).p <= 0.05
            for a, b in zip(before, after, strict=True)
        ]
        assert np.mean(alarms) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
    skewed = rng.choice([0.25, -1.0], (300, 40), p=[0.8, 0.2])  # mean 0, and no change is mirrored
    none, up, down = np.zeros(40), np.clip(skewed, 0, 1), np.clip(-skewed, 0, 1)
    alarms = [paired._permuted(none + d, u) <= 0.05 for u, d in zip(up, down, strict=True)]
    assert np.mean(alarms) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_seeds_that_differ_make_the_limits_wider():
    same = np.tile([1] * 8 + [0] * 32, (3, 1))
    apart = np.array([[1] * k + [0] * (40 - k) for k in (0, 8, 16)])
    widths = [high - low for low, high in (paired.seed_limits(gaps, [""] * 40, draws=2000) for gaps in (same, apart))]
    assert widths[1] > widths[0] > 0
