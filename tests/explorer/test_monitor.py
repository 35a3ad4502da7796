"""The page of a monitor: its last report, and how the states went."""

import re

from explorer_web import auth, client, post, sign_in
from monitor.test_report import DAY, START, TEXT, report_with, section
from withstand import api
from withstand.monitor.alerts import records as alerts
from withstand.monitor.alerts.detect import Alarm
from withstand.monitor.report.record import keep
from withstand.monitor.section import words_column
from withstand.monitor.series.panel import Name
from withstand.report.table import Table


def test_a_page_shows_the_last_report_and_the_states_of_those_before(tmp_path):
    path = tmp_path / "s.db"
    table = Table([words_column("example")], [(TEXT,)], "Texts")
    with api.open_store(path) as store:
        keep(store, report_with(section("spam", "calm"), section("who", "unknown"), end=START + 7 * DAY))
        keep(store, report_with(section("spam", "alarm", tables=[table], advice=["Stop <it>."]), end=START + 8 * DAY))
        keep(store, report_with(section("spam", "note"), name="till"))
    with client(path) as web:
        page = web.get("/monitor").text
        assert "Stop &lt;it&gt;." in page
        assert "miracle" not in page
        assert "In the report before: calm." in page
        assert page.count('class="badge alarm"') >= 2
        assert "not asked" in page  # the question of the first report alone
        assert 'href="/monitor?name=till"' in page
        before = web.get(f"/monitor?name=kitchen&at={int(START + 7 * DAY)}").text
        assert "who has 3 of 40." in before
        assert "Stop" not in before.partition("<h2>Reports before")[0]
        assert web.get("/monitor?name=other").status_code == 404
        assert 'href="/monitor"' in web.get("/").text


def test_who_may_label_decides_an_alert_with_a_reason(tmp_path):
    path = tmp_path / "s.db"
    with api.open_store(path) as store:
        keep(store, report_with(section("spam", "alarm"), end=START + 7 * DAY))
        series = Name("category", "spam", "prompt", "words", "1")
        alarm = Alarm("burst", series, START, START + 900, START + 900, 14, 0.4, 35, 12, 90, 1e-9, 1e-4)
        alerts.keep(store, [alerts.alert_of("kitchen", alarm, "2026.1")], [])
    with client(path, auth()) as web:
        sign_in(web, "lea")
        page = web.get("/monitor").text
        [name] = set(re.findall(r"A-[0-9a-f]{10}", page))
        assert "usual: 0.4" in page
        assert post(web, "/monitor", "/monitor", alert=name, state="true", reason=" ").status_code == 400
        assert post(web, "/monitor", "/monitor", alert=name, state="closed", reason="x").status_code == 400
        assert post(web, "/monitor", "/monitor", alert=name, state="true", reason="a pan").status_code == 303
        assert name not in web.get("/monitor").text
        decided = alerts.find(web.explorer.store, name)
        assert (decided.state, decided.by, decided.reason) == ("true", "lea", "a pan")
    with client(path, auth()) as web:
        sign_in(web, "vera")
        assert post(web, "/monitor", "/monitor", alert=name, state="false", reason="x").status_code == 403


def test_a_store_without_a_report_says_how_to_get_one(tmp_path):
    api.open_store(tmp_path / "s.db").close()
    with client(tmp_path / "s.db", auth()) as web:
        assert web.get("/monitor").status_code == 303  # to sign in
    with client(tmp_path / "s.db") as web:
        page = web.get("/monitor")
        assert page.status_code == 404
        assert "withstand monitor run" in page.text
        assert 'href="/monitor"' not in web.get("/").text
