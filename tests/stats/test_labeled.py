"""The rate from a run's own labels: against scipy, Cochran's formula by hand, and what must never happen."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom

from withstand.stats import labeled
from withstand.stats.labeled import LabeledRate, Stratum, labeled_estimate, stratum
from withstand.stats.labeled_difference import LabeledDifference


def labeled_rate(strata: list[Stratum], behaviors: int | None = None, alike: float = 1.0) -> LabeledRate | None:
    result = labeled_estimate(strata, behaviors, alike)
    return result and result.at()


def test_mid_p_solves_its_equation_by_scipy():
    for n, hits in ((60, 1), (60, 30), (200, 3), (7, 6), (1000, 100)):
        low, high = (float(limit) for limit in labeled.mid_p(hits / n, n))
        assert binom.sf(hits, n, low) + binom.pmf(hits, n, low) / 2 == pytest.approx(0.025, rel=1e-6)
        assert binom.cdf(hits - 1, n, high) + binom.pmf(hits, n, high) / 2 == pytest.approx(0.025, rel=1e-6)
    none, all_ = labeled.mid_p([0.0, 1.0], [60, 60])[0], labeled.mid_p([0.0, 1.0], [60, 60])[1]
    assert (none[0], all_[1]) == (0, 1)
    assert labeled.mid_p(0.0, 60)[1] == pytest.approx(1 - 0.05 ** (1 / 60))  # (1 - p)^60 / 2 = .025


def test_the_estimate_is_two_phase_sampling_by_hand():
    """Cochran 1977, 12.2 and 12.9, with the finite population kept: 20 of 100 are called success, 10 of them labeled, 6
    yes; 80 are not, 40 labeled, 2 yes."""
    rate, effective = labeled.estimate(*np.array([[0.2, 0.8], [20, 80], [10, 40], [10, 40], [0.6, 0.05]]), 100)
    assert rate == pytest.approx(0.2 * 0.6 + 0.8 * 0.05)
    first, second = 7 / 12, 3 / 42
    mean = 0.2 * first + 0.8 * second
    of_labels = 0.04 * first * (1 - first) / 10 / 2 + 0.64 * second * (1 - second) / 40 / 2
    assert effective == pytest.approx(mean * (1 - mean) / (of_labels + mean * (1 - mean) / 100))


def test_where_all_are_labeled_the_judge_and_its_errors_are_gone():
    found = labeled_rate([stratum(True, 0.5, 50, [True] * 10 + [False] * 40), stratum(False, 0.5, 50, [False] * 50)])
    assert (found.rate, found.effective, found.labeled) == (0.1, pytest.approx(100), 100)
    assert (found.low, found.high) == pytest.approx([float(limit) for limit in labeled.mid_p(0.1, 100)])


def test_what_has_no_label_may_be_anything():
    """An unsafe model whose judge misses all: nobody looked at what the judge called failures."""
    called = stratum(True, 0.02, 4, [True, True])
    found = labeled_rate([called, stratum(False, 0.98, 196, [])])
    assert (found.rate, found.unlabeled) == (0.02, 0.98)
    assert found.low < 0.02
    assert found.high > 0.99
    assert labeled_rate([stratum(True, 1, 4, [])]) is None
    assert labeled_rate([]) is None
    one = labeled_rate([called, stratum(False, 0.98, 196, [False])])
    assert one.high > 0.6  # one label says little of 196
    equal = labeled_rate([stratum(True, 0.1, 10, [False] * 3), stratum(False, 0.9, 90, [False] * 20)])
    assert equal.low == 0 < 0.05 < equal.high  # all labels equal


def test_it_is_monotone_and_more_labels_narrow_it():
    wide = [labeled_rate([stratum(False, 1.0, 400, [True] * n + [False] * 9 * n)]) for n in (1, 4, 16)]
    rows = [labeled_rate([stratum(False, 1.0, 400, [True] * n + [False] * (56 - n))]) for n in range(6)]
    for earlier, later in itertools.pairwise(rows):
        assert earlier.rate < later.rate
        assert earlier.low <= later.low
        assert earlier.high < later.high
    assert wide[0].high - wide[0].low > wide[1].high - wide[1].low > wide[2].high - wide[2].low


def test_weights_and_alike_cases_take_from_what_the_labels_are_worth():
    plain = stratum(True, 0.5, 90, [True, False, False])
    weighed = stratum(True, 0.5, 90, [True, False, False], [4, 1, 1])
    assert (weighed.rate, weighed.worth, weighed.labeled) == (pytest.approx(4 / 6), pytest.approx(2.0), 3)
    assert plain.worth == 3
    strata = [stratum(True, 0.3, 150, [True] * 60 + [False] * 20), stratum(False, 0.7, 350, [False] * 80 + [True] * 8)]
    effects = [labeled_rate(strata, 100, alike).effective for alike in (1, 2, 4, 1e9)]
    assert effects == sorted(effects, reverse=True)
    assert effects[-1] == pytest.approx(labeled_rate(strata, 100, 1e12).effective)  # never below the behaviors' worth
    with pytest.raises(ValueError, match="3 labels of 2 cases"):
        stratum(True, 1, 2, [True] * 3)
    with pytest.raises(ValueError, match="weight above 0"):
        stratum(True, 1, 3, [True], [0])


def side(broken, labels=60, cases=400, looks=1):
    part = stratum(False, 1.0, cases, [True] * broken + [False] * (labels - broken))
    return labeled.LabeledSide((labeled.labeled_estimate([part]),), looks)


def test_a_difference_adds_both_sides_uncertainty():
    """Newcombe 1998, method 10, with mid-P limits; p and the claim "unchanged" are at .05 where the limits are."""
    a, b = side(6), side(18)
    both = LabeledDifference(a, b)
    (low_a, high_a), (low_b, high_b) = a.limits(), b.limits()
    assert both.difference == pytest.approx(0.2)
    assert both.limits() == pytest.approx(
        (0.2 - math.hypot(0.3 - low_b, high_a - 0.1), 0.2 + math.hypot(high_b - 0.3, 0.1 - low_a))
    )
    assert both.p < 0.05
    assert both.limits(1 - both.p) == pytest.approx((0, both.limits(1 - both.p)[1]), abs=1e-3)
    assert LabeledDifference(a, a).p == 1
    near = LabeledDifference(side(6, 300), side(6, 300))
    high = near.limits()[1]
    assert near.unchanged(high) == pytest.approx(0.05, abs=2e-3)
    assert near.unchanged(high / 2) > 0.05 > near.unchanged(2 * high)
    assert both.unchanged(0.1) == 1
    low, _ = LabeledDifference(side(6, looks=4), side(18, looks=4)).limits()
    assert low < both.limits()[0]
    part = stratum(False, 1.0, 400, [True] * 6 + [False] * 54)
    open_ = labeled.LabeledSide((labeled.labeled_estimate([part]), *side(12).estimates))
    assert (open_.rate, open_.limits()[1]) == (0.1, side(12).limits()[1])


def test_which_cases_to_label_and_how_many():
    for successes, failures, labels in ((23, 177, 60), (4, 196, 60), (0, 50, 9), (50, 0, 9), (150, 50, 60), (2, 3, 60)):
        first, second = labeled.allocation(successes, failures, labels)
        assert first + second == min(labels, successes + failures)
        assert min(successes, -(-labels // 4)) <= first <= successes or second == failures
        assert 0 <= second <= failures
    assert labeled.allocation(170, 830, 100)[0] > 25  # a judge's successes are the less certain ones
    sizes, floor = np.array([170.0, 830.0]), 25
    for rates in ((0.47, 0.024), (0.95, 0.2), labeled.believed(0.17, (5, 0), (10, 20))):

        def variance(n: int, rates: tuple[float, float] = rates) -> float:
            """Of `rate`, by Cochran's formula with a success and a failure more in each stratum."""
            got = np.array([n, 100 - n])
            y = (np.array(rates) * got + 1) / (got + 2)
            return float((sizes**2 * y * (1 - y) / got * (1 - got / sizes)).sum())

        best = min(range(floor, 101 - floor), key=variance)
        assert labeled.allocation(170, 830, 100, rates) == (best, 100 - best)
    assert labeled.believed(0.17, (5, 0), (10, 20)) == pytest.approx(((5 + 4 * 8 / 17) / 14, 4 * (2 / 83) / 24))
    assert labeled.allocation(170, 830, 100, (0.47, 0.024), (60, 10)) == (60, 40)  # what was drawn is kept
    assert labeled.allocation(170, 830, 30, None, (20, 20)) == (20, 20)
    needed = labeled.labels_for(170, 830, 0.1)
    assert 60 <= needed <= 100
    assert labeled.labels_for(170, 830, 0.05) > 3 * needed
    assert labeled.labels_for(5, 15, 0.01) is None
    assert labeled.labels_for(0, 0, 0.1) is None
    assert labeled.looks(200) == [30, 60, 120, 200]
    assert labeled.looks(20) == [20]
    assert labeled.level_at_looks(200) == pytest.approx(1 - 0.05 / 4)


def test_it_covers_at_two_percent_where_a_normal_interval_does_not():
    """200 cases of which 2% are broken, a judge of .8 and .9, 60 labels as `withstand label` draws them."""
    draw = np.random.default_rng(4)
    truth = draw.random((400, 200)) < 0.02
    said = np.where(truth, draw.random(truth.shape) < 0.8, draw.random(truth.shape) < 0.1)
    arrays = []
    for broken, called in zip(truth, said, strict=True):
        sides = []
        for side, number in zip(
            (called, ~called), labeled.allocation(called.sum(), 200 - called.sum(), 60), strict=True
        ):
            labels = broken[side][:number]
            part = stratum(bool(side is called), side.mean(), int(side.sum()), labels.tolist())
            sides.append([part.share, part.size, part.labeled, part.worth, part.rate])
        arrays.append(sides)
    rate, effective = labeled.estimate(*np.moveaxis(np.array(arrays), -1, 0), 200)
    low, high = labeled.mid_p(rate, effective)
    inside, width = (low <= 0.02) & (high >= 0.02), high - low
    assert inside.mean() >= 0.94
    assert width.mean() <= 0.12
