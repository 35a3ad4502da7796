"""Changes on the same prompts and texts, over seeds, against scipy and by hand."""

import numpy as np
import pytest
import scipy.stats

from withstand.audits.change import front, loss_change, rate_change, rate_of, score_change, worst_change
from withstand.stats.paired import difference, mcnemar
from withstand.stats.rates import rate_interval


def test_the_interval_is_that_of_the_paired_difference():
    before = {str(i): i < 6 for i in range(56)}
    after = {str(i): 3 <= i < 12 for i in range(56)}
    shift = rate_change(before, [after])
    pair = difference(list(before.values()), [1] * 56, list(after.values()), [1] * 56)
    assert (shift.low, shift.high) == pair.limits()
    assert (shift.change, shift.p, shift.worse, shift.better) == (pair.difference, mcnemar(6, 3), 6, 3)


def test_pairs_without_a_verdict_are_left_out():
    moved = rate_change({"a": False, "b": False, "c": None}, [{"a": True, "b": False, "c": True}])
    assert (moved.n, moved.change, moved.worse, moved.better) == (2, 0.5, 1, 0)
    assert rate_change({"a": None}, [{"a": True}]) is None
    assert rate_change({"a": True}, [{}]) is None
    assert rate_change({"a": True}, []) is None


def test_seeds_that_differ_make_it_wider():
    before = {str(i): False for i in range(40)}
    same = [{str(i): i < 8 for i in range(40)}] * 3
    apart = [{str(i): i < k for i in range(40)} for k in (0, 8, 16)]
    shared, spread = rate_change(before, same), rate_change(before, apart)
    assert shared.change == spread.change == pytest.approx(0.2)
    reach = scipy.stats.t.ppf(0.975, 2) * 0.2 / 3**0.5  # of the seeds' means 0, 0.2 and 0.4
    assert (spread.low, spread.high) == (pytest.approx(0.2 - reach), pytest.approx(0.2 + reach))
    counts = [sum(side[name] for side in same) for name in before]
    assert (shared.low, shared.high) == difference([0] * 40, [1] * 40, counts, [3] * 40).limits()
    assert spread.seeds == 3


def test_the_front():
    assert front({"a": (0, 1), "b": (1, 0), "c": (1, 1), "d": (0, 1)}) == ["a", "b", "d"]


def test_scores_are_compared_by_students_t():
    before = {str(n): 1.0 + n % 3 for n in range(60)}
    after = {name: score + (2.0 if int(name) % 4 == 0 else 0.0) for name, score in before.items()}
    moved = score_change(before, [after])
    gaps = [after[name] - before[name] for name in before]
    reference = scipy.stats.ttest_1samp(gaps, 0.0).confidence_interval(0.95)
    assert (moved.change, moved.n) == (pytest.approx(0.5), 60)
    assert (moved.low, moved.high) == (pytest.approx(reference.low), pytest.approx(reference.high))
    assert score_change(before, [{}]) is None


def test_losses_are_compared_token_by_token():
    before, after = [(10.0, 5), (4.0, 4), (9.0, 3)], [(15.0, 5), (6.0, 4), (9.0, 3)]
    moved = loss_change(before, after)
    # 7 nats more on 12 tokens; residuals 5 - 35/12, 2 - 28/12 and 0 - 21/12, over the mean of 4 tokens
    residuals = np.array([25, -4, -21]) / 12 / 4
    reach = scipy.stats.t.ppf(0.975, 2) * np.sqrt((residuals**2).sum() / 2 / 3)
    assert (moved.change, moved.high) == (pytest.approx(7 / 12), pytest.approx(7 / 12 + reach))
    equal = loss_change([(3.0, 3)] * 5, [(6.0, 3)] * 5)
    assert (equal.low, equal.high) == (1.0, 1.0)
    assert loss_change([(1.0, 1)], [(2.0, 1)]) is None


def test_a_rate_counts_what_has_no_verdict_at_its_upper_end():
    rate, low, high, n = rate_of([{str(i): None if i < 10 else i < 12 for i in range(40)}])
    assert (rate, n) == (pytest.approx(2 / 30), 30)
    assert low == rate_interval([1] * 2 + [0] * 28, [1] * 30).low
    assert high == rate_interval([1] * 12 + [0] * 28, [1] * 40).high
    assert rate_of([{"a": None}]) is None
    before = {str(i): False for i in range(40)}
    missing = [{str(i): None if i < 10 else False for i in range(40)}]
    assert rate_change(before, missing).change == 0
    assert worst_change(before, missing).change == 0.25
