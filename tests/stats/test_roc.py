"""Areas against scipy's test of ranks, scikit-learn, and DeLong's variance by hand; the threshold's chance of a false
alarm against the law of order statistics and against draws; limits that hold."""

import math

import numpy as np
import pytest
from scipy.stats import beta, binom, mannwhitneyu, norm
from sklearn.metrics import roc_auc_score, roc_curve

from withstand.stats import roc
from withstand.stats.roc import auroc


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


def test_curve_and_area_are_those_of_scikit_learn():
    draw = np.random.default_rng(11)
    high, low = draw.normal(1, 1, 70).round(1), draw.normal(0, 1, 50).round(1)  # with ties
    truth, scores = [1] * 70 + [0] * 50, [*high, *low]
    points = roc.curve(high, low, [f"h{i}" for i in range(70)], [f"l{i}" for i in range(50)])
    alarms, caught, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    assert [point.alarms for point in points] == pytest.approx(list(alarms))
    assert [point.caught for point in points] == pytest.approx(list(caught))
    assert [point.threshold for point in points] == pytest.approx(list(thresholds))
    assert roc.placed(high, low).area == pytest.approx(roc_auc_score(truth, scores))
    at = points[20]
    n, k = 50, round(at.alarms * 50)
    assert at.alarm_ends == pytest.approx((beta.ppf(0.0125, k, n - k + 1), beta.ppf(0.9875, k + 1, n - k)), abs=1e-9)
    many = roc.curve(draw.normal(1, 1, 300), draw.normal(0, 1, 300), ["h"] * 300, ["l"] * 300)
    assert len(many) == roc.POINTS
    assert (many[0].caught, many[-1].caught, many[-1].alarms) == (0, 1, 1)


def test_two_areas_on_the_same_texts_are_delongs():
    """DeLong's covariance matrix of two areas, written out; copies of each text in its cluster change nothing."""
    draw = np.random.default_rng(7)
    base_high, base_low = draw.normal(1, 1, 40), draw.normal(0, 1, 30)
    guards = [(base_high + draw.normal(0, s, 40), base_low + draw.normal(0, s, 30)) for s in (0.3, 1.5)]
    parts_high = np.array([[np.mean((x > low) + 0.5 * (x == low)) for x in high] for high, low in guards])
    parts_low = np.array([[np.mean((high > y) + 0.5 * (high == y)) for y in low] for high, low in guards])
    covariance = np.cov(parts_high) / 40 + np.cov(parts_low) / 30
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    names = [f"h{i}" for i in range(40)], [f"l{i}" for i in range(30)]
    a, b = (roc.placed(*guard) for guard in guards)
    difference, (low, high), p = roc.area_difference(a, b, *names)
    assert difference == pytest.approx(parts_high[1].mean() - parts_high[0].mean())
    assert (low, high) == pytest.approx((difference - 1.959964 * error, difference + 1.959964 * error), abs=1e-6)
    assert p == pytest.approx(2 * norm.sf(abs(difference) / error))
    copies = [roc.placed(np.repeat(high, 3), np.repeat(low, 3)) for high, low in guards]
    repeated = roc.area_difference(*copies, *(np.repeat(of, 3) for of in names))
    assert repeated == pytest.approx((difference, pytest.approx((low, high)), p))
    assert roc.area_difference(a, a, *names) == (0, (0, 0), 1)
    assert roc.area_difference(a, b, ["h"] * 40, names[1])[1:] == ((-1, 1), 1)


def test_a_budget_needs_so_many_texts():
    assert [roc.needed(budget) for budget in (0.01, 0.05, 0.1, 0.5, 0.9)] == [99, 19, 9, 1, 1]
    names = [f"l{i}" for i in range(99)]
    assert roc.cutoff(range(98), names[:98], 0.01) is None
    assert roc.cutoff(range(99), names, 0.01) == roc.Cutoff(98, 0, 99, 99)
    assert roc.cutoff([*range(98), math.inf], names, 0.02).beyond == 97  # no score: the one alarm that is allowed
    assert roc.cutoff([*range(98), math.inf], names, 0.01).beyond == math.inf
    assert roc.cutoff(range(99), ["all"] * 99, 0.01) is None
    with pytest.raises(ValueError, match="outside"):
        roc.needed(0)


def test_the_chance_of_a_false_alarm_is_that_of_the_order_statistic():
    """Among 120 texts a budget of 5% allows 5 alarms: the chance above the 6th highest is beta with 6 and 115."""
    draw, names = np.random.default_rng(2), [f"l{i}" for i in range(120)]
    cut = roc.cutoff(draw.random(120), names, 0.05)
    assert cut.allowed == 5
    assert roc.alarm_limits(cut, 5) == pytest.approx((beta.ppf(0.025, 5, 116), beta.ppf(0.975, 6, 115)), abs=1e-9)
    assert roc.alarm_limits(cut, 0)[0] == 0
    chances = [1 - roc.cutoff(draw.random(120), names, 0.05).beyond for _ in range(2000)]
    assert np.mean(chances) == pytest.approx(6 / 121, rel=0.03)
    low, high = roc.alarm_limits(cut, 5)
    assert 0.93 <= np.mean([low <= chance <= high for chance in chances]) <= 0.98


def test_wordings_of_one_request_support_no_more_than_the_request():
    """In four wordings that share a request's score the budget holds on average, and the limits cover; 120 texts
    counted as if they were independent would block too much."""
    draw = np.random.default_rng(4)
    names, chances, held = list(np.repeat([f"c{i}" for i in range(40)], 4)), [], 0
    for _ in range(600):
        low = np.repeat(draw.normal(0, 1, 40), 4) + draw.normal(0, 0.1, 160)
        cut = roc.cutoff(low, names, 0.05)
        alarms = int((low > cut.beyond).sum())
        chance = norm.sf(cut.beyond / math.sqrt(1.01))
        ends = roc.alarm_limits(cut, alarms)
        chances.append(chance)
        held += ends[0] <= chance <= ends[1]
    assert np.mean(chances) <= 0.05
    assert held >= 570


def test_clusters_of_unequal_size_say_less():
    """One request in 21 wordings beside 59 in one: 80 texts, of which 21 may go together."""
    names = ["wide"] * 21 + [f"c{i}" for i in range(59)]
    cut = roc.cutoff(range(80), names, 0.5)
    assert cut == roc.Cutoff(60, 19, 80, pytest.approx(6400 / 500))  # 0.5 * 61 * 80 / 60 - 21 is 19.7
    assert roc.cutoff(range(80), names, 0.25) is None
    least = roc.supported(names)  # 21 of 80 texts, as 60 clusters have them
    assert least == pytest.approx(21 * 60 / (80 * 61))
    assert (roc.cutoff(range(80), names, least).allowed, roc.cutoff(range(80), names, least - 1e-6)) == (0, None)


def test_what_a_budget_catches_is_within_the_band():
    """The share caught by the threshold that has exactly 10% of false alarms, which no sample shows, among 80 texts."""
    draw, held, truth = np.random.default_rng(9), 0, norm.sf(norm.isf(0.1) - 1)
    names = [f"t{i}" for i in range(80)]
    for _ in range(40):
        points = roc.curve(draw.normal(1, 1, 80), draw.normal(0, 1, 80), names, names)
        low, high = roc.caught_at(points, 0.1)
        held += low <= truth <= high
    assert held >= 37
    assert roc.caught_at(points, 1e-6)[0] == 0  # so few texts show nothing of it
    assert binom.cdf(0, 80, 0.1) < 0.0125  # but something of 10%
    assert low > 0


def test_a_threshold_is_short_and_above():
    assert roc.written_threshold(4.81234) == 4.82
    assert roc.written_threshold(4.81234, 4.8127) == 4.8124
    assert roc.written_threshold(0.0) == 0.001
    assert roc.written_threshold(0.999981, 0.999983) == 0.999982
    assert roc.written_threshold(-2.5) == -2.49
    tight = np.nextafter(0.3, 1)
    assert roc.written_threshold(0.3, tight) == tight
    assert roc.written_threshold(9.999) == 10.0
