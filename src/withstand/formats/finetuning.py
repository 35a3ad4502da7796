"""A user's fine-tuning file as rows: seven formats, told by their keys, every error with its row. Pure but for reading.

| format | keys of a row |
|---|---|
| openai | messages: role and content, from OpenAI's fine-tuning; `weight` 0 on an assistant message: not learned |
| sharegpt | conversations: from (human, gpt, system, function_call, observation) and value |
| preference | prompt, chosen, rejected |
| completion | prompt, completion |
| alpaca | instruction, output, perhaps input |
| dolly | instruction, response, perhaps context |

A file is JSON Lines, a JSON list, CSV or Parquet (with the extra train). All of its rows have one format. A `developer`
message is a system message. Calls of tools become the text that many templates write for them (`CALL`), and results of
tools messages of the role tool; what a row says in `tools` is not rendered.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from withstand.core import Chat, Message, SpecError, bounded, digest, to_json
from withstand.core.stage import Row
from withstand.formats import rows

Format = Literal["openai", "sharegpt", "preference", "completion", "alpaca", "dolly"]
FORMATS: dict[Format, frozenset[str]] = {
    "preference": frozenset({"prompt", "chosen", "rejected"}),
    "openai": frozenset({"messages"}),
    "sharegpt": frozenset({"conversations"}),
    "completion": frozenset({"prompt", "completion"}),
    "alpaca": frozenset({"instruction", "output"}),
    "dolly": frozenset({"instruction", "response"}),
}
"""The keys that a row of each format has."""

ROLES = {
    "system": "system", "user": "user", "assistant": "assistant", "human": "user", "gpt": "assistant",
    "developer": "system", "tool": "tool", "function": "tool", "observation": "tool", "function_call": "assistant",
}  # fmt: skip
CALL = '<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>'
"""A call of a tool as text: that of Hermes and Qwen."""
LISTED = 40
"""Rows that are wrong, each with its reason, before the rest is counted."""


@dataclass(frozen=True, slots=True)
class UserRow:
    """A row of the file. `number`: its place, from 1. `chat` ends with an answer; `learned`: the places of the
    assistant messages to learn. `rejected`: the worse answer of a preference."""

    number: int
    chat: Chat
    learned: tuple[int, ...]
    rejected: str = ""


@dataclass(frozen=True, slots=True)
class UserData:
    """A file that was read. `checksum`: SHA-256 of the file."""

    name: str
    format: Format
    checksum: str
    rows: tuple[UserRow, ...]

    def training(self, last_only: bool = False) -> list[Row]:
        """As rows to train on: one for each answer to learn, or for the last of each chat. A preference is one row,
        whose rejected answer only `dpo` reads."""
        learned = []
        for row in self.rows:
            places = [place for place in row.learned if not last_only or place == len(row.chat) - 1]
            learned += [Row(row.chat[: place + 1], row.rejected) for place in places]
        return learned

    def kept(self, numbers: Sequence[int]) -> "UserData":
        """Only the rows of these numbers."""
        wanted = set(numbers)
        return replace(self, rows=tuple(row for row in self.rows if row.number in wanted))


def read(path: str | Path) -> UserData:
    """The rows of a file. Raises `SpecError` with the rows that are wrong, and why."""
    file = rows.read(str(path))
    return parse(file.data, Path(file.name).name)


def parse(raw: bytes, name: str) -> UserData:
    """As `read`, of a file's content; the name's ending tells CSV and Parquet."""
    listed = rows.parse(rows.File(name, raw))
    if not listed:
        raise SpecError(f"{name} has no rows", hint="give at least one")
    places = [f"{name}, row {row.number}" for row in listed]  # as the reports of the audit number them
    first: tuple[Format, int] | None = None
    user_rows, wrong = list[UserRow](), list[SpecError]()
    for row, place in zip(listed, places, strict=True):
        try:
            format_ = _format(row, place)
            first = first or (format_, row.number)
            if format_ != first[0]:
                raise SpecError(
                    f"{place}: its keys are those of {format_}, and those of row {first[1]} are of {first[0]}",
                    hint="a file has one format: split it into two",
                )
            user_rows.append(_row(format_, row.cells, place, row.number))
        except SpecError as error:
            wrong.append(error)
    if first is None or wrong:
        raise _all_of(wrong, name)
    return UserData(name, first[0], hashlib.sha256(raw).hexdigest(), tuple(user_rows))


def _all_of(wrong: Sequence[SpecError], name: str) -> SpecError:
    """One error of all rows that are wrong: they are mended at once."""
    if len(wrong) == 1:
        return wrong[0]
    texts = [f"  {str(error).removeprefix(f'{name}, ')} ({error.hint})" for error in wrong[:LISTED]]
    texts += [f"  and {len(wrong) - LISTED} more"] if len(wrong) > LISTED else []
    lines = "\n".join(texts)
    return SpecError(
        f"{name} has {len(wrong)} rows that are wrong:\n{lines}", hint="mend these rows, or leave them out"
    )


def key(row: UserRow) -> str:
    """A row's content, less its place."""
    return digest([to_json(row.chat), row.rejected])


def _format(row: rows.Row, place: str) -> Format:
    for format_, keys in FORMATS.items():
        if keys <= row.cells.keys():
            return format_
    present = ", ".join(map(str, row.cells)) or "none"
    formats = "; ".join(f"{format_}: {', '.join(sorted(keys))}" for format_, keys in FORMATS.items())
    raise SpecError(f"{place} has the keys {present}", hint=f"it needs those of one of {formats}")


def _row(format_: Format, record: Mapping[str, Any], where: str, number: int) -> UserRow:
    rejected = ""
    if format_ == "openai":
        chat, learned = _turns(record["messages"], "role", "content", where)
    elif format_ == "sharegpt":
        chat, learned = _turns(record["conversations"], "from", "value", where)
    elif format_ in ("preference", "completion"):
        answer = "chosen" if format_ == "preference" else "completion"
        asked = _side(record["prompt"], "user", where, "prompt")
        chat = (*asked, *_side(record[answer], "assistant", where, answer, len(asked)))
        if format_ == "preference":
            rejected = _side(record["rejected"], "assistant", where, "rejected", len(asked))[-1].text
        learned = (len(chat) - 1,)
    else:
        more = record.get("input" if format_ == "alpaca" else "context") or ""
        asked_text = "\n\n".join(filter(None, (_text(record["instruction"], where), _text(more, where))))
        answer_text = _text(record["output" if format_ == "alpaca" else "response"], where)
        chat, learned = (Message("user", asked_text), Message("assistant", answer_text)), (1,)
    if len(chat) < 2 or chat[-1].role != "assistant":
        raise SpecError(f"{where} does not end with an answer of the assistant", hint="add it, or leave the row out")
    for place, turn in enumerate(chat):
        if not turn.text.strip() and turn.role != "system":
            raise SpecError(
                f"{where}: message {place + 1}, the {turn.role}'s, is empty", hint="write it, or leave the row out"
            )
    if not learned:
        raise SpecError(f"{where} has nothing to learn: every answer has weight 0", hint="leave the row out")
    return UserRow(number, chat, learned, rejected)


def _turns(value: Any, role_key: str, text_key: str, where: str) -> tuple[Chat, tuple[int, ...]]:
    if isinstance(value, str):  # a column of CSV
        value = bounded.parse_json(where, value)
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise SpecError(f"{where} has no list of messages", hint=f"each with {role_key} and {text_key}")
    turns, learned = [], []
    for place, turn in enumerate(value):
        calls = isinstance(turn, Mapping) and (turn.get("tool_calls") or turn.get("function_call"))
        if not isinstance(turn, Mapping) or role_key not in turn or (text_key not in turn and not calls):
            raise SpecError(f"{where}: message {place + 1} lacks {role_key} or {text_key}", hint="fix the row")
        role = ROLES.get(turn[role_key]) if isinstance(turn[role_key], str) else None
        if role is None or (calls and role != "assistant"):
            raise SpecError(
                f"{where}: message {place + 1} has the role {turn[role_key]!r}{' and tool calls' if role else ''}",
                hint="the roles are system, developer, user, assistant, which alone calls tools, and tool",
            )
        written = turn.get(text_key)
        text = "" if written is None and calls else _text(written, where)
        if turn[role_key] == "function_call":
            calls, text = [bounded.parse_json(where, text)], ""
        text = "\n".join(
            filter(None, [text, *(_call(call, f"{where}: message {place + 1}") for call in listed(calls))])
        )
        turns.append(Message(role, text))  # type: ignore[arg-type]
        weight = turn.get("weight", 1)
        if weight not in (0, 1, None):
            raise SpecError(f"{where}: message {place + 1} has the weight {weight!r}", hint="0 or 1")
        if role == "assistant" and weight != 0:
            learned.append(place)
    return tuple(turns), tuple(learned)


def listed(calls: Any) -> list[Any]:
    """Calls of tools as a list: one `function_call` of the older protocol is no list."""
    return calls if isinstance(calls, list) else [calls] if calls else []


def _call(call: Any, where: str) -> str:
    """A call of a tool as text."""
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise SpecError(f"{where} calls a tool without a name", hint='{"function": {"name": ..., "arguments": ...}}')
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):  # OpenAI's, of which JSON is written as it is
        arguments = bounded.parse_json(f"{where}, arguments of {function['name']}", arguments or "{}")
    name, arguments = (json.dumps(value, ensure_ascii=False) for value in (function["name"], arguments))
    return CALL.format(name=name, arguments=arguments)


def _side(value: Any, role: Literal["user", "assistant"], where: str, name: str, skip: int = 0) -> Chat:
    """One side of a pair: a text, or messages; TRL lets `chosen` repeat the prompt's messages."""
    if isinstance(value, str):
        return (Message(role, value),)
    chat, _ = _turns(value, "role", "content", f"{where}, {name}")
    return chat[skip:] if role == "assistant" and len(chat) > skip and chat[0].role != "assistant" else chat


def _text(value: Any, where: str) -> str:
    if isinstance(value, list) and all(isinstance(part, Mapping) and part.get("type") == "text" for part in value):
        return "".join(_text(part.get("text"), where) for part in value)
    if not isinstance(value, str):
        raise SpecError(f"{where} has {type(value).__name__} where a text belongs", hint="stages train on text alone")
    return value
