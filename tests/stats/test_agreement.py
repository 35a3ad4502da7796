"""Judges against people: against scikit-learn, the package krippendorff, cases by hand, and simulated worlds."""

import itertools
import warnings

import numpy as np
import pytest

from cases import walk_cases
from withstand.stats import agreement
from withstand.stats.agreement import Table, alpha, alpha_interval, corrected, kappa, kappa_interval, table

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import krippendorff
    from sklearn.metrics import cohen_kappa_score


def test_a_table_counts_each_pair_and_leaves_out_what_is_unscored():
    counts = table([True, True, False, False, None, None], [True, False, True, False, True, False])
    assert counts == Table(hit=1, missed=1, wrong=1, clear=1, unscored=2)
    assert (counts.n, counts.right) == (4, 2)
    with pytest.raises(ValueError, match="argument 2"):
        table([True], [])


@walk_cases("seed", range(20))
def test_kappa_is_scikit_learns(seed):
    draw = np.random.default_rng(seed)
    people = draw.random(60) < draw.random()
    judge = np.where(draw.random(60) < 0.8, people, ~people)
    counts = table(judge.tolist(), people.tolist())
    assert kappa(counts) == pytest.approx(cohen_kappa_score(judge, people), abs=1e-12)


@walk_cases("seed", range(20))
def test_alpha_is_that_of_the_package_krippendorff(seed):
    draw = np.random.default_rng(seed)
    truth = draw.random(40) < 0.4
    votes = [[bool(t ^ (draw.random() < 0.2)) if draw.random() < 0.8 else None for _ in range(3)] for t in truth]
    numbers = [[np.nan if vote is None else float(vote) for vote in row] for row in votes]
    theirs = krippendorff.alpha(np.array(numbers).T, level_of_measurement="nominal")
    assert alpha(votes) == pytest.approx(theirs, abs=1e-12)


def test_where_there_is_nothing_to_agree_on_there_is_no_number():
    assert kappa(Table()) is None
    assert kappa(Table(hit=5)) is None
    assert kappa_interval(Table(hit=5)) is None
    assert alpha([]) is None
    assert alpha([[True, None], [None, False]]) is None
    assert alpha([[True, True]] * 3) is None
    assert alpha_interval([[True, True]] * 3) is None


def test_limits_lie_around_the_number_and_narrow_with_more_labels():
    few, many = Table(40, 5, 6, 49), Table(400, 50, 60, 490)
    narrow, wide = kappa_interval(many), kappa_interval(few)
    assert wide[0] < narrow[0] < kappa(many) < narrow[1] < wide[1]
    votes = [[True, True, False]] * 10 + [[True, True, True]] * 30 + [[False, False, False]] * 40
    low, high = alpha_interval(votes)
    assert low < alpha(votes) < high


def test_the_bootstrap_of_kappa_is_the_one_of_rows():
    """By drawing rows instead of counts, many times."""
    counts = Table(30, 10, 5, 55)
    rows = np.repeat([[1, 1], [0, 1], [1, 0], [0, 0]], [30, 10, 5, 55], axis=0)
    draw = np.random.default_rng(1)
    judge, people = np.moveaxis(rows[draw.integers(0, 100, (1500, 100))], -1, 0)
    by_chance = judge.mean(1) * people.mean(1) + (1 - judge.mean(1)) * (1 - people.mean(1))
    many = ((judge == people).mean(1) - by_chance) / (1 - by_chance)
    assert many[:5] == pytest.approx([cohen_kappa_score(*pair) for pair in zip(judge[:5], people[:5], strict=True)])
    assert kappa_interval(counts) == pytest.approx(np.quantile(many, [0.025, 0.975]), abs=0.03)


# --- the corrected rate ------------------------------------------------------------------------------------------


def test_rogan_and_gladen_by_hand():
    """A judge that finds 80% and calls 10% wrongly says 45% where (0.45 + 0.9 - 1) / (0.8 + 0.9 - 1) = 50% is."""
    result = corrected([1] * 45 + [0] * 55, [1] * 100, Table(80, 20, 10, 90))
    assert result.rate == pytest.approx(0.5)
    assert result.low < 0.45 < 0.5 < 0.55 < result.high
    assert (result.clipped, result.identified) == (False, True)


def test_a_perfect_judge_with_many_labels_changes_nothing_but_the_width():
    result = corrected([1] * 30 + [0] * 70, [1] * 100, Table(100_000, 0, 0, 100_000))
    assert result.rate == pytest.approx(0.3)
    assert (result.low, result.high) == pytest.approx((0.219, 0.396), abs=0.01)  # Wilson's of 30 of 100


def test_what_lies_outside_is_clipped_and_says_so():
    result = corrected([1] * 9 + [0] * 41, [1] * 50, Table(80, 20, 20, 80))
    assert (result.rate, result.clipped, result.identified) == (0.0, True, True)
    assert result.low == 0.0 < result.high


def test_fewer_successes_never_give_more_and_what_the_labels_do_not_fit_is_flagged():
    """0, 1, 2 of 56 gave no rate, 0 to 2% and 0 to 5%: a judge that calls 9% wrongly would hardly call none of 56."""
    rows = [corrected([1] * broken + [0] * (56 - broken), [1] * 56, Table(61, 7, 7, 70)) for broken in range(12)]
    for earlier, later in itertools.pairwise(rows):
        assert earlier.rate <= later.rate
        assert earlier.low <= later.low
        assert earlier.high < later.high
    assert all(row.identified for row in rows)
    assert [row.misfit for row in rows] == [True] + [False] * 11
    assert rows[0].high > 0.06  # as much as the raw rate allows
    all_ = corrected([1] * 56, [1] * 56, Table(50, 20, 2, 90))
    assert (all_.rate, all_.misfit, all_.high) == (1.0, True, 1.0)
    assert all_.low < 0.97


def test_a_stated_drift_widens_the_limits():
    judged = Table(61, 7, 7, 70)
    ends = [corrected([1] * 20 + [0] * 36, [1] * 56, judged, drift) for drift in (0.0, 0.05, 0.1)]
    assert len({row.rate for row in ends}) == 1
    assert ends[0].low > ends[1].low > ends[2].low
    assert ends[0].high < ends[1].high < ends[2].high
    assert not corrected([1], [1], judged, 0.45).identified  # so far off it may be no better than chance


@pytest.mark.parametrize(
    "judged", [Table(), Table(hit=9, missed=1), Table(5, 5, 5, 5), Table(2, 8, 8, 2), Table(3, 2, 2, 3)]
)
def test_labels_that_do_not_tell_the_judge_from_chance_identify_nothing(judged):
    result = corrected([1, 0], [1, 1], judged)
    assert (result.rate, result.low, result.high, result.identified) == (None, 0.0, 1.0, False)


@pytest.mark.parametrize("cases", [1, 5])
def test_its_limits_cover_what_is_true(cases):
    """Judged twice: behaviors that are broken with chances of their own, and a judge that errs, known by labels."""
    draw, covered = np.random.default_rng(7), []
    for rate in (0.05, 0.3, 0.8):
        for behaviors in (20, 100)[cases > 1 :]:
            for sensitivity, specificity in ((0.95, 0.9), (0.75, 0.95)):
                inside = 0
                for _ in range(60):
                    chances = draw.beta(rate, 1 - rate, behaviors) if cases > 1 else np.full(behaviors, rate)
                    positive = chances * sensitivity + (1 - chances) * (1 - specificity)
                    successes = draw.binomial(cases, positive)
                    hit, clear = draw.binomial(60, sensitivity), draw.binomial(100, specificity)
                    judged = Table(hit, 60 - hit, 100 - clear, clear)
                    result = corrected(successes.tolist(), [cases] * behaviors, judged)
                    inside += result.low <= rate <= result.high
                covered.append(inside / 60)
    assert 0.93 <= np.mean(covered) <= 0.985
    assert min(covered) >= 0.85  # 0.90 less what 60 samples may do to the lowest of them


def test_the_weighted_kappa_is_that_of_statsmodels_and_scikit_learn() -> None:
    from statsmodels.stats.inter_rater import cohens_kappa

    draw = np.random.default_rng(1)
    first = draw.integers(1, 5, 60)
    second = np.clip(first + draw.integers(-1, 2, 60), 1, 4)
    counts = agreement.rated_pairs(list(zip(first.tolist(), second.tolist(), strict=True)), 4)
    kappa = agreement.weighted_kappa(counts)
    assert kappa == pytest.approx(cohen_kappa_score(first, second, weights="quadratic"))
    assert kappa == pytest.approx(cohens_kappa(counts, weights=np.arange(4), wt="fc").kappa)
    low, high = agreement.weighted_kappa_interval(counts) or (1.0, 0.0)
    assert low < kappa < high
    assert agreement.weighted_kappa(agreement.rated_pairs([(3, 3)] * 5, 4)) is None  # chance explains all
    assert agreement.weighted_kappa(agreement.rated_pairs([], 4)) is None
