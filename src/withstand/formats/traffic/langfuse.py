"""Exports of Langfuse: observations and traces, from its pages, its API or its exports to blob storage.

A generation is an exchange; other observations and scores are none. A trace gives its generations where it holds them,
else its own input and output. Traces and their observations in two files hold the same exchanges: name one of them.
The form: https://langfuse.com/docs/api-and-data-platform/features/blob-storage-export-fields.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from withstand.core import Json
from withstand.formats.traffic.decode import UnreadableError, read_text
from withstand.formats.traffic.exchange import BadLine, Exchange
from withstand.formats.traffic.fields import exchange
from withstand.formats.traffic.messages import request_of, text_of, turns_of
from withstand.formats.traffic.plain import value_at

TYPES = (
    "GENERATION", "SPAN", "EVENT", "AGENT", "TOOL", "CHAIN", "RETRIEVER", "EVALUATOR", "EMBEDDING", "GUARDRAIL",
)  # fmt: skip
NAMES: Mapping[str, Sequence[str]] = {
    "ts": ("startTime", "start_time", "timestamp", "createdAt", "created_at"),
    "account": ("userId", "user_id"),
    "conversation": ("sessionId", "session_id"),
    "id": ("id",),
    "model": ("model", "providedModelName", "provided_model_name"),
    "app": ("traceName", "trace_name"),
}
"""Field of an exchange -> names of it, of the newer and the older exports."""


def looks(record: Json) -> bool:
    """Whether an object is of this form."""
    if not isinstance(record, dict):
        return False
    names = set(record)
    if record.get("type") in TYPES and names & {"traceId", "trace_id"}:
        return True
    if isinstance(record.get("trace"), dict) or isinstance(record.get("traces"), list):
        return "observations" in names or "scores" in names or "traces" in names
    if {"trace_id", "data_type"} <= names or {"traceId", "dataType"} <= names:
        return True
    of_a_trace = {"projectId", "project_id", "htmlPath", "observations", "totalCost", "bookmarked"}
    of_a_user = {"userId", "user_id", "sessionId", "session_id"}
    return all(map(names.intersection, (of_a_trace, of_a_user, {"input", "output"})))


class Langfuse:
    """Reads exports. columns: field of an exchange -> name in an observation or trace, or a dotted path into it."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self.columns = columns

    def __call__(self, line: int, record: Json, odd: list[str]) -> Sequence[Exchange | BadLine]:
        if not isinstance(record, dict):
            raise UnreadableError("no object", f"it is a {type(record).__name__}, not an object")
        traces = record.get("traces")
        items: list[Exchange | BadLine] = []
        for trace in traces if isinstance(traces, list) else [record]:
            if isinstance(trace, dict):
                items += self._trace(line, trace, odd)
        if not items:
            raise UnreadableError("other observation", f"no generation: {_kind(record)}", harmless=True)
        return items

    def _trace(self, line: int, record: dict[str, Any], odd: list[str]) -> list[Exchange | BadLine]:
        trace = record["trace"] if isinstance(record.get("trace"), dict) else record
        observations = record.get("observations")
        if observations is None:
            observations = trace.get("observations")
        inner = [item for item in observations if isinstance(item, dict)] if isinstance(observations, list) else []
        calls = [item for item in inner if item.get("type") == "GENERATION"]
        if not calls and _kind(trace) in ("GENERATION", "trace"):
            return [self._exchange(line, trace, {}, odd)]
        items: list[Exchange | BadLine] = []
        for call in calls:
            try:
                items.append(self._exchange(line, call, trace, [] if items else odd))
            except UnreadableError as error:
                items.append(BadLine(line, error.kind, f"observation {str(call.get('id'))[:80]}: {error.why}"))
        return items

    def _exchange(self, line: int, call: Mapping[str, Json], trace: Mapping[str, Json], odd: list[str]) -> Exchange:
        fields: dict[str, Json] = {}
        for field, names in NAMES.items():
            sides = (call,) if field in ("ts", "id", "model") else (call, trace)
            fields[field] = next((side[name] for side in sides for name in names if side.get(name)), None)
        if trace and not fields["app"]:
            fields["app"] = trace.get("name")
        fields["ts"] = _utc(fields["ts"])
        metadata = read_text(text) if isinstance(text := call.get("metadata"), str) else text
        if not fields["account"] and isinstance(metadata, dict):
            users = (metadata.get(name) for name in ("user_id", "userId", "account"))
            fields["account"] = next(filter(None, users), None)
        fields |= _usage(call)
        if isinstance(latency := _number(call.get("latency")), float):
            fields["latency_ms"] = latency * 1000
        asked = _read(call.get("input"))
        if isinstance(asked, dict):
            asked = asked.get("messages", asked.get("input", asked.get("prompt", asked)))
        if asked is not None and asked != "":
            request = request_of(turns_of(asked, odd), odd)
            fields |= {"prompt": request.prompt, "system": request.system, "turns": request.turns}
        answer = _read(call.get("output"))
        if isinstance(answer, dict) and isinstance(answer.get("choices"), list):
            answer = [choice.get("message", choice) for choice in answer["choices"] if isinstance(choice, dict)]
        if answer is not None and answer != "":
            turns = turns_of(answer, odd) if isinstance(answer, dict | list) else []
            fields["completion"] = "\n".join(turn.text for turn in turns) if turns else text_of(answer, odd)
        fields |= {field: value_at(call, path) for field, path in self.columns.items()}
        return exchange(line, fields, odd)


def _kind(record: Mapping[str, Json]) -> str:
    """The type of an observation, or what else a record is."""
    if record.get("type") in TYPES:
        return str(record["type"])
    if record.get("data_type") or record.get("dataType"):
        return "score"
    return "trace" if record.get("input") is not None or record.get("output") is not None else "no input or output"


def _read(value: Json) -> Json:
    """Messages, which exports write as JSON in a text."""
    read = read_text(value) if isinstance(value, str) else value
    if isinstance(read, list) and not any(isinstance(item, dict) for item in read):
        return value
    return read


def _utc(ts: Json) -> Json:
    """A time of an export, which is UTC whether it says so or not."""
    naive = isinstance(ts, str) and len(ts) >= 19 and "Z" not in ts and "+" not in ts and "-" not in ts[10:]
    return f"{ts}+00:00" if naive else ts


def _number(value: Json) -> float | None:
    try:
        return float(value) if value not in (None, "") and not isinstance(value, bool) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _usage(call: Mapping[str, Json]) -> dict[str, Json]:
    """Counts of tokens, of the newer and the older exports."""
    for name in ("usageDetails", "usage_details", "usage"):
        usage = _read(call.get(name))
        if isinstance(usage, dict):
            counts = {
                "prompt_tokens": usage.get("input", usage.get("promptTokens")),
                "completion_tokens": usage.get("output", usage.get("completionTokens")),
            }
            if any(count is not None for count in counts.values()):
                return counts
    return {"prompt_tokens": call.get("inputTokens"), "completion_tokens": call.get("outputTokens")}
