"""Sensitivity and criterion against scipy's normal quantiles, and on dummies that say one word; areas against scipy's
test of ranks, DeLong's variance by hand, and draws of clusters."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from withstand.stats.detection import auroc, sensitivity


def test_it_is_the_formula():
    hit, alarm = norm.ppf(8.5 / 11), norm.ppf(3.5 / 21)
    assert sensitivity(8, 10, 3, 20) == pytest.approx((hit - alarm, -(hit + alarm) / 2))
    d_prime, criterion = sensitivity(10, 10, 10, 10)  # yes to everything
    assert d_prime == pytest.approx(0)
    assert criterion < 0
    assert sensitivity(0, 10, 0, 10)[1] == pytest.approx(-criterion)
    for wrong in ((11, 10, 0, 1), (0, 0, 0, 1), (0, 1, -1, 1)):
        with pytest.raises(ValueError, match="no counts"):
            sensitivity(*wrong)


def test_the_area_is_that_of_the_ranks():
    high, low = [0.9, 0.8, 0.8, 0.3], [0.8, 0.2, 0.1]
    names = [f"a{i}" for i in range(4)], [f"b{i}" for i in range(3)]
    area, (least, most) = auroc(high, low, *names)
    assert area == pytest.approx(mannwhitneyu(high, low).statistic / 12)
    assert area == pytest.approx((3 + 2.5 + 2.5 + 2) / 12)
    # DeLong: the variances of each item's mean over the other kind, here 1, 5/6, 5/6, 2/3 and 1/2, 1, 1, over the sizes
    variance = np.var([1, 5 / 6, 5 / 6, 2 / 3], ddof=1) / 4 + np.var([1 / 2, 1, 1], ddof=1) / 3
    logit, reach = np.log(area / (1 - area)), 1.959964 * np.sqrt(variance) / (area * (1 - area))
    assert (least, most) == pytest.approx([1 / (1 + np.exp(-end)) for end in (logit - reach, logit + reach)], abs=1e-6)
    mirrored, (low_end, high_end) = auroc(low, high, *reversed(names))
    assert (mirrored, low_end, high_end) == pytest.approx((1 - area, 1 - most, 1 - least))


def test_items_of_one_cluster_are_no_more_than_one():
    """Copies of each item in its cluster say nothing new; scores apart leave room below 1; one kind alone has none."""
    draw = np.random.default_rng(3)
    high, low = draw.normal(0.7, 1, 40), draw.normal(0, 1, 40)
    names = [f"c{i}" for i in range(40)]
    once = auroc(high, low, names, names)
    thrice = auroc(np.repeat(high, 3), low, np.repeat(names, 3), names)
    assert thrice[0] == pytest.approx(once[0])
    assert thrice[1] == pytest.approx(once[1])
    area, (least, most) = auroc([3, 4], [1, 2], ["a", "b"], ["a", "b"])
    assert (area, most) == (1, 1)
    assert least < 0.5
    assert auroc([1], [], ["a"], []) is None


def test_intervals_of_areas_hold():
    """60 clusters of three safe scores and one unsafe, which share what their scenario adds."""
    draw, covered, truth = np.random.default_rng(5), 0, norm.cdf(0.6 / 2)
    names = [f"c{i}" for i in range(60)]
    for _ in range(300):
        shared = draw.normal(0, 0.7, 60)
        high = 0.6 + np.repeat(shared, 3) + draw.normal(0, np.sqrt(2 - 0.49), 180)
        low = shared + draw.normal(0, np.sqrt(2 - 0.49), 60)
        _, (least, most) = auroc(high, low, np.repeat(names, 3), names)
        covered += least <= truth <= most
    assert covered >= 277  # 92.3%
