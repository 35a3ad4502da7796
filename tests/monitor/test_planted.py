"""End to end: a log with misuse planted in it goes through every step of a run, and the report says what was planted.

It takes ten seconds of CPU: the acceptance checks of a monitor are about all of its parts together.
"""

import json
from pathlib import Path

import pytest

from withstand import api
from withstand.monitor import run as running
from withstand.monitor.clusters.section import clusters
from withstand.monitor.intake.salt import Hasher
from withstand.monitor.made.plants import DAY, HOUR
from withstand.monitor.made.write import KINDS, frame_of, write_log
from withstand.monitor.report.record import latest
from withstand.monitor.report.summary import summary
from withstand.monitor.settings import read_settings
from withstand.redteam.policy.records import read_policy

SIGMAS = 5.0
"""Of the planted drift. One of a standard deviation takes months of past: bench/monitor_alerts.py has the frontier."""
SALT = "a grain of the kitchen's salt"
FOLDER = Path(__file__).parents[2] / "examples" / "monitor"


def watched(folder, days, per_day, seed, kinds):
    """The sections of a log with these plants, by their ids, and the truth about it."""
    policy = read_policy(FOLDER / "policy.toml")
    settings = read_settings(FOLDER / "monitor.toml", policy)
    write_log(folder / "log.jsonl", folder / "truth.json", frame_of(days, per_day, seed), kinds, SIGMAS)
    job = running.Job([str(folder / "log.jsonl")], policy, settings, folder / "monitor", salt=SALT, jobs=1)
    with api.open_store(folder / "store.db") as store, pytest.MonkeyPatch.context() as patched:
        # its encoder takes longer than all others together: test_clusters.py
        patched.setattr(running, "ANALYSES", [analysis for analysis in running.ANALYSES if analysis is not clusters])
        [sections] = running.run(job, store)
        report = latest(store, "kitchen")
    truth = json.loads((folder / "truth.json").read_text())
    return {section.id: section for section in sections}, truth, report


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    sections, truth, report = watched(folder, 42, 150, 1, KINDS)
    return sections, {event["kind"]: event for event in truth["events"]}, report, folder


def alerts_of(sections, category):
    return [alert for alert in sections["alerts"].value["alerts"] if alert["series"]["category"] == category]


def test_planted_misuse_alarms_and_the_jump_of_a_labeler_annotates_alone(planted):
    sections, events, report, folder = planted
    assert sections["alerts"].state == "alarm"
    spam = min(alert["at"] for alert in alerts_of(sections, "spam"))
    assert events["spam"]["start"] <= spam <= events["spam"]["start"] + HOUR
    insult = min(alert["at"] for alert in alerts_of(sections, "insult"))
    assert insult > events["roleplay"]["start"]
    drift = [alert for alert in alerts_of(sections, "promise") if alert["rule"] == "rise"]
    assert min(alert["at"] for alert in drift) > events["drift"]["start"]
    # the labeler that came with the log flags five times as much since its second version, and nothing alarms at it
    jump = events["jump"]["start"]
    secret = alerts_of(sections, "secret")
    assert all(alert["at"] >= events["probing"]["start"] for alert in secret)
    marks = [mark for section in sections.values() for chart in section.charts for mark in chart.marks]
    assert any(abs(mark.ts - jump) <= DAY and "3.2" in mark.text for mark in marks)
    text = (folder / "monitor" / "report.md").read_text()
    assert "miracle pan no. <num>" in text.replace("&lt;", "<")
    assert b"miracle pan" not in (folder / "store.db").read_bytes()
    for alert in sections["alerts"].value["alerts"]:
        assert alert["id"] in text
    assert report.before == {}
    assert {answer.id: answer.state for answer in report.answers} == {name: s.state for name, s in sections.items()}


def test_who_did_it_is_named_by_hash_and_nobody_else(planted):
    sections, events, _, folder = planted
    hasher = Hasher(SALT.encode())
    guilty = {hasher.name("account", name) for event in events.values() for name in event["accounts"]}
    assert {*sections["who"].value["alarms"]} <= guilty
    probing = sections["probing"]
    assert probing.state == "alarm"
    assert "3 chains of 3 accounts" in probing.answer
    assert sections["templates"].state == "alarm"
    assert "The largest: 30 accounts" in sections["templates"].answer
    for name in ("report.html", "report.md", "report.json"):
        page = (folder / "monitor" / name).read_text()
        assert not any(account in page for event in events.values() for account in event["accounts"])


def test_what_nobody_labeled_is_not_known(planted):
    sections, _, report, _ = planted
    assert sections["prevalence"].state == "unknown"
    assert "not known" in summary(report).sentence


def test_an_ordinary_month_raises_nothing(tmp_path):
    sections, _, report = watched(tmp_path, 28, 80, 2, ())
    assert {name: section.answer for name, section in sections.items() if section.state in ("alarm", "note")} == {}
    assert summary(report).sentence.startswith(f"Of {len(sections)} questions, ")
