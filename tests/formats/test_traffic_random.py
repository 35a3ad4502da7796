"""Logs of random bytes and of records with random values in them: nothing raises, everything counts once."""

import json

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from withstand.core import SpecError
from withstand.formats.traffic.exchange import BadLine, Exchange
from withstand.formats.traffic.forms import FORMS
from withstand.formats.traffic.log import open_log
from withstand.formats.traffic.position import BEGINNING

BITS = [
    b"{", b"}", b'"ts"', b":", b"1", b"\n", b"\x00", b'"prompt"', b"[", b"]", b",", b'"', b'"a\xff"', b"\\ud800",
    b"9e9", b"\\", b'"data"', b'"samples"', b"\r", b"ts,account,prompt", b'1,"a', b"\xef\xbb\xbf",
    b'{"ts":1e9,"prompt":"soup"}',
]  # fmt: skip
PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xff\xfe", b"\xfe\xff", b"PK\x03\x04", b"PAR1")
BYTES = st.binary(max_size=300) | st.lists(st.sampled_from(BITS), max_size=60).map(b"".join)


@settings(max_examples=120, deadline=None)
@given(data=BYTES, ending=st.sampled_from(["jsonl", "json", "csv", "log"]), form=st.sampled_from(list(FORMS)))
def test_random_bytes(tmp_path_factory, data, ending, form):
    path = tmp_path_factory.getbasetemp() / f"random.{ending}"
    path.write_bytes(data)
    try:
        items = list(open_log(str(path), form))
    except SpecError:  # a CSV of which two columns have one name
        assume(False)
    assert all(isinstance(item, Exchange | BadLine) for item in items)
    assert not [item for item in items if isinstance(item, BadLine) and item.kind == "not understood"]
    bare = not data.startswith(PACKED) and data.lstrip(b" \t\r\n\x00")[:1] != b"[" and not data.startswith(b"\xef")
    if ending == "jsonl" and bare and b"\x00" not in data[:64]:
        assert len({item.line for item in items}) == len(data.split(b"\n")) - (data[-1:] in (b"\n", b""))
    again, end = [], BEGINNING  # the log is opened anew after each batch
    while (batch := next(open_log(str(path), form, start=end).batches(7), None)) is not None:
        again += batch.read()
        if batch.waits or batch.end == end:
            break
        end = batch.end
    if not data.startswith(PACKED):
        assert again == items


def paths(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        yield from paths(item, (*path, name))


def replaced(value, path, new):
    if not path:
        return new
    copied = json.loads(json.dumps(value))
    place = copied
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = new
    return copied


PARTS = [{"type": "text", "text": "Soup?"}, {"type": "image_url"}]
CALL = {"index": 0, "function": {"name": "look", "arguments": "{}"}}
MESSAGE = {"role": "user", "content": PARTS}
ANSWER = {"role": "assistant", "content": "Yes.", "tool_calls": [CALL]}
CHAT = {"model": "cook", "messages": [MESSAGE]}
CHOICE = {"index": 0, "message": ANSWER, "finish_reason": "stop"}
COMPLETION = {"created": 1, "model": "cook", "choices": [CHOICE], "usage": {"prompt_tokens": 1}}
CHUNK = {"choices": [{"index": 0, "delta": {"content": "a", "tool_calls": [CALL]}}]}
SCORES = {"results": [{"category_scores": {"spam": 0.5}}]}
ATTRIBUTES = [
    {"key": "llm.input_messages.0.message.content", "value": {"stringValue": "Soup?"}},
    {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
]
EVENT = {"name": "gen_ai.choice", "attributes": [{"key": "message", "value": {"kvlistValue": {}}}]}
SPAN = {"spanId": "1", "startTimeUnixNano": "1", "attributes": ATTRIBUTES, "events": [EVENT]}
OBSERVATION = {
    "type": "GENERATION", "startTime": "2026-03-01", "input": CHAT, "output": ANSWER, "usageDetails": {"input": 1},
}  # fmt: skip
SAMPLE = {
    "id": 1, "input": "Soup?", "messages": [MESSAGE, ANSWER], "attachments": {"a": "b"}, "metadata": {"user": "ann"},
    "output": {"choices": [CHOICE], "usage": {"input_tokens": 1}},
}  # fmt: skip
RECORDS = {
    "plain": {"ts": 1e9, "account": "ann", "messages": [MESSAGE, ANSWER, MESSAGE], "labels": {"spam": 0.5}},
    "openai": {"request": CHAT, "response": COMPLETION, "moderation": SCORES},
    "stream": {"request": {"body": CHAT}, "response": [CHUNK, CHUNK]},
    "langfuse": {"trace": {"userId": "ann", "input": "Soup?"}, "observations": [OBSERVATION]},
    "spans": {"resourceSpans": [{"resource": {"attributes": ATTRIBUTES}, "scopeSpans": [{"spans": [SPAN]}]}]},
    "inspect": {"eval": {"task": "t"}, "samples": [SAMPLE]},
}
VALUES = [
    None, True, 0, -1, 1e300, 10**30, "", "soup", '{"a": 1}', "[1]", "attachment://a", [], {}, [None], [[]], [{}],
    {"a": None}, {"role": 5}, {"type": "text"}, {"0": 1}, {"content": {"content": 1}}, {"choices": [1]},
    {"message": {"role": 1}},
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(list(RECORDS)))
def test_records_with_random_values(tmp_path_factory, data, name):
    path = tmp_path_factory.getbasetemp() / "mutated.jsonl"
    form = "openai" if name == "stream" else name
    records = []
    for _ in range(8):
        record = RECORDS[name]
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.sampled_from(list(paths(record))[1:]))
            record = replaced(record, place, data.draw(st.sampled_from(VALUES)))
        records.append(record)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    items = list(open_log(str(path), form))
    assert {item.line for item in items} == set(range(1, 9))
    assert not [item for item in items if isinstance(item, BadLine) and item.kind == "not understood"]
