"""Logs made up: the same for the same seed, in order, and as their truth says."""

import json
import re
import statistics
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from withstand.core import SpecError
from withstand.monitor.made import write
from withstand.monitor.made.plants import DAY
from withstand.monitor.made.talks import SHARES
from withstand.monitor.made.write import KINDS, START, frame_of, write_log
from withstand.monitor.settings import read_settings
from withstand.redteam.policy.records import read_policy


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    written = write_log(folder / "log.jsonl", folder / "truth.json", frame_of(28, 200, 3), KINDS)
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_bytes().splitlines()]
    return folder, written, rows, json.loads((folder / "truth.json").read_text())


def test_a_log_is_in_order_and_its_truth_is_about_it(month):
    _, written, rows, truth = month
    assert len(rows) == written.exchanges == truth["written"]
    times = [row["ts"] for row in rows]
    assert times == sorted(times)
    assert truth["start"] <= times[0]
    assert times[-1] < truth["end"]
    by_id = {row["id"]: row for row in rows}
    assert len(by_id) == len(rows)
    sessions = defaultdict(set)
    for row in rows:
        sessions[row["conversation"]].add(row["account"])
    assert all(len(accounts) == 1 for accounts in sessions.values())
    events = {event["kind"]: event for event in truth["events"]}
    assert set(events) == set(KINDS)
    members = defaultdict(list)
    for name, fact in truth["exchanges"].items():
        members[fact.get("event")].append(by_id[name])
    for kind, event in events.items():
        assert len(members[kind]) == event["exchanges"]
        assert {row["account"] for row in members[kind]} == set(event["accounts"])
        assert all(event["start"] <= row["ts"] + 0.001 and row["ts"] - 0.001 <= event["end"] for row in members[kind])
    assert len(events["spam"]["accounts"]) == 30
    assert events["spam"]["end"] - events["spam"]["start"] <= 5 * 3600
    assert all("miracle pan" in row["prompt"] for row in members["spam"])
    rest = Counter(category for fact in truth["exchanges"].values() if "event" not in fact
                   for category in {*fact["prompt"], *fact["completion"]})  # fmt: skip
    assert rest == truth["ordinary"]


def test_the_example_files_fit_the_log(month):
    """Each rule sees most of what was planted for it, and not only that."""
    _, _, rows, truth = month
    folder = Path(__file__).parents[2] / "examples" / "monitor"
    policy = read_policy(folder / "policy.toml")
    for screener in read_settings(folder / "monitor.toml", policy).screeners:
        pattern = re.compile(screener.judge.removeprefix("contains:"), re.IGNORECASE)
        flagged = {row["id"] for row in rows if pattern.search(row[screener.reads])}
        violating = {name for name, fact in truth["exchanges"].items() if screener.category in fact[screener.reads]}
        assert 0.6 < len(flagged & violating) / len(violating) < 1
        assert flagged - violating
    assert set(SHARES) <= set(policy.categories)


def test_a_labeler_jumps_and_the_traffic_does_not(month):
    _, _, rows, truth = month
    [jump] = [event for event in truth["events"] if event["kind"] == "jump"]
    flags = {version: [] for version in jump["versions"]}
    for row in rows:
        assert (row["ts"] >= jump["start"]) == (row["labeler_version"] == jump["versions"][1])
        if row["id"] not in truth["exchanges"]:
            flags[row["labeler_version"]].append(row["labels"]["secret"] >= 0.5)
    before, after = (statistics.mean(flags[version]) for version in jump["versions"])
    assert before < 0.008 < 0.010 < after


def test_days_and_weeks_have_cycles_and_counts_vary_more_than_chance(tmp_path):
    write_log(tmp_path / "log.jsonl", None, frame_of(28, 300, 5), ())
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_bytes().splitlines()]
    assert abs(len(rows) / 28 / 300 - 1) < 0.15
    hours = Counter(int((row["ts"] - START) // 3600) for row in rows)
    clock = Counter(hour % 24 for hour in hours.elements())
    assert clock[19] > 3 * clock[3]
    spread = [
        statistics.variance(values) / statistics.mean(values)
        for at in range(168)
        if sum(values := [hours[at + 168 * week] for week in range(4)])
    ]
    assert statistics.mean(spread) > 1.5
    accounts = Counter(row["account"] for row in rows).most_common()
    assert sum(size for _, size in accounts[: len(accounts) // 20]) > 0.25 * len(rows)
    assert len({row["prompt"] for row in rows}) > 0.6 * len(rows)


def test_equal_seeds_give_equal_files_by_one_process_and_by_two(tmp_path, monkeypatch):
    frame = frame_of(2, 200, 9)
    for name, few in (("a", write.FEW), ("b", 0)):
        monkeypatch.setattr(write, "FEW", few)
        write_log(tmp_path / f"{name}.jsonl", tmp_path / f"{name}.json", frame, KINDS)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    write_log(tmp_path / "c.jsonl", None, frame_of(2, 200, 10), KINDS)
    assert (tmp_path / "a.jsonl").read_bytes() != (tmp_path / "c.jsonl").read_bytes()


def test_the_drift_is_one_standard_deviation_of_a_day(tmp_path):
    days, clean = Counter(), {"completion": ()}
    write_log(tmp_path / "log.jsonl", tmp_path / "truth.json", frame_of(10, 1_500, 0), ("drift",))
    truth = json.loads((tmp_path / "truth.json").read_text())
    for line in (tmp_path / "log.jsonl").read_bytes().splitlines():
        row = json.loads(line)
        days[int((row["ts"] - START) // DAY)] += "promise" in truth["exchanges"].get(row["id"], clean)["completion"]
    [drift] = truth["events"]
    assert drift["start"] == START + 5 * DAY
    shift = (sum(days[day] for day in range(5, 10)) - sum(days[day] for day in range(5))) / 5
    assert abs(shift / drift["sigma_per_day"] - 1) < 2 * (2 / 5) ** 0.5


def test_too_small_a_log_is_refused():
    with pytest.raises(SpecError, match="1 days with 200 exchanges each are too few"):
        frame_of(1, 200, 0)
