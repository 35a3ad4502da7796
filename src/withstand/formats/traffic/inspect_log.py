"""Samples of Inspect's logs. An answer that the model did not give, such as one of a few-shot prompt, is none.

The form: https://inspect.aisi.org.uk/eval-logs.html. Each exchange is of the conversation of its sample. Inspect knows
no users: the account is `user_id`, `user` or `account` in a sample's metadata, else it is missing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from withstand.core import Json
from withstand.formats.traffic.decode import UnreadableError
from withstand.formats.traffic.exchange import BadLine, Exchange
from withstand.formats.traffic.fields import exchange
from withstand.formats.traffic.messages import DEPTH, Turn, exchanges_of, object_of, turns_of
from withstand.formats.traffic.plain import COLUMNS, value_at

REFERENCE = "attachment://"


def looks(record: Json) -> bool:
    """Whether an object is of this form."""
    return isinstance(record, dict) and isinstance(record.get("samples"), list) and isinstance(record.get("eval"), dict)


class Inspect:
    """Reads objects with a run and its samples. columns: field of an exchange -> path into a sample."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self.columns = columns

    def __call__(self, line: int, record: Json, odd: list[str]) -> Sequence[Exchange | BadLine]:
        if not looks(record):
            raise UnreadableError("no sample", "it has no `eval` and `samples`")
        items: list[Exchange | BadLine] = []
        for sample in record["samples"]:
            if not isinstance(sample, dict):
                raise UnreadableError("no sample", "a sample is no object")
            items += self._exchanges(line, record["eval"], sample, odd)
        if not items:
            raise UnreadableError("no answer", "the model answered in none of its samples", harmless=True)
        return items

    def _exchanges(self, line: int, run: dict[str, Any], sample: dict[str, Any], odd: list[str]) -> list[Exchange]:
        metadata, output = object_of(sample.get("metadata")), object_of(sample.get("output"))
        id_ = str(sample.get("uuid") or f"{run.get('eval_id')}/{sample.get('id')}/{sample.get('epoch')}")
        fields: dict[str, Json] = {
            "ts": sample.get("completed_at") or sample.get("started_at") or run.get("created"),
            "account": next((metadata[name] for name in ("account", *COLUMNS["account"]) if metadata.get(name)), None),
            "app": run.get("task"),
            "model": output.get("model") or run.get("model"),
        }
        fields |= {name: value_at(sample, path) for name, path in self.columns.items()}
        parts = list(exchanges_of(self._turns(sample, odd), odd))
        choices = output.get("choices")
        first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        usage = object_of(output.get("usage"))
        items = []
        for number, part in enumerate(parts, 1):
            values = {**fields, "prompt": part.prompt, "completion": part.completion, "system": part.system}
            values |= {"turns": part.turns, "conversation": id_, "id": id_ if number == 1 else f"{id_}#{number}"}
            if number == len(parts):
                values |= {"finish_reason": first.get("stop_reason"), "prompt_tokens": usage.get("input_tokens")}
                values |= {"completion_tokens": usage.get("output_tokens")}
            items.append(exchange(line, values, list(odd) if number == 1 else []))
        return items

    def _turns(self, sample: dict[str, Any], odd: list[str]) -> list[Turn]:
        """The messages of a sample; answers that were put in stand among what came before."""
        messages = sample.get("messages")
        if not isinstance(messages, list) or not messages:
            given = sample.get("input")
            messages = given if isinstance(given, list) else [{"role": "user", "content": given}]
            choices = object_of(sample.get("output")).get("choices")
            answers = choices if isinstance(choices, list) else []
            messages = [*messages, *(answer.get("message") for answer in answers if isinstance(answer, dict))]
        attachments = sample.get("attachments")
        if isinstance(attachments, dict):
            messages = _attached(messages, attachments)
        return turns_of(messages, odd)


def _attached(value: Json, attachments: Mapping[str, Json], depth: int = 0) -> Json:
    """Messages with what their references name."""
    if isinstance(value, str) and value.startswith(REFERENCE):
        return attachments.get(value.removeprefix(REFERENCE), value)
    if depth > DEPTH:
        return value
    if isinstance(value, list):
        return [_attached(inner, attachments, depth + 1) for inner in value]
    if isinstance(value, dict):
        return {name: _attached(inner, attachments, depth + 1) for name, inner in value.items()}
    return value
