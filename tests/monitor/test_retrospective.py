"""An incident from an alert: what the monitor knows is filled in, people say the rest."""

import pytest

from withstand import api
from withstand.core import SpecError
from withstand.monitor.alerts import records as alerts
from withstand.monitor.alerts.detect import Alarm
from withstand.monitor.report.record import keep
from withstand.monitor.report.retrospective import incident_values
from withstand.monitor.report.shown import Answer, Report, ShownChart
from withstand.monitor.section import Mark
from withstand.monitor.series.panel import Name
from withstand.monitor.traffic import Traffic
from withstand.redteam.incidents import records as incidents

START = 1_772_445_600.0  # 2 March 2026, 10:00 UTC
SERIES = Name("category", "spam", "prompt", "words", "1")


def alarm(series=SERIES, **changes):
    numbers = {"observed": 14, "expected": 0.4, "times": 35.0, "low": 12.0, "high": 90.0, "p": 1e-9, "alpha": 1e-4}
    return Alarm("burst", series, START, START + 7_200, START + 900, **numbers | changes)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with api.open_store("withstand.db") as opened:
        both = [
            alerts.alert_of("kitchen", alarm(), "2026.1"),
            alerts.alert_of("kitchen", alarm(Name("volume"), expected=None), "2026.1"),
        ]
        alerts.keep(opened, both, [])
        chart = ShownChart("Flags", (), marks=(Mark(START - 3_600, "words 2"), Mark(START - 30 * 86_400, "old")))
        keep(opened, Report("kitchen", "K", START, START, 1, 1, (Answer("s", "?", "!", "calm", charts=(chart,)),), {}))
        yield opened


def test_an_alert_gives_an_incident_its_first_fields_and_a_timeline(store, tmp_path):
    alert = next(alert for alert in alerts.alerts(store) if alert.series == SERIES)
    alerts.decide(store, alert, "true", "a pan", "mara", START + 9_000)
    values = incident_values(store, alert.id)
    assert (values["opened"], values["first_event"]) == ("2026-03-02T10:15:00Z", "2026-03-02T10:00:00Z")
    assert (values["category"], values["requests"], values["detected_by"]) == ("spam", 14, "monitor")
    words = [row["what"] for row in values["timeline"]]
    assert words[0] == "words 2"
    assert "14 spam" in words[1]
    assert words[-1] == "mara says: true"
    assert "old" not in words
    with Traffic(tmp_path / "monitor") as traffic:
        for number, minutes in enumerate((1, 61, 62, 63, 121, 500)):
            row = [number, START + 60 * minutes, f"a{number % 2}"]
            traffic.database.execute("INSERT INTO exchange (seq, ts, account) VALUES (?, ?, ?)", row)
            label = [number, "spam", "prompt", number != 3, "words", "1"]
            columns = "seq, category, side, flagged, labeler, version"
            traffic.database.execute(f"INSERT INTO label ({columns}) VALUES (?, ?, ?, ?, ?, ?)", label)
        values = incident_values(store, alert.id, traffic=traffic)
    assert (values["requests"], values["actors"]) == (3, 2)  # while it went on, flagged
    assert {"ts": "2026-03-02T11:00:00Z", "what": "2 flagged exchanges of 2 accounts in an hour, the most"} in values[
        "timeline"
    ]


def test_what_no_category_covers_is_a_gap_of_the_policy(store):
    alert = next(alert for alert in alerts.alerts(store) if alert.series.kind == "volume")
    values = incident_values(store, alert.id)
    assert (values["category"], values["policy_gap"], values["foreseen"]) == ("uncovered", True, "no")
    with pytest.raises(SpecError, match="A-nothing"):
        incident_values(store, "A-nothing")


def test_the_command_opens_it_and_options_stand_above_the_alert(store, withstand):
    alert = next(alert for alert in alerts.alerts(store) if alert.series.kind == "volume")
    missing = withstand("incident", "new", "--from-alert", alert.id)
    assert "--severity" in missing.err
    done = withstand("incident", "new", "--from-alert", alert.id, "--severity", "2", "--harm", "pans for guests",
                     "--seen", "2026-03-02T12:00Z: a guest calls", "--json")  # fmt: skip
    assert done.code == 0
    incident, _ = incidents.find(store, done.json["id"])
    assert (incident.harm_described, incident.category, incident.detection_delay) == (
        "pans for guests",
        "uncovered",
        900,
    )
    assert incident.timeline[-1] == incidents.Observed("2026-03-02T12:00Z", "a guest calls")
    assert len(incident.timeline) >= 4
    text = incidents.file_text(incident, 1)
    assert text.count("[[incident.timeline]]") == len(incident.timeline)
    assert "both given" in withstand("incident", "new", "--from-alert", "A-1", "--from", "x.toml").err
