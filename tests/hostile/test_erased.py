"""What was erased is in no file: not in the store, its log or the explorer's index, and not in a page."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

import withstand
from explorer_web import client, explorer, run_path
from withstand.core import digest
from withstand.explorer import index
from withstand.explorer.security import Session
from withstand.store import database, tables
from withstand.store.attempts import Attachment, Attempt, Turn, add, attempts
from withstand.store.purge import purge, purge_probes
from withstand.store.revisions import Event, Record, add_event, add_record, events, records
from withstand.store.store import Failure, Row, Store

ANSWER, HINT, PROBE, FOUND = (f"zebra{name}q7" for name in ("answer", "hint", "probe", "finding"))
ALL = (ANSWER, HINT, PROBE, FOUND)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    spec = {
        "suite": "kitchen", "limit": 2, "benign": "none", "attack": "direct",
        "target": {"use": "scripted", "rules": [], "reply": "{n}"},
    }  # fmt: skip
    with Store(str(tmp_path / "s.db")) as opened:
        run = withstand.run(spec, store=opened, name="r")
        w, r = tables.want.c, tables.row.c
        [*keys] = [key for (key,) in opened.select(sql.select(w.key).where(w.run == run.row.key, w.stage == 2))]
        with opened.engine.begin() as connection:
            value = json.dumps({"text": ANSWER, "finish": "stop"})
            connection.execute(sql.update(tables.row).where(r.key.in_(keys)).values(value=value))
        opened.add(
            rows=[Row("probe", "stop", {"text": PROBE, "finish": "stop"}), Row("said", "failure", {"why": PROBE})],
            answers={"probe": {"text": PROBE}},
            failures=[Failure(keys[0], 2, ANSWER, HINT, ANSWER), Failure("other probe", 2, PROBE, PROBE, PROBE)],
        )
        verdict = {"judge": "j", "outcome": "failure", "why": FOUND}
        shot = Attachment(FOUND, "00ff", "image/png")
        add(opened, Attempt("F-1", (Turn("user", PROBE, original=FOUND, attachments=(shot,)),), FOUND, "harmful",
                            "Ana M.", 1.0, 1.0, harm=f"new: {FOUND}", notes=FOUND, behavior=FOUND, judged=(verdict,),
                            output_description=FOUND, mitigation=FOUND, screenshot=shot, params={"system": FOUND},
                            severity=3, plan="p", layer="base"))  # fmt: skip
        step = {"text": FOUND, "draft": f"a {FOUND}", "layer": "base", "turns": [{"role": "user", "text": PROBE}]}
        add_event(opened, Event("s", 0, "turn", "p", "r1", "m1", 1.0, step))
        add_record(opened, Record("replay", "r", 1, "p", 1.0, {"rows": [{"id": "F-1", "output": FOUND, "n": 5}]}))
        yield opened


def held(folder: Path) -> set[str]:
    """The canaries in the raw bytes of all files of a folder."""
    data = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return {canary for canary in ALL if canary.encode() in data}


def test_what_belongs_to_no_run_can_be_erased_too(store: Store, tmp_path: Path) -> None:
    [run] = store.runs()
    assert held(tmp_path) == set(ALL)
    assert purge(store, run, "ana")["scrubbed"]
    assert held(tmp_path) == {PROBE, FOUND}
    done = purge_probes(store, "ana")
    assert (done["rows"], done["findings"], done["failures"], done["scrubbed"]) == (2, 1, 1, True)
    assert held(tmp_path) == set()
    assert store.rows(["probe"])["probe"].value["text"] == f"purged:{digest(PROBE)}"
    assert (done["events"], done["records"]) == (1, 1)
    assert [entry["action"] for entry in store.audits()] == ["purge", "purge"]
    [finding], [step], [record] = attempts(store), events(store), records(store, "replay")
    assert (finding.purged, step.purged, record.purged) == (True, True, True)
    assert (finding.tester, finding.severity, finding.plan, finding.layer, finding.foreign) == (
        "Ana M.", 3, "p", "base", "",
    )  # fmt: skip
    assert finding.harm.startswith("new: purged:")
    assert (step.value["layer"], record.value["rows"][0]["id"], record.value["rows"][0]["n"]) == ("base", "F-1", 5)


def test_probes_go_without_a_text_of_a_run(withstand: Any, store: Store, tmp_path: Path) -> None:
    place = ("--text", "--yes", "--store", store.path)
    assert withstand("purge", *place).code == 2
    assert withstand("purge", "r", "--probes", *place).code == 2
    done = withstand("purge", "--probes", *place)
    assert (done.code, held(tmp_path)) == (0, {ANSWER, HINT})


def test_a_reader_that_stays_is_said_and_leaves_nothing_once_it_is_gone(
    withstand: Any, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.0)
    command = ("purge", "r", "--text", "--yes", "--store", store.path)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute('SELECT * FROM "row"').fetchall()
        done = withstand(*command)
        assert done.code == 3
        assert "not erased yet" in done.err
        assert "run the same command again" in done.err
        assert held(tmp_path) >= {ANSWER}
    assert withstand(*command).code == 0
    assert held(tmp_path) == {PROBE, FOUND}


def test_a_reader_that_ends_is_waited_for(store: Store, tmp_path: Path) -> None:
    [run] = store.runs()
    reader = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    reader.execute("BEGIN")
    reader.execute('SELECT * FROM "row"').fetchall()
    end = threading.Timer(0.5, reader.close)
    end.start()
    assert purge(store, run, "ana")["scrubbed"]
    end.join()
    assert held(tmp_path) == {PROBE, FOUND}


def test_a_running_explorer_holds_none(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setattr(index.tempfile, "mkdtemp", lambda **_: str(folder))
    monkeypatch.setattr(index, "PAUSE", 0.05)
    [run] = store.runs()
    with client(Path(store.path), reveal=True) as web:
        base = run_path(web, "r")
        pages = [base, f"{base}/cases", f"{base}/cases/0.0.0.0", f"{base}/cases?text={ANSWER}"]
        assert ANSWER in "".join(web.get(page).text for page in pages)
        assert held(folder) == {ANSWER}
        assert purge(store, run, "ana")["scrubbed"]
        assert not any(canary in web.get(page).text for page in pages[:3] for canary in (ANSWER, HINT))
        assert held(tmp_path) == {PROBE, FOUND}


def test_an_explorer_that_nobody_looks_at_forgets_too(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten = threading.Event()
    monkeypatch.setattr(index, "PAUSE", 0.05)
    [run] = store.runs()
    with Store(store.path, create=False) as own, closing(index.Index(own, 60.0, None, forgotten.set)) as read:
        assert read.of_run(run) is not None
        purge(store, run, "ana")
        assert forgotten.wait(60)
        assert list(read.select("SELECT name FROM sqlite_master WHERE name GLOB 'words_*'")) == []


def test_the_console_forgets_its_conversation(store: Store) -> None:
    with explorer(Path(store.path)) as opened:
        session = opened.auth.enter(Session("", None), opened.auth.entry)
        assert session
        session.probe = PROBE
        opened.transcripts["run", 0, 0] = PROBE
        opened.forget()
        assert (opened.transcripts, session.probe) == ({}, "")
