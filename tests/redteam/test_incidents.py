"""Incidents: what a record must say, delays, quarters, and two people who edit at once."""

import io
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from scipy.stats import binomtest

from withstand import api
from withstand.core import SpecError
from withstand.redteam.incidents import records as incidents
from withstand.redteam.incidents.quarters import quarters
from withstand.redteam.incidents.records import Change, ConflictError, Incident, Response
from withstand.store.revisions import Record, add_record

INCIDENT = Incident(
    "2026-02-03T10:00:00+00:00", "2026-02-01T10:00Z", "report", "uncovered", "no", 3, "recipes for guests", "I-1",
    response=(Response("2026-02-03T14:00+02:00", "closed accounts", "suspend", 12),),
)  # fmt: skip
POLICY = """\
schema = "withstand.policy/1"
[policy]
name = "Kitchen"
version = "1"
[[category]]
id = "recipes"
title = "Recipes"
definition = "a recipe for a guest"
severity = 3
tier = "restricted"
action = "block"
"""
NEEDED = (
    "--severity", 3, "--category", "uncovered", "--foreseen", "no", "--detected-by", "report", "--first-event",
    "2026-02-01T10:00Z", "--opened", "2026-02-03T10:00Z", "--harm", "recipes for guests",
)  # fmt: skip


def test_times():
    assert INCIDENT.detection_delay == 2 * 86_400
    assert INCIDENT.time_to_act == 2 * 3_600  # the zone counts
    assert INCIDENT.time_to_mitigate is None
    # a day alone: as long as it may have been
    days = replace(INCIDENT, first_event="2026-02-03", opened="2026-02-03", response=(), mitigated="2026-02-03")
    assert days.detection_delay == days.time_to_mitigate == 86_400
    assert days.time_to_act is None
    for fields, message in [
        ({"first_event": "2026-02-03T10:00:01Z"}, "is after opened"),
        ({"first_event": "2026-02-03T10:00"}, "without a zone"),
        ({"first_event": "yesterday"}, "first_event is 'yesterday'"),
        ({"mitigated": "2026-02-01T09:00Z"}, "is before first_event"),
        ({"response": (Response("2026-01-31", "x"),)}, "is before first_event"),
        ({"severity": 5}, "severity is 5"),
        ({"harm_described": " "}, "harm_described is empty"),
        ({"policy_gap": False}, "uncovered, and policy_gap false"),
        ({"category": "Spam!"}, "category is 'Spam!'"),
        ({"actors": -1}, "actors is -1"),
        ({"id": "../I-1"}, "id is '../I-1'"),
    ]:
        with pytest.raises(SpecError, match=re.escape(message)):
            replace(INCIDENT, **fields)
    now = datetime(2026, 2, 3, 9, tzinfo=UTC)
    with pytest.raises(SpecError, match="in the future"):
        incidents.check(INCIDENT, None, now)


def test_a_retrospective_is_due_from_severity_3_until_it_is_complete():
    assert INCIDENT.lacks == ("reviewed", "root_causes", "what_worked", "what_failed", "changes")
    assert replace(INCIDENT, severity=2).lacks == ()
    change = Change("a rule for recipes", "mara", "2026-03-01")
    full = replace(
        INCIDENT, reviewed="2026-02-10", root_causes=("no rule",), what_worked=("closing",), what_failed=("alerts",),
        changes=(change,),
    )  # fmt: skip
    assert full.lacks == ()
    assert full.overdue(date(2026, 3, 1)) == ()
    assert full.overdue(date(2026, 3, 2)) == (change,)
    assert replace(full, changes=(replace(change, done="2026-03-05"),)).overdue(date(2026, 4, 1)) == ()


def test_quarters_have_limits_and_say_when_they_are_few():
    opened = datetime(2026, 1, 10, tzinfo=UTC)

    def at(delay, foreseen, start=opened):
        return replace(
            INCIDENT, opened=start.isoformat(), first_event=(start - timedelta(days=delay)).isoformat(), response=(),
            foreseen=foreseen,
        )  # fmt: skip

    first = [at(days, "no" if days < 5 else "underestimated" if days == 5 else "yes") for days in range(1, 9)]
    second = [at(3, "no", datetime(2026, 4, 1, tzinfo=UTC))]
    a, b = quarters([*first, *second])
    assert (a.name, a.incidents, a.underestimated, a.few) == ("2026-Q1", 8, 1, False)
    exact = binomtest(4, 8).proportion_ci(0.95, "exact")
    assert (a.unforeseen, *a.unforeseen_interval) == pytest.approx((0.5, exact.low, exact.high), abs=1e-9)
    assert (a.delay, a.delay_interval) == (4.5 * 86_400, (86_400.0, 8 * 86_400.0))
    assert (b.name, b.few, b.delay_interval) == ("2026-Q2", True, None)
    assert "few" in b.in_words()
    assert b.unforeseen_interval[0] == pytest.approx(0.025)


def test_of_two_who_edit_one_revision_the_first_stands_and_nothing_is_lost(withstand, tmp_path):
    new = withstand("incident", "new", *NEEDED, "--actors", 12, "--by", "mara", "--json")
    assert (new.code, new.json["revision"]) == (0, 1)
    name = new.json["id"]
    assert re.fullmatch(r"I-20260203-[0-9a-f]{6}", name)
    (tmp_path / "mine.toml").write_text(withstand("incident", "show", name, "--toml").out)
    assert withstand("incident", "edit", name, "--severity", 4, "--root-cause", "no rule", "--by", "ben").code == 0

    text = (tmp_path / "mine.toml").read_text()
    assert "revision = 1\n" in text
    (tmp_path / "mine.toml").write_text(text.replace("severity = 3", "severity = 2"))
    late = withstand("incident", "edit", name, "--from", "mine.toml")
    assert late.code == 2
    assert "was changed by ben meanwhile: revision 2 is theirs" in late.err
    assert re.search(r"severity\n +theirs: 4\n +yours: +2\n", late.err)
    assert "yours is kept in mine.toml" in late.err

    late = withstand("incident", "edit", name, "--revision", 1, "--harm", "recipes, by mail")
    kept = Path(late.err.partition("yours is kept in ")[2].splitlines()[0])
    assert (late.code, 'harm_described = "recipes, by mail"' in kept.read_text()) == (2, True)
    assert "revision = 2\n" in kept.read_text()  # so that it can be edited and sent after a look
    assert withstand("incident", "edit", name, "--from", kept, "--by", "mara").code == 0

    shown = withstand("incident", "show", name, "--history", "--json").json
    assert [entry["incident"]["severity"] for entry in shown["history"]] == [3, 4, 3]
    assert "revision 2 by ben\n  severity: 3 -> 4\n" in withstand("incident", "show", name, "--history").out
    assert withstand("incident", "export", "-o", "all.json").code == 0
    assert [entry["revision"] for entry in json.loads(Path("all.json").read_text())["incidents"][name]] == [1, 2, 3]
    again = withstand("incident", "new", *NEEDED, "--actors", 12)
    assert f"{name} is there already" in again.err
    with api.open_store("withstand.db") as store:
        theirs, revision = incidents.find(store, name)
        assert incidents.save(store, replace(theirs, severity=1), revision) == 4
        with pytest.raises(ConflictError) as conflict:
            incidents.save(store, replace(theirs, severity=2), revision)
        assert (conflict.value.theirs.severity, conflict.value.yours.severity) == (1, 2)


def test_a_file_keeps_every_text_and_hides_no_character(tmp_path):
    entry = replace(
        INCIDENT, harm_described='a "quote" \\ \n \u202e\x1b[2J \U000e0041 \u00fc', root_causes=("#", "[x]")
    )
    (tmp_path / "i.toml").write_text(text := incidents.file_text(entry, 3))
    assert text.isascii() or not set(text) & {"\u202e", "\x1b", "\U000e0041"}
    assert incidents.read_incident(tmp_path / "i.toml") == (entry, 3)
    (tmp_path / "i.toml").write_text(incidents.file_text(replace(entry, harm_described="\ud800"), 1))
    assert incidents.read_incident(tmp_path / "i.toml")[0].harm_described == "\ufffd"


def test_a_record_that_is_no_incident_is_said(withstand):
    with api.open_store("withstand.db") as store:
        add_record(store, Record("incident", "I-1", 1, "", 0.0, {"opened": 3}))
    for command in (("list",), ("show", "I-1"), ("export", "-o", "x.json")):
        assert "I-1, revision 1, is no incident" in withstand("incident", *command).err
    assert "is no incident" in withstand("disclose", "--period", "2026").err


def test_lists_grow_and_what_is_due_is_listed(withstand):
    name = withstand("incident", "new", *NEEDED, "--json").json["id"]
    assert withstand("incident", "list", "--due").code == 1
    edited = withstand(
        "incident", "edit", name, "--response", "2026-02-03T12:00Z suspend 12: closed accounts", "--response",
        "2026-02-04: wrote: a rule", "--root-cause", "no rule", "--worked", "closing", "--failed", "alerts",
        "--change", "mara, 2026-03-01: a rule", "--reviewed", "2026-02-10", "--mitigated", "2026-02-03T12:00Z",
    )  # fmt: skip
    assert edited.code == 0, edited.err
    value = withstand("incident", "show", name, "--json").json
    assert (value["time_to_act"], value["time_to_mitigate"], value["lacks"]) == (7200.0, 7200.0, [])
    assert value["incident"]["response"] == [
        {"ts": "2026-02-03T12:00Z", "action": "closed accounts", "means": "suspend", "actors": 12},
        {"ts": "2026-02-04", "action": "wrote: a rule"},
    ]
    due = withstand("incident", "list", "--due")
    assert (due.code, "a rule (2026-03-01)" in due.out) == (1, True)  # the change is overdue
    assert "2026-Q1: 1 opened, 100% (2\u2013100) unforeseen" in withstand("incident", "list").out


def test_what_cannot_be_is_said(withstand, tmp_path):
    (tmp_path / "policy.toml").write_text(POLICY)
    lacking = withstand("incident", "new", "--severity", 3)
    assert "lacks --category, --foreseen, --detected-by, --first-event and --harm" in lacking.err
    assert not (tmp_path / "withstand.db").exists()
    recipe = [word if word != "uncovered" else "recipe" for word in NEEDED]
    assert "no policy says what 'recipe' is" in withstand("incident", "new", *recipe).err
    done = withstand("incident", "new", *recipe, "--policy", "policy.toml")
    assert "has no category 'recipe'\n  -> did you mean recipes?" in done.err
    recipe = [word if word != "recipe" else "recipes" for word in recipe]
    name = withstand("incident", "new", *recipe, "--policy", "policy.toml", "--json").json["id"]
    assert withstand("incident", "show", name, "--json").json["incident"]["policy_version"] == "1"
    assert "cannot be read" in withstand("incident", "edit", name, "--response", "closed").err
    assert "cannot be read" in withstand("incident", "edit", name, "--change", "a rule").err
    assert "nothing is changed" in withstand("incident", "edit", name).err
    assert "has no revision 7" in withstand("incident", "edit", name, "--revision", 7, "--severity", 1).err
    assert "did you mean" in withstand("incident", "show", name[:-1]).err

    (tmp_path / "i.toml").write_text(
        'schema = "withstand.incident/1"\n[incident]\nseverty = 3\nopened = 2026-02-03\nfirst_event = 2026-02-01\n'
        'category = "uncovered"\ndetected_by = "rumor"\nforeseen = "no"\nharm_described = "x"\n[incidents]\n'
    )
    done = withstand("incident", "new", "--from", "i.toml")
    for text in (
        "[incidents]: there is no such table",
        "incident, severty: there is no such key (did you mean severity?)",
        "incident: it lacks severity",
        "incident, detected_by: expected one of 'monitor', 'report'",
    ):
        assert f"\n  {text}" in done.err, done.err
    (tmp_path / "i.toml").write_text('schema = "withstand.incident/1"\n[incident]\nseverity = \n')
    assert "line 3" in withstand("incident", "new", "--from", "i.toml").err


class Terminal(io.StringIO):
    """A terminal at which somebody has typed these lines."""

    def isatty(self):
        return True


def test_questions_at_a_terminal(withstand, monkeypatch):
    lines = [
        "recipes for guests", "5", "three", "4", "recipe", "", "2026-02-03 noon", "2026-02-01",
        "2026-01-31", "2026-02-03T10:00Z", "rumor", "press", "maybe", "underestimated", "", "many", "300",
    ]  # fmt: skip
    monkeypatch.setattr("sys.stdin", Terminal("\n".join(lines) + "\n"))
    done = withstand("incident", "new", "--json")
    assert done.code == 0, done.err
    for problem in (
        "'three' is no number",
        "no policy says what 'recipe'",
        "is after opened",
        "'rumor' is none of them",
    ):
        assert problem in done.err, done.err
    value = withstand("incident", "show", done.json["id"], "--json").json["incident"]
    assert (value["severity"], value["foreseen"], value["requests"]) == (4, "underestimated", 300)
    assert "actors" not in value
