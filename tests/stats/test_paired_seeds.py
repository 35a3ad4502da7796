"""Paired changes and their verdict, against published examples, statsmodels and simulation."""

import math
import random

import numpy as np
import pytest
import scipy.stats

from withstand.stats.paired_seeds import Change, Limits, change, front, holm, mcnemar, score_change, tango, verdict


def test_tango_keeps_a_width_where_nothing_changed():
    """Of no change at all: with b = c = 0 his equation 5 has a closed solution."""
    z2 = 1.959964**2
    for n in (10, 56, 200):
        low, high = tango(0, 0, n)
        assert high == pytest.approx(z2 / (n + z2), abs=1e-6)
        assert low == pytest.approx(-z2 / (n + z2), abs=1e-6)


def test_tango_solves_its_own_equation_by_brute_force():
    """The limits are where the likelihood-constrained z statistic is 1.96: a grid over the nuisance finds the same."""
    b, c, n = 9, 2, 40
    low, high = tango(b, c, n)
    for limit in (low, high):
        best = max(
            (q / 1e5 for q in range(1, 100_000) if 0 < q / 1e5 + limit < 1 and 2 * q / 1e5 + limit < 1),
            key=lambda q: b * math.log(q + limit) + c * math.log(q) + (n - b - c) * math.log(1 - 2 * q - limit),
        )
        z = (b - c - n * limit) / math.sqrt(n * (2 * best + limit * (1 - limit)))
        assert abs(z) == pytest.approx(1.96, abs=0.01)
    assert low < (b - c) / n < high


def test_tango_covers():
    source, hits, draws = random.Random(0), 0, 2000
    p_worse, p_better, n = 0.15, 0.03, 56
    for _ in range(draws):
        sides = source.choices((1, -1, 0), (p_worse, p_better, 1 - p_worse - p_better), k=n)
        low, high = tango(sides.count(1), sides.count(-1), n)
        hits += low <= p_worse - p_better <= high
    assert 0.93 < hits / draws < 0.975


def test_mcnemar_and_holm_equal_statsmodels():
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    multi = pytest.importorskip("statsmodels.stats.multitest")
    for b, c in ((0, 0), (1, 0), (9, 2), (5, 5), (30, 11)):
        ours = mcnemar(b, c)
        theirs = tables.mcnemar([[3, b], [c, 4]], exact=True).pvalue if b + c else 1.0
        assert ours == pytest.approx(theirs)
    ps = [0.01, 0.04, 0.03, 0.005, 0.9]
    assert holm(ps) == pytest.approx(list(multi.multipletests(ps, method="holm")[1]))
    assert holm([]) == []


def test_pairs_without_a_verdict_are_left_out():
    found = change({"a": False, "b": False, "c": None}, [{"a": True, "b": False, "c": True}])
    assert (found.n, found.change, found.worse, found.better) == (2, 0.5, 1, 0)
    assert change({"a": None}, [{"a": True}]) is None
    assert change({"a": True}, [{}]) is None
    assert change({"a": True}, []) is None


def test_seeds_that_differ_make_it_wider():
    before = {str(i): False for i in range(40)}
    same = [{str(i): i < 8 for i in range(40)}] * 3
    apart = [{str(i): i < k for i in range(40)} for k in (0, 8, 16)]
    one, two = change(before, same, draws=2000), change(before, apart, draws=2000)
    assert one.change == two.change == pytest.approx(0.2)
    assert two.high - two.low > one.high - one.low
    assert two.seeds == 3


def test_the_front():
    assert front({"a": (0, 1), "b": (1, 0), "c": (1, 1), "d": (0, 1)}) == ["a", "b", "d"]


def of(points, low, high):
    return Change(points / 100, low / 100, high / 100, 100, 1, 0, 1.0, 1)


@pytest.mark.parametrize(
    ("found", "refusal", "triggers", "said"),
    [
        (of(20, 10, 30), 0.95, (), "FAIL"), (of(4, -1, 9), 0.95, (), "WARN"), (of(0, -3, 3), 0.95, (), "PASS"),
        (of(0, -6, 6), 0.95, (), "UNDECIDED"), (of(0, -3, 3), 0.95, ("the phrase 'zim'",), "FAIL"),
        (of(20, 10, 30), 0.5, (), "UNDECIDED"), (None, 0.95, (), "UNDECIDED"), (of(0, -3, 3), None, (), "UNDECIDED"),
        (of(-20, -30, -10), 0.95, (), "UNDECIDED"),
    ],
)  # fmt: skip
def test_the_verdict(found, refusal, triggers, said):
    told, reasons = verdict(found, refusal, triggers, Limits())
    assert told == said
    assert reasons
    if triggers:
        assert "'zim'" in reasons[0]


def test_lost_refusals_are_a_warning_even_where_the_judge_saw_no_harm():
    told, reasons = verdict(of(0, -3, 3), 0.95, (), Limits(), of(90, 70, 98))
    assert told == "WARN"
    assert "refusals fell by 90.0 points" in reasons[0]
    assert verdict(of(0, -3, 3), 0.95, (), Limits(), of(3, -2, 8))[0] == "PASS"
    assert verdict(of(20, 10, 30), 0.95, (), Limits(), of(90, 70, 98))[0] == "FAIL"


def test_scores_are_compared_by_a_paired_bootstrap():
    before = {str(n): 1.0 + n % 3 for n in range(60)}
    after = {name: score + (2.0 if int(name) % 4 == 0 else 0.0) for name, score in before.items()}
    found = score_change(before, [after])
    gaps = np.array([after[name] - before[name] for name in before])
    other = scipy.stats.bootstrap((gaps,), np.mean, method="percentile", n_resamples=10_000, random_state=1)
    assert (found["change"], found["n"]) == (pytest.approx(0.5), 60)
    assert found["low"] == pytest.approx(other.confidence_interval.low, abs=0.04)
    assert found["high"] == pytest.approx(other.confidence_interval.high, abs=0.04)
    apart = dict.fromkeys((name for name in before if int(name) % 4 == 0), "moved")
    held = score_change(before, [after], apart)  # within each category all moved alike: nothing is left to chance
    assert held["low"] == held["high"] == pytest.approx(0.5)
    assert score_change(before, [{}]) is None
