"""Requests to OpenAI-compatible servers with their answers, as people log them.

Read are chat completions, completions and responses: as {"request": ..., "response": ...} with any fields beside them,
as lines of a batch's output file (which hold no request: the prompts are in the input file), as stored completions and
responses, as chunks of a stream, and as one object that holds both sides. The forms:
https://platform.openai.com/docs/api-reference/chat/object, .../responses/object, .../batch/request-output.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from withstand.core import Json
from withstand.formats.traffic.decode import UnreadableError
from withstand.formats.traffic.exchange import BadLine, Exchange
from withstand.formats.traffic.fields import exchange
from withstand.formats.traffic.messages import call_text, objects, request_of, text_of, turns_of
from withstand.formats.traffic.plain import COLUMNS, SHAPES, conversation, value_at

REQUEST = ("request", "req", "request_body", "kwargs")
RESPONSE = ("response", "res", "resp", "response_body")
OBJECTS = ("chat.completion", "text_completion", "response", "chat.completion.chunk")
BLOCKED = ("content_filter", "content_policy_violation", "content_policy", "moderation_blocked")
BESIDE = tuple(name for name in COLUMNS if name not in ("prompt", "completion", "messages", "system"))
"""Fields that may stand beside the two sides, in `metadata`, or in the record itself."""


def looks(record: Json) -> bool:
    """Whether an object is of this form."""
    if not isinstance(record, dict):
        return False
    response = _parsed(_side(record, RESPONSE))
    if isinstance(response, dict | list) and (_is_answer(response) or "custom_id" in record):
        return True
    request = _body(_parsed(_side(record, REQUEST)))
    if isinstance(request, dict) and (
        "messages" in request or ("model" in request and {"input", "prompt"} & set(request))
    ):
        return True
    return _is_answer(record) or ("custom_id" in record and "body" in record)


def _is_answer(value: Json) -> bool:
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], dict) and _is_answer(value[0])
    if not isinstance(value, dict):
        return False
    listed = isinstance(value.get("choices"), list)
    return (
        listed or value.get("object") in OBJECTS or (isinstance(value.get("body"), dict) and _is_answer(value["body"]))
    )


def _side(record: Mapping[str, Json], names: Sequence[str]) -> Json:
    return next((record[name] for name in names if name in record), None)


class OpenAI:
    """Reads records of this form. columns: field of an exchange -> name in the record, or a dotted path into it."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self.columns = columns

    def __call__(self, line: int, record: Json, odd: list[str]) -> Sequence[Exchange | BadLine]:
        if not isinstance(record, dict):
            raise UnreadableError("no object", f"it is a {type(record).__name__}, not an object")
        request, response = _body(_parsed(_side(record, REQUEST))), _side(record, RESPONSE)
        if request is None and response is None:  # one object holds both, or an answer alone
            request = response = record.get("body") if "custom_id" in record else record
        request = request if isinstance(request, dict) else {"input": request} if request else {}
        answer = _answer(_body(_parsed(response)), odd)
        if answer.get("object") == "list" and "choices" not in answer:
            raise UnreadableError("an embedding", "it asks for embeddings, which have no answer", harmless=True)
        fields = {"completion": _completion(answer, odd), **_facts(answer), **_beside(record, request, answer)}
        fields |= _error(record, response, answer)
        fields |= {name: value_at(record, path) for name, path in self.columns.items()}
        messages = request.get("messages", request.get("input", request.get("prompt")))
        system = [text_of(side.get("instructions"), odd) for side in (request, answer) if side.get("instructions")]
        if system:
            fields["system"] = system[0]
        if messages is None:
            return (exchange(line, fields, odd),)
        if fields["completion"] is None and response is request and "messages" in request:
            return conversation(line, fields, messages, odd)
        asked = request_of(turns_of(messages if not _texts(messages) else "\n".join(messages), odd), odd)
        fields |= {"prompt": asked.prompt, "turns": asked.turns}
        fields["system"] = "\n".join(filter(None, [fields.get("system", ""), asked.system]))
        return (exchange(line, fields, odd),)


def _texts(value: Json) -> bool:
    """Whether it is a list of texts: several prompts in a request for completions."""
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


# --- the two sides -----------------------------------------------------------------------------------------------


def _parsed(side: Json) -> Json:
    """A side that was logged as a text: JSON, or the events of a stream."""
    if not isinstance(side, str):
        return side
    text = side.strip()
    if text.startswith(("data:", "event:")):
        lines = [line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:")]
        events = [_json(line) for line in lines if line != "[DONE]"]
        return [event for event in events if isinstance(event, dict)]
    return _json(text) if text.startswith(("{", "[")) else side


def _json(text: str) -> Json:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _body(side: Json) -> Json:
    """A request or an answer without what HTTP puts around it."""
    body = _parsed(side.get("body")) if isinstance(side, dict) and "body" in side else None
    return side if body is None else body


def _answer(side: Json, odd: list[str]) -> dict[str, Any]:
    """An answer as one object: the chunks of a stream are joined; a text is a completion."""
    if isinstance(side, str):
        return {"choices": [{"text": side}]}
    if isinstance(side, list):
        return _joined([event for event in side if isinstance(event, dict)], odd)
    return side if isinstance(side, dict) else {}


def _joined(events: Sequence[dict[str, Any]], odd: list[str]) -> dict[str, Any]:
    """A stream's events as one answer: of chat completions, completions and responses."""
    whole: dict[str, Any] = {}
    texts: dict[int, list[str]] = {}
    calls: dict[tuple[int, int], list[str]] = {}
    finish = None
    for event in events:
        if isinstance(event.get("response"), dict):  # response.created, response.completed
            whole |= event["response"]
            continue
        if event.get("type") == "response.output_text.delta":
            texts.setdefault(0, []).append(text_of(event.get("delta"), odd))
        whole |= {name: event[name] for name in ("id", "model", "created", "usage") if event.get(name)}
        for choice in objects(event.get("choices")):
            at, part = _index(choice), choice.get("delta")
            delta = part if isinstance(part, dict) else {"content": choice.get("text")}
            texts.setdefault(at, []).extend(text_of(delta.get(name), odd) for name in ("content", "refusal"))
            finish = choice.get("finish_reason") or finish
            for call in objects(delta.get("tool_calls")):
                parts = calls.setdefault((at, _index(call)), [])
                function = call.get("function")
                more = function.get("arguments") if isinstance(function, dict) else None
                parts.append(text_of(more, odd) if parts else call_text(call).removesuffix(")"))
    for (at, _), parts in sorted(calls.items()):
        texts.setdefault(at, []).append("\n" + "".join(parts) + ")")
    if texts and not whole.get("output"):
        whole["choices"] = [{"text": "".join(texts[at]).strip("\n"), "finish_reason": finish} for at in sorted(texts)]
    return whole


def _index(item: dict[str, Any]) -> int:
    index = item.get("index")
    return index if isinstance(index, int) else 0


def _completion(answer: Mapping[str, Json], odd: list[str]) -> str | None:
    """The text of an answer with all its choices; None where the object is no answer."""
    choices, output = answer.get("choices"), answer.get("output")
    if isinstance(choices, list):
        if len(choices) > 1:
            odd.append("several choices")
        messages = [choice.get("message", choice) for choice in choices if isinstance(choice, dict)]
        return "\n\n".join(filter(None, [turn.text for turn in turns_of(messages, odd)]))
    if isinstance(output, list):
        return "\n".join(filter(None, [turn.text for turn in turns_of(output, odd)]))
    for name in ("output_text", "completion", "content", "output", "text"):
        if isinstance(answer.get(name), str):
            return str(answer[name])
    return None


# --- what stands beside them -------------------------------------------------------------------------------------


def _facts(answer: Mapping[str, Json]) -> dict[str, Json]:
    """What an answer says of itself."""
    choices, usage = answer.get("choices"), answer.get("usage")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    details = answer.get("incomplete_details")
    counts = usage if isinstance(usage, dict) else {}
    finish = first.get("finish_reason") or (details.get("reason") if isinstance(details, dict) else None)
    session = answer.get("conversation")
    return {
        "ts": answer.get("created", answer.get("created_at")),
        "id": answer.get("id"),
        "model": answer.get("model"),
        "prompt_tokens": counts.get("prompt_tokens", counts.get("input_tokens")),
        "completion_tokens": counts.get("completion_tokens", counts.get("output_tokens")),
        "finish_reason": finish or (answer.get("status") if answer.get("object") == "response" else None),
        "conversation": session.get("id") if isinstance(session, dict) else session,
    }


def _beside(record: Mapping[str, Json], request: Mapping[str, Json], answer: Mapping[str, Json]) -> dict[str, Json]:
    """What the log says of the exchange: beside its sides, in their metadata, and of the user in the request."""
    fields: dict[str, Json] = {}
    if isinstance(request.get("model"), str) and not answer.get("model"):
        fields["model"] = request["model"]
    metadata = [side.get("metadata") for side in (record, request, answer)]
    for side in (record, *(holder for holder in metadata if isinstance(holder, dict))):
        for field, name in _beside_names(tuple(side)):
            value = side[name]
            if value is not None and not (field == "conversation" and isinstance(value, dict)):
                fields.setdefault(field, value)
    for side in (request, answer):
        for name in ("user", "safety_identifier"):
            if isinstance(side.get(name), str) and side[name]:
                field = "account" if fields.get("account") in (None, side[name]) else "end_user"
                fields.setdefault(field, side[name])
    verdict = record.get("moderation")
    moderation = verdict if isinstance(verdict, dict) else {}
    results = moderation.get("results")
    if isinstance(results, list) and results and isinstance(results[0], dict) and "labels" not in fields:
        fields |= {"labels": results[0].get("category_scores"), "labeler": moderation.get("model") or "moderation"}
    return fields


@lru_cache(maxsize=SHAPES)
def _beside_names(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The fields among the names of an object, each with its names, the likeliest first."""
    return tuple((field, name) for field in BESIDE for name in (field, *COLUMNS[field]) if name in names)


def _error(record: Mapping[str, Json], response: Json, answer: Mapping[str, Json]) -> dict[str, Json]:
    """What a request says that failed: why, and whether it was stopped for what is in it."""
    error = record.get("error") or answer.get("error")
    status = response.get("status_code") if isinstance(response, dict) else None
    failed = isinstance(status, int) and status >= 400
    if not error and not failed:
        return {}
    codes = [error[name] for name in ("code", "type") if error.get(name)] if isinstance(error, dict) else []
    code = str(codes[0]) if codes else "error"
    fields: dict[str, Json] = {"finish_reason": code}
    if code in BLOCKED:
        fields["blocked"] = True
    return fields
