"""The same store on a real PostgreSQL: set WITHSTAND_TEST_POSTGRES to the URL of a server that may make databases."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sql

import withstand
from clocks import until
from withstand.core import StoreError
from withstand.store.attempts import Attempt, add
from withstand.store.merge import merge
from withstand.store.purge import purge
from withstand.store.store import Failure, Row, Store
from withstand.store.tables import answer, row, tables

SPEC = {
    "suite": "kitchen",
    "limit": 6,
    "target": {
        "use": "scripted",
        "rules": [[".", "Step 1: mix {n}.", 0.5]],
        "reply": "I cannot help.",
        "seconds": 0.02,
    },
    "attack": ["direct", {"use": "best_of_n", "n": 6}],
    "sampling": {"temperature": 1.0},
}


def content(store: Store) -> set[tuple[str, str]]:
    return {(key, label) for key, label in store.select(sql.select(row.c.key, row.c.label))}


def test_rows_equal_those_of_a_file(postgres: str, tmp_path: Path) -> None:
    there, here = Store(postgres), Store(str(tmp_path / "s.db"))
    first, second = withstand.run(SPEC, store=there), withstand.run(SPEC, store=here)
    assert content(there) == content(here)
    for cell, twin in zip(first.cells, second.cells, strict=True):
        drop = {"seconds", "used"}
        assert {k: v for k, v in cell.items() if k not in drop} == {k: v for k, v in twin.items() if k not in drop}
    again = withstand.run(SPEC, store=there)
    assert again.tally is not None
    assert again.tally.asks == 0
    assert [case["completion"] for case in first.cases()] == [case["completion"] for case in second.cases()]


def test_the_first_writer_stands(postgres: str) -> None:
    first, second = Store(postgres), Store(postgres)
    assert first.add(answers={"k": {"text": "first"}}) == {}
    assert second.add(answers={"k": {"text": "second"}, "other": {"text": "mine"}}) == {"k": {"text": "first"}}
    first.add(rows=[Row("r", "stop", {"text": "first"})], failures=[Failure("r", 2, "broken")])
    second.add(rows=[Row("r", "stop", {"text": "second"})])
    assert second.rows(["r"])["r"].value == {"text": "first"}


def test_merging_both_ways_is_a_union(postgres: str, tmp_path: Path) -> None:
    there, here = Store(postgres), Store(str(tmp_path / "s.db"))
    withstand.run(SPEC, store=here)
    added = merge(here, there)
    assert added["row"] == len(content(here)) > 0
    assert content(there) == content(here)
    assert set(merge(here, there).values()) == {0}
    back = merge(there, here)
    assert {name for name, new in back.items() if new} <= {"writer"}  # the process that merged


def test_a_kill_loses_nothing(postgres: str, tmp_path: Path) -> None:
    slow = {**SPEC, "target": {**SPEC["target"], "width": 1, "seconds": 0.2}}  # type: ignore[dict-item]
    victim = subprocess.Popen([sys.executable, "-c", f"import withstand; withstand.run({slow!r}, store={postgres!r})"])
    watch = Store(postgres)
    until(lambda: watch.select(sql.select(answer.c.key).limit(3)))
    assert victim.poll() is None
    victim.kill()
    victim.wait()
    withstand.run(SPEC, store=postgres)  # that several share a run is the next test
    whole = Store(str(tmp_path / "whole.db"))
    withstand.run(SPEC, store=whole)
    assert content(watch) == content(whole)


def test_two_machines_worth_of_processes_write_one_run(postgres: str, tmp_path: Path) -> None:
    slow = {**SPEC, "target": {**SPEC["target"], "width": 1, "seconds": 0.05}}  # type: ignore[dict-item]
    script = f"""
import sys, withstand.api
print("ready", flush=True)
sys.stdin.readline()
withstand.api.run({slow!r}, store={postgres!r}, shard=(int(sys.argv[1]), 2))
"""
    pipe = subprocess.PIPE
    machines = [  # of which two do the same half
        subprocess.Popen([sys.executable, "-c", script, shard], stdin=pipe, stdout=pipe, text=True)
        for shard in ("1", "2", "1")
    ]
    for process in machines:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in machines:  # at once: all are there before the store is
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(120) for process in machines] == [0] * 3
    with Store(postgres) as there, Store(str(tmp_path / "whole.db")) as whole:
        run = withstand.run(SPEC, store=whole)
        assert content(there) == content(whole)
        assert [case["completion"] for case in withstand.load("", there).cases()] == [
            case["completion"] for case in run.cases()
        ]
        wrote = there.select(sql.select(row.c.writer, sql.func.count()).group_by(row.c.writer))
        assert len(wrote) > 1
        assert sum(count for _, count in wrote) == len(content(whole))


def test_what_no_text_column_takes_is_kept_readable(postgres: str, tmp_path: Path) -> None:
    odd = "a\0b \ud800"  # PostgreSQL has no NUL, and neither database a lone surrogate
    for store in (Store(postgres), Store(str(tmp_path / "s.db"))):
        store.add(
            rows=[Row("r", "stop", {"text": odd})], answers={"k": {"text": odd}}, failures=[Failure("f", 2, odd, odd)]
        )
        store.add_label("l", "run", {"note": odd})
        store.add_audit(odd, "reveal", odd)
        assert store.rows(["r"])["r"].value == store.answers(["k"])["k"] == {"text": odd}
        [(error, hint)] = store.select(sql.select(tables.tables["failure"].c["error", "hint"]))
        assert error == hint == "a\\x00b \\ud800"
        assert store.audits()[0]["person"] == "a\\x00b \\ud800"
        store.close()


def test_a_server_that_refuses_is_said_without_the_password(postgres: str) -> None:
    wrong = sql.make_url(postgres).set(password="wr0ng").render_as_string(hide_password=False)
    with pytest.raises(StoreError) as caught:
        Store(wrong)
    assert "wr0ng" not in str(caught.value)
    assert "check the address" in caught.value.hint


# --- the explorer and purge -------------------------------------------------------------------------------------------


def test_every_page_of_the_explorer_is_that_of_a_file(postgres: str, tmp_path: Path) -> None:
    pytest.importorskip("starlette")
    from starlette.testclient import TestClient

    from withstand.explorer.app import Explorer, make_app
    from withstand.explorer.security import Auth

    here, there = Store(str(tmp_path / "s.db")), Store(postgres)
    spec = {**SPEC, "attack": ["direct", "story"], "target": ["scripted", "scripted-kitchen"]}
    run = withstand.run(spec, store=here, name="kitchen")
    here.add(failures=[Failure("gone", 2, "odd \0")])
    here.add_audit("ana", "reveal", "kitchen 1.0.0.0")
    add(here, Attempt("F-1", (), "x", "harmful", "ana", 1.0, 1.0, run=run.row.key, harm="new: h", spot=(0, 0, 0, 0)))
    merge(here, there)
    base = f"/runs/{run.row.key[:16]}"
    pages = [
        f"{base}/cases", f"{base}/cases?outcome=success", f"{base}/cases?text=step&category=baking",
        f"{base}/cases/0.0.0.0", f"{base}/cases/1.2.0.0?outcome=failure", f"{base}/cases/1.0.0.0/search",
        f"{base}/compare?a=0&b=1", f"{base}/label", f"{base}/label?for=review", f"{base}/calibration",
        f"{base}/cases.csv", f"{base}/summary.json", "/probe", "/findings", "/audit", base, "/",
    ]  # fmt: skip
    answers = []
    for store in (here, there):
        explorer = Explorer(store, Auth("127.0.0.1", 8765, local="ana"), wait=60.0, reveal=True)
        web = TestClient(make_app(explorer), base_url="http://127.0.0.1:8765", follow_redirects=False)
        web.get(f"/?token={explorer.auth.entry}")
        pages_by_name = {}
        for page in pages:
            answer = web.get(page)
            assert answer.status_code == 200, (page, explorer.index.error)
            pages_by_name[page] = re.sub(r'name="csrf" value="[^"]+"|"csrf": *"[^"]+"', "", answer.text)
            pages_by_name[page] = re.sub(r"\d\d:\d\d:\d\d", "TIME", pages_by_name[page]).replace(store.where, "STORE")
        csrf = re.search(r'name="csrf" value="([^"]+)"', web.get("/probe").text)
        assert csrf
        form = {"csrf": csrf[1], "next": f"{base}/cases/0.0.0.0", "vote": "success", "for": "calibration"}
        queued = re.search(r'name="place" value="([^"]+)"', web.get(f"{base}/label").text)
        assert queued
        assert web.post(f"{base}/label", data=form | {"place": queued[1]}).status_code in (200, 303)
        assert [label["vote"] for label in store.labels(run.row.key)] == ["success"]
        explorer.index.close()
        answers.append(pages_by_name)
    for page in pages:
        assert answers[0][page] == answers[1][page], page


def test_a_new_store_is_of_who_made_it(postgres: str) -> None:
    assert Store(postgres).is_own
    assert Store(postgres).is_own  # opened again


def test_a_purge_leaves_no_text_and_every_number(postgres: str, tmp_path: Path) -> None:
    here, there = Store(str(tmp_path / "s.db")), Store(postgres)
    run = withstand.run(SPEC, store=here, name="kitchen")
    here.add(failures=[Failure(next(iter(content(here)))[0], 2, "it quotes: Step 1: mix")])
    merge(here, there)
    before = withstand.load("kitchen", there).summary
    for store in (here, there):
        done = purge(store, run.row, "ana")
        assert done["rows"] == len(content(store)) > 0
        assert done["answers"] > 0
        assert done["failures"] == 1
    after = withstand.load("kitchen", there)
    assert (after.summary["cells"], after.summary["warnings"]) == (before["cells"], before["warnings"])
    assert list(after.cases()) == list(withstand.load("kitchen", here).cases())
    for name in ("row", "answer", "failure", "label", "attempt", "behavior"):
        for entry in there.select(sql.select(tables.tables[name])):
            assert "Step 1" not in str(entry)
    assert all(case["completion"].startswith("purged:") for case in after.cases())
