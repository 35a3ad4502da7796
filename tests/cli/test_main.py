"""The command line, in this process and in others: exit codes, messages, resuming, JSON, every mistake of a user."""

import csv
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from clocks import until
from signals import heard
from withstand.cli import console, flags, main
from withstand.report.packed import unpack

WITHSTAND = [sys.executable, "-m", "withstand"]
KITCHEN = ("--suite", "kitchen", "--target", "scripted-kitchen", "--attack", "direct", "--limit", "4")

TOP = {"schema", "run", "provenance", "reused", "cells"}
CELL = {
    "suite", "suite_version", "split", "judge", "sampling", "samples", "target", "defense", "attack", "behaviors",
    "cases", "success", "failure", "refused", "filtered", "unscored", "error", "asr", "asr_interval", "asr_bounds",
    "asr_micro", "asr_at_k", "over_refusal", "over_refusal_interval", "asks", "tokens", "seconds", "notes",
}  # fmt: skip


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of the user's own, and returns its name, which no other test has."""

    def write(source):
        name = f"app_{tmp_path.name.replace('-', '_')}_{len(list(tmp_path.glob('app_*')))}"
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


def cells(done):
    """The harmful cells by attack."""
    return {cell["attack"]: cell for cell in done.json["cells"] if not cell["benign"]}


# --- what works --------------------------------------------------------------------------------------------------


def test_a_run_and_its_reports(withstand, tmp_path):
    done = withstand("run", *KITCHEN, "--attack", "story", "--defense", "none", "--defense", "self_reminder")
    assert done.code == 0
    assert re.search(r"run kitchen-\w{6}: 6 cells, 4 of kitchen and 4 of kitchen-benign; store withstand\.db", done.err)
    assert "test cases 24/24" in done.err
    assert "next: withstand report kitchen-" in done.err
    assert "ASR" in done.out
    assert withstand("run", *KITCHEN, "--json").json["reused"]["rows"] == 24

    assert withstand("status").code == 0
    stages = withstand("status", "--json").json["stages"]
    assert [(stage["wanted"], stage["done"], stage["failed"]) for stage in stages] == [(8, 8, 0)] * 3
    listed = withstand("runs", "--json").json
    assert [(run["cells"], run["verdicts"]) for run in listed] == [(6, "36 of 36"), (2, "8 of 8")]
    assert "6" in withstand("runs").out

    first = listed[0]["run"]
    assert withstand("report", first).err == f"wrote {first}.html\n"
    assert "<html" in (tmp_path / f"{first}.html").read_text()
    assert withstand("report", first, "-o", "r.md").code == 0
    assert (tmp_path / "r.md").read_text().startswith(f"# Run {first}\n")
    assert withstand("report", first, "-f", "md").out == (tmp_path / "r.md").read_text()
    assert withstand("report", first, "-f", "json").json["run"]["name"] == first
    assert "<html" in withstand("report", first, "-o", "-").out


def test_the_contract_of_the_json(withstand):
    done = withstand("run", *KITCHEN, "--json")
    assert done.err == ""
    report = withstand("report", "-f", "json")
    for summary in (done.json, report.json):
        assert set(summary) >= TOP
        assert len(summary["cells"]) == 2
        for cell in summary["cells"]:
            assert set(cell) >= CELL
            assert sum(cell[name] for name in ("success", "failure", "refused", "filtered", "unscored", "error")) == 4
    harmful, benign = report.json["cells"]
    assert harmful["asr"] is not None
    assert harmful["asr_interval"][0] <= harmful["asr"] <= harmful["asr_interval"][1]
    assert harmful["over_refusal"] == benign["over_refusal"] is not None
    assert benign["asr"] is benign["asr_bounds"] is benign["asr_at_k"] is None
    assert (harmful["asks"], harmful["samples"], harmful["sampling"]["max_tokens"]) == (4, 1, 256)
    assert report.json["run"]["spec"] == done.json["run"]["spec"]
    assert report.json["run"]["spec"]["limit"] == 4


def test_a_csv_holds_no_text_unless_asked(withstand):
    withstand("run", *KITCHEN)
    silent, open_ = (list(csv.DictReader(withstand("report", "-f", "csv", *more).out.splitlines(keepends=True)))
                     for more in ((), ("--with-text",)))  # fmt: skip
    assert len(silent) == len(open_) == 8
    assert all(re.fullmatch("[0-9a-f]{32}", row["prompt"]) for row in silent)
    assert all(re.fullmatch("[0-9a-f]{32}", row["completion"]) for row in silent)
    assert all(row["prompt"].startswith("[user] ") for row in open_)
    assert {row["outcome"] for row in silent} <= {"success", "refused"}
    assert all(re.fullmatch("([0-9a-f]{32})?", row["why"]) for row in silent)
    hidden = dict.fromkeys(("prompt", "completion", "why"), "")
    assert [row | hidden for row in silent] == [row | hidden for row in open_]


def test_init_writes_a_spec_that_runs_without_arguments(withstand, tmp_path):
    assert withstand("init").code == 0
    again = withstand("init")
    assert (again.code, "withstand.toml exists" in again.err, "-o" in again.err) == (2, True, True)
    done = withstand("run", "--json")
    assert done.code == 0
    assert [cell["attack"] for cell in done.json["cells"]] == [
        "direct", "prefix_injection", "role_play", "best_of_n,n=8", "direct",
    ]  # fmt: skip
    assert done.json["cells"][0]["behaviors"] == 36
    assert "cannot pass" not in withstand("run", "--dry-run").err
    assert withstand("gate").code == 1  # the stand-in breaks, as it should
    few = withstand("run", "withstand.toml", "--limit", "3", "--attack", "direct", "--benign", "none", "--json")
    assert [cell["behaviors"] for cell in few.json["cells"]] == [3]  # a flag stands over the file


def test_demo(withstand, tmp_path):
    done = withstand("demo", "--target", "scripted-kitchen")
    assert done.code == 0
    assert str(tmp_path / "withstand-demo.html") in done.out
    assert "<html" in (tmp_path / "withstand-demo.html").read_text()
    assert withstand("status").code == 0


def test_list_and_show(withstand):
    assert set(withstand("list", "--json").json) == {"suite", "target", "attack", "defense", "judge", "stage"}
    assert "self_reminder" in withstand("list").out
    assert "self_reminder" not in withstand("list", "attacks").out
    assert withstand("list", "attack", "--json").json == {"attack": withstand("list", "--json").json["attack"]}
    shown = withstand("show", "attacks", "story")
    assert "scenes: tuple[str, ...]" in shown.out
    assert "arXiv" in shown.out
    assert withstand("show", "attack", "story", "--json").json["name"] == "story"
    assert "*lanes: int = 64" in withstand("show", "target", "openai").out
    assert "model: str  (needed)" in withstand("show", "target", "openai").out


def test_help_and_version(withstand):
    for command in ((), ("run",), ("status",), ("report",), ("list",), ("show",), ("store", "merge"), ("init",)):
        assert withstand(*command, "--help").code == 0
    assert withstand("--version").out == "withstand 0.1.0\n"


# --- choosing ----------------------------------------------------------------------------------------------------


def test_ids_where_limit_and_seed(withstand, tmp_path):
    (tmp_path / "ids.txt").write_text("# mine\nbagels\n\n soda_bread \n")
    done = withstand("run", *KITCHEN, "--ids", "ids.txt", "--benign", "none", "--json")
    assert done.json["cells"][0]["behaviors"] == 2
    done = withstand(
        "run", *KITCHEN, "--where", "category=baking|soups,functional=standard", "--benign", "none", "--json"
    )
    assert {row["category"] for row in done.json["cells"][0]["by_category"]} <= {"baking", "soups"}
    assert done.json["cells"][0]["behaviors"] == 4
    names = {withstand("run", *KITCHEN, "--seed", seed, "--json").json["run"]["name"] for seed in (0, 1, 0)}
    assert len(names) == 2


def test_split_data_samples_and_sampling(withstand, tmp_path):
    (tmp_path / "mine.csv").write_text("id,text\na,bake a cake\nb,fry an egg\n")
    done = withstand(
        "run", "--suite", "csv", "--data", "mine.csv", "--target", "scripted,reply=Sure {n}", "--attack", "direct",
        "--samples", "3", "--temperature", "1", "--max-tokens", "1", "--judge", "contains:sure", "--json",
    )  # fmt: skip
    (cell,) = done.json["cells"]
    assert (cell["cases"], cell["success"], cell["samples"], cell["asks"]) == (6, 6, 3, 6)
    assert (cell["sampling"]["temperature"], cell["sampling"]["max_tokens"]) == (1.0, 1)
    assert cell["asr_at_k"]["3"] == 1.0
    val = withstand("run", *KITCHEN, "--split", "val", "--json").json["cells"]
    assert [cell["split"] for cell in val] == ["val", "val"]


def test_until_success_and_budget(withstand):
    base = (
        "run",
        "--suite",
        "kitchen",
        "--limit",
        "3",
        "--benign",
        "none",
        "--json",
        "--target",
        "scripted,reply=Sure",
        "--judge",
        "refusal_words",
    )
    done = withstand(*base, "--attack", "best_of_n,n=8,batch=2", "--until-success")
    (cell,) = done.json["cells"]
    assert (cell["success"], cell["cases"], cell["asks"]) == (3, 3, 6)
    assert "each attack stopped at its first success" in cell["notes"]
    done = withstand(*base, "--attack", "best_of_n,n=8,batch=2", "--budget", "asks=4")
    assert (done.json["cells"][0]["cases"], done.json["cells"][0]["asks"]) == (12, 12)
    raised = withstand(*base, "--attack", "best_of_n,n=8,batch=2", "--budget", "asks=6")
    assert raised.json["cells"][0]["asks"] == 18
    done = withstand(*base, "--attack", "best_of_n,n=8,batch=8", "--budget", "asks=4")
    assert (done.code, done.json["cells"][0]["error"]) == (3, 3)


def test_revision_and_fresh(withstand, module):
    name = module(
        "import pathlib\ndef answer(messages):\n    with open('calls', 'a') as f: f.write('x')\n    return 'Sure'\n"
    )
    base = ("run", "--suite", "kitchen", "--limit", "2", "--benign", "none", "--target", f"function:{name}:answer",
            "--attack", "direct")  # fmt: skip
    calls = lambda: len(Path("calls").read_text())  # noqa: E731
    assert "has no revision" in withstand(*base).err
    assert calls() == 2
    assert "4 of 4" not in withstand(*base).err
    assert calls() == 2
    assert "has no revision" not in withstand(*base, "--revision", "abc").err
    assert calls() == 4
    assert withstand(*base, "--revision", "abc", "--fresh").code == 0
    assert calls() == 6
    withstand(*base, "--revision", "abc")
    assert calls() == 6


def test_cases_from_a_run_and_a_file(withstand, tmp_path):
    withstand("run", *KITCHEN, "--attack", "story", "--name", "first", "--benign", "none")
    base = (
        "run",
        "--suite",
        "kitchen",
        "--limit",
        "4",
        "--target",
        "scripted,reply=Sure",
        "--judge",
        "refusal_words",
        "--benign",
        "none",
        "--json",
    )
    done = withstand(*base, "--cases-from", "first")
    labels = [cell["attack"] for cell in done.json["cells"]]
    assert labels == [f"{name} found on scripted-kitchen (first)" for name in ("direct", "story")]
    assert [cell["success"] for cell in done.json["cells"]] == [4, 4]
    (tmp_path / "cases.json").write_text('{"bagels": ["one", "two"]}')
    (tmp_path / "ids").write_text("bagels\n")
    done = withstand("run", "--suite", "kitchen", "--ids", "ids", "--target", "scripted", "--cases-from", "cases.json",
                     "--benign", "none", "--json")  # fmt: skip
    assert (done.json["cells"][0]["attack"], done.json["cells"][0]["cases"]) == ("cases:cases.json", 2)
    lost = withstand("run", "--suite", "kitchen", "--target", "scripted", "--cases-from", "nowhere")
    assert (lost.code, "name of a run in this store" in lost.err) == (2, True)


def test_shards_and_merging(withstand):
    whole = withstand("run", *KITCHEN, "--json", "--store", "whole.db").json
    for part in (1, 2):
        done = withstand("run", *KITCHEN, "--shard", f"{part}/2", "--store", f"{part}.db", "--json")
        assert done.code == 0
        assert done.json["cells"][0]["error"] == 2
    merged = withstand("store", "merge", "1.db", "2.db", "--into", "all.db", "--json")
    assert merged.json["row"] == 24
    printed = withstand("store", "merge", "1.db", "2.db", "--into", "said.db").out
    assert printed == "merged into said.db: 1 run, 8 behaviors, 24 rows\n"
    assert "nothing new" in withstand("store", "merge", "1.db", "--into", "all.db").out
    assert "nothing new" in withstand("store", "merge", "all.db", "--into", "all.db").out
    again = withstand("report", "--store", "all.db", "-f", "json").json
    drop = {"seconds", "used", "by_category", "notes"}
    assert [{k: v for k, v in cell.items() if k not in drop} for cell in again["cells"]] == [
        {k: v for k, v in cell.items() if k not in drop} for cell in whole["cells"]
    ]
    missing = withstand("store", "merge", "nowhere.db", "--into", "all.db")
    assert (missing.code, "there is no store at nowhere.db" in missing.err) == (2, True)


# --- caps --------------------------------------------------------------------------------------------------------


def test_caps_stop_a_run_and_it_goes_on_later(withstand):
    done = withstand("run", *KITCHEN, "--max-asks", "3")
    assert done.code == 3
    assert "stopped by --max-asks" in done.err
    assert withstand("status").code == 3
    assert "to continue: withstand run --name kitchen-" in withstand("status").out
    assert withstand("run", *KITCHEN, "--json").json["reused"]["of"] == 24
    assert withstand("status").code == 0
    done = withstand("run", *KITCHEN, "--seed", "5", "--max-time", "0")
    assert (done.code, "stopped by --max-time" in done.err) == (3, True)


def test_a_case_that_was_not_reached_has_no_numbers_of_its_cell(withstand):
    base = ("run", *KITCHEN[:4], "--attack", "best_of_n,n=4", "--benign", "none")
    withstand(*base, "--limit", "2")
    assert withstand(*base, "--limit", "4", "--max-asks", "1").code == 3
    (cell,) = withstand("report", "-f", "json").json["cells"]
    rows = list(csv.DictReader(withstand("report", "-f", "csv").out.splitlines()))
    assert cell["asks"] > 0
    assert {row["asks"] for row in rows if row["outcome"] == "error" and not row["prompt"]} == {""}
    assert {row["error"] for row in rows if row["outcome"] == "error"} == {"not reached"}


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), (None, None)])
def test_times(text, value):
    assert flags.seconds(text) == value


def test_a_cap_in_dollars(withstand, openai_server):
    server = openai_server()
    target = f"openai:m,base_url={server.url},lanes=1"
    base = ("run", "--suite", "kitchen", "--limit", "6", "--benign", "none", "--attack", "direct")
    unpriced = withstand(*base, "--target", target, "--max-cost", "1")
    assert (unpriced.code, "price_in" in unpriced.err, len(server.requests)) == (2, True, 0)
    judge = f'llm,model={{use="openai:m", base_url="{server.url}"}}'
    judged = withstand(*base, "--target", "scripted", "--judge", judge, "--max-cost", "1")
    assert (judged.code, "no price is known for llm" in judged.err) == (2, True)
    done = withstand(*base, "--target", f"{target},price_in=1000,price_out=1000", "--max-cost", "0.02")
    assert (done.code, "stopped by --max-cost" in done.err) == (3, True)
    assert 0 < len(server.requests) < 6
    done = withstand(*base, "--target", f"{target},price_in=1000,price_out=1000", "--json")
    assert (done.code, len(server.requests)) == (0, 6)
    assert done.json["cells"][0]["cost"] > 0.02


def test_a_dry_run_asks_nothing_and_prints_bounds(withstand, openai_server, tmp_path):
    server = openai_server()
    base = ("run", "--suite", "kitchen", "--limit", "4", "--attack", "direct", "--attack", "best_of_n,n=3",
            "--target", f"openai:m,base_url={server.url}")  # fmt: skip
    done = withstand(*base, "--dry-run")
    assert done.code == 0
    assert "asks at most" in done.out
    assert "time unknown, cost unknown" in done.out
    assert "Prompts would be sent to 127.0.0.1" in done.out
    plan = withstand(*base, "--dry-run", "--json").json
    assert server.requests == []
    assert not (tmp_path / "withstand.db").exists()
    assert [cell["cases"] for cell in plan["cells"]] == [4, 12, 4]
    assert "knows" not in done.out
    behind = withstand(*base, "--defense", "self_reminder", "--dry-run").out
    assert re.search(r"self_reminder +direct +static .*\n.*best_of_n,n=3 +adaptive ", behind)
    assert (plan["hosts"], plan["seconds"]) == (["127.0.0.1"], None)
    assert withstand(*base).code == 0
    assert len(server.requests) <= plan["asks"]["target"]
    after = withstand(*base, "--dry-run", "--json").json
    assert after["seconds"] is not None


def test_it_says_where_text_goes_before_the_first_ask(withstand, openai_server):
    server = openai_server()
    target = f"openai:m,base_url={server.url}"
    done = withstand("run", *KITCHEN[:2], "--limit", "1", "--attack", "direct", "--target", target, "--offline")
    assert done.code == 0
    assert done.err.index("Sending prompts to 127.0.0.1") < done.err.index("verdicts")
    refused = withstand("run", *KITCHEN[:2], "--attack", "direct", "--target", "openai:m", "--offline")
    assert (refused.code, "--offline, but prompts would be sent to api.openai.com" in refused.err) == (2, True)


# --- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("run",), ("there is no spec withstand.toml", "withstand init")),
        (("run", "nowhere.toml"), ("there is no spec nowhere.toml",)),
        (("run", *KITCHEN[:4]), ("names no attack", "--attack direct")),
        (("run", "--suite", "kitchen", "--attack", "direct"), ("names no target", "--target NAME")),
        (("run", *KITCHEN, "--attack", "storey"), ("no attack is called 'storey'", "did you mean story")),
        (("run", *KITCHEN, "--attack", "best_of_n,m=3"), ("best_of_n has no field 'm'", "n")),
        (("run", *KITCHEN, "--attack", "best_of_n,n=x"), ("n = 'x' does not fit", "n is int")),
        (("run", *KITCHEN, "--attack", "best_of_n,n=0"), ("must be 1 or more",)),
        (("run", *KITCHEN, "--attack", "story,scenes=none"), ("{behavior}",)),
        (("run", *KITCHEN, "--target", "openai/m"), ("did you mean openai:m",)),
        (("run", *KITCHEN, "--target", "openai:m"), ("OPENAI_API_KEY is not set", "export OPENAI_API_KEY")),
        (("run", *KITCHEN, "--target", "function:nothing_here:f"), ("no module nothing_here",)),
        (("run", *KITCHEN, "--target", "function:broken:f"), ("broken fails on import: NameError",)),
        (("run", *KITCHEN, "--attack", "broken:Attack"), ("broken cannot be imported: NameError",)),
        (("run", *KITCHEN, "--judge", "contains:("), ("not a regular expression",)),
        (("run", *KITCHEN, "--defense", ""), ("names no component",)),
        (("run", *KITCHEN, "--limit", "0"), ("limit = 0 does not fit",)),
        (("run", *KITCHEN, "--limit", "x"), ("'x' is not a valid integer",)),
        (("run", *KITCHEN, "--limits", "3"), ("error: No such option", "-> did you mean --limit")),
        (("run", *KITCHEN, "--samples", "0"), ("samples = 0",)),
        (("run", *KITCHEN, "--temperature", "-1"), ("sampling.temperature = -1.0",)),
        (("run", *KITCHEN, "--budget", "5"), ("--budget: '5' is not name=value",)),
        (("run", *KITCHEN, "--budget", "ask=5"), ("unknown field 'budget.ask'", "asks")),
        (("run", *KITCHEN, "--budget", "asks=many"), ("budget.asks = 'many'",)),
        (("run", *KITCHEN, "--where", "baking"), ("--where: 'baking' is not name=value",)),
        (("run", *KITCHEN, "--where", "category=bakery"), ("no category 'bakery'", "baking")),
        (("run", *KITCHEN, "--ids", "nowhere"), ("cannot read nowhere", "one a line")),
        (("run", *KITCHEN, "--ids", "empty.csv"), ("names no behavior",)),
        (("run", *KITCHEN, "--ids", "latin.csv"), ("latin.csv, line 2: byte 12 (0xea) is not UTF-8",)),
        (("run", *KITCHEN, "--split", "tset"), ("split is 'tset'", "did you mean test?")),
        (("run", *KITCHEN, "--shard", "3/2"), ("--shard 3/2 is not I/N",)),
        (("run", *KITCHEN, "--shard", "half"), ("--shard half is not I/N",)),
        (("run", *KITCHEN, "--max-time", "soon"), ("--max-time soon is not a time",)),
        (("run", *KITCHEN, "--cases-from", "cases.json"), ("cases.json, line 1, character 2: bad JSON",)),
        (("run", *KITCHEN, "--revision", "3"), ("has no field 'revision'",)),
        (("run", *KITCHEN, "--data", "x.csv"), ("kitchen has no field 'path'",)),
        (("run", *KITCHEN, "--name", "x", "--store", "folder"), ("folder is a folder", "a store is a file")),
        (("run", *KITCHEN, "--store", "latin.csv"), ("latin.csv", "not a store")),
        (("run", *KITCHEN, "--store", "other.db"), ("is a database, but not a store",)),
        (("run", *KITCHEN, "--store", "mysql://h/db"), ("is not a store",)),
        (("run", *KITCHEN, "--store", "latin.csv/deep/s.db"), ("Not a directory",)),
        (("run", "--suite", "csv:nowhere.csv", *KITCHEN[2:]), ("nowhere.csv: no such file",)),
        (("run", "--suite", "csv:nocolumn.csv", *KITCHEN[2:]), ("no column 'text'", "csv:FILE,text=Text")),
        (("run", "--suite", "csv:twice.csv", *KITCHEN[2:]), ("row 3", "column id", "id 'a' is already that of")),
        (("run", "--suite", "csv:empty.csv", *KITCHEN[2:]), ("there is no behavior in it",)),
        (("run", "--suite", "csv:headonly.csv", *KITCHEN[2:]), ("there is no behavior in it",)),
        (("run", "--suite", "csv:latin.csv", *KITCHEN[2:]), ("latin.csv, line 2: byte", "save the file as UTF-8")),
        (("run", "--suite", "csv:a.csv", "--data", "b.csv", *KITCHEN[2:]), ("both --data and csv:a.csv",)),
        (("run", "broken.toml"), ("broken.toml is not TOML", "line 2")),
        (("run", "unknown.toml"), ("unknown field 'sutie'",)),
        (("run", "number.toml"), ("3 names no component",)),
        (("run", "limit.toml"), ("limit = 'many'",)),
        (("run", "judge.toml"), ("3 names no component",)),
        (("run", "--name", "unheard-of"), ("there is no store at withstand.db",)),
        (("status",), ("there is no store at withstand.db", "withstand run")),
        (("report",), ("there is no store at withstand.db",)),
        (("runs", "--store", "nowhere.db"), ("there is no store at nowhere.db",)),
        (("status", "--store", "latin.csv"), ("latin.csv",)),
        (("report", "--format", "xls"), ("'xls' is not one of",)),
        (("report", "-o", "x.xls"), ("no report format is called 'xls'", ".html, .pdf, .json, .csv, .md, .tex, .toml")),
        (("run", *KITCHEN[:4], "-a", "story,direct"), ("not field=value", "repeat --attack: --attack story --att")),
        (("run", *KITCHEN, "-d", "none,self_reminder"), ("repeat --defense: --defense none --defense self_rem",)),
        (("run", *KITCHEN, "-t", "gpt-9"), ("a model is openai:NAME or hf:NAME", "`withstand list targets`")),
        (("run", "-s", "harmbench", *KITCHEN[2:]), ("harmbench needs path", "--data FOLDER")),
        (("run", *KITCHEN, "-j", "llm:openai:m,base_url=u"), ('llm,model={use="openai:m", base_url="u"}',)),
        (("list", "attakcs"), ("there is no kind 'attakcs'",)),
        (("show", "attack", "storey"), ("did you mean story",)),
        (("show", "attak", "story"), ("there is no kind 'attak'",)),
        (("show", "attack"), ("error: Missing argument 'NAME'", "-> `withstand show --help`")),
        (("init", "-o", "nowhere/x.toml"), ("cannot write nowhere/x.toml",)),
        (("demo", "-t", "scripted-kitchen", "--store", "folder"), ("folder is a folder",)),
        (("store", "merge", "latin.csv", "--into", "new.db"), ("latin.csv",)),
        (("nonsense",), ("error: withstand has no command 'nonsense'", "-> commands: run")),
        (("rnu",), ("error: withstand has no command 'rnu'", "-> did you mean run")),
        (("store", "mrege"), ("withstand store has no command 'mrege'", "did you mean merge")),
    ],
    ids=lambda value: " ".join(value)[-60:] if isinstance(value, tuple) else None,
)  # fmt: skip
def test_a_mistake_is_a_message_and_exit_code_2(withstand, tmp_path, args, words):
    for name, data in {
        "nocolumn.csv": b"id,Text\na,b\n",
        "twice.csv": b"id,text\na,x\na,y\n",
        "empty.csv": b"",
        "headonly.csv": b"id,text\n",
        "latin.csv": "id,text\na,cr\xeape\n".encode("latin-1"),
        "cases.json": b"[",
        "broken.py": b"nothing_of_the_sort\n",
        "broken.toml": b'suite = "kitchen"\ntarget = \n',
        "unknown.toml": b'sutie = "kitchen"\n',
        "number.toml": b'suite = "kitchen"\ntarget = [3]\nattack = "direct"\n',
        "limit.toml": b'suite = { use = "kitchen", limit = "many" }\ntarget = "scripted"\nattack = "direct"\n',
        "judge.toml": b'suite = "kitchen"\ntarget = "scripted"\nattack = "direct"\njudge = 3\n',
    }.items():
        (tmp_path / name).write_bytes(data)
    sys.modules.pop("broken", None)
    (tmp_path / "folder").mkdir()
    with sqlite3.connect(tmp_path / "other.db") as database:
        database.execute("CREATE TABLE mine (x)")
    database.close()
    before = set(tmp_path.iterdir())
    done = withstand(*args)
    assert done.code == 2, done
    assert done.out == ""
    assert {path for path in set(tmp_path.iterdir()) - before if path.name != "__pycache__"} == set()
    printed = " ".join(done.err.split())
    assert all(word in printed for word in words), done.err


def test_a_name_that_is_taken(withstand):
    assert withstand("run", *KITCHEN, "--name", "mine").code == 0
    taken = withstand("run", *KITCHEN, "--seed", "4", "--name", "mine")
    assert (taken.code, "run 'mine' exists with another spec" in taken.err) == (2, True)
    renamed = withstand("run", *KITCHEN, "--name", "other")
    assert (renamed.code, "this run already exists as 'mine'" in renamed.err) == (2, True)
    changed = withstand("run", "--name", "mine", "--temperature", "0", "--seed", "0")
    assert changed.code == 2  # flags are never dropped: with one, `--name` does not stand alone
    unknown = withstand("status", "mien")
    assert (unknown.code, "has no run 'mien'" in unknown.err, "mine" in unknown.err) == (2, True, True)


def test_outputs_that_cannot_be_written(withstand, tmp_path):
    withstand("run", *KITCHEN, "--name", "mine")
    (tmp_path / "file").touch()
    for output in ("nowhere/x.html", ".", "file/x.html", "x" * 300 + ".html", "/proc/x.html"):
        done = withstand("report", "-o", output)
        assert (done.code, "cannot write" in done.err) == (2, True), output


def test_a_pipe_is_written_to_and_not_replaced(withstand, tmp_path):
    """As /dev/stdout and /dev/null: a rename would put a file in the place of the device."""
    withstand("run", *KITCHEN, "--name", "mine")
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE, text=True)
    try:
        assert withstand("report", "-f", "md", "-o", "pipe").code == 0
        assert reader.communicate(timeout=60)[0].startswith("# Run mine")
    finally:
        reader.kill()
        reader.communicate()
    assert (tmp_path / "pipe").is_fifo()
    assert not list(tmp_path.glob(".pipe*"))


def test_brackets_in_labels_are_no_markup(withstand):
    attack = 'prefix_injection,openings=["[/b] :soup: [red]"]'
    done = withstand("run", "--suite", "kitchen", "--limit", "1", "--target", "scripted", "--attack", attack,
                     "--judge", "contains:[/a]", "--dry-run")  # fmt: skip
    assert (done.code, "contains:[/a]" in done.out, "[/b] :soup: [red]" in done.out) == (0, True, True)


BELL = "\x1b]0;x\x07"
SEEN = "\u27e8U+001B\u27e9]0;x\u27e8U+0007\u27e9"


def test_what_a_target_or_a_file_says_does_nothing_to_the_terminal(withstand, module, tmp_path):
    """In errors, notes, labels, names, warnings and tables: control characters are named, lines stay one line."""
    name = module(f"def answer(messages):\n    raise OSError({BELL + 'one'!r})\n")
    (tmp_path / "mine.csv").write_text(f"id,text\na,x\na{BELL},y\n")
    target = ("--target", f"function:{name}:answer,tries=1,revision={BELL}", "--attack", "direct")
    done = withstand("run", "--suite", "csv:mine.csv", *target, "--name", f"my{BELL}run")
    assert done.code == 3
    assert re.search(f"error: 2 rows: .*{re.escape(SEEN)}one", done.err)
    listed = withstand("runs")
    assert SEEN in listed.out
    for printed in (
        done,
        listed,
        withstand("status"),
        withstand("run", "--suite", "csv:mine.csv", *target, "--dry-run"),
        withstand("run", "--suite", f"csv:{BELL}.csv", *target),
        withstand("run", "--suite", "csv:mine.csv", *target, "--limits", BELL),
        withstand(f"r{BELL}"),
        withstand("show", "attack", BELL),
        withstand("status", f"{BELL}\nmine"),
        withstand("report", "-f", "md"),
    ):
        assert not set(printed.out + printed.err) & {"\x1b", "\x07"}
    assert withstand("report").code == 0
    assert (tmp_path / "my-]0;x-run.html").exists()


def test_one_line_for_a_terminal():
    assert console.line(f"a{BELL}\nb \r\n c\u202e\x9b") == f"a{SEEN} b c\u27e8U+202E\u27e9\u27e8U+009B\u27e9"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:se:cr@et@h/db", "postgresql://me:***@h/db"),
        ("postgresql://me@h:5432/db?password=secret&x=y", "postgresql://me@h:5432/db?password=***&x=y"),
        ("postgresql://h:5432/db", "postgresql://h:5432/db"),
        ("my store.db", "my store.db"),
    ],
)
def test_a_store_is_named_without_its_password(url, shown):
    assert console.line(url) == shown


def test_a_password_is_never_printed(withstand, monkeypatch):
    """No server is there: what is looked at is what is said."""
    secret = "postgresql://me:secret@127.0.0.1:1/db"
    demo = ("demo", "-t", "scripted-kitchen")
    for args in (("run", *KITCHEN), ("status",), ("runs",), ("report",), demo, ("store", "merge", secret)):
        done = withstand(*args, "--into" if args[0] == "store" else "--store", secret)
        assert (done.code, "secret" in done.out + done.err) == (2, False), args
    done = withstand("status", "--store", "mysql://me:secret@h/db")
    assert (done.code, "mysql://me:***@h/db" in done.err) == (2, True)
    first, then = console.then("to continue", "run --name x", secret)
    assert first == "to continue: withstand run --name x"
    assert "WITHSTAND_STORE" in then
    assert "secret" not in then
    assert [*console.then("next", "report x", "o.db")] == ["next: withstand report x --store o.db"]
    monkeypatch.setenv("WITHSTAND_STORE", secret)
    assert [*console.then("next", "report x", secret)] == ["next: withstand report x"]
    assert [*console.then("next", "report x", "withstand.db")] == ["next: withstand report x --store withstand.db"]


def test_a_csv_holds_no_formula(withstand, module):
    """A spreadsheet would run what a target says."""
    name = module("def answer(messages):\n    return '=1+1'\n")
    Path("mine.csv").write_text('id,text\n=cmd,a\n-b,c\n+d,e\n@f,g\n"\th",i\n"\uff1dx",j\nplain,k\n')
    withstand("run", "--suite", "csv:mine.csv", "--target", f"function:{name}:answer,revision=1", "--attack", "direct")
    rows = list(csv.DictReader(withstand("report", "-f", "csv", "--with-text").out.splitlines()))
    assert {row["behavior"] for row in rows} == {"'=cmd", "'-b", "'+d", "'@f", "'\th", "'\uff1dx", "plain"}
    assert {row["completion"] for row in rows} == {"'=1+1"}
    assert {row["prompt"][:7] for row in rows} == {"[user] "}


def test_a_report_gives_the_spec_that_repeats_the_run(withstand, tmp_path):
    first = withstand("run", *KITCHEN, "--name", "my run", "--json").json
    assert withstand("report", "my run", "--format", "toml", "-o", "my run.toml").code == 0
    assert tomllib.loads((tmp_path / "my run.toml").read_text())["limit"] == 4
    assert withstand("report", "-f", "toml").out == (tmp_path / "my run.toml").read_text()
    again = withstand("run", "my run.toml", "--name", "my run", "--json").json
    assert again["run"]["key"] == first["run"]["key"]
    moved = withstand("run", "my run.toml", "--store", "other.db", "--json").json
    assert moved["run"]["key"] == first["run"]["key"]
    html = withstand("report", "-o", "-").out
    assert "withstand report &#39;my run&#39; --format toml -o &#39;my run.toml&#39;\nwithstand run" in html


def test_a_revision_is_for_the_targets_that_have_one(withstand, module):
    name = module("def answer(messages):\n    return 'Sure'\n")
    both = ("run", *KITCHEN, "--benign", "none", "--target", f"function:{name}:answer")
    labels = [cell["target"] for cell in withstand(*both, "--revision", "v1", "--json").json["cells"]]
    assert [label.endswith(",revision=v1") for label in labels] == [False, True]
    assert withstand("run", *KITCHEN, "--revision", "v1").code == 2


def test_a_mistake_leaves_no_empty_store_behind(withstand, tmp_path):
    for args in (("--max-cost", "1", "--target", "openai:m"), ("--shard", "5/4"), ("--cases-from", "first")):
        assert withstand("run", *KITCHEN, *args).code == 2
    assert withstand("store", "merge", "nowhere.db", "--into", "new.db").code == 2
    assert not list(tmp_path.glob("*.db*"))


def test_what_is_said_is_short_and_in_good_english(withstand):
    done = withstand("run", *KITCHEN, "--benign", "none", "--limit", "1")
    assert ": 1 cell, 1 of kitchen; store withstand.db" in done.err
    assert [line for line in done.err.splitlines() if line != line.rstrip()] == []
    assert "--store" not in done.err
    assert "direct" in withstand("runs").out


def test_names_with_spaces_are_quoted(withstand):
    done = withstand("run", *KITCHEN, "--name", "my run", "--store", "my store.db", "--max-asks", "1")
    assert "next: withstand report 'my run' --store 'my store.db'" in done.err
    assert "withstand run --name 'my run' --store 'my store.db'" in withstand("status", "--store", "my store.db").out


# --- targets that fail -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise RuntimeError('out of soup')", "out of soup"),
        ("return None", "returned None, not a str"),
        ("return {'answer': 'x'}", "returned a part 'answer', which is not known"),
        ("return 'x' * 10_000_000", "10,000,000 characters"),
        ("raise SystemExit(5)", "SystemExit"),
    ],
)
def test_a_target_that_fails_always(withstand, module, body, message):
    name = module(f"def answer(messages):\n    {body}\n")
    target = f"function:{name}:answer,revision=1,tries=1"
    base = ("run", "--suite", "kitchen", "--limit", "3", "--benign", "none", "--attack", "direct", "--target", target)
    done = withstand(*base)
    assert done.code == 3
    assert "3 rows:" in done.err
    assert message in done.err
    assert "the same command tries these rows again" in done.err
    assert len(done.err) < 5_000
    (cell,) = withstand("report", "-f", "json").json["cells"]
    assert (cell["error"], cell["asr"], cell["asr_bounds"]) == (3, None, [0.0, 1.0])
    assert message in withstand("status").err
    assert withstand("status").code == 3
    assert message not in withstand("report", "-f", "csv").out
    rows = list(csv.DictReader(withstand("report", "-f", "csv", "--with-text").out.splitlines()))
    assert [(row["outcome"], message in row["error"], row["completion"]) for row in rows] == [("error", True, "")] * 3
    assert {row["asks"] for row in rows} <= {"0", ""}
    _, rows = map(unpack, re.findall(r"data-block>(.+?)<", withstand("report", "-o", "-").out))
    assert all(message.split()[0] in {part[0]: part[1] for part in row[4]}["error"] for row in rows)


def test_a_target_that_answers_nothing_is_no_success(withstand, module):
    name = module("def answer(messages):\n    return ''\n")
    done = withstand("run", *KITCHEN[:2], "--limit", "3", "--benign", "none", "--attack", "direct", "--target",
                     f"function:{name}:answer,revision=1", "--json")  # fmt: skip
    assert (done.code, done.json["cells"][0]["failure"]) == (0, 3)


def test_a_target_that_fails_now_and_then(withstand, module):
    """The rows that fail are errors and nothing else breaks; mended, the same command does those alone."""
    source = "import os\ndef answer(messages):\n    open('calls', 'a').write('x')\n{}    return 'Sure'\n"
    name = module(
        source.format(
            "    if 'bread' in messages[0]['content'] and not os.path.exists('mended'): raise OSError('no')\n"
        )
    )
    base = ("run", "--suite", "kitchen", "--benign", "none", "--attack", "direct", "--judge",
            "refusal_words", "--target", f"function:{name}:answer,revision=1,tries=1")  # fmt: skip
    done = withstand(*base, "--json")
    (cell,) = done.json["cells"]
    assert done.code == 3
    assert 0 < cell["error"] < 56
    assert cell["success"] == 56 - cell["error"]
    assert any(note.startswith(f"{cell['error']} without a row") for note in cell["notes"])
    Path("mended").touch()
    done = withstand(*base, "--json")
    assert (done.code, done.json["cells"][0]["success"]) == (0, 56)
    assert len(Path("calls").read_text()) == 56 + cell["error"]


def test_a_server_with_faults_in_a_third_of_its_answers(withstand, openai_server, monkeypatch):
    from withstand.models import _retry

    monkeypatch.setattr(_retry, "FIRST_WAIT", 0.001)
    server = openai_server(chance=0.3)
    done = withstand("run", "--suite", "kitchen", "--limit", "30", "--benign", "none", "--attack", "direct", "--attack",
                     "best_of_n,n=3", "--judge", "refusal_words", "--target",
                     f"openai:m,base_url={server.url},tries=12", "--json")  # fmt: skip
    assert done.code == 0
    assert [(cell["cases"], cell["error"], cell["success"]) for cell in done.json["cells"]] == [
        (30, 0, 30),
        (90, 0, 90),
    ]
    assert 120 < len(server.requests) < 260


def test_a_server_that_refuses_some_for_good(withstand, openai_server):
    server = openai_server(faults=["400", "filtered", "refusal", "quota", "long"])
    done = withstand("run", "--suite", "kitchen", "--limit", "8", "--benign", "none", "--attack", "direct",
                     "--judge", "refusal_words", "--target",
                     f"openai:m,base_url={server.url},lanes=1,tries=1")  # fmt: skip
    assert done.code == 3
    assert done.err.count("1 row: m at api:127.0.0.1") == 3
    (cell,) = withstand("report", "-f", "json").json["cells"]
    assert (cell["error"], cell["filtered"], cell["refused"], cell["success"]) == (3, 1, 1, 3)
    assert cell["asr_bounds"] == [3 / 8, 6 / 8]
    assert withstand("run", "--name", withstand("runs", "--json").json[0]["run"]).code == 0


def test_half_a_surrogate_pair_goes_through(withstand, module, tmp_path):
    name = module("def answer(messages):\n    return 'Sure \\ud800 [/b] ' + messages[0]['content']\n")
    (tmp_path / "odd.jsonl").write_text('{"id": "a", "text": "\\ud83d {braces} \\u00e9"}\n')
    done = withstand("run", "--suite", "jsonl:odd.jsonl", "--attack", "direct", "--attack", "story", "--target",
                     f"function:{name}:answer,revision=1", "--json")  # fmt: skip
    assert (done.code, [cell["success"] for cell in done.json["cells"]]) == (0, [1, 1])
    assert "{braces} \xe9" in withstand("report", "-f", "csv", "--with-text").out
    for form in ("html", "csv", "md", "json"):
        assert withstand("report", "-f", form, "-o", f"r.{form}", "--with-text").code == 0
        assert (tmp_path / f"r.{form}").read_text(encoding="utf-8")


# --- interrupting, in processes of their own ---------------------------------------------------------------------


def spawn(*args, cwd):
    """A process that hears an interrupt even where these tests run in the background of a shell, which ignores it."""
    return subprocess.Popen(
        [*WITHSTAND, *args], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=heard(signal.SIGINT),
    )  # fmt: skip


def call(command, cwd):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def test_an_interrupt_says_how_to_go_on_and_that_command_does(withstand, tmp_path, openai_server):
    server = openai_server(latency=0.1)
    running = spawn(
        "run", "--suite", "kitchen", "--attack", "direct", "--benign", "none", "--target",
        f"openai:m,base_url={server.url},lanes=4", "--store", "my store.db", cwd=tmp_path,
    )  # fmt: skip
    until(lambda: len(server.requests) >= 12)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in err
    command = re.search(r"to continue: (withstand run --name .*)", err)[1]
    sent = len(server.requests)
    assert 12 <= sent < 56
    state = withstand("status", "--json", "--store", "my store.db").json
    assert 0 < state["stages"][1]["done"] < 56
    done = withstand(*shlex.split(command)[1:], "--json")
    assert done.code == 0, done.err
    (cell,) = done.json["cells"]
    assert (cell["error"], cell["cases"]) == (0, 56)
    assert len(server.requests) <= 56 + 4  # what was in flight is asked again, and nothing else


def test_an_interrupt_of_a_function_that_sleeps(tmp_path):
    (tmp_path / "sleepy.py").write_text(
        "import time\ndef answer(m):\n    open('asked', 'a').write('x')\n    time.sleep(600)\n"
    )
    running = spawn(
        "run", "--suite", "kitchen", "--attack", "direct", "--target", "function:sleepy:answer,revision=1", cwd=tmp_path
    )
    until((tmp_path / "asked").exists)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)  # the function sleeps ten times as long
    assert running.returncode == 130
    assert "to continue: withstand run --name kitchen-" in err


def test_a_kill_loses_nothing_that_was_saved(withstand, tmp_path, openai_server):
    server = openai_server(latency=0.05)
    args = ("run", "--suite", "kitchen", "--attack", "best_of_n,n=3", "--limit", "20", "--benign", "none", "--target",
            f"openai:m,base_url={server.url},lanes=4", "--json")  # fmt: skip
    running = spawn(*args, cwd=tmp_path)
    until(lambda: len(server.requests) >= 20)
    running.kill()
    running.communicate()
    done = withstand(*args)
    assert (done.code, done.json["cells"][0]["cases"]) == (0, 60)
    assert len(server.requests) <= 60 + 8


def test_a_reader_that_hangs_up_is_no_failure(withstand, tmp_path):
    assert withstand("run", *KITCHEN).code == 0
    for command in ("--help", "list", "status", "report -f csv", "report -o -"):  # each writes in a way of its own
        shell = f"{sys.executable} -m withstand {command} | true; echo ${{PIPESTATUS[0]}}"
        done = call(["bash", "-c", shell], tmp_path)
        assert done.stdout.strip() == "0", command
        assert "Traceback" not in done.stderr, command
        assert "BrokenPipe" not in done.stderr, command


def test_a_bug_of_ours_is_exit_code_4(monkeypatch, capsys):
    from withstand.registry import find

    monkeypatch.setattr(find, "summary", lambda entry: 1 / 0)
    with pytest.raises(SystemExit) as end:
        main.main(["list"])
    assert end.value.code == 4
    assert "please report it" in capsys.readouterr().err
