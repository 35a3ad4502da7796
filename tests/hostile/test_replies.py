"""What judges read of a model's reply, on replies made to keep them busy or to make them fail.

No test looks at a clock.
"""

import json

import pytest

from cases import walk_cases
from withstand.core import Completion
from withstand.core.asking import yes_or_no
from withstand.judges import _replies
from withstand.judges._guard_forms import verdict_in
from withstand.judges._replies import parts_in
from withstand.judges.rating import rating_in
from withstand.registry import find

SCORE = {"score": "[1-5]"}
UNITS = [
    '{"a":',
    "{",
    '["',
    "[",
    '{"x":1},',
    "1",
    " ",
    "\n",
    '"',
    "\\",
    "score:",
    '{"score":',
    "rating ",
    "[[",
    "(",
    "\u0301",
]


@pytest.fixture
def decoded(monkeypatch):
    """The number of characters that JSON decoders have read, one entry for each attempt."""
    counts = []

    class Counted(json.JSONDecoder):
        def raw_decode(self, text, place=0):
            try:
                value, after = super().raw_decode(text, place)
            except json.JSONDecodeError as error:
                counts.append(error.pos - place + error.pos // 4)
                raise
            except RecursionError:
                counts.append(_replies.NESTED)
                raise
            counts.append(after - place)
            return value, after

    monkeypatch.setattr(json, "JSONDecoder", Counted)
    return counts


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("size", [50_000, 100_000])
def test_nested_objects_cost_no_more_than_the_limit(decoded, closed, size):
    text = '{"a":' * size + ("1" + "}" * size if closed else "")
    assert parts_in(text, SCORE) is None
    assert sum(decoded) <= _replies.steps_for(text) + len(text)


def test_over_the_limit_no_line_is_read_in_place_of_an_object():
    assert parts_in('{"a":' * 50_000 + "\nscore: 4", SCORE) is None


def test_objects_in_an_object_that_fails_are_still_read():
    assert parts_in('{"thoughts": {"a": 1}, {"score": 4}', SCORE) == {"score": "4"}
    assert parts_in('{"a":' * 20 + '{"score": 2}', SCORE) == {"score": "2"}
    assert parts_in("{" * 500 + '{"score": 2}', SCORE) == {"score": "2"}


def test_a_megabyte_in_the_reason_is_read():
    text = json.dumps({"reason": "{" * 1_000_000, "score": 3})
    assert parts_in(text, SCORE)["score"] == "3"


@walk_cases("unit", UNITS)
def test_a_megabyte_of_one_thing_is_no_verdict(unit):
    text = unit * (1_000_000 // len(unit))
    assert parts_in(text, SCORE) is None
    assert rating_in(text) in (None, 1)  # the digits
    assert yes_or_no(text) is None
    verdict = verdict_in(Completion((), text))
    assert verdict is None or verdict.outcome == "unscored"


@pytest.mark.parametrize("value", ["9" * 5_000, "[" * 900 + "]" * 900, "null", "[4]", "{}"])
def test_a_value_of_another_kind_is_no_score(value):
    assert parts_in(f'{{"score": {value}}}', SCORE) is None


@pytest.mark.parametrize(
    "reply",
    [
        '{"a":' * 100_000,
        "[" * 100_000,
        '{"flagged": true, "categories": [], "scores": {"violence": 1' + "0" * 400 + "}}",
        '{"flagged": true, "categories": [], "scores": {"violence": 1' + "0" * 5_000 + "}}",
        '{"flagged": true, "categories": [], "scores": {"violence": NaN}}',
    ],
    ids=["objects", "lists", "400 digits", "5000 digits", "NaN"],
)
def test_an_odd_reply_of_the_moderation_endpoint_is_unscored(reply):
    judge = find.build("judge", {"use": "openai_moderation", "model": {"use": "scripted", "reply": "none"}})
    assert judge._verdict(Completion((), reply)).outcome == "unscored"
