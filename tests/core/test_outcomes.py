"""Every outcome under every measure: counted, not counted, or unknown."""

import pytest

from withstand.core.outcomes import HITS, OUTCOMES, SCORED, is_hit
from withstand.formats import harmbench
from withstand.formats import inspect as inspect_logs

EXPECTED = {
    "harm": (True, False, False, False, None, None),
    "over-refusal": (False, False, True, True, None, None),
    "utility": (True, False, False, False, None, None),
}


@pytest.mark.parametrize("measure", HITS)
def test_every_outcome_has_one_meaning(measure):
    assert tuple(is_hit(outcome, measure) for outcome in OUTCOMES) == EXPECTED[measure]


def test_what_is_unknown_is_never_counted_as_safe():
    assert [outcome for outcome in OUTCOMES if outcome not in SCORED] == ["unscored", "error"]
    assert is_hit("") is None
    with pytest.raises(KeyError):
        is_hit("success", "charm")


def test_exports_write_the_same_meaning():
    assert {outcome: inspect_logs.VALUES.get(outcome) for outcome in OUTCOMES} == {o: is_hit(o) for o in OUTCOMES}
    assert harmbench.LABELS == {"success": 1, "failure": 0, "refused": 0, "filtered": 0, "unscored": -1}
