"""Watched rates: published spending, errors and limits by enumeration, power beside one look and beside a sequence."""

import itertools

import numpy as np
import pytest
from scipy.stats import binom

from withstand.stats import rates, sequential
from withstand.stats.group_sequential import Outcome, Watch, paths, spent


def test_spending_is_that_of_the_published_table():
    """DeMets and Lan 1994 (Statistics in Medicine 13:1341), two-sided .05: .0031, .0193 and .05 at 1/2, 3/4 and 1."""
    assert [round(2 * spent(share, 0.025), 4) for share in (0.5, 0.75, 1)] == [0.0031, 0.0193, 0.05]


def ends(watch: Watch) -> dict[tuple[int, ...], Outcome]:
    """Every way a watch of coins can go, as the successes between its looks, by the outcome that it ends with."""
    steps = np.diff([0, *watch.looks])
    ways = {}
    for heads in itertools.product(*(range(step + 1) for step in steps)):
        path = [float(i < k) for k, step in zip(heads, steps, strict=True) for i in range(step)]
        ways[heads] = watch.outcome(path)
    return ways


def test_errors_and_limits_hold_by_enumeration():
    """Over all paths: no answer errs in more than 2.5%, nor does a limit of the rate, wherever the rate lies."""
    limit, watch = 0.3, Watch(0.3, 25)
    steps = np.diff([0, *watch.looks])
    ways = ends(watch)
    distinct = {key: (watch.lower(Outcome(*key)), watch.upper(Outcome(*key))) for key in
                {(o.look, o.total, o.answer) for o in ways.values()}}  # fmt: skip
    keys = [(o.look, o.total, o.answer) for o in ways.values()]
    low, high = np.array([distinct[key] for key in keys]).T
    answer = np.array([key[2] for key in keys])
    assert ((high <= limit) == (answer == "below")).all()
    assert ((low > limit) == (answer == "above")).all()
    heads = np.array(list(ways))
    for rate in (0.02, 0.1, 0.2, 0.3, 0.5, 0.9):
        chance = np.prod([binom.pmf(heads[:, i], step, rate) for i, step in enumerate(steps)], axis=0)
        assert chance[high < rate].sum() <= 0.025
        assert chance[low > rate].sum() <= 0.025
        below, above, asked = watch.chances(rate)
        assert below == pytest.approx(chance[answer == "below"].sum(), abs=1e-12)
        assert above == pytest.approx(chance[answer == "above"].sum(), abs=1e-12)
        assert asked == pytest.approx((chance * np.array(watch.looks)[[key[0] for key in keys]]).sum())
    assert watch.chances(limit)[0] <= 0.025 >= watch.chances(limit)[1]


def test_after_all_behaviors_it_decides_as_often_as_one_look():
    """200 behaviors at 20%, limit 30%: a confidence sequence decides in 45%, one look by Wilson's interval in 91%."""
    n, limit, rate = 200, 0.3, 0.2
    watch, counts = Watch(limit, n), np.arange(n + 1)
    wilson = np.array([rates.wilson(int(k), n) for k in counts])
    one_look = binom.pmf(counts, n, rate)[(wilson[:, 1] <= limit) | (wilson[:, 0] > limit)].sum()
    going, last, sequence = np.ones(1), 0, 0.0
    for look in watch.looks:
        going = np.convolve(going, binom.pmf(np.arange(look - last + 1), look - last, rate))
        last = look
        limits = [sequential.confidence_sequence([1.0] * k + [0.0] * (look - k)) for k in range(look + 1)]
        over = np.array([high <= limit or low > limit for low, high in limits])
        sequence += going[over].sum()
        going = np.where(over, 0, going)
    assert (round(sequence, 2), round(one_look, 2)) == (0.45, 0.91)
    below, above, asked = watch.chances(rate)
    assert below + above > one_look - 0.01
    assert asked < 185
    for n, limit in ((36, 0.1), (56, 0.1), (100, 0.05), (159, 0.2)):  # never less often than the exact single test
        watch, counts = Watch(limit, n), np.arange(n + 1)
        single = (binom.cdf(counts, n, limit) <= 0.025) | (binom.sf(counts - 1, n, limit) <= 0.025)
        for rate in (0.0, 0.02, 0.1, 0.25, 0.4):
            assert sum(watch.chances(rate)[:2]) >= binom.pmf(counts, n, rate)[single].sum() - 1e-9


def test_shares_round_away_from_the_answer_and_what_is_unknown_counts_against_it():
    watch = Watch(0.3, 120)
    at_45 = watch.bounds[3][0]
    thirds = paths([1] * (3 * at_45) + [0] * (45 - 3 * at_45), [0] * 45, [3] * 45)
    assert watch.answer(thirds) == "below"
    assert watch.answer(paths([1] * (3 * at_45 + 1) + [0] * (44 - 3 * at_45), [0] * 45, [3] * 45)) == ""
    assert watch.answer(paths([0] * 45, [0] * 45, [1] * 45)) == "below"
    lost = paths([0] * 45, [1] * (at_45 + 1) + [0] * (44 - at_45), [1] * 45)
    assert (watch.answer(lost), watch.over(lost)) == ("", False)
    assert watch.interval(lost)[1] == sequential.confidence_sequence(lost[1])[1]
    assert paths([0], [0], [0]) == ([0.0], [1.0])  # no test case was made: unknown
    unknown = paths([0] * 120, [1] * 120, [1] * 120)
    assert (watch.over(unknown), watch.answer(unknown), watch.interval(unknown)) == (True, "", (0.0, 1.0))


def test_what_cannot_be_watched():
    for limit, behaviors in ((0.0, 10), (1.0, 10), (0.1, 0), (0.1, 10**6)):
        with pytest.raises(ValueError, match="must lie in"):
            Watch(limit, behaviors)
    with pytest.raises(ValueError, match="at most 10"):
        Watch(0.5, 10).outcome([0.0] * 11)
    with pytest.raises(ValueError, match="has not ended"):
        Watch(0.5, 30).upper(Outcome(0, 5.0, ""))
