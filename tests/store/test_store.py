"""The store as a file: opening, refusing, filling up, sharing and merging; with real files and real processes."""

import contextlib
import itertools
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sql
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from withstand import api
from withstand.core import StoreError
from withstand.results import success_by_budget
from withstand.results.graded import graded
from withstand.results.labeling import queue
from withstand.results.votes import votes
from withstand.store import database, store, tables
from withstand.store.merge import merge
from withstand.store.purge import purge
from withstand.store.store import Failure, Row, RunRow, Store, Want

Content = dict[str, set[Any]]


def content(opened: Store) -> Content:
    """What a store says, without who wrote it and when."""
    kept = {
        "row": ("key", "label", "value"),
        "answer": ("key", "value"),
        "want": ("run", "stage", "cell", "behavior", "number", "sample", "key"),
        "run": ("key", "name", "spec", "plan"),
        "behavior": ("key", "value"),
        "component": ("key", "value"),
        "failure": ("id", "key", "stage", "error"),
    }
    return {
        name: {tuple(entry) for entry in opened.select(sql.select(*(getattr(tables, name).c[c] for c in columns)))}
        for name, columns in kept.items()
    }


def mode_of(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def python(script: str, *args: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# --- opening -----------------------------------------------------------------------------------------------------


def test_a_new_store_is_private_and_logs_ahead(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "s.db"
    old = os.umask(0)
    try:
        with Store(str(path)) as opened:
            opened.add(rows=[Row("k", "label", {"a": 1})])
            files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(old)
    assert files == dict.fromkeys(files, 0o600)
    assert "s.db-wal" in files
    assert mode_of(path) == "wal"
    with Store(str(path), create=False) as again:
        assert again.rows(["k", "none"]) == {"k": Row("k", "label", {"a": 1})}
        assert again.have(["k", "none"]) == {"k"}
        with again.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1  # NORMAL


def test_a_store_that_is_not_there_is_not_made_for_reading(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store at") as caught:
        Store(str(tmp_path / "s.db"), create=False)
    assert caught.value.hint
    assert not list(tmp_path.iterdir())


def test_another_schema_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    Store(str(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    with pytest.raises(StoreError, match="has schema 99; this version of withstand reads schemas up to 11"):
        Store(str(path))


OLD = (Path(__file__).parent.parent / "data" / "schema-1.sql").read_text()


FACTS = ("test_cases", "cut", "refused", "malformed")
PACKED = {
    "3": (3, "", 0, 0),
    "4:asks": (4, "asks", 0, 0),
    "1:success": (1, "success", 0, 0),
    "3:-:2:1": (3, "", 2, 1),
    "12:seconds:0:7": (12, "seconds", 0, 7),
}
"""Labels of attacks' rows up to schema 3, and the facts that they hold."""


def as_before(number: int, cut: str, refused: int, malformed: int) -> str:
    """The label that an attack's row had up to schema 3."""
    lost = f"{refused}:{malformed}" if refused or malformed else ""
    return ":".join(filter(None, [str(number), cut or (lost and "-"), lost]))


def unvoted(entry: dict[str, Any]) -> None:
    """Leave the vote of an ensemble's verdict in its reason alone, as up to schema 4."""
    if vote := entry.pop("vote"):
        value = json.loads(entry["value"])
        assert value.pop("vote") == vote
        entry["value"] = json.dumps(value)


LATER_WRITERS = ("run", "calibration", "probe")


def old_store(where: str, full: Store, packed: Mapping[str, str] = MappingProxyType({})) -> None:
    """A store as schema 1 made it, with everything of `full`; packed: labels of rows, by key."""
    url, file = database.locate(where, True)
    engine = sql.create_engine(url)
    with engine.begin() as connection:
        for statement in OLD.split(";"):
            if statement.strip():
                connection.exec_driver_sql(statement if file else statement.replace("WITHOUT ROWID", ""))
        for table in tables.tables.sorted_tables:
            entries = [dict(entry._mapping) for entry in full.select(sql.select(table))]
            for entry in entries:
                entry.pop("flops", None)  # of schema 3
                entry.pop("purged", None)  # of schema 6
                entry.pop("annotator", None)  # of schema 7
                for name in ("mark", "author", "reuse", *(["writer"] if table.name in LATER_WRITERS else [])):
                    entry.pop(name, None)  # of schema 8
                if table.name == "row":
                    del entry["long"], entry["repeated"], entry["changed"]  # of schemas 9 and 10
                    unvoted(entry)  # of schema 5
                    facts = [entry.pop(name) for name in FACTS]  # of schema 4
                    entry["label"] = packed.get(entry["key"], entry["label"] if facts[0] is None else as_before(*facts))
            if table.name == "meta":  # which had no more then
                entries = [{"key": "schema", "value": "1"}]
            if entries:
                connection.execute(sql.insert(table), entries)
    engine.dispose()


def indexes(opened: Store) -> set[str]:
    inspector = sql.inspect(opened.engine)
    return {
        str(index["name"])
        for name in tables.tables.tables
        for index in inspector.get_indexes(name)
        if "duplicates_constraint" not in index
    }


def test_a_store_of_schema_1_is_brought_up_and_says_the_same(tmp_path: Path, where: str) -> None:
    with Store(str(tmp_path / "new.db")) as full:
        spec = {"suite": "kitchen", "limit": 4, "target": "scripted-kitchen", "attack": ["story", "best_of_n,n=3"]}
        run = api.run(spec, store=full, name="kept")
        full.add(failures=[Failure("gone", 2, "broken")])
        full.add_audit("ana", "reveal", "kept")
        old_store(where, full)
        with Store(where, create=False) as opened:
            assert opened.select(sql.select(tables.meta)) == [("schema", str(tables.SCHEMA))]
            opened.marks.trust()
            assert content(opened) == content(full)
            assert opened.audits() == full.audits()
            assert api.load("kept", opened).summary == run.summary
            assert indexes(opened) == indexes(full) >= {"ix_answer_writer", "ix_row_writer"}
            again = api.run(spec, store=opened, name="kept")
            assert again.tally is not None
            assert again.tally.asks == 0
    with Store(where, create=False) as opened:  # it is brought up once
        chosen = sql.select(tables.meta).where(tables.meta.c.key == "schema")
        assert opened.select(chosen) == [("schema", str(tables.SCHEMA))]


def test_what_the_user_wrote_before_schema_10_is_the_users_still(tmp_path: Path) -> None:
    spec = {"suite": "kitchen", "limit": 2, "target": "scripted-kitchen", "attack": ["story"], "benign": "none"}
    path = tmp_path / "nine.db"
    api.run(spec, store=path, name="kept")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute('ALTER TABLE "row" DROP COLUMN changed')
        connection.execute("UPDATE meta SET value = '9' WHERE key = 'schema'")
        connection.commit()
    again = api.run(spec, store=path, name="kept")
    assert again.tally is not None
    assert again.tally.asks == 0


def test_the_facts_that_labels_packed_become_columns(tmp_path: Path, where: str) -> None:
    with Store(str(tmp_path / "new.db")) as full:
        full.add([Row(packed, "1", [], test_cases=0, cut="", refused=0, malformed=0) for packed in PACKED])
        full.add([Row("answer", "stop", {}), Row("verdict", "success", {})])
        old_store(where, full, {packed: packed for packed in PACKED})
    with Store(where, create=False) as opened:
        rows = opened.rows([*PACKED, "answer", "verdict"])
    for packed, facts in PACKED.items():
        assert tuple(getattr(rows[packed], name) for name in FACTS) == facts
        assert rows[packed].label == str(facts[0])
    assert {(rows[key].label, rows[key].test_cases, rows[key].cut) for key in ("answer", "verdict")} == {
        ("stop", None, None),
        ("success", None, None),
    }


VOTED = {
    "suite": "kitchen",
    "limit": 6,
    "target": {"use": "scripted", "rules": [[".", "soup {n}", 0.3]], "reply": "No."},
    "attack": ["direct", {"use": "best_of_n", "n": 8, "batch": 2}],
    "judge": {"use": "ensemble", "judges": ["contains:soup", "contains:soup", "contains:nowhere"], "quorum": 2},
    "benign": "none",
}
"""The members agree on "No." and are split on soup."""


def results_of(opened: Store) -> list[Any]:
    """What reports say of the run from facts of its rows."""
    run = api.load("kept", opened)
    review = [(item.place, item.stratum) for item in queue(opened, run.row, "review")]
    curves = list(success_by_budget.within(opened, run.row))
    return [run.summary, votes(opened, run.row), graded(opened, run.row), curves, review]


@pytest.mark.parametrize("cap", [{"budget": {"asks": 5}}, {"until_success": True}])
def test_results_of_an_older_store_stay_the_same_also_merged(
    tmp_path: Path, where: str, cap: Mapping[str, Any]
) -> None:
    with Store(str(tmp_path / "new.db")) as full, Store(str(tmp_path / "into.db")) as into:
        api.run({**VOTED, **cap}, store=full, name="kept")
        results = results_of(full)
        assert min(results[1][0].agreed, results[1][0].split, len(results[-1])) > 0
        old_store(where, full)
        with Store(where, create=False) as opened:
            opened.marks.trust()
            assert results_of(opened) == results
            merge(opened, into)
        assert results_of(into) == results


def test_a_purge_keeps_how_an_ensemble_voted(tmp_path: Path) -> None:
    with Store(str(tmp_path / "s.db")) as opened:
        run = api.run(VOTED, store=opened, name="kept")
        before = votes(opened, run.row)
        purge(opened, run.row, "ana")
        assert votes(opened, run.row) == before
        assert before[0].split > 0


def test_a_reason_that_names_a_split_is_no_vote(tmp_path: Path, where: str) -> None:
    reasons = {"split": "split: a; b", "agreed": "agreed: a; b", "none": "splits: a", "other": "the split: a"}
    with Store(str(tmp_path / "new.db")) as full:
        full.add([Row(key, "failure", {"outcome": "failure", "why": why}) for key, why in reasons.items()])
        full.add([Row("answer", "stop", {"why": "split: a"}), Row("filtered", "filtered", {})])
        old_store(where, full)
    with Store(where, create=False) as opened:
        rows = opened.rows([*reasons, "answer", "filtered"])
    assert {key: row.vote for key, row in rows.items() if row.vote} == {"split": "split", "agreed": "agreed"}


def test_an_upgrade_that_is_cut_off_leaves_the_old_store(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(str(tmp_path / "new.db")) as full:
        old_store(where, full)
    with monkeypatch.context() as patch:
        patch.setattr(store, "STEPS", {**tables.STEPS, 3: (*tables.STEPS[3], "CREATE INDEX broken ON nothing (here)")})
        with pytest.raises(StoreError, match="nothing"):
            Store(where)
    url, _ = database.locate(where, False)
    engine = sql.create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(sql.select(tables.meta)).all() == [("schema", "1")]
        assert not [i for i in sql.inspect(connection).get_indexes("row") if i["name"] == "ix_row_writer"]
    engine.dispose()
    Store(where).close()


def test_processes_may_bring_a_store_up_at_once(tmp_path: Path, where: str) -> None:
    with Store(str(tmp_path / "new.db")) as full:
        old_store(where, full)
    script = "import sys; from withstand.store.store import Store; sys.stdin.readline(); Store(sys.argv[1]).close()"
    command = [sys.executable, "-c", script, where]
    several = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate("go\n", timeout=60)[1] for process in several] == [""] * 2
    with Store(where, create=False) as opened:
        assert opened.select(sql.select(tables.meta)) == [("schema", str(tables.SCHEMA))]


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes\n" * 1000)
    with pytest.raises(StoreError, match=r"notes\.txt: file is not a database") as caught:
        Store(str(path))
    assert "--store" in caught.value.hint
    assert path.read_text() == "my notes\n" * 1000


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is a database, but not a store"):
        Store(str(path))
    assert path.read_bytes() == before  # not even its journal mode
    assert mode_of(path) == "delete"


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "s.db").touch()
    Store(str(tmp_path / "s.db")).close()
    assert mode_of(tmp_path / "s.db") == "wal"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("folder", "is a folder"),
        ("file/s.db", "cannot open"),
        ("x" * 300, "cannot open"),
        ("http://host/store", "is not a store"),
        ("mysql://host/store", "is not a store"),
        ("postgresql://host:port/x", "cannot be read"),
    ],
)
def test_what_cannot_be_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=message) as caught:
        Store(where)
    assert caught.value.hint


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_postgres_url_keeps_its_user_and_hides_its_password(scheme: str) -> None:
    pytest.importorskip("psycopg")
    url, path = database.locate(f"{scheme}://postgres:secret@127.0.0.1:1/postgres", create=True)
    assert (url.drivername, url.username, url.password, path) == ("postgresql+psycopg", "postgres", "secret", "")
    with pytest.raises(StoreError) as caught:
        Store(f"{scheme}://postgres:secret@127.0.0.1:1/postgres")
    assert "secret" not in str(caught.value) + caught.value.hint


AS_NOBODY = """
import os, sys
from withstand.core import StoreError
from withstand.store.store import Store, Row
if os.getuid() == 0:
    os.setuid(65534)
path = sys.argv[1]
with Store(path, create=False) as store:
    print(store.rows(["k"])["k"].value)
    try:
        store.add(rows=[Row("new", "label", 1)])
    except StoreError as error:
        print(error, "|", error.hint)
    print(store.have(["new"]))
"""


@pytest.mark.parametrize("folder", [0o755, 0o555])
def test_a_file_that_may_only_be_read_is_read_and_says_so_when_written(folder: int) -> None:
    home = Path(tempfile.mkdtemp())  # tmp_path is closed to other users
    try:
        with Store(str(home / "s.db")) as opened:
            opened.add(rows=[Row("k", "label", "kept")])
        (home / "s.db").chmod(0o444)
        home.chmod(folder)
        out, err = python(AS_NOBODY, str(home / "s.db")).communicate(timeout=60)
    finally:
        home.chmod(0o755)
        shutil.rmtree(home)
    assert not err
    kept, refused, new = out.splitlines()
    assert kept == "kept"
    assert "readonly database" in refused
    assert "check the file's and its folder's permissions" in refused
    assert new == "set()"


def test_a_store_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(schema: sql.MetaData, driver: str) -> Iterator[str]:
        yield from database.creation(schema, driver)[:4]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "creation", dying)
        with pytest.raises(KeyboardInterrupt):
            Store(str(tmp_path / "s.db"))
    with sqlite3.connect(tmp_path / "s.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    with Store(str(tmp_path / "s.db")) as opened:
        assert opened.runs() == []


# --- full disk ---------------------------------------------------------------------------------------------------


def limit(opened: Store, pages: int | None) -> None:
    """Let the database grow no more than so many pages: SQLite then says what it says on a full disk."""

    def on_connect(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages or 1_000_000}")

    opened.engine.dispose()
    sql.event.listen(opened.engine, "connect", on_connect)


def test_a_full_disk_leaves_nothing_half_written_and_a_rerun_completes(tmp_path: Path) -> None:
    rows = [Row(f"k{n}", "label", "x" * 1000) for n in range(200)]
    answers = {f"a{n}": "y" * 1000 for n in range(200)}
    with Store(str(tmp_path / "s.db")) as opened:
        opened.add(rows=rows[:10], answers=dict(list(answers.items())[:10]))
        limit(opened, 60)
        with pytest.raises(StoreError, match="full") as caught:
            opened.add(rows=rows, answers=answers, failures=[Failure("k", 1, "e")])
        assert "the disk is full" in caught.value.hint
        entries = content(opened)
        assert [len(entries[name]) for name in ("row", "answer", "failure")] == [10, 10, 0]
        limit(opened, None)
        opened.add(rows=rows, answers=answers)
        entries = content(opened)
        assert [len(entries[name]) for name in ("row", "answer", "failure")] == [200, 200, 0]


def test_a_run_on_a_full_disk_fails_whole_and_goes_on(tmp_path: Path) -> None:
    """The whole line, on a real little file system where we may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount")
    try:
        spec = {
            "suite": {"use": "kitchen", "limit": 10},
            "target": {"use": "scripted", "reply": "soup {n} " * 300},
            "attack": {"use": "best_of_n", "n": 16},
            "judge": "contains:soup",
            "benign": "none",
            "sampling": {"max_tokens": 4000},
        }
        with pytest.raises(StoreError, match="full"):
            api.run(spec, store=disk / "s.db")
        with Store(str(disk / "s.db"), create=False) as opened:
            held = len(content(opened)["answer"])
            assert opened.select(sql.text("PRAGMA integrity_check")) == [("ok",)]
        assert 0 < held < 160
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        done = api.run(spec, store=disk / "s.db")
        whole = api.run(spec, store=tmp_path / "whole.db")
        assert done.tally is not None
        assert done.tally.asks == 160 - held  # what was saved is not asked again
        assert done.cells[0]["success"] == whole.cells[0]["success"] == 160
        assert [c["completion"] for c in done.cases()] == [c["completion"] for c in whole.cases()]
        done.store.close()
        whole.store.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_a_full_disk_when_opening_is_said_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(str(tmp_path / "s.db")).close()

    def full(engine: sql.Engine, path: str) -> None:
        raise sql.exc.OperationalError("PRAGMA", (), sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr(store, "use_wal", full)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(StoreError, match="full") as caught:
            Store(str(tmp_path / "s.db"))
    assert "disk is full" in caught.value.hint


# --- write-ahead logging -----------------------------------------------------------------------------------------

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM row").fetchone()
print("held", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


def rollback_store(path: Path) -> None:
    with Store(str(path)) as opened:
        opened.add(rows=[Row("k", "label", 1)])
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()


def test_the_switch_to_wal_waits_for_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.db"
    rollback_store(path)
    monkeypatch.setattr(database, "BUSY", 0.0)  # SQLite's own patience, which two switches at once do without
    holder = python(HOLDER, str(path))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            holder.communicate("go\n", timeout=60)

    clock = itertools.count(0.0, -1.0)  # the deadline never comes
    monkeypatch.setattr(database, "time", SimpleNamespace(monotonic=clock.__next__, sleep=sleep))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Store(str(path)) as opened:
            assert opened.have(["k"]) == {"k"}
    assert len(slept) == 3  # it was locked, and was tried again
    assert mode_of(path) == "wal"


def test_a_store_that_stays_busy_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.db"
    rollback_store(path)
    monkeypatch.setattr(database, "BUSY", 0.3)
    holder = python(HOLDER, str(path))
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(StoreError, match="locked") as caught:
        Store(str(path))
    assert "another process" in caught.value.hint
    holder.kill()
    holder.communicate()


def test_a_file_system_without_wal_is_warned_of_once_and_correct(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's dotfile locking has no shared memory, as many network file systems."""
    path = tmp_path / "s.db"

    def locate(where: str, create: bool) -> tuple[sql.URL, str]:
        database.locate(where, create)
        query = {"vfs": "unix-dotfile", "uri": "true"}
        return sql.URL.create("sqlite", database=f"file:{where}", query=query), where

    monkeypatch.setattr(store, "locate", locate)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Store(str(path)) as opened:
            opened.add(rows=[Row("k", "label", 1)], answers={"a": 1})
            assert opened.add(answers={"a": 2}) == {"a": 1}
            with opened.engine.connect() as connection:
                assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL: the journal needs it
        messages = [str(w.message) for w in caught]
    assert len(messages) == 1
    assert "does not support write-ahead logging" in messages[0]
    assert mode_of(path) == "delete"
    spec = {"suite": {"use": "kitchen", "limit": 2}, "target": "scripted", "attack": "direct"}
    with pytest.warns(UserWarning, match="write-ahead"):
        assert api.run(spec, store=path).cells[0]["cases"] == 2


# --- sharing -----------------------------------------------------------------------------------------------------

CREATOR = """
import sys
from withstand.store.store import Row, Store
path, me = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
with Store(path) as store:
    for n in range(20):
        store.add(rows=[Row(f"{me}.{n}", "own", n), Row(f"all.{n}", "common", me)], answers={f"all.{n}": me})
        standing = store.add(answers={f"all.{n}": me})
        print(standing.get(f"all.{n}", me))
"""


def test_processes_may_create_and_fill_a_store_at_once(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    processes = [python(CREATOR, str(path), str(n)) for n in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, [err for _, err in outputs]
    with Store(str(path)) as opened:
        entries = content(opened)
        assert len(entries["row"]) == 3 * 20 + 20
        standing = {key: json.loads(value) for key, value in entries["answer"]}
        assert len(opened.select(sql.select(tables.writer))) == 3
    for out, _ in outputs:  # all heard the same, and it is what stands
        assert out.split() == [standing[f"all.{n}"] for n in range(20)]


def test_the_first_writer_of_a_key_stands(tmp_path: Path) -> None:
    with Store(str(tmp_path / "s.db")) as first, Store(str(tmp_path / "s.db")) as second:
        assert first.add(rows=[Row("k", "first", 1)], answers={"a": {"x": 1}, "b": 2}) == {}
        assert second.add(rows=[Row("k", "second", 2)], answers={"a": {"x": 2}, "b": 2, "c": 3}) == {"a": {"x": 1}}
        assert first.rows(["k"])["k"].label == "first"
        assert first.answers("abc") == {"a": {"x": 1}, "b": 2, "c": 3}
        first.add_run(RunRow("r1", "name", 1.0, {}, {}))
        second.add_run(RunRow("r2", "name", 2.0, {}, {}))
        assert [r.key for r in second.runs()] == ["r1"]
        first.add_wants("r1", [Want(1, 0, 0, 0, 0, "k")])
        second.add_wants("r1", [Want(1, 0, 0, 0, 0, "other"), Want(1, 0, 1, 0, 0, "k2")])
        assert {w[-1] for w in content(first)["want"]} == {"k", "k2"}


def test_many_keys_are_read_in_parts(tmp_path: Path) -> None:
    with Store(str(tmp_path / "s.db")) as opened:
        opened.add(rows=[Row(f"k{n}", "l", n) for n in range(1203)], answers={f"k{n}": n for n in range(1203)})
        keys = [f"k{n}" for n in range(1300)]
        assert len(opened.have(keys)) == len(opened.rows(keys)) == len(opened.answers(keys)) == 1203
        assert opened.rows([]) == {}


# --- merging -----------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    with Store(str(tmp_path / "a.db")) as a, Store(str(tmp_path / "b.db")) as b:
        yield a, b


def test_merging_adds_everything_and_twice_nothing(pair: tuple[Store, Store]) -> None:
    a, b = pair
    for opened, name in ((a, "a"), (b, "b")):
        opened.add(
            rows=[Row("both", "l", 1), Row(name, "l", 1)],
            answers={"both": 1, name: 1},
            failures=[Failure(name, 1, "went wrong", "hint", "trace")],
        )
        opened.add_run(RunRow("run", "shared", 1.0, {"s": 1}, {"p": 1}))
        opened.add_run(RunRow(f"run {name}", f"own {name}", 1.0, {}, {}))
        opened.add_wants("run", [Want(1, 0, 0, 0, 0, "both"), Want(1, 0, len(name) + ord(name), 0, 0, name)])
        opened.add_texts({"both": {"id": 1}, name: {"id": 2}}, {name: {"name": name}})
    theirs = content(b)
    union = {name: content(a)[name] | theirs[name] for name in theirs}
    added = merge(b, a)
    assert content(a) == union
    expected = {"row": 1, "answer": 1, "failure": 1, "run": 1, "want": 1, "behavior": 1, "component": 1, "writer": 1}
    assert {name: n for name, n in added.items() if n} == expected
    assert content(b) == theirs  # the other store is only read
    assert not any(merge(b, a).values())
    assert content(a) == union
    merge(a, b)
    assert content(b) == union
    writers = [{w.key for w in opened.select(sql.select(tables.writer))} for opened in pair]
    assert writers[0] <= writers[1]  # provenance travels with the rows


KEYS = st.sets(st.sampled_from("abcdefgh"))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(KEYS, min_size=3, max_size=3))
def test_merging_is_a_union_in_any_order(tmp_path: Path, sets: list[set[str]]) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as home:

        def fresh(name: str, keys: set[str]) -> Store:
            opened = Store(f"{home}/{name}.db")
            opened.add(rows=[Row(key, "l", ord(key)) for key in keys], answers={key: key for key in keys})
            return opened

        left, right = fresh("left", sets[0]), fresh("right", sets[2])
        others = [fresh(f"{n}", keys) for n, keys in enumerate(sets)]
        merge(others[1], left)
        merge(others[2], left)
        merge(others[1], right)
        merge(others[0], right)
        assert content(left) == content(right)
        assert {key for key, *_ in content(left)["row"]} == set().union(*sets)
        for opened in (left, right, *others):
            opened.close()


def test_a_clash_of_names_is_refused_before_anything_is_written(pair: tuple[Store, Store]) -> None:
    a, b = pair
    a.add_run(RunRow("run a", "name", 1.0, {}, {}))
    b.add_run(RunRow("run b", "name", 1.0, {}, {}))
    b.add(rows=[Row("k", "l", 1)])
    before = content(a)
    with pytest.raises(StoreError, match="have a run 'name'") as caught:
        merge(b, a)
    assert "--name" in caught.value.hint
    assert content(a) == before


def test_where_both_wrote_a_key_mine_stands(pair: tuple[Store, Store]) -> None:
    a, b = pair
    a.add(rows=[Row("k", "mine", 1)])
    b.add(rows=[Row("k", "theirs", 2)])
    assert merge(b, a)["row"] == 0
    assert a.rows(["k"])["k"].label == "mine"


def test_a_large_merge_goes_in_parts(pair: tuple[Store, Store]) -> None:
    a, b = pair
    b.add(answers={f"k{n}": n for n in range(12_000)})
    assert merge(b, a)["answer"] == 12_000
    assert len(content(a)["answer"]) == 12_000
