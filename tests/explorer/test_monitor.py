"""The page of a monitor: its last report, and how the states went."""

from explorer_web import auth, client
from monitor.test_report import DAY, START, TEXT, report_with, section
from withstand import api
from withstand.monitor.report.record import keep
from withstand.monitor.section import words_column
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


def test_a_store_without_a_report_says_how_to_get_one(tmp_path):
    api.open_store(tmp_path / "s.db").close()
    with client(tmp_path / "s.db", auth()) as web:
        assert web.get("/monitor").status_code == 303  # to sign in
    with client(tmp_path / "s.db") as web:
        page = web.get("/monitor")
        assert page.status_code == 404
        assert "withstand monitor run" in page.text
        assert 'href="/monitor"' not in web.get("/").text
