"""The report of a monitor: what asks for action stands first, what is unknown is told, and the store has no text."""

import json
import math
import re
from contextlib import closing

import pytest

from withstand import api
from withstand.monitor.report.page import html, markdown, sections, value, write
from withstand.monitor.report.plot import MOST, plot_of, thin
from withstand.monitor.report.record import KIND, history, keep, latest, states_before
from withstand.monitor.report.shown import HIDDEN, Event, Report, ShownLine, answer_of
from withstand.monitor.report.summary import summary
from withstand.monitor.section import Chart, Line, Mark, Section, words_column
from withstand.report.table import Column, Table
from withstand.store.revisions import Record, add_record, plans

START, DAY = 1_772_409_600.0, 86_400.0
TEXT = "Praise the <b>miracle pan</b> | now"


def report_with(*listed, end=START + 7 * DAY, before=None, name="kitchen"):
    events = (Event(START + 2 * DAY, "I-1", "spam"),)
    return Report(name, "Kitchen 1", START, end, 1_000, 50, tuple(map(answer_of, listed)), before or {}, events)


def section(name, state, **rest):
    return Section(name, f"Is {name} well?", f"{name} has 3 of 40.", state, **rest)


@pytest.fixture
def full():
    days = [(START + DAY * day, float(day)) for day in range(7)]
    line = Line("flags", days, [v / 2 for _, v in days], [v * 2 for _, v in days])
    table = Table([words_column("example"), Column("size", right=True)], [(TEXT, 3), "the rest", ("stir", 4)], "Texts")
    return report_with(
        section("volume", "calm", charts=[Chart("Flags", [line], marks=[Mark(START + DAY, "version 2")])]),
        section("spam", "alarm", tables=[table], advice=["Throttle it."],
                value={"n": 3, "nan": math.nan, "example": TEXT, "id": "3f2a"}),
        section("rates", "unknown"),
        before={"spam": "calm", "volume": "calm"},
    )  # fmt: skip


def test_the_first_lines_say_what_to_do_and_hide_nothing_unknown(full):
    total = summary(full)
    assert (total.state, [answer.id for answer in total.open]) == ("alarm", ["spam", "rates"])
    assert total.sentence == "Of 3 questions, 1 calls for action, 1 is calm, 1 is not known."
    assert summary(report_with(section("a", "calm"), section("b", "unknown"))).state == "unknown"
    assert summary(report_with()).state == "unknown"
    page, text = html(full), markdown(full)
    for wanted in ("Throttle it.", "rates has 3 of 40.", "In the report before: calm", "incident I-1 (spam)"):
        assert wanted in page
        assert wanted in text
    assert page.index("Throttle it.") < page.index('id="volume"')
    assert "<b>miracle" not in page + text
    assert "<script" not in page
    assert value(full)["changed"] == {"spam": {"from": "calm", "to": "alarm"}}


def test_equal_reports_are_equal_files_and_numbers_that_are_none_are_null(full, tmp_path):
    write(full, tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write(full, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert set(first) == {"report.html", "report.md", "report.json"}
    read = json.loads(first["report.json"])
    assert read["answers"][1]["value"] == {"n": 3, "nan": None, "example": TEXT, "id": "3f2a"}


def test_the_store_keeps_each_report_once_and_no_text(full, tmp_path):
    with closing(api.open_store(tmp_path / "s.db")) as store:
        assert (keep(store, full), keep(store, full)) == (True, False)
        later = report_with(section("spam", "note"), end=full.end + DAY)
        assert states_before(store, "kitchen", full.end + 1)["spam"] == "alarm"
        assert states_before(store, "kitchen", full.end) == {}
        assert keep(store, later)
        assert [entry.end for entry in history(store, "kitchen", 9)] == [later.end, full.end]
        assert latest(store, "kitchen").end == later.end
        assert plans(store, KIND) == ["kitchen"]
        stored = history(store, "kitchen", 9)[-1]
        spam = stored.answers[1]
        assert [row[0].text for row in spam.tables[0].rows] == [HIDDEN, "the rest", HIDDEN]
        assert spam.value == {"n": 3, "nan": None, "example": None, "id": "3f2a"}
        assert "miracle" not in (tmp_path / "s.db").read_bytes().decode("latin-1")
        assert html(stored).count("</svg>") == html(full).count("</svg>")
        add_record(store, Record("monitor", "kitchen x", 1, "kitchen", later.end + 1, {"name": 3}))
        with pytest.raises(Exception, match="is no report"):
            history(store, "kitchen", 9)


def test_a_report_soon_after_another_is_kept_only_if_a_state_changed(tmp_path):
    with closing(api.open_store(tmp_path / "s.db")) as store:
        end = START + DAY
        assert keep(store, report_with(section("a", "calm"), end=end), every=3_600)
        assert not keep(store, report_with(section("a", "calm"), end=end + 60), every=3_600)
        assert keep(store, report_with(section("a", "alarm"), end=end + 120), every=3_600)
        assert keep(store, report_with(section("a", "alarm"), end=end + 4_000), every=3_600)


def test_a_panel_holds_all_points_marks_and_gaps():
    hours = [(START + 3_600 * hour, 1.0 + hour % 24) for hour in range(24 * 20) if not 100 <= hour < 200]
    chart = Chart("A", [Line("x", [*hours, (START, math.nan)][:-1])], "%", [Mark(hours[-1][0] + 7_200, "later")])
    [shown] = answer_of(Section("a", "?", "!", "calm", charts=[chart])).charts
    plot = plot_of(shown)
    assert plot.curves[0].path.count("M") == 2
    for number in map(float, re.findall(r"[ML,]([\d.]+)", plot.curves[0].path)):
        assert 0 <= number <= plot.width
    assert plot.notes[0].at == plot.right
    assert plot.ys[0].text == "0%"
    assert all(tick.text.startswith(("02", "09", "16", "23")) for tick in plot.xs)  # Mondays
    assert plot_of(answer_of(Section("a", "?", "!", "calm", charts=[Chart("A", [Line("x", [])])])).charts[0]) is None
    lone = plot_of(
        answer_of(Section("a", "?", "!", "calm", charts=[Chart("A", [Line("x", [(START, 0.0)])])])).charts[0]
    )
    assert lone.curves[0].dots
    points = tuple((float(at), float(at % 50 == 25)) for at in range(10_000))
    few = thin(ShownLine("x", points))
    assert len(few.points) <= MOST + 2
    assert {value for _, value in few.points} == {0.0, 1.0}
    assert [ts for ts, _ in few.points] == sorted(ts for ts, _ in few.points)


def test_incidents_are_marked_in_every_chart(full):
    [(_, _, [plot]), _, _] = sections(full)
    assert [(note.number, note.text) for note in plot.notes] == [(1, "version 2"), (2, "incident I-1 (spam)")]
    assert [note.sign for note in plot.notes] == ["1", "2"]
    marks = [Mark(START + 600 * number, "x") for number in range(3)]
    close = plot_of(full.answers[0].charts[0], marks)
    assert [note.sign for note in close.notes] == ["1-3", "", "", "4"]
