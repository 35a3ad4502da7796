"""Tool calls, whole and in the pieces of a stream."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from withstand.core import ToolCall
from withstand.models._calls import call_of, joined


@pytest.mark.parametrize(
    ("value", "call"),
    [
        ({"name": "cook", "arguments": '{"n": 1}'}, ToolCall("cook", '{"n": 1}')),
        ({"name": "cook", "input": {"n": 1}}, ToolCall("cook", '{"n": 1}')),
        (
            {"id": "c1", "type": "function", "function": {"name": "cook", "arguments": "{}"}, "index": 0},
            ToolCall("cook", "{}"),
        ),
        ("cook", ToolCall("cook")),
        ({"function": "cook"}, ToolCall("")),
    ],
)
def test_a_call_as_applications_write_it(value: Any, call: ToolCall) -> None:
    assert call_of(value) == call


@given(
    st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=3), st.integers(1, 4), st.data()
)
def test_pieces_are_joined_however_they_are_cut_and_mixed(calls: Any, size: int, data: st.DataObject) -> None:
    """OpenAI's form: the first piece of a call has its id and name, later ones bring parts of the arguments."""
    streams = []
    for index, (name, arguments) in enumerate(calls):
        cuts = [arguments[at : at + size] for at in range(0, len(arguments), size)]
        head = {"index": index, "id": f"call_{index}", "function": {"name": name, "arguments": ""}}
        streams.append([head, *({"index": index, "function": {"arguments": cut}} for cut in cuts)])
    pieces = [stream.pop(0) for stream in streams]  # calls begin in order
    while left := [stream for stream in streams if stream]:
        pieces.append(data.draw(st.sampled_from(left)).pop(0))
    assert [call_of(call) for call in joined(pieces)] == [ToolCall(*call) for call in calls]


def test_whole_calls_stay_what_they_are() -> None:
    twice = {"name": "cook", "arguments": "{}"}
    assert joined([twice, "bake", twice]) == [twice, "bake", twice]
    of_two_choices = [{"index": 0, "id": "a", "function": {"name": "x"}}, {"index": 0, "id": "b", "name": "y"}]
    assert [call_of(call).name for call in joined(of_two_choices)] == ["x", "y"]
