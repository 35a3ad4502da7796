"""What a defense gains, by hand: intervals of the paired difference, open verdicts on both sides, and the words."""

from typing import Any

import pytest

from withstand.stats import paired
from withstand.stats.breaks import Attempts
from withstand.stats.gains import Gain, gain, is_refusal, least, over_seeds, together, word


def tried(hits: list[int], unknown: list[int] | None = None, cases: int = 1) -> Attempts:
    return Attempts(hits, unknown or [0] * len(hits), [cases] * len(hits))


def seen(bare: list[int], defended: list[int], **more: Any) -> Gain:
    shown = gain(tried(bare), tried(defended), **more)
    assert shown is not None
    return shown


ALL, NONE = [1] * 20, [0] * 20


def test_a_gain_is_the_paired_difference_with_its_sign_turned():
    shown = seen(ALL, [1] * 5 + [0] * 15)
    expected = paired.difference(ALL, ALL, [1] * 5 + [0] * 15, ALL)
    assert expected is not None
    low, high = expected.limits()
    assert (shown.bare, shown.defended, shown.gain, shown.behaviors) == (1.0, 0.25, 0.75, 20)
    assert shown.interval == (-high, -low)
    assert seen(ALL, ALL, level=together(4)).interval[1] == pytest.approx(1 - (0.0125 / 2) ** (1 / 20), abs=0.01)


def test_any_case_counts_on_either_side():
    shown = gain(Attempts([2, 0, 1], [0] * 3, [4] * 3), Attempts([1, 0, 0], [0] * 3, [9] * 3))
    assert shown is not None
    assert (shown.bare, shown.defended, shown.bare_cases, shown.cases) == (2 / 3, 1 / 3, 4, 9)


def test_what_is_open_counts_against_every_claim():
    """Of 20 that broke without it, the defense held 16, and of 4 nobody knows."""
    shown = gain(tried(ALL), Attempts(NONE, [0] * 16 + [1] * 4, [1] * 20))
    assert shown is not None
    assert (shown.behaviors, shown.open, shown.gain) == (16, 4, 1.0)
    assert shown.interval[0] == seen(ALL, [0] * 16 + [1] * 4).interval[0]
    assert shown.interval[1] == 1.0
    bare_open = gain(Attempts([0] * 20, [1] * 20, [1] * 20), tried(NONE))
    assert bare_open is None, "without a verdict there is no gain"
    assert gain(tried(ALL), Attempts(NONE, ALL, ALL)) is None


def test_who_refuses_at_random_takes_the_same_share_of_both():
    half = seen([1] * 10 + [0] * 10, [1] * 5 + [0] * 15)  # 5 of the 10 that break without it
    assert (half.bare, half.gain) == (0.5, 0.25)
    assert [is_refusal(half, share) for share in (0.0, 0.49, 0.5, 1.0)] == [False, False, True, True]
    assert not is_refusal(seen(ALL, ALL), 0.0)


def test_the_words():
    full, nothing, half = seen(ALL, NONE), seen(ALL, ALL), seen(ALL, [1] * 10 + [0] * 10)
    assert word(full, None) == "static only"
    assert word(full, nothing) == "the gain vanishes"
    assert word(full, half) == "part of the gain remains"
    assert word(full, full) == "the gain remains"
    assert word(None, half) == "a gain is shown"
    assert word(nothing, nothing) == "no gain shown"
    assert word(full, seen(ALL, [1] * 17 + [0] * 3)) == "the gain vanishes", "3 of 20 could be chance"
    some = seen(ALL, [1] * 12 + [0] * 8)
    assert word(some, seen(ALL, [1] * 17 + [0] * 3)) == "cannot tell", "3 of 20 differ neither from 0 nor from 8"
    assert word(None, seen(NONE, ALL)) == "more broken than without"
    few = seen([1] * 5, [0] * 5)
    assert (word(few, few), few.enough, least(), least(together(11))) == ("cannot tell", False, 6, 9)


def test_other_numbers_of_cases_allow_fewer_claims():
    less = gain(tried(ALL, cases=10), tried(NONE, cases=1))
    assert less is not None
    assert not less.shown
    assert word(None, less) == "cannot tell", "one case each broke less than any of ten"
    more = gain(tried(NONE), tried(ALL, cases=2))
    assert more is not None
    assert word(None, more) == "no gain shown", "any of two broke more than one"
    assert word(None, more, seen(NONE, ALL)) == "more broken than without", "as its adaptive cases alone did"


def test_a_gain_over_seeds_is_their_mean_and_as_wide_as_they_differ():
    one = seen(ALL, [1] * 5 + [0] * 15)
    assert over_seeds(tried(ALL), [tried([1] * 5 + [0] * 15)]) == one
    alike = over_seeds(tried(ALL), [tried([1] * 5 + [0] * 15)] * 3)
    assert alike is not None
    assert (alike.gain, alike.behaviors) == (one.gain, 20)
    apart = over_seeds(tried(ALL), [tried([1] * hits + [0] * (20 - hits)) for hits in (0, 5, 10)])
    assert apart is not None
    assert apart.gain == pytest.approx(0.75)
    # Student's t of the means 1, 0.75 and 0.5 with 2 degrees of freedom, by hand
    assert apart.interval == pytest.approx((0.75 - 4.302653 * 0.25 / 3**0.5, 1.0))
    # what one seed leaves open counts against the gain of all; what one seed did not try counts nowhere
    open_ = over_seeds(tried(ALL), [tried(NONE), tried(NONE, [1] * 4 + [0] * 16)])
    assert open_ is not None
    assert (open_.behaviors, open_.open, open_.gain, open_.cases) == (16, 4, 1.0, 1)
    assert open_.interval[0] < 0.9
    spared = over_seeds(tried(ALL), [tried(NONE), Attempts(NONE, NONE, [0] * 4 + [1] * 16)])
    assert spared is not None
    assert (spared.behaviors, spared.open) == (16, 0)
