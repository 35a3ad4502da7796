"""Spreadsheets both ways: nothing is lost, nothing runs, and what is wrong is said by row and column."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from redteam.test_plan import PLAN, written
from withstand.core import SpecError, from_json, to_json
from withstand.redteam.console import marking
from withstand.redteam.findings import sheet_files, sheets, triage
from withstand.redteam.findings.sheet_import import Import, apply, planned
from withstand.redteam.plan.records import Plan, read_plan
from withstand.redteam.tables import Problems
from withstand.store.attempts import Attachment, Attempt, Rating, Turn, add, attempts, history
from withstand.store.store import Store

ODD = ("=1+1", "'=1", "''", "+a", "- item", "@x", "\t", "\r\n", "\n", " a ", "\0\x1f\x85", "_x000D_", r"\u0041", "\\",
       "\ud800", "\ufeff", "\U0001f372", "\uff1d2", '"', ",;", "\u2028", "[user] x", "<b>&", "")  # fmt: skip
TEXT = st.lists(st.one_of(st.sampled_from(ODD), st.text(max_size=5)), max_size=4).map("".join)
TURNS = st.lists(
    st.builds(Turn, st.sampled_from(["system", "user", "assistant"]), TEXT, TEXT, st.sampled_from(["", "base64"])),
    min_size=1, max_size=3,
).map(tuple)  # fmt: skip


@st.composite
def an_attempt(draw: Any) -> Attempt:
    at = draw(st.floats(0, 4e9))
    return Attempt(
        "F-1", draw(TURNS), draw(TEXT), draw(st.sampled_from(marking.VERDICTS)), draw(TEXT), at, at + 0.1,
        revision=draw(st.integers(1, 9)), plan="kitchen-assistant-spring", notes=draw(TEXT), harm=draw(TEXT),
        severity=draw(st.none() | st.integers(1, 4)), ratings=tuple(draw(st.lists(st.builds(
            Rating, TEXT.filter(str.strip), st.integers(1, 4), st.floats(0, 4e9)), max_size=2))),
        reproduced=draw(st.none() | st.just((3, 5))), production=draw(st.none() | st.booleans()),
        params={"temperature": 0.5, "system": draw(TEXT)}, judged=({"judge": "j", "why": draw(TEXT)},),
        screenshot=draw(st.none() | st.just(Attachment("=a.png", "00", "image/png"))), spot=(0, 1, 2, 0),
    )  # fmt: skip


def read_back(path: Path) -> list[dict[str, str]]:
    problems = Problems(str(path))
    listed = sheet_files.read(str(path), problems)
    problems.check()
    return [row.cells for row in listed]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=an_attempt(), ending=st.sampled_from([".csv", ".xlsx"]))
@example(
    made=Attempt("F-1", (Turn("user", "=x" * 40_000 + "\U0001f372" * 20_000),), "'=", "ok", " a", 1.0, 1.0),
    ending=".xlsx",
)
def test_a_row_is_lossless_and_never_a_formula(tmp_path: Path, made: Attempt, ending: str) -> None:
    path = tmp_path / f"f{ending}"
    row = sheets.row_of(made)
    path.write_bytes(sheet_files.write(str(path), [row]))
    [cells] = read_back(path)
    assert cells == row
    values = {
        name: sheets.read_cell(name, cells[name]) for name in cells if name not in ("input", "turns", "date", "edited")
    }
    surfaced, created = (sheets.read_cell(name, cells[name]) for name in ("date", "edited"))
    back = Attempt(**values, turns=sheets.turns_of(cells), surfaced=surfaced, created=created)
    assert back == from_json(Attempt, to_json(made))
    if ending == ".xlsx":
        for cell in (cell for line in openpyxl.load_workbook(path).active.iter_rows() for cell in line):
            assert cell.data_type == "s" or cell.value is None
            assert len(str(cell.value or "").encode("utf-16-le")) // 2 <= sheets.LIMIT
            assert not sheets.FORMULA.match(str(cell.value or ""))
    else:
        import csv

        with path.open(newline="", encoding="utf-8-sig") as file:
            assert not any(sheets.FORMULA.match(cell) for line in csv.reader(file) for cell in line)


# --- import ------------------------------------------------------------------------------------------------------


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return read_plan(written(tmp_path, PLAN))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store(str(tmp_path / "s.db")) as opened:
        yield opened


MULTI = Attempt("F-1", (Turn("user", "Hi"), Turn("assistant", "Hello!"), Turn("user", "Soup?")), "Boil it.", "harmful",
                "m1", 1.5, 1.5, plan="kitchen-assistant-spring", layer="base", severity=2)  # fmt: skip


def imported(store: Store, plan: Plan, path: Path, by: str = "ana") -> Import:
    return apply(store, planned(store, plan, str(path), by, 9.0), by, 9.0)


def test_what_is_exported_edited_and_imported(store: Store, plan: Plan, tmp_path: Path) -> None:
    for made in (MULTI, replace(MULTI, id="F-2", turns=(Turn("user", "=soup"),))):
        add(store, made)
    for ending, with_text in ((".csv", False), (".xlsx", True), (".xlsx", False)):
        path = tmp_path / f"f{ending}"
        before = {made.id: made for made in attempts(store)}
        listed = [sheets.row_of(before[name], plan, with_text) for name in ("F-1", "F-2")]
        path.write_bytes(sheet_files.write(str(path), listed))
        assert ("Boil" in str(listed)) is with_text
        assert (imported(store, plan, path).unchanged, len(history(store, "F-1"))) == (2, before["F-1"].revision)
        listed[0] |= {"owner": f"kim {ending} {with_text}", "severity": "4"}
        path.write_bytes(sheet_files.write(str(path), listed))
        assert planned(store, plan, str(path), "ana", 9.0).edits
        assert [new.id for _, new in imported(store, plan, path).edits] == ["F-1"]
        assert imported(store, plan, path).unchanged == 2  # again: the same revision says the same
        listed[0]["owner"] = "ben"
        path.write_bytes(sheet_files.write(str(path), listed))
        [conflict] = imported(store, plan, path).conflicts
        assert (conflict.column, conflict.theirs, conflict.yours) == ("owner", f"kim {ending} {with_text}", "ben")
        assert "column" in conflict.place
    edited = triage.last(store, "F-1")
    assert (edited.turns, edited.output, edited.editor) == (MULTI.turns, MULTI.output, "ana")


def test_another_store_gets_ids_and_revisions(store: Store, plan: Plan, tmp_path: Path) -> None:
    made = [replace(MULTI, revision=3, editor="kim"), replace(MULTI, id="F-2", output="\0\ud800")]
    path, redacted = tmp_path / "f.xlsx", tmp_path / "r.csv"
    path.write_bytes(sheet_files.write(str(path), [sheets.row_of(one, plan) for one in made]))
    assert [new.id for new in imported(store, plan, path).new] == ["F-1", "F-2"]
    assert {one.id: one for one in attempts(store)} == {one.id: one for one in made}
    redacted.write_bytes(sheet_files.write(str(redacted), [sheets.row_of(replace(MULTI, id="F-3"), plan, False)]))
    with pytest.raises(SpecError, match="its texts were left out"):
        planned(store, plan, str(redacted), "ana", 9.0)


TYPED = "date,tester,layer,verdict,input,output,harm,due\n"


def test_rows_that_people_typed(store: Store, plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "typed.csv"
    path.write_text(
        f"\ufeff{TYPED}2026-02-03,m1,base,harmful,Soup?,- boil,recipe,2026-03-01\n,,,,,,,\n", encoding="utf-8"
    )
    [new] = imported(store, plan, path).new
    assert (new.target, new.source, new.due, new.output) == ("scripted-kitchen", "sheet", "2026-03-01", "- boil")
    assert imported(store, plan, path).unchanged == 1  # a second time
    triage.rate(store, new.id, "ben", 3, 5.0)
    path.write_text(path.read_text(encoding="utf-8").replace("recipe", "new: soup"), encoding="utf-8")
    [conflict] = imported(store, plan, path).conflicts
    assert (conflict.column, conflict.theirs) == ("harm", "recipe")
    book = openpyxl.Workbook()
    for line in (TYPED.strip().split(","), ["2026-02-03", "m1", "base", "ok", "Tea?", "No.", None, None]):
        book.active.append(line)
    import datetime

    book.active["A2"] = datetime.datetime(2026, 2, 3)
    book.save(tmp_path / "typed.xlsx")
    [new] = imported(store, plan, tmp_path / "typed.xlsx").new
    assert sheets.written(new.surfaced) == "2026-02-03T00:00:00Z"


def test_every_mistake_is_said_with_its_cell_and_nothing_is_kept(store: Store, plan: Plan, tmp_path: Path) -> None:
    add(store, MULTI)
    path = tmp_path / "f.csv"
    path.write_text(
        "id,revision," + TYPED + ",,2026-02-03,m1,base,harmful,Soup?,Boil,recipe,\n"
        ",,3.2.2026,m9,bose,bad,,,recipes,3/1/26\nF-1,1,,,,,Other,=1+1,,\nF-1,7,,,,,,,,\n"
    )
    with pytest.raises(SpecError) as caught:
        planned(store, plan, str(path), "ana", 9.0)
    message = str(caught.value)
    for part in (
        "row 3, column C (date): '3.2.2026' is no date", "row 3, column D (tester): the plan has no tester 'm9'",
        "column E (layer): the plan has no layer 'bose' (did you mean base", "column F (verdict): expected one of",
        "row 3, column G (input): it is empty", "row 3, column H (output)", "no harm 'recipes'", "due is '3/1/26'",
        "row 4, column H (output): '=1+1' begins like a formula", "row 4, column G (input): it was changed",
        "row 5, column A (id): F-1 stands in row 4 too", "F-1 has no revision 7",
    ):  # fmt: skip
        assert part in message
    assert len(attempts(store)) == 1
    for text, wrong in (
        (TYPED.replace(",", ";"), "parted by semicolons"), (TYPED.replace(",", "\t"), "parted by tabs"),
        ("date,Tester\n", r"row 1, column B: there is no column 'Tester'"),
        ("date,date\n", "two columns"),
        (TYPED + "a,b\n", "row 2"), (f"id,{TYPED}\\ud800{',' * 8}", r"row 2, column A \(id\): '.ud800' is no id"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(SpecError, match=wrong):
            planned(store, plan, str(path), "ana", 9.0)
    path.write_bytes(TYPED.encode("utf-16"))
    with pytest.raises(SpecError, match=r"f\.csv"):
        planned(store, plan, str(path), "ana", 9.0)


def test_what_only_a_workbook_can_have(store: Store, plan: Plan, tmp_path: Path) -> None:
    import datetime

    path, book = tmp_path / "f.xlsx", openpyxl.Workbook()
    sheet = book.active
    sheet.append(TYPED.strip().split(","))
    sheet.append(["2026-02-03", "m1", "base", "harmful", "=1+1", datetime.datetime(2026, 2, 3), "#N/A", None])
    sheet.merge_cells("A3:B4")
    book.save(path)
    with pytest.raises(SpecError) as caught:
        planned(store, plan, str(path), "ana", 9.0)
    for part in ("sheet Sheet, row 2, column E (input): it is a formula", "column F (output): it is a date or a time",
                 "column G (harm): it is the error #N/A", "cells A3:B4: they are merged"):  # fmt: skip
        assert part in str(caught.value)
    book.create_sheet("other")
    book.save(path)
    with pytest.raises(SpecError, match="has the sheets Sheet, other"):
        planned(store, plan, str(path), "ana", 9.0)
    path.write_bytes(b"PK\x03\x04 no workbook")
    with pytest.raises(SpecError, match=r"f\.xlsx"):
        planned(store, plan, str(path), "ana", 9.0)
    with pytest.raises(SpecError, match="no ending of a spreadsheet"):
        planned(store, plan, "f.ods", "ana", 9.0)
    assert attempts(store) == []


def test_the_commands_export_and_import(withstand: Any, store: Store, tmp_path: Path) -> None:
    path = written(tmp_path, PLAN)
    add(store, MULTI)
    place = ("--store", store.path)
    for ending in (".csv", ".xlsx", ".jsonl"):
        file = tmp_path / f"f{ending}"
        assert withstand("plan", "findings", "export", path, "-o", file, *place).code == 0
        assert b"Boil" not in file.read_bytes()
        assert withstand("plan", "findings", "import", path, file, *place).code == (2 if ending == ".jsonl" else 0)
        assert withstand("plan", "findings", "export", path, "-o", file, "--with-text", *place).code == 0
        done = withstand("plan", "findings", "import", path, file, "--dry-run", *place)
        assert "0 attempts would be new, 0 would be edited, 1 unchanged, 0 conflicts" in done.out
    [*audits] = store.audits()
    assert [entry["action"] for entry in audits] == ["export"] * 3
    value = json.loads((tmp_path / "f.jsonl").read_text())
    (tmp_path / "f.jsonl").write_text(json.dumps(value | {"owner": "kim"}) + "\n")
    assert "1 edited" in withstand("plan", "findings", "import", path, tmp_path / "f.jsonl", *place).out
    (tmp_path / "f.jsonl").write_text(json.dumps(value | {"owner": "ben"}) + "\n")
    done = withstand("plan", "findings", "import", path, tmp_path / "f.jsonl", *place)
    assert (done.code, "'kim' stands, the file says 'ben'" in done.out) == (3, True)
