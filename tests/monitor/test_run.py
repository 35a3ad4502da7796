"""`withstand monitor run`: the command, growing and rotated logs, retention, and what a run leaves."""

import json
import os
import threading
from dataclasses import replace

import pytest

from monitored import START, exchange, job, rows, run, screened, write
from withstand.cli.main import main
from withstand.monitor import run as running
from withstand.monitor.audit.records import Item, add_items, items_of
from withstand.store.revisions import revisions
from withstand.store.store import Store

DAY = 86_400


def test_a_log_that_grew_and_was_rotated_is_read_on_where_it_was_left(tmp_path):
    log = tmp_path / "app.jsonl"
    write(log, [exchange(number) for number in range(5)])
    with log.open("a") as file:
        file.write(json.dumps(exchange(5))[:20])
    said = []
    seen = run(job(tmp_path, log), said)
    assert "line 6 is half written" in " ".join(said)
    assert seen["happened"].value["problems"] == []  # it waits for its rest
    with log.open("a") as file:
        file.write(json.dumps(exchange(5))[20:] + "\n")
    write(log, [exchange(6)], "a")
    log.rename(tmp_path / "app.jsonl.1")
    write(log, [exchange(7)])
    os.utime(tmp_path / "app.jsonl.1", (1, 1))  # the older of the two
    seen = run(job(tmp_path, log))
    assert rows(tmp_path, "SELECT id FROM exchange ORDER BY seq") == [(f"x{number}",) for number in range(8)]
    assert seen["happened"].value["problems"] == []
    log.write_text("")  # emptied in place
    write(log, [exchange(8)], "a")
    run(job(tmp_path, log))
    assert rows(tmp_path, "SELECT count(*), max(id) FROM exchange") == [(9, "x8")]


def test_retention_reaches_the_texts_that_were_drawn_for_people(tmp_path):
    days = [exchange(number, ts=START + number * DAY) for number in range(10)]
    log, settings = write(tmp_path / "a.jsonl", days), screened(tmp_path, retention_days=3)
    name = settings.keeping.name
    with Store(str(tmp_path / "store.db")) as store:
        add_items(store, [
            Item(str(at), name, at, "c", START + at * DAY, "my secret soup", "stir", "targeted:spam:prompt", at, False)
            for at in (1, 9)
        ])  # fmt: skip
    said = []
    run(job(tmp_path, log, settings=settings), said)
    assert "retention: texts of 1 exchange drawn for people are erased" in said
    with Store(str(tmp_path / "store.db")) as store:
        old, new = items_of(store)
    assert (old.purged, "soup" in old.input, "stir" in old.output, old.chosen) == (True, False, False, new.chosen)
    assert (new.purged, new.input) == (False, "my secret soup")
    said.clear()
    run(job(tmp_path, log, settings=settings), said)
    assert not any("drawn for people" in line for line in said)


def test_retention_deletes_texts_and_rows_and_keeps_counts(tmp_path):
    days = [exchange(number, ts=START + number * DAY / 4, prompt=f"miracle pan {number:03}") for number in range(40)]
    log = write(tmp_path / "a.jsonl", days)
    run(job(tmp_path, log, settings=screened(tmp_path, retention_days=0)))
    everything = {view: rows(tmp_path, query) for view, query in TOTALS.items()}
    said = []
    seen = run(job(tmp_path, log, settings=screened(tmp_path, retention_days=3)), said)
    assert "retention: 27 exchanges and 27 texts older than 3 days deleted" in " ".join(said)
    value = seen["happened"].value
    assert (value["exchanges"], value["kept"], value["deleted"]) == (40, 13, 27)
    assert "only counts are kept" in seen["happened"].answer
    assert value["never_looked_at"] == 0  # the first run looked at them
    late = replace(job(tmp_path, log, settings=screened(tmp_path, retention_days=3)), folder=tmp_path / "late")
    seen = run(late)["happened"]
    assert (seen.value["never_looked_at"], seen.state) == (27, "note")
    assert "27 of these were too old when they were read" in seen.answer
    assert {view: rows(tmp_path, query) for view, query in TOTALS.items()} == everything
    for table in ("exchange", "seen", "skeleton"):
        assert rows(tmp_path, f"SELECT count(*) FROM {table}") == [(13 if table != "skeleton" else 1,)]
    assert rows(tmp_path, "SELECT count(*) FROM label WHERE seq NOT IN (SELECT seq FROM exchange)") == [(0,)]
    assert b"pan 003" not in (tmp_path / "monitor" / "traffic.duckdb").read_bytes()
    seen = run(job(tmp_path, write(tmp_path / "b.jsonl", days[:9]), settings=screened(tmp_path, retention_days=3)))
    assert seen["happened"].value["exchanges"] == 40  # a copy of what was deleted is not counted anew
    assert {row["kind"]: row["lines"] for row in seen["happened"].value["problems"]} == {"older than kept": 9}
    write(tmp_path / "a.jsonl", [exchange(99, ts=START + 10 * DAY)], "a")
    run(job(tmp_path, log, settings=screened(tmp_path, retention_days=3)))
    assert rows(tmp_path, "SELECT max(seq) FROM exchange") == [(41,)]
    ahead = [exchange(number, ts=START + 300 * DAY + number) for number in (200, 201)]
    said = []
    run(job(tmp_path, write(tmp_path / "c.jsonl", ahead), settings=screened(tmp_path, retention_days=3)), said)
    assert "nothing is deleted, though 13 exchanges would be older than 3 days" in " ".join(said)
    assert rows(tmp_path, "SELECT count(*) FROM exchange") == [(15,)]  # at the word of two wrong clocks


TOTALS = {
    "hour_total": "SELECT hour, sum(exchanges), sum(prompt_chars) FROM hour_total GROUP BY hour ORDER BY hour",
    "hour_label": """SELECT hour, category, labeler, sum(labeled), sum(flagged) FROM hour_label
                     GROUP BY ALL ORDER BY ALL""",
    "account_day": """SELECT account, day, sum(exchanges), sum(flagged), min(first), max(last) FROM account_day
                      GROUP BY ALL ORDER BY ALL""",
}


def test_a_rule_that_came_later_says_what_it_has_not_seen(tmp_path):
    log = write(tmp_path / "a.jsonl", [exchange(1), exchange(2)])
    run(job(tmp_path, log))
    write(tmp_path / "a.jsonl", [exchange(3)], "a")
    seen = run(job(tmp_path, log, settings=screened(tmp_path)))["happened"]
    assert seen.value["not_screened"] == {"pan": 2, "cooks": 2}
    assert "2 exchanges were read before pan and cooks screened" in seen.answer
    assert seen.state == "note"
    assert rows(tmp_path, "SELECT DISTINCT seq FROM label") == [(3,)]
    again = run(job(tmp_path, log, settings=screened(tmp_path)))["happened"]
    assert again.value == seen.value


def test_a_followed_log_is_said_again_as_it_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "POLL", 0.01)
    monkeypatch.setattr(running, "ANALYSES", running.ANALYSES[:1])
    log = tmp_path / "a.jsonl"
    write(log, [exchange(0)])
    store = Store(str(tmp_path / "store.db"))
    counts = []
    for seen in running.run(job(tmp_path, log), store, every=0.02):
        counts.append(seen[0].value["exchanges"])
        if len(counts) == 3:
            break
        timer = threading.Timer(0.03, write, (log, [exchange(len(counts))], "a"))  # while nobody looks
        timer.start()
    assert counts == [1, 2, 3]
    [kept] = revisions(store, "monitor", "monitor")  # within an hour in which no state changed
    assert (kept.value["exchanges"], kept.created) == (1, START)  # the log's time
    assert "3 exchanges" in (tmp_path / "monitor" / "report.md").read_text()
    store.close()


def test_the_command_says_what_it_saw_and_a_rerun_says_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "ANALYSES", running.ANALYSES[:1])
    monkeypatch.setenv("WITHSTAND_MONITOR_SALT", "the salt of the environment")
    screened(tmp_path)
    write(tmp_path / "a.jsonl", [exchange(1, ts=None, when=START), exchange(2, ts=None, when=START + 60)])
    monkeypatch.setattr("withstand.cli.monitor.time.time", lambda: START + 4.5 * DAY)
    words = [
        "monitor",
        "run",
        "a.jsonl",
        "--policy",
        "policy.toml",
        "--settings",
        "monitor.toml",
        "--column",
        "ts=when",
    ]
    outputs = []
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            main([*words, "--json"])
        assert end.value.code == 0
        out, err = capsys.readouterr()
        outputs.append(json.loads(out))
        assert "the last exchange is of 2026-02-25 06:14 UTC, 4 days ago: what came since is not known" in err
    assert outputs[0] == outputs[1]
    assert outputs[0]["sections"][0]["value"]["exchanges"] == 2
    assert not (tmp_path / "monitor" / "salt").exists()
    store = Store("withstand.db")
    assert len(revisions(store, "monitor")) == 1  # the second said nothing new
    store.close()
    for wrong, message in (
        (["--every", "soon"], "no span"),
        (["--column", "ts"], "--column ts"),
        (["b.jsonl"], "no such"),
    ):
        with pytest.raises(SystemExit) as end:
            main([*words, *wrong, "--follow"] if "--every" in wrong else [*words, *wrong])
        assert end.value.code == 2
        assert message in capsys.readouterr().err


def test_two_traffics_under_one_name_in_a_store_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "ANALYSES", running.ANALYSES[:1])
    store, said = Store(str(tmp_path / "store.db")), []
    for name, number in (("a", 1), ("a", 1), ("b", 2)):
        one = replace(job(tmp_path, write(tmp_path / f"{name}.jsonl", [exchange(number)])), folder=tmp_path / name)
        said.append([])
        list(running.run(one, store, said[-1].append))
    store.close()
    assert ["watched another traffic" in " ".join(lines) for lines in said] == [False, False, True]
