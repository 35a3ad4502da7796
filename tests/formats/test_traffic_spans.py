"""Spans of OpenTelemetry, OpenInference and Phoenix: each convention gives the same exchange."""

import csv
import json

import pytest

from withstand.formats.traffic.attributes import nested
from withstand.formats.traffic.exchange import BadLine, Exchange
from withstand.formats.traffic.log import open_log

TS = 1772366400.0
START, END = 1772366400 * 10**9, 1772366400 * 10**9 + 1_500_000_000

ANSWER = "An hour."
LATEST = {  # OpenTelemetry, from 1.37 on
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "cook",
    "gen_ai.response.model": "cook-1",
    "gen_ai.conversation.id": "s",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.usage.input_tokens": 9,
    "gen_ai.usage.output_tokens": 3,
    "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "You cook."}]),
    "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Soup?"}]}]),
    "gen_ai.output.messages": json.dumps(
        [{"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "stop"}]
    ),
    "user.id": "ann",
}
TRACELOOP = {  # OpenLLMetry
    "llm.request.type": "chat",
    "gen_ai.response.model": "cook-1",
    "gen_ai.prompt.0.role": "system",
    "gen_ai.prompt.0.content": "You cook.",
    "gen_ai.prompt.1.role": "user",
    "gen_ai.prompt.1.content": "Soup?",
    "gen_ai.completion.0.role": "assistant",
    "gen_ai.completion.0.content": ANSWER,
    "gen_ai.completion.0.finish_reason": "stop",
    "gen_ai.usage.prompt_tokens": 9,
    "gen_ai.usage.completion_tokens": 3,
    "traceloop.association.properties.user_id": "ann",
    "traceloop.association.properties.session_id": "s",
}
OPENINFERENCE = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "cook-1",
    "llm.input_messages.0.message.role": "system",
    "llm.input_messages.0.message.content": "You cook.",
    "llm.input_messages.1.message.role": "user",
    "llm.input_messages.1.message.contents.0.message_content.type": "text",
    "llm.input_messages.1.message.contents.0.message_content.text": "Soup?",
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": ANSWER,
    "llm.token_count.prompt": 9,
    "llm.token_count.completion": 3,
    "llm.finish_reason": "stop",
    "user.id": "ann",
    "session.id": "s",
    "input.value": "never mind",
}
OLD = {"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.response.model": "cook-1", "user.id": "ann",
       "gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 3, "session.id": "s",
       "gen_ai.response.finish_reasons": ["stop"]}  # fmt: skip
OLD_EVENTS = [
    ("gen_ai.system.message", {"content": "You cook."}),
    ("gen_ai.user.message", {"content": "Soup?"}),
    ("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": json.dumps({"content": ANSWER})}),
]
OLDER_EVENTS = [
    ("gen_ai.content.prompt",
     {"gen_ai.prompt": json.dumps([{"role": "system", "content": "You cook."}, {"role": "user", "content": "Soup?"}])}),
    ("gen_ai.content.completion", {"gen_ai.completion": json.dumps([{"role": "assistant", "content": ANSWER}])}),
]  # fmt: skip
DETAILS = "gen_ai.client.inference.operation.details"
SPANS = [
    (LATEST, []), (TRACELOOP, []), (OPENINFERENCE, []), (OLD, OLD_EVENTS), (OLD, OLDER_EVENTS),
    (OLD, [(DETAILS, LATEST)]),
]  # fmt: skip


def check(item, app="kitchen", latency=1500.0, ids=True):
    assert isinstance(item, Exchange), item
    assert (item.ts, item.account, item.conversation, item.model) == (TS, "ann", "s", "cook-1")
    assert (item.prompt, item.completion, item.system, item.turns) == ("Soup?", ANSWER, "You cook.", ())
    assert (item.prompt_tokens, item.completion_tokens, item.finish_reason) == (9, 3, "stop")
    assert (item.latency_ms, item.app, item.odd) == (latency, app, ())
    assert bool(item.id) is ids


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def value(item):
    """A value as OTLP/JSON has it."""
    if isinstance(item, list):
        return {"arrayValue": {"values": [value(inner) for inner in item]}}
    return {"intValue": str(item)} if isinstance(item, int) else {"stringValue": item}


def pairs(attributes):
    return [{"key": name, "value": value(item)} for name, item in attributes.items()]


def otlp_span(attributes, events, number):
    return {
        "traceId": f"{number:032x}", "spanId": f"{number:016x}", "name": "chat cook", "kind": 3,
        "startTimeUnixNano": str(START), "endTimeUnixNano": str(END), "attributes": pairs(attributes),
        "events": [{"name": name, "timeUnixNano": str(START), "attributes": pairs(inner)} for name, inner in events],
    }  # fmt: skip


def otlp(*spans):
    resource = {"attributes": pairs({"service.name": "kitchen"})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "x"}, "spans": list(spans)}]}]}


def test_otlp_as_a_collector_writes_it(tmp_path):
    spans = [otlp_span(*span, number) for number, span in enumerate(SPANS, 1)]
    tool = otlp_span({"openinference.span.kind": "TOOL"}, [], 99)
    path = write(tmp_path / "otlp.jsonl", otlp(*spans[:3], tool), otlp(*spans[3:]), otlp(tool))
    log = open_log(str(path))
    items = list(log)
    assert log.form == "spans"
    assert [item.line for item in items] == [1, 1, 1, 2, 2, 2, 3]
    for item in items[:-1]:
        check(item)
    assert (items[-1].kind, items[-1].why, items[-1].harmless) == ("other span", "no call of a model: TOOL", True)
    document = tmp_path / "otlp.json"
    document.write_text(json.dumps(otlp(*spans), indent=2))
    for item in open_log(str(document)):
        check(item)


def test_the_root_of_a_trace_says_who_asked(tmp_path):
    bare = {name: item for name, item in LATEST.items() if name not in ("user.id", "gen_ai.conversation.id")}
    root = otlp_span({"openinference.span.kind": "CHAIN", "user.id": "ann", "session.id": "s"}, [], 1)
    [item] = open_log(str(write(tmp_path / "a.jsonl", otlp(root, otlp_span(bare, [], 1)))))
    check(item)
    [item] = open_log(str(write(tmp_path / "b.jsonl", otlp(root, otlp_span(bare, [], 2)))))
    assert (item.account, item.odd) == ("", ("no account",))


def test_events_that_are_log_records(tmp_path):
    record = {"timeUnixNano": str(START), "eventName": DETAILS, "attributes": pairs(LATEST), "spanId": "01"}
    logs = {"resourceLogs": [{"resource": {"attributes": pairs({"service.name": "kitchen"})},
                              "scopeLogs": [{"logRecords": [record]}]}]}  # fmt: skip
    [item] = open_log(str(write(tmp_path / "a.jsonl", logs)))
    check(item, latency=None)


def test_spans_as_the_sdk_prints_them(tmp_path):
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    resources = pytest.importorskip("opentelemetry.sdk.resources")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    provider = trace.TracerProvider(resource=resources.Resource({"service.name": "kitchen"}))
    provider.add_span_processor(export.SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("test")
    for attributes, events in SPANS:
        span = tracer.start_span("chat cook", attributes=attributes, start_time=START)
        for name, inner in events:
            span.add_event(name, attributes=inner)
        span.end(END)
    path = tmp_path / "spans.jsonl"
    path.write_text("".join(span.to_json(indent=None) + "\n" for span in memory.get_finished_spans()))
    items = list(open_log(str(path)))
    assert len(items) == len(SPANS)
    for item in items:
        check(item)
    path = tmp_path / "spans.json"  # as the console exporter prints them
    path.write_text("".join(span.to_json() + "\n" for span in memory.get_finished_spans()))
    assert list(open_log(str(path))) == items


PHOENIX = {
    "context.span_id": "a1", "context.trace_id": "t1", "name": "ChatCompletion", "span_kind": "LLM",
    "start_time": "2026-03-01T12:00:00+00:00", "end_time": "2026-03-01T12:00:01.500000+00:00", "status_code": "OK",
    "attributes.llm.model_name": "cook-1", "attributes.llm.token_count.prompt": 9,
    "attributes.llm.token_count.completion": 3, "attributes.llm.finish_reason": "stop", "attributes.user.id": "ann",
    "attributes.session.id": "s", "attributes.openinference.span.kind": "LLM",
    "attributes.llm.input_messages": [{"message.role": "system", "message.content": "You cook."},
                                      {"message.role": "user", "message.content": "Soup?"}],
    "attributes.llm.output_messages": [{"message.role": "assistant", "message.content": ANSWER}],
}  # fmt: skip


def test_rows_of_phoenix_in_jsonl_csv_and_parquet(tmp_path):
    names = [name for name in PHOENIX if name.startswith("attributes.")]
    of_the_api = {
        "id": "x", "name": "ChatCompletion", "context": {"trace_id": "t1", "span_id": "a1"}, "span_kind": "LLM",
        "start_time": PHOENIX["start_time"], "end_time": PHOENIX["end_time"],
        "attributes": {name.removeprefix("attributes."): PHOENIX[name] for name in names},
    }  # fmt: skip
    for item in open_log(str(write(tmp_path / "spans.jsonl", PHOENIX, of_the_api))):
        check(item, app="")
    with open(tmp_path / "spans.csv", "w", newline="") as file:  # as pandas writes a table
        writer = csv.writer(file)
        writer.writerows([PHOENIX.keys(), [str(cell) for cell in PHOENIX.values()]])
    [item] = open_log(str(tmp_path / "spans.csv"))
    check(item, app="")
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist([PHOENIX]), tmp_path / "spans.parquet")
    [item] = open_log(str(tmp_path / "spans.parquet"))
    check(item, app="")


def test_tool_calls_pictures_and_answers_without_content(tmp_path):
    agent = {
        "openinference.span.kind": "LLM",
        "user.id": "ann",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.contents.0.message_content.type": "image",
        "llm.input_messages.0.message.contents.0.message_content.image.image.url": "data:image/png;base64,AA==",
        "llm.input_messages.1.message.role": "tool",
        "llm.input_messages.1.message.content": "a soup",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "look",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"pan": 2}',
    }
    silent = {name: item for name, item in LATEST.items() if "messages" not in name and "instructions" not in name}
    path = write(tmp_path / "a.jsonl", otlp(otlp_span(agent, [], 1)), otlp(otlp_span(silent, [], 2)))
    first, second = open_log(str(path))
    assert (first.prompt, first.completion, first.turns) == ("", 'look({"pan": 2})', (("tool", "a soup"),))
    assert first.odd == ("image not read",)
    assert isinstance(second, BadLine)
    assert second.why == f"span {2:016x}: it holds no messages: is the capture of content switched on?"


def test_names_with_dots_become_objects_and_lists():
    assert nested({"a.b.1.c": 1, "a.b.0.c": 2, "a.b.10.c": 3, "a": "gone", "x": [{"y.z": 1}]}) == {
        "a": {"b": [{"c": 2}, {"c": 1}, {"c": 3}]}, "x": [{"y": {"z": 1}}],
    }  # fmt: skip
    assert nested({"a" + ".b" * 1000: 1})["a"]["b"]
