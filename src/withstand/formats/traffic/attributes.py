"""Spans of any notation as one record, with attributes in objects and lists, however they were flattened."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from withstand.core import Json
from withstand.formats.traffic.decode import UnreadableError, read_text
from withstand.formats.traffic.fields import seconds
from withstand.formats.traffic.messages import object_of, objects
from withstand.formats.traffic.plain import value_at

PARTS = 12
"""Parts of a dotted name; what is behind them stays one."""
ITEMS = 100_000
"""The greatest place in a flattened list."""
OTLP = (("resourceSpans", "scopeSpans", "spans"), ("resourceLogs", "scopeLogs", "logRecords"))
STARTS = (
    "startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime", "timeUnixNano", "timestamp",
    "observedTimeUnixNano",
)  # fmt: skip
LISTED = (
    "llm.input_messages.", "llm.output_messages.", "gen_ai.prompt.", "gen_ai.completion.", "gen_ai.input.messages.",
    "gen_ai.output.messages.",
)  # fmt: skip
"""Beginnings of the names of flattened lists."""
ENDS = ("endTimeUnixNano", "end_time_unix_nano", "end_time", "endTime")


@dataclass(frozen=True, slots=True)
class Span:
    """A span, an event of one, or a log record. kind: of the span, in lower case.   start: as the log has it.

    latency_ms: its duration, or None.   body: of an event.
    """

    name: str
    attributes: Mapping[str, Json]
    id: str = ""
    trace: str = ""
    kind: str = ""
    start: Json = None
    latency_ms: float | None = None
    events: Sequence["Span"] = ()
    body: Mapping[str, Json] = field(default_factory=dict)

    def at(self, path: str) -> Json:
        """The value of an attribute; JSON that was written as a text is read."""
        value = value_at(self.attributes, path)
        if value is None and ".0" in path:  # of a list whose name is whole
            name, _, rest = path.partition(".0")
            items = self.at(name)
            first = items[0] if isinstance(items, list) and items else None
            value = first if not rest else value_at(first, rest[1:]) if isinstance(first, dict) else None
        if isinstance(value, str):
            return _unflattened(read_text(value), 0)
        return _unflattened(value, 0) if isinstance(value, list) else value


def spans_of(record: Mapping[str, Json]) -> Iterator[Span]:
    """The spans in a record: of OTLP/JSON, or itself."""
    for listed, scopes, inner in (
        ("resourceSpans", "scopeSpans", "spans"),
        ("resourceLogs", "scopeLogs", "logRecords"),
    ):
        for resource in objects(record.get(listed)):
            common = _attributes(object_of(resource.get("resource")).get("attributes"))
            for scope in objects(resource.get(scopes, resource.get("instrumentationLibrarySpans"))):
                for span in objects(scope.get(inner)):
                    yield _span(span, common)
    if "resourceSpans" not in record and "resourceLogs" not in record:
        yield _span(record, _attributes(object_of(record.get("resource")).get("attributes")))


def _span(record: Mapping[str, Json], common: Mapping[str, Json]) -> Span:
    context = object_of(record.get("context"))
    names = _attributes(record.get("attributes"))
    if not names:  # a row of a table
        names = {name[11:]: value for name, value in record.items() if name.startswith("attributes.")}
    attributes = _grouped({**common, **names})
    if isinstance(metadata := attributes.get("metadata"), str):
        attributes["metadata"] = read_text(metadata)
    events = record.get("events")
    kind, body = str(_first(record, "span_kind", "kind") or ""), _value(record.get("body"))
    named = record.get("eventName"), value_at(attributes, "event.name"), record.get("name")
    start = _first(record, *STARTS)
    return Span(
        name=str(next(filter(None, named), "")),
        attributes=attributes,
        id=str(_first(record, "spanId", "span_id", "context.span_id") or context.get("span_id") or ""),
        trace=str(_first(record, "traceId", "trace_id", "context.trace_id") or context.get("trace_id") or ""),
        kind="span" if kind.isdecimal() else kind.rpartition(".")[2].lower(),
        start=start,
        latency_ms=_duration(start, _first(record, *ENDS)),
        events=[_event(event) for event in objects(read_text(events) if isinstance(events, str) else events)],
        body=body if isinstance(body, dict) else {"content": body} if body is not None else {},
    )


def _event(event: Mapping[str, Json]) -> Span:
    """An event of a span. Its body stands in its attributes, some of them as JSON."""
    attributes = nested(_attributes(event.get("attributes")))
    body = {name: read_text(value) if isinstance(value, str) else value for name, value in attributes.items()}
    return Span(str(event.get("name") or event.get("event_name") or ""), attributes, body=body)


def _duration(start: Json, end: Json) -> float | None:
    """Milliseconds between two times."""
    try:
        length = (seconds(end, []) - seconds(start, [])) * 1000
    except UnreadableError:
        return None
    return round(length, 3) if length >= 0 else None


def _attributes(value: Json) -> dict[str, Json]:
    """Attributes by name: an object, or OTLP's list of keys and values."""
    if isinstance(value, str):
        value = read_text(value)
    if isinstance(value, dict):
        return value
    return {str(item.get("key")): _value(item.get("value")) for item in objects(value)}


def _value(value: Json, depth: int = 0) -> Json:
    """What a value of OTLP/JSON holds. Its whole numbers are written as texts."""
    if not isinstance(value, dict) or depth > PARTS:
        return value
    for name in ("stringValue", "boolValue", "doubleValue", "bytesValue"):
        if name in value:
            return value[name]
    if "intValue" in value:
        number = value["intValue"]
        return (
            int(number) if isinstance(number, str) and number.lstrip("-").isdecimal() and len(number) < 20 else number
        )
    if "arrayValue" in value:
        return [_value(item, depth + 1) for item in _list(object_of(value["arrayValue"]).get("values"))]
    if "kvlistValue" in value:
        pairs = objects(object_of(value["kvlistValue"]).get("values"))
        return {str(pair.get("key")): _value(pair.get("value"), depth + 1) for pair in pairs}
    return value


def _grouped(attributes: Mapping[str, Json]) -> dict[str, Json]:
    """Attributes with the lists of messages that were flattened; all in objects where some are."""
    if any(type(value) is dict for value in attributes.values()):
        return nested(attributes)
    grouped = dict(attributes)
    lists: dict[str, dict[str, Json]] = {}
    for name, value in attributes.items():
        if name.startswith(LISTED):
            group = next(prefix for prefix in LISTED if name.startswith(prefix))
            lists.setdefault(group[:-1], {})[name[len(group) :]] = value
            del grouped[name]
    return grouped | {name: _numbered(nested(parts)) for name, parts in lists.items()}


def nested(attributes: Mapping[str, Json], depth: int = 0) -> dict[str, Json]:
    """Attributes with dotted names as objects and lists: `llm.input_messages.0.message.role`.

    A name that stands for a value and for an object of values keeps the object.
    """
    root: dict[str, Any] = {}
    for name, value in attributes.items():
        place, parts = root, str(name).split(".", PARTS)
        for part in parts[:-1]:
            inner = place.get(part)
            if not isinstance(inner, dict):
                inner = place[part] = {}
            place = inner
        last = _unflattened(value, depth + 1)
        if not isinstance(place.get(parts[-1]), dict) or isinstance(last, dict):
            place[parts[-1]] = last
    return {name: _listed(item) for name, item in root.items()}


def _unflattened(value: Json, depth: int) -> Json:
    """Messages in a list may be flattened again: {"message.role": "user"}."""
    if depth > PARTS:
        return value
    if isinstance(value, list):
        return [_unflattened(item, depth + 1) for item in value]
    if isinstance(value, dict) and any("." in str(name) for name in value):
        return nested(value, depth + 1)
    return value


def _listed(value: Json, depth: int = 0) -> Json:
    """Objects with the names 0, 1, ... as lists."""
    if type(value) is not dict or depth > PARTS:
        return value
    return _numbered({name: _listed(item, depth + 1) for name, item in value.items()})


def _numbered(value: dict[str, Json]) -> Json:
    if value and all(name.isdecimal() and len(name) < 7 and int(name) < ITEMS for name in value):
        return [value[name] for name in sorted(value, key=int)]
    return value


def _first(record: Mapping[str, Json], *names: str) -> Json:
    return next((record[name] for name in names if record.get(name) not in (None, "", 0, "0")), None)


def _list(value: Json) -> Sequence[Json]:
    return value if isinstance(value, list) else []
