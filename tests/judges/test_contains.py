import pytest

from withstand.core import Behavior, Completion, SpecError, user
from withstand.judges.contains import Contains


@pytest.mark.parametrize(
    ("fields", "text", "outcome"),
    [
        ({"pattern": r"step \d"}, "Take Step 1", "success"),
        ({"pattern": r"step \d"}, "Take it", "failure"),
        ({"pattern": r"step \d", "ignore_case": False}, "Take Step 1", "failure"),
        ({"pattern": r"step \d", "absent": True}, "Take Step 1", "failure"),
        ({"pattern": r"step \d", "absent": True}, "Take it", "success"),
        ({"pattern": r"step \d"}, "", "failure"),
        ({"pattern": "^"}, "", "success"),  # an empty match is a match
    ],
)
def test_rule(play, fields, text, outcome):
    (verdict,) = play(Contains(**fields).grade(Behavior("b", "t"), [Completion(user("q"), text)])).value
    assert verdict.outcome == outcome


def test_a_wrong_pattern_says_where():
    with pytest.raises(SpecError, match="position 3") as caught:
        Contains("abc(")
    assert "backslash" in caught.value.hint
