"""Alerts reach a file and a webhook once each; what fails is kept for the next run, and no text leaves."""

import json
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from withstand import api
from withstand.cli.main import main
from withstand.core import SpecError
from withstand.monitor.alerts import records
from withstand.monitor.alerts.deliver import Delivered, check, deliver
from withstand.monitor.alerts.detect import Alarm
from withstand.monitor.series.panel import Name
from withstand.store.revisions import revisions

SPAM = Name("category", "spam", "prompt", "words", "1")


def alarm(hour, series=SPAM, rule="spike"):
    return Alarm(rule, series, 3600.0 * hour, 3600.0 * (hour + 1), 3600.0 * hour + 900, 40, 2.0, 20, 14, 27, 1e-9, 1e-5)


@pytest.fixture
def store(tmp_path):
    with api.open_store(str(tmp_path / "s.db")) as opened:
        listed = records.gather([alarm(5), alarm(6), alarm(90)], "kitchen", "7")
        records.keep(opened, [replace(alert, evidence=("7:order@cook.example",)) for alert in listed], [])
        yield opened


class Server(BaseHTTPRequestHandler):
    """Takes alerts, but for the first request, which it does not answer well."""

    bodies: list[dict] = []

    def do_POST(self):
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(503 if len(self.bodies) == 1 else 204)
        self.end_headers()

    def log_message(self, *_):
        """Nothing on the terminal."""


def test_what_fails_is_sent_by_the_next_run_and_nothing_twice(tmp_path, store):
    def silent(url, body):
        raise OSError("no route")

    pauses = []
    options = {"url": "https://hooks.example/x?key=secret", "send": silent, "pause": pauses.append}
    assert deliver(store, "kitchen", tmp_path, 9.0, **options) == Delivered(2, 0, "OSError: no route", 2)
    assert pauses == [1.0, 2.0]  # one alert, three tries: the run is not held up for each of them
    [failed] = revisions(store, "alert-delivery")
    assert failed.value == {"ok": False, "error": "OSError: no route", "host": "hooks.example"}  # no secret of the URL
    path = tmp_path / "alerts.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["start"], line["end"], line["category"]) for line in lines] == [
        (18000, 25200, "spam"), (324000, 327600, "spam"),
    ]  # fmt: skip
    assert "order@cook" not in path.read_text()
    path.write_bytes(path.read_bytes()[:-30])  # killed in the middle of the last line
    server = HTTPServer(("127.0.0.1", 0), Server)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    sent = deliver(store, "kitchen", tmp_path, 10.0, url=url, pause=pauses.append)
    assert sent == Delivered(1, 2, "", 0)  # the second try of the first one was answered
    assert deliver(store, "kitchen", tmp_path, 11.0, url=url) == Delivered(0, 0, "", 0)
    server.shutdown()
    server.server_close()
    assert [body["id"] for body in Server.bodies] == [lines[0]["id"], lines[0]["id"], lines[1]["id"]]
    assert "order@cook" not in json.dumps(Server.bodies)
    assert json.loads(path.read_text().splitlines()[-1])["id"] == lines[1]["id"]
    refused = deliver(store, "kitchen", tmp_path / "s.db", 12.0)  # its folder is a file
    assert refused.unwritten.startswith(("FileExistsError", "NotADirectoryError"))


def test_a_webhook_on_an_open_line_is_refused():
    for url in ("http://hooks.example/x", "ftp://hooks.example", "hooks"):
        with pytest.raises(SpecError):
            check(url)
    check("http://localhost:8080/x")


def test_an_alarm_after_a_decision_is_a_new_alert_and_one_within_it_is_not(store):
    first, last = records.alerts(store)
    records.decide(store, first, "false", "a holiday", "ann", 1.0)
    stored = records.alerts(store)
    insult = replace(SPAM, category="insult")
    # 6: within what was decided; 8: after it, though within a day; 95: the other one goes on; 7: another series
    grown = records.gather(
        [alarm(6), alarm(8), alarm(95), alarm(7, insult), alarm(6, rule="policy")], "kitchen", "7", stored
    )
    records.keep(store, grown, stored)
    listed = {
        (alert.series.category, alert.start / 3600, alert.end / 3600, alert.rule): alert
        for alert in records.alerts(store)
    }
    assert sorted(listed) == [
        ("insult", 7, 8, "spike"), ("spam", 5, 7, "spike"), ("spam", 6, 7, "policy"), ("spam", 8, 9, "spike"),
        ("spam", 90, 96, "spike"),
    ]  # fmt: skip
    assert listed["spam", 5, 7, "spike"].state == "false"
    assert len(records.history(store, last.id)) == 2
    assert records.gather([alarm(6), alarm(8)], "kitchen", "7", records.alerts(store)) == records.alerts(store)


def test_the_commands_list_show_and_decide(tmp_path, store, capsys):
    first, _ = records.alerts(store)
    database = ["--store", str(tmp_path / "s.db")]

    def call(*args):
        with pytest.raises(SystemExit) as end:
            main(["monitor", "alerts", *args, *database])
        assert end.value.code == 0
        return capsys.readouterr().out

    assert "20.0 (14.0 to 27.0)" in call("list")
    said = call("decide", first.id, "false", "--reason", "a holiday", "--by", "ann")
    assert said == f"{first.id}: false, by ann\n"
    assert first.id not in call("list")
    shown = call("list", "--all")
    assert "spike: 0 of 1 decided alerts were true (0%, 95% interval 0" in shown
    assert "ann: false, a holiday" in call("show", first.id)
    value = json.loads(call("show", first.id, "--json"))
    assert [revision["state"] for revision in value["history"]] == ["open", "false"]
