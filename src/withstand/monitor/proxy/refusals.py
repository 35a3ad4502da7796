"""What a client gets in place of an answer: an error as OpenAI's API writes it, or a refusal in the answer's shape."""

import json

from withstand.core import Json
from withstand.monitor.proxy.route import Kind

SAYS = "I can't help with that."


def error(status: int, code: str, message: str) -> tuple[int, bytes]:
    """Status and body of an error. code: for programs, such as `content_policy`."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return status, json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


def refusal(kind: Kind, model: str) -> bytes | None:
    """A refusal as a whole answer; None for a kind that has none."""
    match kind:
        case "chat":
            message = {"role": "assistant", "content": SAYS, "refusal": None}
            value = _object(kind, model) | {"choices": [_choice({"message": message}, "content_filter")]}
        case "completions":
            value = _object(kind, model) | {"choices": [_choice({"text": SAYS}, "content_filter")]}
        case "responses":
            value = _response(model, "incomplete", [_message(SAYS)])
        case _:
            return None
    return json.dumps(value).encode()


def refusal_stream(kind: Kind, model: str) -> bytes | None:
    """A refusal as a stream; None for a kind that has none."""
    match kind:
        case "chat":
            message = {"role": "assistant", "content": SAYS}
            first = _object(kind, model, "chat.completion.chunk") | {"choices": [_choice({"delta": message}, None)]}
        case "completions":
            first = _object(kind, model) | {"choices": [_choice({"text": SAYS}, None)]}
        case "responses":
            created = {"type": "response.created", "response": _response(model, "in_progress", [])}
            delta: Json = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": SAYS}
            events = [created, delta | {"item_id": "msg_withstand"}]
            return b"".join(map(_event, events)) + ending(kind, model, "content_filter", SAYS)
        case _:
            return None
    return _event(first) + ending(kind, model, "content_filter")


def ending(kind: Kind, model: str, reason: str, text: str = "") -> bytes:
    """What ends a stream that was cut: a last event in its shape, which names the reason, and the end."""
    match kind:
        case "responses":
            output = [_message(text)] if text else []
            response = _response(model, "incomplete", output) | {"incomplete_details": {"reason": reason}}
            return _event({"type": "response.incomplete", "response": response})
        case "chat":
            last = _object(kind, model, "chat.completion.chunk") | {"choices": [_choice({"delta": {}}, reason)]}
        case _:
            last = _object(kind, model) | {"choices": [_choice({"text": ""}, reason)]}
    return _event(last) + b"data: [DONE]\n\n"


def _event(value: Json) -> bytes:
    head = f"event: {value['type']}\n" if "type" in value else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()


def _object(kind: Kind, model: str, name: str = "") -> dict[str, Json]:
    own = {"chat": "chat.completion", "completions": "text_completion"}[kind]
    return {"id": "withstand", "object": name or own, "created": 0, "model": model}


def _choice(content: dict[str, Json], finish: str | None) -> dict[str, Json]:
    return {"index": 0, **content, "finish_reason": finish, "logprobs": None}


def _message(text: str) -> Json:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": "msg_withstand", "role": "assistant", "status": "incomplete", "content": content}


def _response(model: str, status: str, output: list[Json]) -> dict[str, Json]:
    details = {"reason": "content_filter"} if status == "incomplete" else None
    return {
        "id": "resp_withstand", "object": "response", "created_at": 0, "status": status, "model": model,
        "output": output, "incomplete_details": details, "error": None, "parallel_tool_calls": True,
        "tool_choice": "auto", "tools": [], "metadata": {},
    }  # fmt: skip
