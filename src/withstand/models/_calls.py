"""Tool calls as applications write them: whole, or in the pieces of a stream."""

from collections.abc import Mapping, Sequence
from typing import Any

from withstand.core import Json, ToolCall
from withstand.models._paths import shown

ARGUMENTS = ("arguments", "args", "input", "parameters")


def call_of(value: Json) -> ToolCall:
    """A tool call from an object with name and arguments, OpenAI's with both inside `function`, or from a bare name."""
    if not isinstance(value, Mapping):
        return ToolCall(shown(value))
    call = _inner(value)
    return ToolCall(shown(call.get("name")), shown(next((call[name] for name in ARGUMENTS if name in call), "")))


def joined(pieces: Sequence[Json]) -> list[Json]:
    """The calls of a stream whose pieces carry an `index`, as OpenAI's do: the texts of one index belong together, and
    an `id` other than its last opens a new call. Values without an index are whole calls and stay what they are."""
    calls: list[Json] = []
    open_: dict[Any, dict[str, Any]] = {}
    for piece in pieces:
        if not isinstance(piece, Mapping) or not isinstance(piece.get("index"), int):
            calls.append(piece)
            continue
        call, part = open_.get(piece["index"]), _inner(piece)
        if call is None or (piece.get("id") and call["id"] and piece["id"] != call["id"]):
            call = open_[piece["index"]] = {"id": "", "name": "", "arguments": ""}
            calls.append(call)
        call["id"] = call["id"] or piece.get("id") or ""
        call["name"] += shown(part.get("name"))
        call["arguments"] += shown(part.get("arguments"))
    return calls


def _inner(value: Mapping[str, Json]) -> Mapping[str, Json]:
    inner = value.get("function")
    return inner if isinstance(inner, Mapping) else value
