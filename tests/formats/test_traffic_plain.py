"""Plain logs and those of OpenAI-compatible servers: what becomes of a line, and where reading goes on."""

import gzip
import io
import json
import pickle
import sys

import pytest

from withstand.core import SpecError
from withstand.formats.traffic.exchange import BadLine, Exchange
from withstand.formats.traffic.log import open_log
from withstand.formats.traffic.position import Position

SOUP = {"ts": 1772366400.0, "account": "ann", "prompt": "How long does a soup simmer?", "completion": "An hour."}


def read(tmp_path, *lines, form="auto", columns=None, name="log.jsonl"):
    """The items of a log with these lines: bytes, or what JSON holds."""
    path = tmp_path / name
    path.write_bytes(
        b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    )
    return list(open_log(str(path), form, columns))


def kinds(items):
    return [item.kind if isinstance(item, BadLine) else "exchange" for item in items]


def test_a_plain_line_has_the_fields_of_an_exchange(tmp_path):
    full = {
        **SOUP, "id": "x1", "conversation": "c", "key": "k", "app": "shop", "end_user": "u", "use_case": "recipes",
        "model": "cook-1", "locale": "de", "n_prompt_tokens": 7, "n_completion_tokens": 3, "finish_reason": "stop",
        "latency_ms": 12.5, "blocked": False, "labels": {"spam": 0.25, "rude": None, "odd": 3}, "labeler": "mod",
        "labeler_version": "2", "policy_version": "2026.1", "what we do not know": [1],
    }  # fmt: skip
    [item] = read(tmp_path, full)
    assert item == Exchange(
        1, 1772366400.0, "ann", SOUP["prompt"], "An hour.", id="x1", conversation="c", key="k", app="shop",
        end_user="u", use_case="recipes", model="cook-1", locale="de", prompt_tokens=7, completion_tokens=3,
        finish_reason="stop", latency_ms=12.5, blocked=False, labels={"spam": 0.25}, labeler="mod",
        labeler_version="2", policy_version="2026.1", odd=("a label without a score", "a score outside 0 to 1"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "odd"),
    [
        (1772366400, ()), (1772366400000, ()), (1772366400000000, ()), (1772366400 * 10**9, ()), ("1772366400", ()),
        ("2026-03-01T12:00:00Z", ()), ("2026-03-01T13:00:00+01:00", ()), ("2026-03-01 12:00:00 UTC", ()),
        ("2026-03-01T12:00:00.000000000Z", ()), ("Sun, 01 Mar 2026 12:00:00 GMT", ()),
        ("2026-03-01 12:00:00", ("time without a zone",)), ("2026-03-01T11:59:60Z", ()),
    ],
)  # fmt: skip
def test_times(tmp_path, value, odd):
    [item] = read(tmp_path, {**SOUP, "ts": value})
    assert (item.ts, item.odd) == (1772366400.0, odd)


def test_every_bad_line_is_counted_with_its_kind_and_number(tmp_path):
    whole = json.dumps(SOUP).encode()
    deep = b'{"ts": 1, "prompt": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    items = read(
        tmp_path, whole, b"", whole[:40], b"soup", b"\x00\x00\x00", b"\x00\x00" + whole, b"\xef\xbb\xbf" + whole,
        whole.replace(b"soup", b"cr\xe8me"), b"[1, 2]", {**SOUP, "ts": None}, {**SOUP, "ts": "yesterday"},
        {**SOUP, "ts": 1e40}, {**SOUP, "ts": -5}, {"ts": 1772366400, "account": "ann"}, deep,
        whole.replace(b'"account"', b'"prompt": "a", "account"'), {**SOUP, "account": 7, "latency_ms": "slow"},
        {**SOUP, "account": None}, b'{"ts": NaN, "prompt": "a"}', whole.replace(b"How", b"\\ud83d"),
        whole.replace(b"How", b"\t"), b"9" * 5000, whole.decode().encode("utf-16"),
    )  # fmt: skip
    assert kinds(items) == [
        "exchange", "blank line", "half-written line", "not JSON", "NUL bytes", "exchange", "exchange",
        "exchange", "no object", "no time", "wrong time",
        "wrong time", "wrong time", "no text", "nested too deeply",
        "exchange", "exchange",
        "exchange", "wrong time", "exchange",
        "exchange", "not JSON", "NUL bytes",
    ]  # fmt: skip
    assert [item.line for item in items] == list(range(1, len(items) + 1))
    assert [item.odd for item in items if isinstance(item, Exchange)] == [
        (), ("NUL bytes",), (), ("not UTF-8",), ("a name twice",), ("wrong type: latency_ms",), ("no account",),
        ("loose JSON",), ("loose JSON",),
    ]  # fmt: skip
    assert items[7].prompt == "How long does a crème simmer?"
    assert items[19].prompt.startswith("? long")  # half a surrogate pair, which no file can hold


def test_a_line_of_50_mb_is_passed_over_without_being_held(tmp_path):
    items = read(tmp_path, SOUP, b"x" * 50_000_000, SOUP, b"y" * 17_000_000)
    assert kinds(items) == ["exchange", "line too long", "exchange", "line too long"]
    assert [item.line for item in items] == [1, 2, 3, 4]
    assert items[1].why == "it has 50,000,001 bytes; at most 16 MiB are read"


def test_other_names_and_a_column_map(tmp_path):
    [item] = read(tmp_path, {"timestamp": SOUP["ts"], "user_id": 7, "input": "Soup?", "output": "Yes.", "created": 1})
    assert (item.ts, item.account, item.prompt, item.odd) == (SOUP["ts"], "7", "Soup?", ("several names for ts",))
    record = {"when": SOUP["ts"], "who": "ann", "say": {"text": "Soup?"}, "reply": "Yes."}
    [item] = read(tmp_path, record, columns={"ts": "when", "account": "who", "prompt": "say.text"})
    assert (item.account, item.prompt, item.completion) == ("ann", "Soup?", "Yes.")
    with pytest.raises(SpecError, match="no exchange has a 'promt'") as raised:
        read(tmp_path, record, columns={"promt": "say"})
    assert "prompt" in raised.value.hint
    with pytest.raises(SpecError, match="no form that is known; it has when, who") as raised:
        read(tmp_path, record)
    assert "--form says it: plain, inspect, langfuse, openai, spans" in raised.value.hint


def test_a_record_behind_one_that_was_cut_off_or_behind_words_is_read(tmp_path):
    whole = json.dumps({**SOUP, "labels": {"spam": 0.5}}).encode()
    before = b"2026-03-01T12:00:00Z stdout F "
    items = read(tmp_path, whole, whole[:60] + whole, before + whole, whole[:-1], b"x" + whole)
    assert [(item.line, kind) for item, kind in zip(items, kinds(items), strict=True)] == [
        (1, "exchange"), (2, "half-written line"), (2, "exchange"), (3, "exchange"), (4, "half-written line"),
        (5, "exchange"),
    ]  # fmt: skip
    assert [item.odd for item in items if isinstance(item, Exchange)] == [(), (), *[("words before a record",)] * 2]
    docker = [{"log": json.dumps(SOUP) + "\n", "stream": "stdout", "time": "2026-03-01T12:00:00.5Z"}]
    paths = {name: f"log.{name}" for name in ("account", "prompt", "completion")}
    [item] = read(tmp_path, *docker, columns={"ts": "time", **paths})
    assert (item.ts, item.account, item.prompt) == (1772366400.5, "ann", SOUP["prompt"])


def test_a_conversation_gives_an_exchange_for_each_turn_of_the_user(tmp_path):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [
        {"role": "system", "content": "You cook."},
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]},
        {"role": "assistant", "content": None,
         "tool_calls": [{"id": "1", "function": {"name": "look", "arguments": '{"pan": 2}'}}]},
        {"role": "tool", "content": "a soup"},
        {"role": "assistant", "content": "Soup.", "created_at": 1772366460},
        {"role": "user", "content": "Thanks."},
        {"role": "user", "content": "And salt?"},
    ]  # fmt: skip
    first, second = read(tmp_path, {"ts": SOUP["ts"], "account": "ann", "id": "c7", "messages": messages})
    assert (first.prompt, first.completion, first.system) == ("What is this?", 'look({"pan": 2})\nSoup.', "You cook.")
    assert (first.ts, first.turns, first.odd) == (1772366460, (("tool", "a soup"),), ("image not read",))
    assert (second.prompt, second.completion, second.ts) == ("Thanks.\nAnd salt?", "", SOUP["ts"])
    assert [role for role, _ in second.turns] == ["user", "assistant", "tool", "assistant"]
    assert (first.id, second.id, first.conversation, second.conversation) == ("c7", "c7#2", "c7", "c7")
    assert second.odd == ()  # counted once a line


def chat(**fields):
    message = {"role": "assistant", "content": "An hour.", "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1772366400, "model": "cook-1",
            "choices": [choice], "usage": usage, **fields}  # fmt: skip


ASK = {
    "model": "cook",
    "messages": [{"role": "developer", "content": "You cook."}, {"role": "user", "content": "Soup?"}],
}
RESPONSES = {
    "id": "resp_1", "object": "response", "created_at": 1772366400, "status": "completed", "model": "cook-1",
    "instructions": "You cook.", "safety_identifier": "ann", "usage": {"input_tokens": 9, "output_tokens": 3},
    "output": [
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "An hour."}]},
    ],
}  # fmt: skip
CHUNKS = [
    {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1772366400, "model": "cook-1",
     "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    for delta, finish in (({"role": "assistant", "content": ""}, None), ({"content": "An "}, None),
                          ({"content": "hour."}, None), ({}, "stop"))
]  # fmt: skip


def test_requests_and_answers_of_openai_in_the_ways_people_log_them(tmp_path):
    stream = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in CHUNKS) + "data: [DONE]\n\n"
    both = {**ASK, "user": "ann"}
    items = read(
        tmp_path,
        {"request": both, "response": chat(), "latency_ms": 40},
        {"request": {"method": "POST", "url": "/v1/chat/completions", "body": both}, "response": {"body": chat()}},
        {"request": json.dumps(both), "response": json.dumps(chat()), "timestamp": "2026-03-01T12:00:00Z"},
        {"request": both, "response": CHUNKS},
        {"request": both, "response": stream},
        {**both, **chat()},
        {"request": {"model": "cook", "input": "Soup?"}, "response": RESPONSES},
        {"request": {"model": "cook", "prompt": "Soup?", "user": "ann"},
         "response": {"object": "text_completion", "created": 1772366400, "choices": [{"text": "An hour."}]}},
        {"account": "shop", "request": both, "response": chat()},
    )  # fmt: skip
    assert {(item.ts, item.prompt) for item in items} == {(1772366400.0, "Soup?")}
    assert [item.completion for item in items] == [*["An hour."] * 6, "look({})\nAn hour.", *["An hour."] * 2]
    assert [item.system for item in items] == [*["You cook."] * 7, "", "You cook."]
    assert [(item.account, item.end_user) for item in items] == [*[("ann", "")] * 8, ("shop", "ann")]
    assert (items[0].latency_ms, items[0].prompt_tokens, items[0].model) == (40, 9, "cook-1")
    assert items[6].odd == ("reasoning not read",)


def test_lines_of_a_batch_stored_completions_and_failures(tmp_path):
    batch = {"id": "batch_req_1", "custom_id": "r-1", "error": None,
             "response": {"status_code": 200, "request_id": "q", "body": chat()}}  # fmt: skip
    stored = chat(metadata={"user_id": "ann", "session_id": "s"}, input_user="Soup?")
    error = {"error": {"code": "content_filter", "message": "no"}}
    refused = {"request": ASK, "account": "ann", "ts": SOUP["ts"], "response": {"status_code": 400, "body": error}}
    two = chat(choices=[{"message": {"content": "An hour."}}, {"message": {"content": None, "refusal": "No soup."}}])
    embedding = {"request": {"model": "e", "input": "soup"}, "response": {"object": "list", "data": []}}
    items = read(tmp_path, batch, stored, refused, {"request": ASK, "response": two}, embedding)
    assert kinds(items) == [*["exchange"] * 4, "an embedding"]
    assert items[4].harmless
    assert (items[0].prompt, items[0].completion, items[0].odd) == ("", "An hour.", ("no account",))
    assert (items[1].account, items[1].conversation) == ("ann", "s")
    assert (items[2].blocked, items[2].finish_reason, items[2].completion) == (True, "content_filter", "")
    assert (items[3].completion, items[3].odd) == ("An hour.\n\nNo soup.", ("several choices", "no account"))


def test_a_log_of_two_forms_names_both(tmp_path):
    with pytest.raises(SpecError, match="of its first 2 lines 1 of form plain and 1 of form openai"):
        read(tmp_path, SOUP, chat())
    assert kinds(read(tmp_path, SOUP, chat(), form="plain")) == ["exchange", "no text"]


def test_packed_logs_and_stdin_give_what_the_plain_file_gives(tmp_path, monkeypatch):
    data = b"".join(json.dumps({**SOUP, "prompt": f"Soup {number}, crème?"}, ensure_ascii=False).encode() + b"\n"
                    for number in range(3000))  # fmt: skip
    (tmp_path / "a.jsonl").write_bytes(data)
    want = list(open_log(str(tmp_path / "a.jsonl")))
    assert len(want) == 3000
    zstandard = pytest.importorskip("zstandard")
    half = len(data) // 2
    packed = {
        "a.gz": gzip.compress(data), "two.gz": gzip.compress(data[:half]) + gzip.compress(data[half:]),
        "a.zst": zstandard.ZstdCompressor().compress(data), "a.utf16": data.decode().encode("utf-16"),
        "be.utf16": data.decode().encode("utf-16-be"),
    }  # fmt: skip
    for name, content in packed.items():
        (tmp_path / name).write_bytes(content)
        batches = list(open_log(str(tmp_path / name)).batches(60_000))
        assert [item for batch in batches for item in batch.read()] == want, name
        again = open_log(str(tmp_path / name), start=batches[3].end)
        assert [item for batch in again.batches() for item in batch.read()] == want[batches[3].end.line :], name
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(packed["a.gz"]))))
    assert list(open_log("-")) == want
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"PK\x03\x04"))))
    with pytest.raises(SpecError, match="cannot be read from stdin"):
        open_log("-")


def test_a_damaged_gzip_gives_what_is_before_the_damage_and_says_so(tmp_path):
    data = b"".join(json.dumps({**SOUP, "id": str(number)}).encode() + b"\n" for number in range(5000))
    (tmp_path / "a.gz").write_bytes(gzip.compress(data)[:-2000])
    items = list(open_log(str(tmp_path / "a.gz")))
    assert kinds(items)[-1] == "damaged log"
    assert kinds(items)[0] == "exchange"
    assert 0 < kinds(items).count("exchange") < 5000


def test_a_batch_is_read_in_another_process_as_it_is_here(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"".join(json.dumps(SOUP).encode() + b"\n" for _ in range(3)))
    [batch] = open_log(str(tmp_path / "a.jsonl")).batches()
    assert pickle.loads(pickle.dumps(batch)).read() == batch.read()


LOG = b"".join(
    line + b"\n"
    for line in (json.dumps(SOUP).encode(), b"soup", b"", json.dumps({**SOUP, "prompt": "crème"}).encode() + b"\r")
)


def test_reading_that_stops_anywhere_goes_on_without_loss_or_repeat(tmp_path):
    """The log is cut at every byte, as if its writer were slow, and read until there; then it is whole."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(LOG)
    want = list(open_log(str(path)))
    for cut in range(1, len(LOG)):
        path.write_bytes(LOG[:cut])
        items, end = [], Position()
        for batch in open_log(str(path), "plain").batches(64):
            end = batch.end
            items += [] if batch.waits else batch.read()
        path.write_bytes(LOG)
        for batch in open_log(str(path), "plain", start=end).batches(64):
            items += batch.read()
        assert items == want, cut
