"""`withstand purge`: no text is left in the file, and all that was counted is."""

import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

import withstand
from explorer_web import SPEC, client, replayed, run_path
from withstand.cli.main import cli
from withstand.core import SpecError, digest
from withstand.results import labeling
from withstand.store.attempts import Attempt, Turn, add, attempts
from withstand.store.merge import merge


def purge(path: Path, name: str = "kitchen", *more: str, typed: str = "") -> dict:
    done = CliRunner().invoke(
        cli, ["purge", name, "--text", *more, "--store", str(path), "--json"], input=typed, standalone_mode=False
    )
    assert not done.exception, done.exception
    return json.loads(done.stdout[done.stdout.index("{") :])


def texts_of(run) -> set[str]:
    """Every text of a run that is long enough to be looked for."""
    texts = {c["completion"] for c in run.cases() if c["completion"]}
    texts |= {turn["text"] for c in run.cases() for turn in c["chat"]} | {c["why"] for c in run.cases()}
    plan = str(run.row.plan)  # the script of the target is in the spec, which stays
    return {text for text in texts if len(text) > 25 and repr(text)[1:-1] not in plan and text[:40] not in plan}


def bytes_of(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def test_no_text_is_left_and_no_number_changes(path):
    run = withstand.load("kitchen", path)
    items = labeling.queue(run.store, run.row, "calibration")
    labeling.add(run.store, run.row, items[0], "success", "ana", "calibration")
    sent = Turn("user", items[0].case.chat[0].text)
    add(run.store, Attempt("F-1", (sent,), "x", "harmful", "ana", 1.0, 1.0, run=run.row.key, harm="new: two words"))
    texts = texts_of(run)
    before_purge = list(run.cases())
    before = run.summary
    file = bytes_of(path)
    escaped = [json.dumps(text)[1:-1].encode() for text in texts]
    assert all(text in file for text in escaped)
    done = purge(path, "kitchen", "--yes")
    assert done["rows"] > 100
    assert done["answers"] > 0
    assert (done["labels"], done["findings"]) == (1, 1)
    file = bytes_of(path)
    assert [text for text in escaped if text in file] == []
    after = withstand.load("kitchen", path)
    for name in ("cells", "reused", "warnings"):
        assert after.summary[name] == before[name]
    for old, new in zip(before_purge, after.cases(), strict=True):
        assert {k: old[k] for k in ("outcome", "score", "finish", "spent", "behavior", "category")} == {
            k: new[k] for k in ("outcome", "score", "finish", "spent", "behavior", "category")
        }
        assert new["completion"] == f"purged:{digest(old['completion'])}"  # which can be checked
        assert [t["text"] for t in new["chat"]] == [f"purged:{digest(t['text'])}" for t in old["chat"]]
    [entry] = after.store.audits()
    assert entry["action"] == "purge"
    assert entry["subject"].startswith("kitchen: ")
    [label] = after.store.labels(after.row.key)
    assert label["vote"] == "success"
    assert label["behavior"]["behavior"] == items[0].case.behavior


def test_twice_is_once_and_the_run_stays_complete(path):
    purge(path, "kitchen", "--yes")
    once = list(withstand.load("kitchen", path).cases())
    purge(path, "kitchen", "--yes")
    assert list(withstand.load("kitchen", path).cases()) == once
    with pytest.raises(SpecError, match="were purged"):  # nothing is sent in place of what is gone
        withstand.run(SPEC, store=path, name="kitchen")
    with pytest.raises(SpecError, match="were purged"):
        withstand.run({**SPEC, "judge": "refusal_words", "benign": "none"}, store=path)
    assert withstand.run(SPEC, store=path, fresh=True).tally.asks > 0


def test_other_runs_keep_their_texts_but_for_shared_rows(path):
    withstand.run({**SPEC, "limit": 14}, store=path, name="larger")
    withstand.run({**SPEC, "attack": "role_play", "target": "scripted", "benign": "none"}, store=path, name="other")
    before_purge = list(withstand.load("other", path).cases())
    done = purge(path, "kitchen", "--yes")
    assert done["shared"] == ["larger"]
    assert list(withstand.load("other", path).cases()) == before_purge
    larger = [case["completion"].startswith("purged:") for case in withstand.load("larger", path).cases()]
    assert any(larger)
    assert not all(larger)


def test_it_asks_and_needs_the_word_text(path):
    refused = CliRunner().invoke(cli, ["purge", "kitchen", "--yes", "--store", str(path)])
    assert refused.exit_code == 2
    assert "--text" in refused.output
    kept = CliRunner().invoke(cli, ["purge", "kitchen", "--text", "--store", str(path)], input="n\n")
    assert kept.exit_code == 1
    assert not any(c["completion"].startswith("purged:") for c in withstand.load("kitchen", path).cases())


def test_a_merge_brings_no_text_back(path, kitchen_store, tmp_path):
    purge(path, "kitchen", "--yes")
    purged = list(withstand.load("kitchen", path).cases())
    store = withstand.load("kitchen", path).store
    merge(withstand.load("kitchen", kitchen_store).store, store)
    assert list(withstand.load("kitchen", path).cases()) == purged


def test_an_open_explorer_forgets_too(path):
    with client(path, reveal=True) as web:
        base = run_path(web)
        assert 'class="case"' in web.get(f"{base}/cases?text=grandfather").text
        purge(path, "kitchen", "--yes")
        assert 'class="case"' not in web.get(f"{base}/cases?text=grandfather").text
        assert "purged:" in web.get(f"{base}/cases").text
        assert "were purged" in replayed(web, f"{base}/cases/1.0.0.0/search")


@pytest.mark.parametrize("table", ["attempt", "audit"])
def test_a_store_of_before_gets_the_new_tables(path, table):
    with sqlite3.connect(path) as old:
        old.execute(f"DROP TABLE {table}")
    store = withstand.load("kitchen", path).store
    assert attempts(store) == store.audits() == []
