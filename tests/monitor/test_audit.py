"""People label exchanges: from the command to a file and back, and on the page."""

import csv
import json
import re

import pytest

from explorer_web import client, post
from monitored import exchange, rows, screened, write
from withstand import api
from withstand.cli.main import main
from withstand.monitor.audit.records import Item, passed_over
from withstand.results.exposure import Settings, exposed, item_id, keep_settings, place_of_monitor

PAGE = "/monitor/audit"


def command(*options):
    """The exit code of a command."""
    with pytest.raises(SystemExit) as end:
        main(options)
    return end.value.code


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A monitor over 120 exchanges, of which every fifth asks for the pan. With this salt each run draws the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WITHSTAND_MONITOR_SALT", "the salt of a test that draws the same exchanges")
    screened(tmp_path, audit_rate=0.5)
    texts = {True: "Sell my miracle pan", False: "Boil an egg"}
    write(tmp_path / "a.jsonl", [exchange(at, prompt=f"{texts[at % 5 == 0]} {at}") for at in range(120)])
    assert command("monitor", "run", "a.jsonl", *FILES, "--out", "monitor") == 0
    return tmp_path


FILES = ["--policy", "policy.toml", "--settings", "monitor.toml", "--store", "s.db"]


def audit(*options):
    return command("monitor", "audit", "monitor", *FILES, *options)


def test_a_sheet_goes_out_and_comes_back(folder, capsys):
    assert audit() == 2
    assert "--take" in capsys.readouterr().err
    assert audit("--write", "a.csv") == 2  # for whom?
    assert audit("--take", "40", "--targeted", "8", "--write", "a.csv", "--by", "ann") == 0
    with open("a.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 48
    assert set(lines[0]) == {"item", "when", "prompt_text", "completion_text", "prompt", "completion"}
    lines[3]["prompt"] = ""  # left out before others: unsure, since nobody chooses
    for at, line in enumerate(lines[:40]):
        if at != 3:
            line["prompt"] = "spam, rude" if "miracle" in line["prompt_text"] else "none"
            line["completion"] = "none"
    _write(lines)
    capsys.readouterr()
    assert audit("--read", "a.csv", "--by", "ann", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["queued"], value["labeled"], value["labelers"], value["random"]) == (48, 40, {"ann": 40}, 40)
    with api.open_store("s.db") as store:
        met = exposed(store, place_of_monitor("monitor"))
    pans = sum("miracle" in line["prompt_text"] for line in lines[:40])
    assert (met.read, met.severe) == (40, pans + 1)  # and one of which nothing was said
    people = "FROM person_label WHERE labeler = 'person ann'"
    assert rows(folder, f"SELECT count(*), count(DISTINCT seq), min(version) {people}") == [(240, 40, "policy 1")]
    assert rows(folder, f"SELECT count(*) {people} AND flagged IS NULL") == [(6,)]
    wrong = f"SELECT count(*) {people} AND side = 'prompt' AND flagged <> (seq % 5 = 1 AND category <> 'uncovered')"
    assert rows(folder, wrong) == [(0,)]
    assert len(rows(folder, f"SELECT DISTINCT chosen {people}")) > 1
    lines[0]["prompt"] = "soup"
    _write(lines)
    assert audit("--read", "a.csv", "--by", "bob") == 2
    assert "'soup' is no category" in capsys.readouterr().err


def _write(lines):
    with open("a.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def test_the_page_hides_texts_and_keeps_what_people_say(folder):
    audit("--take", "3")
    with client(folder / "s.db") as web:
        page = web.get(PAGE).text
        assert "miracle" not in page
        assert "Boil an egg" not in page
        [item] = re.findall(r'name="item" value="([^"]+)"', page)
        said = {"name": "monitor", "item": item, "prompt:spam": "on", "completion:none": "on"}
        assert post(web, PAGE, PAGE, **said).status_code == 400  # not read yet
        place = f"audit/monitor/{item}"
        post(web, "/reveal", PAGE, place=place, show="1")
        assert [entry["subject"] for entry in web.explorer.store.audits(9) if entry["action"] == "reveal"] == [place]
        page = web.get(PAGE).text
        assert re.search("Boil an egg|miracle pan", page)
        assert "[0-9]+ of [0-9]+ violating" not in page
        assert post(web, PAGE, PAGE, name="monitor", item=item).status_code == 400  # nothing said
        both = {**said, "prompt:unsure": "on"}
        assert post(web, PAGE, PAGE, **both).status_code == 400
        assert post(web, PAGE, PAGE, **said).headers["location"] == f"{PAGE}?name=monitor&last={item}"
        assert "1 labeled by ana, 2 left" in web.get(PAGE).text
        assert item not in re.findall(r'name="item" value="([^"]+)"', web.get(PAGE).text)
        again = web.get(f"{PAGE}?again={item}").text
        assert f'name="item" value="{item}"' in again
        corrected = {"name": "monitor", "item": item, "prompt:none": "on", "completion:none": "on"}
        assert post(web, PAGE, PAGE, **corrected).status_code == 303
        assert post(web, PAGE, PAGE, **{**said, "item": "other"}).status_code == 400
        keep_settings(web.explorer.store, Settings(daily_cap=0), "ana", 0.0)
        page = web.get(PAGE).text
        assert ("Go on tomorrow" in page, 'name="item"' in page) == (True, False)
        keep_settings(web.explorer.store, Settings(daily_cap=1), "ana", 1.0)
        [left] = re.findall(r'name="item" value="([^"]+)"', web.get(PAGE).text)
        assert post(web, PAGE, PAGE, name="monitor", item=left, skip="1").status_code == 303
        [last] = re.findall(r'name="item" value="([^"]+)"', web.get(PAGE).text)
        assert last != left
        post(web, "/reveal", PAGE, place=f"audit/monitor/{last}", show="1")
        assert "1 severe item today" in web.get(PAGE).text  # until its reader says that it violates nothing
        assert post(web, PAGE, PAGE, **{**corrected, "item": last}).status_code == 303
        page = web.get(PAGE).text
        assert "You left 1 item to others" in page
        assert "0 severe items today" in web.get(f"{PAGE}?skipped=1").text
    audit()
    assert rows(folder, "SELECT count(*), count(flagged) FROM person_label WHERE labeler = 'nobody'") == [(6, 0)]
    people = "FROM person_label WHERE labeler = 'person ana'"
    assert rows(folder, f"SELECT count(*), count(*) FILTER (flagged) {people}") == [(12, 0)]


def test_what_nobody_wanted_to_read_is_missing_and_not_left_out():
    """By hand: what was skipped, and what comes before the last label of what was drawn alike."""
    stream = [Item(f"s{at}", "monitor", at, "", 0.0, "", "", "audit", at, False) for at in (0, 2, 4, 6)]
    aimed = [Item(f"t{at}", "monitor", at, "", 0.0, "", "", "targeted:spam:prompt", at, False) for at in (1, 3)]
    gone = Item("gone", "monitor", 9, "", 0.0, "", "", "audit", 1, False, purged=True)  # before anybody was asked
    items = [*stream, *aimed, gone]
    for labeled, skipped, missing in (
        ((), (), ()),
        (("s4",), (), ("s0", "s2")),
        (("s0",), ("s6", "t3", "gone"), ("s6", "t3", "gone")),
        (("s0", "s6"), ("s6",), ("s2", "s4")),
    ):
        assert tuple(item.id for item in passed_over(items, labeled, {item_id(name) for name in skipped})) == missing


def test_screening_says_what_was_left_out_and_who_was_right(folder, capsys):
    more = '[[screener]]\nid = "later"\njudge = "contains:pan"\ncategory = "spam"\nreads = "prompt"\nbudget = 30\n'
    with open("monitor.toml", "a") as file:
        file.write(more)
    audit("--take", "60", "--targeted", "20", "--write", "a.csv", "--by", "ann")
    with open("a.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    for line in lines:  # people see more in the first ten pans than the rule does
        pan = "miracle" in line["prompt_text"] and not line["prompt_text"].endswith("10")
        line |= {"prompt": "spam" if pan else "none", "completion": "none"}
    _write(lines)
    audit("--read", "a.csv", "--by", "ann")
    capsys.readouterr()
    assert command("monitor", "run", "a.jsonl", *FILES, "--out", "monitor", "--json") == 0
    sections = {section["id"]: section for section in json.loads(capsys.readouterr().out)["sections"]}
    screening = sections["screening"]
    assert screening["state"] == "note"
    assert "Not screened, and none that are clean: later 90" in screening["answer"]
    by_name = {row["labeler"]: row for row in screening["value"]["screeners"]}
    assert (by_name["later"]["seen"], by_name["later"]["left"]) == (30, 90)
    assert by_name["pan"]["flagged"] == 24
    assert by_name["pan"]["caught"] == by_name["pan"]["violating"] > 5
    part = sections["prevalence"]["value"]["parts"][0]
    assert (part["category"], part["side"]) == ("spam", "prompt")
    assert part["requests"]["low"] < 23 / 120 < part["requests"]["high"]
