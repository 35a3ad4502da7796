"""Logs in tables and documents, and those of Inspect and Langfuse: what becomes of each."""

import csv
import datetime
import gzip
import io
import json
import zipfile

import pytest

from withstand.core import SpecError
from withstand.formats.traffic import cutting
from withstand.formats.traffic.exchange import BadLine, Exchange
from withstand.formats.traffic.log import open_log
from withstand.formats.traffic.position import BEGINNING

TS = 1772366400.0


def kinds(items):
    return [item.kind if isinstance(item, BadLine) else "exchange" for item in items]


def read(path, *args, **named):
    return list(open_log(str(path), *args, **named))


def resumed(path, size):
    """The items of a log that is opened again after each batch."""
    items, end = [], BEGINNING
    while (batch := next(open_log(str(path), start=end).batches(size), None)) is not None:
        items += batch.read()
        end = batch.end
    return items


def table(rows, delimiter=","):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(rows)
    return text.getvalue().encode()


ROWS = [
    ["ts", "account", "prompt", "completion", "blocked", "labels", "latency_ms"],
    ["1772366400", "ann", 'A "soup", please\nwith salt', "Yes.", "false", '{"spam": 0.5, "rude": null}', "12.5"],
    ["1772366400", "ann", "[1, 2] pans", "", "True", "", "quick"],
    ["1772366400", "ann"],
    [],
    ["1772366400", "7", "crème", "Yes.", "", "", ""],
]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_has_a_record_a_row_whatever_lines_a_cell_has(tmp_path, delimiter):
    path = tmp_path / "log.csv"
    path.write_bytes(b"\xef\xbb\xbf" + table(ROWS, delimiter))
    items = read(path)
    assert [(item.line, kind) for item, kind in zip(items, kinds(items), strict=True)] == [
        (2, "exchange"), (3, "exchange"), (4, "wrong number of cells"), (5, "blank line"), (6, "exchange"),
    ]  # fmt: skip
    assert (items[0].prompt, items[0].blocked, items[0].labels) == (ROWS[1][2], False, {"spam": 0.5})
    assert (items[1].prompt, items[1].blocked, items[1].odd) == ("[1, 2] pans", True, ("wrong type: latency_ms",))
    assert items[4].prompt == "crème"
    assert resumed(path, 1) == resumed(path, 64) == items
    path.write_bytes(path.read_bytes().replace("crème".encode(), b"cr\xe8me"))
    assert (read(path)[4].prompt, read(path)[4].odd) == ("crème", ("not UTF-8",))


def test_csv_with_a_quote_that_nobody_closes_loses_that_row_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(cutting, "ROW", 1000)
    path = tmp_path / "log.csv"
    row = b'1772366400,ann,"soup",yes\r\n'
    bad = b'1772366400,ann,"soup,yes\r\n'
    for good in (row, row.replace(b'"', b"")):
        path.write_bytes(b"ts,account,prompt,completion\r\n" + good + bad + good * 100)
        items = read(path)
        assert kinds(items[:4]) == ["exchange", "not CSV" if good == row else "open quote", "exchange", "exchange"]
        assert kinds(items).count("exchange") == 101
        assert items[-1].line == 103
    path.write_bytes(b"ts,ts,prompt\n1,2,3\n")
    with pytest.raises(SpecError, match="two columns are called 'ts'"):
        read(path)


def test_a_column_map_reads_a_table_of_other_names(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(table([["when", "who", "say"], ["2026-03-01T12:00:00Z", "ann", "Soup?"]]))
    with pytest.raises(SpecError, match="its first row: of no form that is known; it has when, who, say"):
        read(path)
    [item] = read(path, columns={"ts": "when", "account": "who", "prompt": "say"})
    assert (item.ts, item.account, item.prompt) == (TS, "ann", "Soup?")


def test_parquet_is_read_by_rows(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    moment = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
    columns = {
        "ts": pyarrow.array([moment] * 1000, pyarrow.timestamp("ns", tz="UTC")),
        "account": [str(number) for number in range(1000)],
        "prompt": ["Soup?", None] * 500,
        "labels": [{"spam": 0.5, "rude": float("nan")}] * 1000,
    }
    path = tmp_path / "log.parquet"
    parquet.write_table(pyarrow.table(columns), path, row_group_size=300)
    items = read(path)
    assert kinds(items[:2]) == ["exchange", "no text"]
    assert (items[0].ts, items[0].labels, items[0].odd) == (TS, {"spam": 0.5}, ("a label without a score",))
    assert [item.line for item in items] == list(range(1, 1001))
    assert resumed(path, 10_000) == items
    path.write_bytes(path.read_bytes()[:-40])
    assert kinds(read(path, form="plain")) == ["damaged log"]


SOUP = {"ts": TS, "account": "ann", "prompt": 'A "soup" {please}', "completion": "Yes.\n]"}


@pytest.mark.parametrize("indent", [None, 1])
def test_a_document_is_read_as_its_records(tmp_path, indent):
    path = tmp_path / "log.json"
    records = [{**SOUP, "id": str(number)} for number in range(50)]
    want = None
    for value in (records, {"meta": {"page": 1}, "data": records}):
        path.write_text(json.dumps(value, indent=indent))
        items = read(path)
        want = want or items
        assert items == want
        assert [item.id for item in items] == [str(number) for number in range(50)]
        assert resumed(path, 300) == items
    path.write_text("\n".join(json.dumps(record, indent=1) for record in records))  # as jq prints them
    assert read(path) == want
    path.write_text(json.dumps(records, indent=indent)[:-40])
    assert kinds(read(path)) == [*["exchange"] * 49, "half-written line"]
    path.write_text(json.dumps([1, *records[:2], "x"], indent=indent))
    assert kinds(read(path)) == ["no object", "exchange", "exchange", "no object"]


# --- Inspect -----------------------------------------------------------------------------------------------------


def inspect_log(folder):
    """A log of Inspect's own making: a chat of two turns behind a few-shot prompt, and a sample of one message."""
    log = pytest.importorskip("inspect_ai.log")
    model = pytest.importorskip("inspect_ai.model")
    user, cook = model.ChatMessageUser, model.ChatMessageAssistant
    messages = [
        model.ChatMessageSystem(content="You cook."),
        user(content="Rice?", source="input"), cook(content="Ten minutes.", source="input"),
        user(content=[model.ContentText(text="Soup?"), model.ContentImage(image="data:image/png;base64,AA==")]),
        cook(content="An hour.", source="generate"),
        user(content="And salt?"), cook(content="A pinch.", source="generate"),
    ]  # fmt: skip
    output = model.ModelOutput.from_content("cook-1", "A pinch.")
    output.usage = model.ModelUsage(input_tokens=9, output_tokens=3, total_tokens=12)
    chat = log.EvalSample(
        id=1, epoch=1, input="Soup?", target="", messages=messages, output=output, metadata={"user_id": "ann"},
        completed_at="2026-03-01T12:00:00+00:00", uuid="u1",
    )  # fmt: skip
    short = log.EvalSample(id=2, epoch=1, input="Bread?", target="", output=model.ModelOutput(model="cook-1"))
    spec = log.EvalSpec(created="2026-03-01T12:00:00+00:00", task="kitchen", model="cook-1",
                        dataset=log.EvalDataset(), config=log.EvalConfig())  # fmt: skip
    whole = log.EvalLog(eval=spec, status="success", samples=[chat, short])
    for name in ("log.eval", "log.json"):
        log.write_eval_log(whole, str(folder / name))
    return folder / "log.eval", folder / "log.json"


def test_logs_of_inspect_give_the_exchanges_of_their_samples(tmp_path):
    packed, document = inspect_log(tmp_path)
    first, second, third = read(packed)
    assert (first.prompt, first.completion, first.system) == ("Soup?", "An hour.", "You cook.")
    assert (first.ts, first.account, first.app, first.model) == (TS, "ann", "kitchen", "cook-1")
    assert first.odd == ("image not read",)
    assert first.turns == (("user", "Rice?"), ("assistant", "Ten minutes."))
    assert (second.prompt, second.completion, second.prompt_tokens) == ("And salt?", "A pinch.", 9)
    assert second.conversation == first.conversation == first.id != second.id
    assert (third.prompt, third.completion, third.account) == ("Bread?", "", "")
    assert read(document) == read(packed)
    assert resumed(packed, 1) == resumed(document, 1) == read(packed)


def test_a_damaged_log_of_inspect_says_so(tmp_path):
    packed, _ = inspect_log(tmp_path)
    packed.write_bytes(packed.read_bytes()[:-30])
    assert kinds(read(packed, form="inspect")) == ["damaged log"]
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("soup.txt", "soup")
    [item] = read(tmp_path / "other.zip", form="inspect")
    assert item.why == "it has no header.json: is it a log of Inspect?"


# --- Langfuse ----------------------------------------------------------------------------------------------------

MESSAGES = [{"role": "system", "content": "You cook."}, {"role": "user", "content": "Soup?"}]
ENRICHED = {  # observations_v2/ of an export to blob storage
    "id": "o1", "trace_id": "t1", "project_id": "p", "environment": "production", "type": "GENERATION",
    "start_time": "2026-03-01 12:00:00.000000", "end_time": "2026-03-01 12:00:01.500000", "name": "chat",
    "metadata": {}, "level": "DEFAULT", "input": json.dumps(MESSAGES),
    "output": json.dumps({"role": "assistant", "content": "An hour."}), "provided_model_name": "cook-1",
    "usage_details": {"input": 9, "output": 3, "total": 12}, "latency": 1.5, "user_id": "ann", "session_id": "s",
    "trace_name": "kitchen",
}  # fmt: skip
TRACE = {  # of a page's export, or the API
    "id": "t1", "timestamp": "2026-03-01T12:00:00.000Z", "name": "kitchen", "input": "Soup?", "output": "An hour.",
    "userId": "ann", "sessionId": "s", "projectId": "p", "htmlPath": "/trace/t1", "latency": 1.5, "totalCost": 0,
}  # fmt: skip
OBSERVATION = {
    "id": "o1", "traceId": "t1", "type": "GENERATION", "startTime": "2026-03-01T12:00:00.000Z", "model": "cook-1",
    "input": {"messages": MESSAGES}, "output": {"role": "assistant", "content": "An hour."}, "latency": 1.5,
    "usage": {"input": 9, "output": 3, "unit": "TOKENS"},
}  # fmt: skip


def test_exports_of_langfuse_give_their_generations(tmp_path):
    path = tmp_path / "log.jsonl"
    score = {"id": "c", "trace_id": "t1", "name": "rude", "data_type": "NUMERIC", "value": 1}
    tool = {**ENRICHED, "type": "TOOL"}
    lines = [
        ENRICHED, TRACE, {**TRACE, "observations": [OBSERVATION, {**OBSERVATION, "type": "SPAN"}]},
        {"trace": TRACE, "observations": [OBSERVATION], "scores": []}, score, tool,
        {**TRACE, "observations": ["o1", "o2"]},
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    log = open_log(str(path))
    assert (log.form, log.why) == ("langfuse", "7 of its first 7 lines")
    items = list(log)
    assert kinds(items) == [*["exchange"] * 4, "other observation", "other observation", "exchange"]
    assert [item.harmless for item in items if isinstance(item, BadLine)] == [True, True]
    exchanges = [item for item in items if isinstance(item, Exchange)]
    for item in exchanges:
        assert (item.ts, item.account, item.conversation, item.odd) == (TS, "ann", "s", ())
        assert (item.prompt, item.completion, item.latency_ms) == ("Soup?", "An hour.", 1500.0)
    assert [(item.model, item.prompt_tokens, item.system) for item in exchanges] == [
        ("cook-1", 9, "You cook."), ("", None, ""), *[("cook-1", 9, "You cook.")] * 2, ("", None, ""),
    ]  # fmt: skip


def test_exports_of_langfuse_as_csv_and_as_a_page_of_the_api(tmp_path):
    path = tmp_path / "observations.csv"
    names = [name for name in ENRICHED if name != "metadata"]
    cells = [json.dumps(ENRICHED[name]) if isinstance(ENRICHED[name], dict) else ENRICHED[name] for name in names]
    path.write_bytes(table([names, cells]))
    [item] = read(path)
    assert (item.ts, item.account, item.prompt, item.completion, item.prompt_tokens) == (
        TS,
        "ann",
        "Soup?",
        "An hour.",
        9,
    )
    packed = tmp_path / "page.json.gz"
    packed.write_bytes(gzip.compress(json.dumps({"data": [OBSERVATION] * 3, "meta": {"page": 1}}).encode()))
    items = read(packed)
    assert [(item.line, item.prompt, item.odd) for item in items] == [(n, "Soup?", ("no account",)) for n in (1, 2, 3)]
