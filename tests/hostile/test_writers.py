"""Rows of others: marked, kept apart from the user's own, and not reused unless the user says so."""

import contextlib
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

import withstand as package
from explorer_web import client
from hostile import stores
from hostile.stores import SPEC
from withstand import api
from withstand.core import home
from withstand.core.errors import ForeignRowsError, StoreError
from withstand.results import labeling
from withstand.results.decide import of_spec
from withstand.results.labels import labels_from
from withstand.results.summary import find_run
from withstand.store import tables, trust
from withstand.store.attempts import Attempt, Turn, add, attempts
from withstand.store.marks import Marks
from withstand.store.merge import merge
from withstand.store.purge import purge
from withstand.store.store import Row, Store

VERDICTS = "WHERE label IN ('success', 'failure', 'refused')"
SAFE = f'UPDATE "row" SET label = \'refused\', value = \'{{"outcome":"refused"}}\' {VERDICTS}'


def joined(into: Path, *sources: Path) -> Path:
    with api.open_store(into) as store:
        for source in sources:
            with api.open_store(source, create=False) as opened:
                merge(opened, store)
    return into


def asked(where: Any, name: str = "", **more: Any) -> int:
    """What a run of the user's own spec asks."""
    run = package.run({**SPEC, **more}, store=where, name=name)
    assert run.tally is not None
    if not isinstance(where, Store):
        run.store.close()
    return run.tally.asks


def refused(where: Any, **more: Any) -> str:
    """Why a run of the user's own spec does not begin: nothing was asked or recorded."""
    begun: list[Any] = []
    with pytest.raises(ForeignRowsError) as caught:
        package.run({**SPEC, **more}, store=where, on_start=lambda *run: begun.append(run))
    assert begun == []
    assert caught.value.code == 2
    assert "withstand store trust" in caught.value.hint
    assert "--reuse all" in caught.value.hint
    return str(caught.value)


def author() -> str:
    """The public name of the user of today."""
    unopened: Any = None
    return Marks(unopened).author


def test_rows_of_a_stranger_that_say_safe_are_not_reused(tmp_path: Path, withstand: Any) -> None:
    with stores.somebody_else(tmp_path):
        theirs = stores.kitchen(tmp_path / "theirs.db", name="theirs")
        stranger = author()
    stores.change(theirs, SAFE)
    ours = joined(stores.kitchen(tmp_path / "ours.db", "other", attack="story"), theirs)
    command = ["run", "--suite", "kitchen", "--limit", 4, "--target", "scripted-kitchen", "--attack", "direct"]
    command += ["--benign", "none", "--store", ours, "--json"]
    done = withstand(*command)
    assert done.code == 2
    assert "12 of 12 rows to reuse from" in done.err
    assert f"were not written by you: 12 rows by writer {stranger}" in done.err
    assert done.out == ""
    assert asked(ours, attack="story") == 0  # what is ours goes on
    done = withstand(*command, "--reuse", "all")
    assert done.code == 0
    words = f"12 of 12 rows were not written by you (counted by --reuse all): 12 rows by writer {stranger}"
    others = {"rows": 12, "of": 12, "authors": {stranger: 12}, "reuse": "all"}
    assert done.json["provenance"]["others"] == others
    assert words in done.json["warnings"]
    for form in ("html", "md"):
        assert words in withstand("report", "theirs", "--store", ours, "--format", form, "-o", "-").out
    assert words in withstand("status", "theirs", "--store", ours).out
    assert words in withstand("gate", "theirs", "--store", ours, "--max-asr", "0.5", "--json").json["notes"]
    assert withstand("report", "other", "--store", ours, "--format", "json").json["provenance"]["others"]["rows"] == 0
    assert withstand(*command).code == 2  # it was said once


def test_a_run_that_a_stranger_recorded_is_not_continued_or_probed(tmp_path: Path, withstand: Any) -> None:
    from hostile.test_foreign_specs import client

    with stores.somebody_else(tmp_path):
        theirs = stores.kitchen(tmp_path / "theirs.db", "theirs", target=["scripted", "scripted-kitchen"])
    ours = joined(stores.kitchen(tmp_path / "ours.db", "ours"), theirs)
    done = withstand("run", "--name", "theirs", "--store", ours)
    assert done.code == 2
    assert "somebody else recorded theirs" in done.err
    assert withstand("run", "--name", "ours", "--store", ours).code == 0
    with client(ours) as web:
        page = web.get("/probe").text
    assert "<option>scripted-kitchen" in page
    assert "<option>scripted<" not in page
    stores.change(ours, "UPDATE run SET spec = replace(spec, 'direct', 'story') WHERE name = 'ours'")
    assert withstand("run", "--name", "ours", "--store", ours).code == 2


def test_a_row_of_ours_that_somebody_changed_is_not_ours(tmp_path: Path) -> None:
    made = stores.kitchen(tmp_path / "ours.db")
    for number, (change, words) in enumerate(
        [
            (f"UPDATE \"row\" SET label = 'unscored' {VERDICTS}", "somebody changed them"),
            (f"UPDATE \"row\" SET value = value || ' ' {VERDICTS}", "somebody changed them"),
            (f"UPDATE \"row\" SET label = 'unscored', mark = NULL {VERDICTS}", "somebody changed them"),
            (f"UPDATE \"row\" SET label = 'unscored', writer = 'nobody' {VERDICTS}", "of before writers were recorded"),
        ]
    ):
        path = Path(shutil.copy(made, tmp_path / f"{number}.db"))
        stores.change(path, change)
        assert words in refused(path), change


def test_a_stranger_who_takes_our_name_has_not_our_mark(tmp_path: Path, withstand: Any) -> None:
    own = author()
    with stores.somebody_else(tmp_path):
        theirs = stores.kitchen(tmp_path / "theirs.db")
    stores.change(theirs, "UPDATE writer SET author = ?", own)
    ours = joined(tmp_path / "ours.db", theirs)
    assert "somebody changed them" in refused(ours)
    assert withstand("store", "trust", ours).code == 0  # which trusts others, never who says to be us
    assert "somebody changed them" in refused(ours)
    for name in ("unknown", "changed", "x" * 12, "\x1b[2J"):
        stores.change(ours, "UPDATE writer SET author = ?", name)
        assert withstand("store", "trust", ours).code == 0
        assert "by an unknown writer" in refused(ours)


def test_a_gate_counts_no_row_under_our_name_without_our_mark(tmp_path: Path, withstand: Any) -> None:
    own = author()
    limit = ["gate", "theirs", "--max-asr", "0.99", "--undecided", "pass"]
    with stores.somebody_else(tmp_path):
        theirs = stores.kitchen(tmp_path / "theirs.db", "theirs")
    assert withstand(*limit, "--store", theirs).code == 0  # which says whose rows they are
    beside = joined(stores.kitchen(tmp_path / "beside.db", "own", attack="story"), theirs)
    done = withstand("gate", "own", "--max-worse", "0.99", "--baseline", "theirs", "--store", beside)
    assert "of the baseline 12 of 12 rows were not written by you" in done.err  # a weak one makes any run look good
    assert "theirs: 12 of 12 rows were not" in withstand("compare", "theirs", "own", "--store", beside).err
    named = [f"UPDATE writer SET author = '{own}'"]
    ours = stores.kitchen(tmp_path / "ours.db", "theirs")
    assert withstand(*limit, "--store", ours).code == 0
    assert withstand("store", "check", ours).code == 0
    for number, (made, changes, words, changed) in enumerate(
        [
            (theirs, named, "12 rows that name you as their writer", 13),
            (theirs, [*named, 'UPDATE "row" SET mark = NULL'], "12 rows that name you", 13),
            (ours, [SAFE], "4 rows that name you", 4),
            (ours, [f'{SAFE} AND key = (SELECT min(key) FROM "row" {VERDICTS})'], "1 row that name", 1),
            (ours, ["UPDATE run SET plan = replace(plan, '{', '{ ')"], "1 run that name you", 1),
        ]
    ):
        path = Path(shutil.copy(made, tmp_path / f"{number}.db"))
        for change in changes:
            stores.change(path, change)
        done = withstand(*limit, "--store", path)
        assert (done.code, done.out) == (2, ""), changes
        with Store(str(path)) as store:
            run = find_run(store, "theirs")
            reported = of_spec(store, replace(run, plan={**run.plan, "gate": {"max_asr": 0.99}}))
        assert reported is not None
        assert (reported.overall, words in reported.notes[0]) == ("UNDECIDED", True)  # a report says no more
        assert words in done.err
        assert "withstand store check" in done.err
        done = withstand("store", "check", path, "--json")
        assert (done.code, done.json["changed"]) == (1, changed), changes
    before = Path(shutil.copy(ours, tmp_path / "before.db"))
    stores.change(before, SAFE)
    after = joined(stores.kitchen(tmp_path / "after.db", "theirs-2", attack="story"), before)
    for beside in (["--max-worse", "0.99", "--baseline", "theirs"], ["--max-asr", "0.99", "--history", "theirs"]):
        done = withstand("gate", "theirs-2", *beside, "--store", after)
        assert (done.code, "theirs in" in done.err) == (2, True), done.err


def test_rows_of_ours_that_come_back_are_ours(tmp_path: Path) -> None:
    ours = stores.kitchen(tmp_path / "ours.db", "ours")
    with stores.somebody_else(tmp_path):
        theirs = joined(stores.kitchen(tmp_path / "theirs.db", "theirs", attack="story"), ours)
        assert "12 of 12" in refused(theirs)
    back = joined(tmp_path / "back.db", theirs)
    assert asked(back) == 0
    assert "not written by you" in refused(back, attack="story")


def test_whom_we_trust_in_a_store_counts_in_it(tmp_path: Path, withstand: Any) -> None:
    with stores.somebody_else(tmp_path):
        team = stores.kitchen(tmp_path / "team.db", "theirs")
        first = author()
    refused(team)
    done = withstand("store", "trust", team)
    assert f"12 rows by writer {first}" in done.out
    assert f"you are writer {author()}" in done.out
    assert asked(team) == 0
    with stores.somebody_else(tmp_path):
        stores.kitchen(team, "later", attack="story")
    assert asked(team, attack="story") == 0  # what they write later counts too
    (tmp_path / "third").mkdir()
    with stores.somebody_else(tmp_path / "third"):
        third = author()
        withstand("store", "trust", team)
        stores.kitchen(team, "third", attack="role_play")
    assert f"by writer {third}" in refused(team, attack="role_play")
    assert f"by writer {third}" in withstand("store", "trust", team).out
    assert asked(team, attack="role_play") == 0
    copied = joined(tmp_path / "copied.db", team)
    assert f"by writer {first}" in refused(copied)  # trust is of a store: a name can be taken


def test_a_container_with_our_secret_pays_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WITHSTAND_IDENTITY", "a secret of the project's own")
    for number in range(2):
        monkeypatch.setenv("WITHSTAND_HOME", str(tmp_path / f"home{number}"))
        assert bool(asked(tmp_path / "s.db")) == (number == 0)
        assert package.load("", tmp_path / "s.db").row.is_own
    monkeypatch.delenv("WITHSTAND_IDENTITY")
    refused(tmp_path / "s.db")


def test_without_a_place_for_a_secret_a_process_knows_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WITHSTAND_HOME", str(tmp_path / "file" / "home"))
    assert home.identity() == b""
    assert [bool(asked(tmp_path / "s.db")) for _ in range(2)] == [True, False]
    monkeypatch.setattr("withstand.store.marks._ALONE", b"another process")
    refused(tmp_path / "s.db")


def test_rows_of_before_there_were_marks_are_of_their_store(tmp_path: Path, withstand: Any) -> None:
    ours = stores.kitchen(tmp_path / "ours.db", "ours")
    with contextlib.closing(sqlite3.connect(ours)) as store, store:
        stores.without_marks(store.execute)
    shutil.copy(ours, tmp_path / "copy.db")
    assert "before writers were recorded" in refused(tmp_path / "copy.db")  # its signature is of a store with marks
    [[store_id]] = sqlite3.connect(ours).execute("SELECT value FROM meta WHERE key = 'id'").fetchall()
    stores.change(ours, "UPDATE meta SET value = ? WHERE key = 'owner'", trust.sign(trust.OF_BEFORE, store_id))
    with stores.somebody_else(tmp_path):
        refused(ours)
        theirs = joined(tmp_path / "theirs.db", ours)
        refused(theirs)
        assert withstand("store", "trust", theirs).code == 0
        assert asked(theirs) == 0
    assert asked(ours) == 0
    assert package.load("ours", ours).summary["provenance"]["others"]["rows"] == 0
    with api.open_store(ours) as opened:  # and none was written anew for it
        assert opened.select(sql.select(sql.func.count()).where(tables.row.c.mark.is_not(None))) == [(0,)]
    back = joined(tmp_path / "back.db", ours)
    assert asked(back) == 0  # a merge of our own marks them
    assert package.load("ours", back).row.is_own
    assert package.load("ours", back).summary["provenance"]["others"]["rows"] == 0


def test_what_others_found_of_a_judge_corrects_no_rate(tmp_path: Path) -> None:
    path = stores.kitchen(tmp_path / "ours.db")
    for ours in (False, True):
        with contextlib.nullcontext() if ours else stores.somebody_else(tmp_path), api.open_store(path) as store:
            [judge] = {cell["keys"]["judge"] for cell in store.runs()[0].plan["cells"]}
            value = {"judge": "kitchen", "passed": 1, "of": 1, "probes": [{"probe": "p", "passed": True}], "ours": ours}
            store.add_probes(judge, value)
        with api.open_store(path) as store:
            assert [kept["ours"] for kept in store.probes([judge]).values()] == [True] * ours
    assert any("1 probe result by writer" in text for text in package.load("", path).summary["warnings"])


def test_an_answer_that_a_stranger_gave_first_ends_the_run(tmp_path: Path) -> None:
    with stores.somebody_else(tmp_path), Store(str(tmp_path / "s.db")) as theirs:
        theirs.add(answers={"k": {"text": "safe"}}, rows=[Row("r", "refused", {})])
    with Store(str(tmp_path / "s.db")) as ours:
        for take in (ours.answers, ours.have, ours.reused):
            with pytest.raises(ForeignRowsError):
                list(take(["k", "r"]))
        with pytest.raises(ForeignRowsError):
            ours.add(answers={"k": {"text": "mine"}})
        assert ours.rows(["r"])["r"].label == "refused"


def test_labels_of_others_do_not_count(tmp_path: Path) -> None:
    spec = {"judge": "human"}
    path = tmp_path / "s.db"
    with stores.somebody_else(tmp_path):
        run = package.run({**SPEC, **spec}, store=path, name="people")
        [item, *_] = labeling.queue(run.store, run.row, "calibration")
        labeling.add(run.store, run.row, item, "failure", "eve", "calibration")
    with Store(str(tmp_path / "ours.db")) as ours:
        package.run({**SPEC, **spec}, store=ours, name="people")
        merge(run.store, ours)
        assert "1 of 1 label" in refused(ours, **spec)
        with pytest.raises(ForeignRowsError):
            labels_from("run:people", (), ours)
        ours.reuse = "all"
        assert len(labels_from("run:people", (), ours).labeled) == 1
    run.store.close()


def test_a_purge_keeps_what_is_ours_ours_and_vouches_for_nobody_else(tmp_path: Path) -> None:
    with stores.somebody_else(tmp_path):
        theirs = stores.kitchen(tmp_path / "theirs.db", "theirs", attack="story")
    with api.open_store(joined(stores.kitchen(tmp_path / "ours.db", "ours"), theirs)) as store:
        for name in ("ours", "theirs"):
            purge(store, package.load(name, store).row, "ana")
        columns = tables.row.columns.keys()
        entries = store.select(sql.select(tables.row))
        assert sum(bool(entry.purged) for entry in entries) == len(entries) == 24
        assert sum(store.marks.others(tables.row, entries, columns).values()) == 12


def test_two_people_on_one_server(postgres: str, tmp_path: Path, withstand: Any) -> None:
    with Store(postgres) as ours:
        assert asked(ours, name="ours") > 0
        with stores.somebody_else(tmp_path), Store(postgres) as theirs:
            refused(theirs)
            assert asked(theirs, attack="story") > 0
            assert [(run.is_own, run.is_trusted) for run in theirs.runs()] == [(False, False), (True, True)]
            assert withstand("store", "trust", postgres).code == 0
            assert asked(theirs) == 0
        assert asked(ours) == 0
        assert "not written by you" in refused(ours, attack="story")
        assert package.load("ours", ours).summary["provenance"]["others"]["rows"] == 0


def test_a_finding_of_a_stranger_is_shown_as_theirs(tmp_path: Path, withstand: Any) -> None:
    ours = stores.kitchen(tmp_path / "ours.db")
    finding = Attempt("F-1", (Turn("user", "Soup?"),), "Boil it.", "harmful", "ana", 1.0, 1.0, severity=3)
    with stores.somebody_else(tmp_path), api.open_store(tmp_path / "theirs.db") as store:
        add(store, replace(finding, id="F-2"))
        stranger = store.marks.author
    with api.open_store(ours) as store:
        add(store, finding)
    with api.open_store(joined(ours, tmp_path / "theirs.db")) as store:
        assert {entry.id: entry.foreign for entry in attempts(store)} == {"F-1": "", "F-2": stranger}
        with store.reusing("all"):
            assert {entry.foreign for entry in attempts(store)} == {""}
    with client(ours) as web:
        assert f"writer {stranger}" in web.get("/findings").text
    stores.change(ours, "UPDATE attempt SET value = replace(value, 'Boil', 'Stir') WHERE id = 'F-1'")
    with api.open_store(ours) as store:
        assert {entry.foreign for entry in attempts(store, ids=["F-1"])} == {"changed"}
    stores.change(ours, """UPDATE attempt SET value = '{"id":7}' WHERE id = 'F-2'""")
    with api.open_store(ours) as store, pytest.raises(StoreError, match="the attempt F-2 is damaged"):
        attempts(store)
