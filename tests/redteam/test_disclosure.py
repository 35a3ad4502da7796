"""What is published of incidents: no small cell, nothing that it could be computed from, no word of anybody."""

import json
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import product
from pathlib import Path

import pytest

from withstand import api
from withstand.core import SpecError
from withstand.monitor.report.disclosed import ends_of
from withstand.monitor.report.record import keep
from withstand.monitor.report.shown import Answer, Report
from withstand.redteam.incidents import records as incidents
from withstand.redteam.incidents.disclosure import disclose, is_over
from withstand.redteam.incidents.disclosure_page import markdown, private_report
from withstand.redteam.incidents.records import Incident, Response
from withstand.redteam.incidents.suppression import number_of_members, printable
from withstand.store import attempts
from withstand.store.attempts import Attempt, Turn

SECRET = "how to salt a soup"


def incident(number, category, actors, **fields):
    steps = (Response(f"2026-02-03T1{number % 10}:00Z", SECRET, "suspend", actors),)
    full = {
        "opened": "2026-02-03T10:00Z", "first_event": "2026-02-01", "detected_by": "press", "category": category,
        "foreseen": "no", "severity": 3, "harm_described": SECRET, "id": f"I-{number}", "actors": actors,
        "requests": 100, "response": steps, "policy_version": "7", "root_causes": (SECRET,), "disclosure": SECRET,
    }  # fmt: skip
    return Incident(**full | fields)


@pytest.mark.parametrize(("rows", "highest"), [(1, 9), (2, 12), (3, 9), (4, 7)])
def test_no_hidden_cell_can_be_computed_from_what_is_printed(rows, highest):
    """Over all small tables: who knows the rule, the total and all other cells cannot tell a hidden one's count."""
    tables = defaultdict(list)
    names = "abcd"[:rows]
    for counts in product([None, *range(highest + 1)], repeat=rows):
        printed = printable(dict(zip(names, counts, strict=True)), least=3)
        for name, count in zip(names, counts, strict=True):
            assert printed.shown[name] == count or name in printed.hidden
            assert name in printed.hidden or not count or count >= 3
        tables[tuple(sorted(printed.shown.items(), key=str)), printed.total].append(counts)
    for (shown, _), alike in tables.items():
        for name, value in shown:
            possible = {counts[names.index(name)] for counts in alike}
            if value is None and possible != {None}:  # that a count is not known is no count
                assert len(possible) > 1, (shown, alike)


def test_the_number_of_incidents_does_not_give_away_that_of_a_category():
    assert number_of_members({"a": 3}, hidden=True) is None
    assert number_of_members({"a": 1, "b": 1}, hidden=True) is None
    assert number_of_members({"a": 1, "b": 2}, hidden=True) == 3
    assert number_of_members({"a": 3}, hidden=False) == 3
    assert number_of_members({}, hidden=False) == 0


def test_a_small_category_hides_its_neighbor_and_rounds_totals():
    listed = [incident(0, "spam", 40), incident(1, "spam", 23), incident(2, "fraud", 12), incident(3, "hate", 9)]
    draft = disclose(listed, "2026-Q1")
    assert [(line.id, line.actors, line.incidents, line.requests) for line in draft.categories] == [
        ("fraud", None, None, None), ("hate", None, None, None), ("spam", 63, None, None),
    ]  # fmt: skip
    assert (draft.actors, draft.rounded, draft.incidents, draft.requests) == (80, True, 4, None)
    assert draft.actions == {"suspend": 80}
    open_draft = disclose(listed[:3], "2026-Q1")
    assert (open_draft.actors, open_draft.incidents, open_draft.requests) == (75, 3, 300)
    assert open_draft.actions == {"suspend": 75}
    unknown = disclose([*listed[:3], incident(4, "hate", None)], "2026-Q1")
    assert (unknown.actors, unknown.actions) == (None, {"suspend": None})
    assert [line.actors for line in unknown.categories] == [12, None, 63]
    alone = disclose(listed[3:], "2026-Q1")
    assert (alone.incidents, alone.unforeseen, alone.time_to_act) == (None, None, None)
    assert disclose(listed, "2026-Q2").categories == disclose(listed, "2025").categories == ()
    assert disclose(listed, "2026").incidents == 4


def test_figures_of_the_period():
    listed = [incident(n, "spam", 20, foreseen="no" if n < 2 else "yes") for n in range(8)]
    draft = disclose(listed, "2026-Q1", blind_spots=["images"])
    assert (draft.unforeseen.unforeseen, draft.unforeseen.incidents) == (0.25, 8)
    assert (draft.time_to_act, draft.time_to_act_interval) == (3.5 * 3_600, (0.0, 7 * 3_600))
    assert draft.blind_spots[0] == "images"
    few = disclose(listed[:3], "2026-Q1")
    assert few.time_to_act_interval is None
    assert "too few for limits" in markdown(few)
    assert is_over("2026-Q1", date(2026, 4, 1))
    assert not is_over("2026", date(2026, 12, 31))
    for wrong in ("2026-Q5", "26-Q1", "2026-01", "last"):
        with pytest.raises(SpecError, match="no period"):
            disclose(listed, wrong)


def test_the_draft_quotes_nobody_and_marks_what_nobody_measured(withstand):
    with api.open_store("withstand.db") as store:
        for entry in [incident(0, "spam", 40), incident(1, "fraud", 9)]:
            incidents.save(store, replace(entry, editor="mara"), 0)
    done = withstand("disclose", "--period", "2026-Q1", "--blind-spot", "images | <b>", "-o", "d.md")
    assert done.code == 0
    text = Path("d.md").read_text()
    assert withstand("disclose", "--period", "2026-Q1", "--blind-spot", "images | <b>").out == text
    value = withstand("disclose", "--period", "2026-Q1", "-o", "d.json", "--json").json
    assert value == json.loads(Path("d.json").read_text())
    for form in (text, Path("d.json").read_text()):
        assert SECRET not in form
        assert "mara" not in form
        assert "I-0" not in form
    for part in ("no monitor was read.**", "- requests in scope: _not measured_", "images \\| &lt;b>", "## Method",
                 "It quotes none.", "## Wider impact", "Actors: at least 40."):  # fmt: skip
        assert part in text, part
    assert "%" not in text.partition("## From monitoring")[2].partition("## Method")[0]
    assert "name a period" in withstand("disclose").err
    assert "ends in .md or .json" in withstand("disclose", "--period", "2026", "-o", "d.pdf").err


def test_the_last_report_of_a_monitor_fills_its_section_without_small_counts(withstand):
    def part(side, requests):
        return {"category": "spam", "side": side, "requests": requests}

    seen = {"rate": 0.0052, "low": 0.0031, "high": 0.008, "violating": 12, "labels": 900}
    prevalence = {"parts": [part("prompt", seen), part("completion", seen | {"violating": 3}), part("exchange", None)]}
    precision = {"precision": [{"rule": "rise", "true": 3, "false": 1}, {"rule": "mix", "true": 0, "false": 0}]}
    answers = (
        Answer("prevalence", "?", "!", "note", value=prevalence),
        Answer("alerts", "?", "!", "note", value=precision),
    )
    start = datetime(2026, 3, 2, tzinfo=UTC).timestamp()
    with api.open_store("withstand.db") as store:
        keep(store, Report("kitchen", "K 1", start, start + 86_400 * 20, 138_000, 886, answers, {}))
        keep(store, Report("kitchen", "K 1", start, start + 86_400 * 40, 999_999, 886, (), {}))  # of the next quarter
    text = withstand("disclose", "--period", "2026-Q1").out.partition("## From monitoring")[2].partition("## Known")[0]
    assert "Monitor kitchen: 138,000 requests from 2026-03-02 to 2026-03-22 were in scope." in text
    assert "| spam | prompt | 0.52% | 0.31% to 0.8% | 900 |" in text
    assert "| spam | completion |  | at most 0.8% | 900 |" in text
    assert "Not known, for want of labels: spam (exchange)." in text
    assert "- alerts by rise: 3 of 4 that people decided were true" in text
    assert text.count("_not measured_") == 1
    assert "No sample was audited" in withstand("disclose", "--period", "2026-Q2").out
    assert "no monitor 'kitchn'" in withstand("disclose", "--period", "2026", "--monitor", "kitchn").err
    assert [ends_of(period)[1] for period in ("2026-Q4", "2026")] == [datetime(2027, 1, 1, tzinfo=UTC).timestamp()] * 2


def test_the_private_report_of_a_finding_holds_no_text_of_it(withstand):
    turns = (Turn("user", SECRET), Turn("assistant", "no"), Turn("user", f"{SECRET}!"))
    found = Attempt(
        "F-1", turns, "salt it", "harmful", "m1", 1_770_000_000.0, 1_770_000_000.0, harm=f"new: {SECRET}", target="app",
        severity=4, reproduced=(3, 5), notes=SECRET, technique="story",
    )  # fmt: skip
    with api.open_store("withstand.db") as store:
        attempts.add(store, found)
        attempts.add(store, replace(found, id="F-2", verdict="ok"))
    text = withstand("disclose", "--finding", "F-1").out
    assert text == private_report(found)
    for absent in (SECRET, "salt it", "m1"):
        assert absent not in text
    for part in ("severity: 4, critical", "agreed day of publication", "## Credit", "Ask them first", "3 of 5",
                 "user: 18 characters", "found: 2026-02-02", "its addressee alone"):  # fmt: skip
        assert part in text, part
    assert "is no finding" in withstand("disclose", "--finding", "F-2").err
    assert "has no finding" in withstand("disclose", "--finding", "F-3").err
