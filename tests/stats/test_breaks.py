"""The four statistics: by hand, by enumeration of all draws, what is unknown both ways, and what a maximum does."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from withstand.stats import breaks, rates
from withstand.stats.breaks import Attempts, estimate
from withstand.stats.winners import clopper_pearson

ROW = st.lists(st.sampled_from("sru"), min_size=1, max_size=5)
"""The cases of a behavior: success, refused, unscored."""


def attempts(rows):
    return Attempts(*([row.count(letter) for row in rows] for letter in "su"), [len(row) for row in rows])


def at(rows, k):
    """The chance at k of each row by all sets of k of its cases."""
    for row in rows:
        sets = [any(letter == "s" for letter in drawn) for drawn in itertools.combinations(row, k)]
        yield Fraction(sum(sets), len(sets))


def test_a_search_of_many_draws_breaks_most_behaviors_at_a_low_mean():
    """16 draws at 8% each: 1 - .92^16 = 74% of behaviors break, and the mean says 8%."""
    hits = [0] * 15 + [1] * 21 + [2] * 14 + [3] * 6
    draws = Attempts(hits, [0] * 56, [16] * 56)
    mean, broken = estimate("mean", [draws]), estimate("at_k", [draws], 16)
    assert mean.rate == pytest.approx(sum(hits) / (16 * 56))
    assert mean.limits[1] < 0.15
    assert (broken.rate, broken.k) == (pytest.approx(41 / 56), 16)
    assert broken.interval == pytest.approx(proportion_confint(41, 56, 0.05, "wilson"))
    assert broken.limits == pytest.approx(proportion_confint(41, 56, 0.05, "beta"))
    assert estimate("any_attack", [draws]).limits == broken.limits
    held = estimate("all_of_k", [draws], 16)
    assert (held.rate, held.interval) == (
        pytest.approx(15 / 56),
        pytest.approx(proportion_confint(15, 56, 0.05, "wilson")),
    )


@settings(max_examples=50)
@given(st.lists(st.lists(st.sampled_from("sr"), min_size=3, max_size=5), min_size=1, max_size=6), st.integers(1, 3))
def test_at_k_is_the_mean_over_all_sets_of_k_draws(rows, k):
    mean = sum(at(rows, k)) / len(rows)
    broken, held = (estimate(name, [attempts(rows)], k) for name in ("at_k", "all_of_k"))
    assert broken.rate == pytest.approx(float(mean))
    assert broken.rate == pytest.approx(rates.rate_at_k(attempts(rows).hits, attempts(rows).cases, k)[0])
    assert held.rate == pytest.approx(float(1 - mean))
    assert held.limits == pytest.approx((1 - broken.limits[1], 1 - broken.limits[0]))
    if k == 1:
        one = estimate("mean", [attempts(rows)])
        assert (broken.rate, broken.interval) == (pytest.approx(one.rate), pytest.approx(one.interval))
        spread = rates.rate_interval(attempts(rows).hits, attempts(rows).cases)
        assert one.interval == pytest.approx((spread.low, spread.high))


@settings(max_examples=12)
@given(st.lists(st.tuples(ROW, ROW), min_size=1, max_size=5), st.integers(1, 6))
def test_the_limits_hold_every_way_in_which_the_unknown_may_fall(rows, k):
    whole = [[*a, *b] for a, b in rows]
    assume(sum(row.count("u") for row in whole) <= 4 and any(letter != "u" for row in whole for letter in row))
    columns = [[a for a, _ in rows], [b for _, b in rows]]
    for name in ("mean", "at_k", "any_attack", "all_of_k"):
        sides = [attempts(rows) for rows in columns] if name == "any_attack" else [attempts(whole)]
        ours = estimate(name, sides, k)
        assert 0 <= ours.limits[0] <= ours.bounds[0] <= ours.bounds[1] <= ours.limits[1] <= 1
        places = [(i, j) for i, row in enumerate(whole) for j, letter in enumerate(row) if letter == "u"]
        for fill in itertools.product("sr", repeat=len(places)):
            full = [list(row) for row in whole]
            for (i, j), letter in zip(places, fill, strict=True):
                full[i][j] = letter
            drawn = full if name != "any_attack" else [[max(row, key="rs".index)] for row in full]
            known = estimate("mean" if name == "any_attack" else name, [attempts(drawn)], k)
            if name in ("mean", "any_attack") or k <= min(map(len, full)):
                assert ours.bounds[0] - 1e-9 <= known.rate <= ours.bounds[1] + 1e-9
            if name == "any_attack":  # shares between 0 and 1 change how much a behavior is worth, too
                assert ours.limits[0] - 1e-9 <= known.limits[0]
                assert known.limits[1] <= ours.limits[1] + 1e-9


def test_more_draws_than_there_are_give_the_most_there_are_and_open_limits():
    draws = Attempts([1, 0, 0], [0, 0, 1], [4, 4, 4])
    far = estimate("at_k", [draws], 9)
    assert (far.k, far.asked, far.rate, far.behaviors) == (4, 9, 0.5, 2)
    assert far.limits[1] == far.bounds[1] == 1
    assert far.limits[0] == pytest.approx(proportion_confint(1, 3, 0.05, "beta")[0])
    some = estimate("at_k", [Attempts([1, 0], [0, 0], [2, 8])], 4)  # the second alone has 4
    assert (some.k, some.rate, some.behaviors, some.open) == (4, 0, 1, 0)
    assert some.bounds == (0.5, 0.5)  # what broke in 2 draws breaks in 4
    assert estimate("all_of_k", [draws], 9).limits[0] == 0


def test_any_attack_is_broken_by_one_and_open_where_a_verdict_lacks():
    first, second = (
        Attempts([1, 0, 0, 0], [0, 0, 1, 0], [1, 1, 1, 1]),
        Attempts([0, 2, 0, 0], [0, 0, 0, 0], [3, 3, 3, 0]),
    )
    worst = estimate("any_attack", [first, second])
    assert (worst.rate, worst.behaviors, worst.open, worst.k) == (0.5, 4, 1, 4)
    assert worst.bounds == (0.5, 0.75)
    assert worst.limits == (clopper_pearson(2, 4)[0], clopper_pearson(3, 4)[1])
    nothing = Attempts([0, 0], [1, 0], [1, 0])
    for name in ("mean", "at_k", "any_attack", "all_of_k"):
        assert estimate(name, [nothing]) is None
    lost = estimate(
        "any_attack", [nothing, Attempts([0, 0], [0, 1], [1, 1])]
    )  # 2 wanted, one of them without a verdict
    assert (lost.rate, lost.behaviors, lost.wanted, lost.bounds) == (0, 1, 2, (0, 1))


def test_a_maximum_multiplies_false_positives():
    assert breaks.false_breaks([20] * 7, 0.95) == pytest.approx(1 - 0.95**20)  # 64%
    assert breaks.false_breaks([1, 3, 0], 0.9) == pytest.approx((0.1 + 0.271) / 2)
    assert breaks.false_breaks([], 0.9) == breaks.false_breaks([5], 1) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimate("at_k", [Attempts([1], [0], [1])], 0), "k is 0"),
        (lambda: estimate("mean", [Attempts([1], [0], [1])] * 2), "of one attack, and 2"),
        (lambda: estimate("mean", [Attempts([1], [1], [1])]), "more breaks and unknown"),
        (lambda: breaks.false_breaks([1], 1.5), "specificity is 1.5"),
    ],
)
def test_impossible_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
