"""Corrections for several comparisons: parity with statsmodels, and intervals that agree with them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from withstand.stats import multiple


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_corrections_are_those_of_statsmodels(ps):
    assert multiple.holm(ps) == pytest.approx(list(multipletests(ps, method="holm")[1]), abs=1e-12)
    assert multiple.benjamini_hochberg(ps) == pytest.approx(list(multipletests(ps, method="fdr_bh")[1]), abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(0, 0.1), max_size=6))
def test_holm_by_levels_of_intervals_passes_what_statsmodels_rejects(ps):
    """An interval at a level lies within its limit just where its two-sided p is up to 1 - level."""
    passed = multiple.holm_steps(range(len(ps)), lambda test, level: ps[test] <= 1 - level)
    assert passed == {at for at, passes in enumerate(multipletests(ps, method="holm")[0] if ps else []) if passes}


def test_corrections_by_hand_and_without_a_p():
    # 3 comparisons: .01 * 3, then max(.03, .02 * 2), then max(.04, .03)
    assert multiple.holm([0.02, None, 0.01, 0.03]) == pytest.approx([0.04, None, 0.03, 0.04])
    assert multiple.holm([None]) == [None]
    assert multiple.benjamini_hochberg([]) == []


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=12))
def test_false_coverage_selects_what_benjamini_and_hochberg_do(ps):
    """p times the factor is up to .05 just for the rows that statsmodels selects."""
    selected = multipletests(ps, method="fdr_bh")[0]
    factor = multiple.false_coverage(ps)
    assert 1 <= factor <= multiple.bonferroni(ps) == len(ps)
    assert [p * factor <= 0.05 * (1 + 1e-12) for p in ps] == list(selected)


def test_false_coverage_by_hand():
    # 2 of 4 selected (.01 <= .05 / 4 and .02 <= 2 * .05 / 4): their intervals have the level 1 - 2 * .05 / 4
    assert multiple.false_coverage([0.01, None, 0.02, 0.2, 0.9]) == 2
    assert multiple.false_coverage([0.2, 0.9]) == 2  # none selected: as careful as Bonferroni
    assert multiple.bonferroni([None]) == multiple.false_coverage([None]) == 1
