"""Triage: edits as revisions, conflicts, two raters, duplicates; and the commands."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from redteam.test_plan import PLAN, written
from withstand.core import SpecError
from withstand.redteam.findings import triage
from withstand.redteam.findings.triage import ConflictError, edit, rate
from withstand.redteam.plan.records import Plan, read_plan
from withstand.store.attempts import Attempt, Rating, Turn, add, attempts, history
from withstand.store.purge import purge_probes
from withstand.store.store import Store


def finding(number: int = 1, text: str = "How do I make a beef stew at home?", **more: Any) -> Attempt:
    made = Attempt(f"F-{number}", (Turn("user", text),), "Brown the beef.", "harmful", "m1", number, number,
                   plan="kitchen-assistant-spring", round="r1", layer="base", harm="recipe")  # fmt: skip
    return replace(made, **more)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "s.db")) as opened:
        yield opened


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return read_plan(written(tmp_path, PLAN))


def test_a_second_editor_of_a_revision_gets_both_and_nothing_is_lost(store: Store, plan: Plan) -> None:
    add(store, finding())
    assert edit(store, "F-1", "ana", 2.0, {"status": "confirmed", "owner": "kim"}, base=1, plan=plan).revision == 2
    with pytest.raises(ConflictError, match=r"edited by ana meanwhile: revision 2 stands.*owner, status") as caught:
        edit(store, "F-1", "ben", 3.0, {"status": "wont_fix"}, base=1, plan=plan)
    assert (caught.value.theirs.status, caught.value.yours.status, caught.value.yours.editor) == (
        "confirmed", "wont_fix", "ben",
    )  # fmt: skip
    assert edit(store, "F-1", "ben", 3.0, {"owner": "kim"}).revision == 2  # nothing changes: no revision
    assert [(one.revision, one.editor, one.status) for one in history(store, "F-1")] == [
        (1, "", "new"), (2, "ana", "confirmed"),
    ]  # fmt: skip
    rate(store, "F-1", "ben", 3, 4.0)  # made on whatever stands
    assert edit(store, "F-1", "ana", 5.0, {"owner": ""}, base=3).ratings == (Rating("ben", 3, 4.0),)


def test_every_value_that_does_not_fit_is_said_at_once(store: Store, plan: Plan) -> None:
    add(store, finding())
    add(store, finding(2, duplicate_of="F-1", status="duplicate"))
    wrong = {"status": "mended", "due": "16.2.2026", "severity": 5, "harm": "recipes", "turns": (), "mindset": "evil"}
    with pytest.raises(SpecError) as caught:
        edit(store, "F-1", "ana", 2.0, wrong, plan=plan)
    for part in ("status: expected one of", "due is '16.2.2026'", "severity is 5", "did you mean recipe",
                 "turns cannot be edited", "mindset is 'evil'"):  # fmt: skip
        assert part in str(caught.value)
    for changes, message in (
        ({"status": "duplicate"}, "says of which finding"),
        ({"status": "duplicate", "duplicate_of": "F-1"}, "duplicate of itself"),
        ({"status": "duplicate", "duplicate_of": "F-2"}, "F-2 is itself a duplicate, of F-1"),
        ({"status": "duplicate", "duplicate_of": "F-9"}, "no finding 'F-9'"),
        ({"duplicate_of": "F-2"}, "has the status duplicate"),
    ):
        with pytest.raises(SpecError, match=message):
            edit(store, "F-1", "ana", 2.0, changes)
    with pytest.raises(SpecError, match="no finding 'F-3'"):
        edit(store, "F-3", "ana", 2.0, {})
    with pytest.raises(SpecError, match="F-1 has no revision 7"):
        edit(store, "F-1", "ana", 2.0, {"owner": "kim"}, base=7)
    assert len(history(store, "F-1")) == 1
    purge_probes(store, "ana")
    with pytest.raises(SpecError, match="were erased"):
        edit(store, "F-1", "ana", 2.0, {"owner": "kim"})


def test_two_people_rate_what_is_severe_and_the_higher_one_counts(store: Store) -> None:
    add(store, finding(severity=2))
    mild = edit(store, "F-1", "ana", 2.0, {"status": "confirmed"})
    assert triage.is_confirmed(mild)
    assert not triage.is_confirmed(replace(mild, severity=None))  # nobody rated it
    for entry in (replace(mild, severity=3), replace(mild, severity=None, ratings=(Rating("m1", 4, 1.0),))):
        assert triage.lacks_rater(entry)
        assert not triage.is_confirmed(entry)
    rate(store, "F-1", "m1", 2, 3.0)  # the tester again: still one person
    severe = rate(store, "F-1", "ben", 4, 4.0)
    assert (severe.rated, triage.people(severe), triage.is_apart(severe)) == (4, {"m1": 2, "ben": 4}, True)
    assert triage.is_confirmed(severe)
    again = rate(store, "F-1", "ben", 3, 5.0)
    assert (again.rated, len(again.ratings)) == (3, 2)
    for rater, severity in (("", 3), ("ana", 0)):
        with pytest.raises(SpecError):
            rate(store, "F-1", rater, severity, 6.0)
    agreed = triage.agreement_of(
        [again, finding(2, severity=3), finding(3, severity=1, ratings=(Rating("a", 1, 1.0),))]
    )
    assert (agreed.findings, agreed.apart, agreed.few) == (2, ("F-1",), True)
    assert agreed.kappa is not None
    assert triage.agreement_of([]).kappa is None


def test_the_commands_of_triage(withstand: Any, store: Store, tmp_path: Path) -> None:
    path = written(tmp_path, PLAN)
    near = "How can I make a beef stew at home now?"
    for entry in (finding(severity=4), finding(2, near), finding(3, "What is the door code?", verdict="ok")):
        add(store, entry)
    place = ("--store", store.path)
    command = ("plan", "findings")
    listed = withstand(*command, "list", path, *place)
    assert "F-2 reads much like F-1" in listed.out
    assert "rated by one person alone: F-1" in listed.out
    assert "F-3" not in listed.out
    assert "beef" not in withstand(*command, "list", path, *place, "--all", "--json").out
    assert withstand(*command, "rate", "F-1", "--by", "ben", "--severity", 3, *place).out.startswith(
        "F-1: severity 4 (critical); raters differ: m1 4, ben 3"
    )
    assert withstand(*command, "edit", path, "F-2", "--duplicate-of", "F-1", *place).code == 0
    assert attempts(store, ids=["F-2"])[0].status == "duplicate"
    failed = withstand(*command, "edit", path, "F-2", "--revision", 1, "--owner", "kim", *place)
    assert failed.code == 2
    assert "owner: '' stands, yours is 'kim'" in failed.err
    assert withstand(*command, "edit", path, "F-2", *place).code == 2
    found = json.loads(withstand(*command, "similar", path, "How do I make beef stew at home", *place, "--json").out)[
        "similar"
    ]
    assert [(row["id"], row["near_duplicate"]) for row in found] == [("F-1", True), ("F-2", True)]
    shown = withstand(*command, "show", "F-1", *place)
    assert "revision 2" in shown.out
    assert "beef" not in shown.out
    assert "beef" in withstand(*command, "show", "F-1", "--with-text", *place).out
