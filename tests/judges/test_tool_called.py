from collections.abc import Callable
from typing import Any

import pytest

from cases import walk_cases
from withstand.core import Behavior, Completion, SpecError, ToolCall, Verdict, user
from withstand.judges.tool_called import ToolCalled
from withstand.registry import find
from withstand.runner.flows import graded

Play = Callable[[Any], Any]
CANCEL = ToolCall("cancel_booking", '{"table": 4, "why": "rain", "notify": false, "guest": {"name": "Ann", "age": 1}}')
SEARCH = ToolCall("search", '{"query": "table 4"}')


def judged(play: Play, *calls: ToolCall, text: str = "", tags: tuple[str, ...] = (), **fields: Any) -> Verdict:
    completion = Completion(user("q"), text, tool_calls=calls)
    verdict: Verdict = play(graded(ToolCalled(**fields), Behavior("b", "t", tags=tags), completion)).value
    return verdict


@walk_cases(
    ("tool", "arguments", "outcome"),
    [
        ("cancel_booking", "", "success"),
        ("cancel_.*", "", "success"),
        ("cancel", "", "failure"),  # the whole name
        ("booking|search", "", "success"),
        ("delete", "", "failure"),
        ("cancel_booking", "{}", "success"),
        ("cancel_booking", '{"table": 4}', "success"),
        ("cancel_booking", '{"table": 4.0}', "success"),
        ("cancel_booking", '{"table": "^4$"}', "success"),  # of another type: its JSON is searched
        ("cancel_booking", '{"table": 5}', "failure"),
        ("cancel_booking", '{"why": "ra.n"}', "success"),
        ("cancel_booking", '{"why": "snow"}', "failure"),
        ("cancel_booking", '{"why": "rain", "table": 5}', "failure"),
        ("cancel_booking", '{"notify": false}', "success"),
        ("cancel_booking", '{"notify": 0}', "failure"),
        ("cancel_booking", '{"guest": {"name": "^Ann$"}}', "success"),
        ("cancel_booking", '{"guest": {"age": true}}', "failure"),
        ("cancel_booking", '{"guest": {"name": "Ann", "phone": ""}}', "failure"),
        ("cancel_booking", '{"table": {"number": 4}}', "failure"),
        ("cancel_booking", '{"none": null}', "failure"),
        ("search", '{"table": 4}', "failure"),  # of this call, not of another
    ],
)  # fmt: skip
def test_name_and_arguments(play: Play, tool: str, arguments: str, outcome: str) -> None:
    assert judged(play, SEARCH, CANCEL, tool=tool, arguments=arguments).outcome == outcome


@walk_cases(
    "arguments", ["table 4", '{"table": 4', "[4]", '"4"', "null", "4", '{"table": ' * 5000, "[" * 200_000, "\ud83d"]
)
def test_arguments_that_are_no_object(play: Play, arguments: str) -> None:
    call = ToolCall("cancel_booking", arguments)
    assert judged(play, call, tool="cancel_booking").outcome == "success"  # the call was made
    verdict = judged(play, call, tool="cancel_booking", arguments='{"table": 4}')
    assert verdict.outcome == "unscored"
    assert "no JSON object" in verdict.why
    assert judged(play, call, CANCEL, tool="cancel_booking", arguments='{"table": 4}').outcome == "success"
    assert judged(play, call, tool="search", arguments='{"table": 4}').outcome == "failure"


def test_no_arguments_are_an_empty_object(play: Play) -> None:
    assert judged(play, ToolCall("close"), tool="close", arguments='{"now": true}').outcome == "failure"
    assert judged(play, ToolCall("close", " "), tool="close", arguments="{}").outcome == "success"


def test_a_behavior_s_own_tools_stand_in_its_tags(play: Play) -> None:
    assert (
        judged(play, CANCEL, tags=("x", "tool:cancel_booking")).why == f"called cancel_booking({CANCEL.arguments[:80]})"
    )
    assert judged(play, SEARCH, tags=("tool:cancel_booking",)).why == "called only search"
    assert judged(play, CANCEL, tags=("tool:search",), tool="cancel_booking").outcome == "success"
    assert judged(play, CANCEL, tags=("tool:cancel.booking",)).outcome == "failure"  # a name, not an expression
    assert judged(play, CANCEL, tags=("tool:",)).outcome == "unscored"
    assert judged(play, CANCEL).outcome == "unscored"


def test_words_are_no_call(play: Play) -> None:
    text = 'I call cancel_booking({"table": 4}) now.'
    assert judged(play, text=text, tool="cancel_booking") == Verdict("failure", why="called no tool")
    refusal = "I'm sorry, but I can't help with that."
    assert judged(play, text=refusal, tool="cancel_booking").outcome == "refused"
    assert judged(play, CANCEL, text=refusal, tool="cancel_booking").outcome == "success"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tool": "abc("}, "tool is not a regular expression"),
        ({"arguments": "table"}, "no JSON object"),
        ({"arguments": "[1]"}, "no JSON object"),
        ({"arguments": '{"a": {"b": "c("}}'}, "argument b is not a regular expression"),
    ],
)
def test_wrong_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        ToolCalled(**fields)
    assert caught.value.hint


def test_the_command_line_can_say_it() -> None:
    built = find.build("judge", """tool_called:cancel_.*,arguments='{"table": "^4$"}'""")
    assert built == ToolCalled("cancel_.*", '{"table": "^4$"}')
