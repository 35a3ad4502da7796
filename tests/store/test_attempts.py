"""Attempts, events and records: revisions of which the first of a number stands."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from hostile.stores import with_findings
from withstand.store import tables
from withstand.store.attempts import Attempt, Rating, Turn, add, attempts, history, new_id
from withstand.store.merge import differing, merge
from withstand.store.revisions import Event, Record, add_event, add_record, append, events, records, revisions
from withstand.store.store import Store

TURNS = (Turn("system", "Be kind."), Turn("user", "How do I make  SOUP?"))


def attempt(**more: object) -> Attempt:
    at = 1_770_000_000.0
    value = Attempt(new_id("p", "m1", at, TURNS, "Boil it."), TURNS, "Boil it.", "harmful", "m1", at, at, plan="p")
    return replace(value, **more)  # type: ignore[arg-type]


def test_of_two_edits_of_one_revision_the_first_stands(where: str) -> None:
    with Store(where) as store:
        first = attempt(harm="new: soup", spot=(0, 1, 0, 0), ratings=(Rating("a", 3, 1.0), Rating("b", 4, 2.0)))
        assert add(store, first)
        assert add(store, replace(first, revision=2, status="confirmed", editor="a"))
        assert not add(store, replace(first, revision=2, status="wont_fix", editor="b"))
        assert [edit.status for edit in history(store, first.id)] == ["new", "confirmed"]
        [last] = attempts(store, "p")
        assert (last.status, last.editor, last.rated, last.spot) == ("confirmed", "a", 4, (0, 1, 0, 0))
        assert attempts(store, "other") == attempts(store, ids=["F-1", "\ud800\0"]) == []
        odd = attempt(id="F-2", owner="\ud800", layer="\0", tester="m" * 300)  # a sheet may hold such characters
        assert add(store, odd)
        assert attempts(store, ids=["F-2"]) == [odd]


def test_equal_inputs_and_pairs_have_equal_names() -> None:
    spaced = (TURNS[0], Turn("user", "how do i make soup?"))
    assert attempt().input == attempt(turns=spaced, output="No.").input
    assert attempt().pair_id == attempt(tester="m2").pair_id != attempt(turns=spaced).pair_id
    assert attempt().id.startswith("F-20260202-")


def test_sessions_and_records_are_read_in_order(where: str) -> None:
    with Store(where) as store:
        for number, kind in enumerate(("begin", "turn")):
            assert add_event(store, Event("s", number, kind, "p", "r1", "m1", 1.0 + number, {"text": "soup"}))
        assert not add_event(store, Event("s", 1, "turn", "p", "r1", "m1", 9.0, {"text": "another window"}))
        assert [(step.kind, step.created) for step in events(store, session="s")] == [("begin", 1.0), ("turn", 2.0)]
        for number in (1, 2):
            assert add_record(store, Record("incident", "I-1", number, "", float(number), {"n": number}))
        assert add_record(store, Record("assignment", "r1", 1, "p", 0.5, {}))
        assert [record.value for record in records(store, "incident")] == [{"n": 2}]
        assert len(revisions(store, "incident", record_id="I-1")) == 2


def test_what_is_appended_stands_behind_what_others_write_meanwhile(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(where) as store:
        add_record(store, Record("answer", "q", 1, "kitchen", 1.0, {"text": "theirs"}))
        monkeypatch.setattr("withstand.store.revisions.revisions", lambda *_, **__: [])  # read before theirs was there
        assert append(store, "answer", "q", "kitchen", 2.0, {"text": "ours"}) == 2
        monkeypatch.undo()
        assert [record.value["text"] for record in revisions(store, "answer")] == ["theirs", "ours"]


def test_findings_of_before_schema_11_become_attempts(where: str) -> None:
    finding = attempt(plan="", run="r" * 32, spot=(0, 1, 0, 0), harm="new: soup", severity=2, notes="why", purged=False)
    with Store(where) as store:
        add(store, finding)
        with store.engine.begin() as connection:
            with_findings(connection.exec_driver_sql)
        place = store.where if store.path else store.url.render_as_string(hide_password=False)
    for _ in range(2):
        with Store(place, create=False) as store:
            assert not sql.inspect(store.engine).has_table("finding")
            [old] = attempts(store, run="r" * 32)
            assert (old.turns, old.output, old.harm, old.tester) == (TURNS, "Boil it.", "new: soup", "m1")
            assert (old.severity, old.word, old.verdict, old.spot, old.notes) == (
                3,
                "high",
                "harmful",
                (0, 1, 0, 0),
                "why",
            )
            assert (old.input, old.pair_id, old.technique) == (finding.input, finding.pair_id, "a")
            assert old.foreign == "unmarked"  # findings had no mark: nobody can say whose they are
            [(column,)] = store.select(sql.select(tables.attempt.c.input))
            assert column == finding.input


def test_a_merge_names_the_edits_that_differ(tmp_path: Path, withstand: Callable[..., Any]) -> None:
    first = attempt()
    with Store(str(tmp_path / "here.db")) as here, Store(str(tmp_path / "there.db")) as there:
        for store, status in ((here, "confirmed"), (there, "wont_fix")):
            add(store, first)
            add(store, replace(first, revision=2, status=status))
            add_event(store, Event("s", 0, "begin", "p", "r1", "m1", 1.0, {}))
        assert differing(there, here) == [f"attempt {first.id}, revision 2"]
        merge(there, here)
        assert [edit.status for edit in history(here, first.id)] == ["new", "confirmed"]
        assert differing(here, here) == []
    done = withstand("store", "merge", "there.db", "--into", "here.db")
    assert done.code == 3
    assert f"here.db has another attempt {first.id}, revision 2" in done.err
