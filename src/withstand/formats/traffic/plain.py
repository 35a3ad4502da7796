"""Plain logs: an object for each exchange, under the names of the fields or common names of them, or a column map."""

from collections.abc import Mapping, Sequence
from typing import Any

from withstand.core import Json, digest
from withstand.formats.traffic.decode import UnreadableError, read_text
from withstand.formats.traffic.exchange import BadLine, Exchange
from withstand.formats.traffic.fields import exchange
from withstand.formats.traffic.messages import exchanges_of, request_of, turns_of

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "ts": ("timestamp", "time", "@timestamp", "created_at", "created", "datetime"),
    "account": ("account_id", "user_id", "user", "customer_id"),
    "prompt": ("input", "question", "query", "user_message"),
    "completion": ("output", "response", "answer", "assistant_message", "reply"),
    "id": ("request_id", "exchange_id", "log_id", "uuid"),
    "conversation": ("conversation_id", "session_id", "session", "thread_id", "chat_id"),
    "messages": ("conversations", "turns", "dialogue"),
    "system": ("system_prompt", "instructions"),
    "key": ("api_key_id", "key_id", "api_key"),
    "app": ("app_id", "application", "app_name"),
    "end_user": ("end_user_id", "safety_identifier"),
    "use_case": (),
    "model": ("model_name", "model_id"),
    "locale": ("language", "lang"),
    "prompt_tokens": ("n_prompt_tokens", "input_tokens", "tokens_in"),
    "completion_tokens": ("n_completion_tokens", "output_tokens", "tokens_out"),
    "finish_reason": ("stop_reason",),
    "latency_ms": ("duration_ms", "response_ms", "elapsed_ms"),
    "blocked": (),
    "labels": (),
    "labeler": (),
    "labeler_version": (),
    "policy_version": (),
}
"""Field -> other names of it, the likeliest first. The field's own name goes before them."""

FIELDS = tuple(COLUMNS)
"""What a column map may name."""
SHAPES = 256
"""Sets of names whose reading is remembered."""


class Plain:
    """Reads objects. columns: field of an exchange -> name in the log, or a dotted path into it."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self.columns = columns
        self.shapes: dict[tuple[str, ...], tuple[tuple[tuple[str, str], ...], tuple[str, ...]]] = {}

    def __call__(self, line: int, record: Json, odd: list[str]) -> Sequence[Exchange | BadLine]:
        if not isinstance(record, dict):
            raise UnreadableError("no object", f"it is a {type(record).__name__}, not an object")
        shape = tuple(record)
        pairs, unclear = self.shapes.get(shape) or self._shape(shape)
        odd += unclear
        fields = {field: record[name] for field, name in pairs}
        for field, path in self.columns.items():
            fields[field] = value_at(record, path)
        messages = fields.pop("messages", None)
        if messages is not None:
            return conversation(line, fields, messages, odd)
        prompt = fields.get("prompt")
        if type(prompt) is list and prompt and isinstance(prompt[0], dict) and "role" in prompt[0]:
            del fields["prompt"]
            return conversation(line, fields, prompt, odd)
        return (exchange(line, fields, odd),)

    def _shape(self, shape: tuple[str, ...]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
        """Which field is read from which name, and which fields have several names here."""
        pairs, unclear = [], []
        for field, others in COLUMNS.items():
            names = [name for name in (field, *others) if name in shape]
            if field in self.columns or not names:
                continue
            pairs.append((field, names[0]))
            if len(names) > 1 and names[0] != field:
                unclear.append(f"several names for {field}")
        result = tuple(pairs), tuple(unclear)
        if len(self.shapes) < SHAPES:
            self.shapes[shape] = result
        return result


def value_at(record: Mapping[str, Json], path: str) -> Json:
    """The value under a name, else at a dotted path: `request.body.user`, `choices.0.text`. None: there is none.

    JSON that was written as a text is looked into.
    """
    if path in record:
        return record[path]
    value: Any = record
    for part in path.split("."):
        value = read_text(value) if isinstance(value, str) else value
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def conversation(line: int, fields: dict[str, Json], messages: Json, odd: list[str]) -> list[Exchange]:
    """The exchanges of a record with messages: one before a given completion, else all that stand in them."""
    messages = read_text(messages) if isinstance(messages, str) else messages
    if not isinstance(messages, list):
        raise UnreadableError("wrong messages", "its messages are no list")
    turns = turns_of(messages, odd)
    if fields.get("completion") is not None:
        asked = request_of(turns, odd)
        context = {"system": fields.get("system") or asked.system, "turns": asked.turns}
        return [exchange(line, {**fields, "prompt": asked.prompt, **context}, odd)]
    exchanges = []
    for number, part in enumerate(exchanges_of(turns, odd), 1):
        values = {
            **fields,
            "ts": fields.get("ts") if part.ts is None else part.ts,
            "prompt": part.prompt,
            "completion": part.completion,
            "system": fields.get("system") or part.system,
            "turns": part.turns,
        }
        if number > 1 and fields.get("id") is not None:
            values["id"] = f"{fields['id']}#{number}"
        exchanges.append(exchange(line, values, list(odd)))
    if not exchanges:
        raise UnreadableError("no text", "there are no messages in it but system prompts")
    first = exchanges[0]
    conversation_id = first.conversation or first.id or digest([first.ts, first.account, first.prompt])[:16]
    for number, item in enumerate(exchanges):
        item.conversation = conversation_id
        if number:
            item.odd = tuple(kind for kind in item.odd if kind not in odd)
    return exchanges


def looks(record: Json) -> bool:
    """Whether an object is of this form: it has a time, and a text or messages, under names that we know."""
    if not isinstance(record, dict):
        return False
    names = {field: [name for name in (field, *COLUMNS[field]) if name in record] for field in COLUMNS}
    texts = [name for field in ("prompt", "completion", "messages") for name in names[field]]
    return bool(names["ts"]) and bool(texts)
