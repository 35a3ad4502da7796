"""How people who label are protected: what counts as severe, the cap of a day, skips, categories that are chosen."""

from pathlib import Path
from typing import Any

import pytest

from withstand import api
from withstand.core import SpecError
from withstand.results.exposure import (
    DAY,
    READ,
    Settings,
    Topic,
    choices_of,
    choose,
    exposed,
    exposed_by_plan,
    exposure,
    item_id,
    keep_settings,
    people_of,
    read_settings,
    reader,
)
from withstand.store.purge import purge_probes
from withstand.store.revisions import Event, add_event

ROAST = Topic(("meat.roast",), "menu")
NOON = 20_000 * DAY + DAY / 2


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with api.open_store(tmp_path / "s.db") as opened:
        yield opened


def test_what_counts_as_severe() -> None:
    """Told by the category and by who read it; what nobody can tell counts."""
    settings = Settings(severe=("meat", "suite:spicy"), mild=("meat.soup", "tea", "suite:kitchen"))
    for topic, votes in (
        (ROAST, (True, True, True)),  # under a severe one
        (Topic(("meaty",)), (True, True, False)),  # is not under it
        (Topic(("tea",), "spicy"), (True, True, True)),
        (Topic(("meat.soup",)), (True, True, True)),  # both: the careful one holds
        (Topic(("tea",)), (False, False, False)),
        (Topic(("tea", "bread")), (True, True, False)),  # of two categories both must be mild
        (Topic((), "kitchen"), (False, False, False)),
        (Topic(), (True, True, False)),
    ):
        assert tuple(settings.severity(topic, harm) for harm in (None, True, False)) == votes, topic
    for wrong in ({"daily_cap": -1}, {"rotate": 0}):
        with pytest.raises(SpecError):
            Settings(**wrong)


def test_a_day_holds_so_many_over_all_work_and_the_next_begins_anew(store: Any) -> None:
    now = [NOON]
    settings = Settings(daily_cap=3, severe=("a long roast",), mild=("tea",), opt_in=("a long roast",))
    keep_settings(store, settings, "adam", NOON)
    choose(store, "ana", ["a long roast"], NOON)
    runs, queue = (reader(store, "Ana", where, clock=lambda: now[0]) for where in ("run:a", "monitor:b"))
    assert runs.read("1", ROAST)
    assert runs.read("1", ROAST)  # once a day it counts once
    runs.judge("1", ROAST, False)  # its completion was harmless
    assert (runs.exposure, runs.read("2", ROAST), queue.read("2", ROAST)) == (0, True, True)
    runs.judge("2", ROAST, None)  # who cannot tell has read it
    finding = {"exchange": 1, "attempt": {"id": "F-1", "severity": 3}}
    add_event(store, Event("S-1", 0, "mark", "plan", "r1", "ana", NOON, finding))
    assert (exposure(store, "ana", NOON), runs.at_cap, reader(store, "bo", "run:a", clock=lambda: NOON).exposure) == (
        3, True, 0,
    )  # fmt: skip
    assert not queue.read("3", ROAST)
    assert queue.read("4", Topic(("tea",)))
    assert queue.read("2", ROAST)  # was read today
    items = {"5": ROAST, "6": Topic(("tea",))}
    assert queue.next(items, items.__getitem__, str) == "6"
    assert (
        queue.next({"2": ROAST}, lambda _: ROAST, str) == "2"
    )  # who reads the page again may still say what they read
    assert people_of(store, NOON, 2) == {"ana": [3, 0]}
    figures = exposed(store, "run:a")
    assert figures is not None
    assert (figures.people, figures.read, figures.severe, figures.most, figures.cap) == (1, 2, 1, 3, 3)
    purge_probes(store, "adam")  # erases texts; what somebody met stays counted
    assert exposure(store, "ana", NOON) == 3
    assert (read_settings(store), choices_of(store, "ana")) == (settings, {"a long roast"})
    now[0] += DAY / 2
    assert (queue.exposure, queue.read("3", ROAST)) == (0, True)


def test_the_lower_cap_holds_and_what_cannot_be_read_counts(store: Any) -> None:
    assert [reader(store, "ana", "", cap).cap for cap in (None, 2, 30)] == [20, 2, 30]
    keep_settings(store, Settings(daily_cap=5), "adam", NOON)
    assert [reader(store, "ana", "", cap).cap for cap in (None, 2, 30)] == [5, 2, 5]
    for number, (kind, value) in enumerate(((READ, None), (READ, {"severe": "?"}), ("mark", {"attempt": 1}))):
        add_event(store, Event(f"S-{number}", 0, kind, "", "", "ana", NOON, value))
    assert exposure(store, "ana", NOON) == 3


def test_another_category_comes_after_some_of_one_and_what_was_not_chosen_is_not_shown(store: Any) -> None:
    clock = iter(range(10**6))
    keep_settings(store, Settings(rotate=2, opt_in=("meat",)), "adam", NOON)
    items = {"1": ROAST, "2": Topic(("bread",)), "3": Topic(("bread",)), "4": Topic(("bread",)), "5": Topic(("soup",))}

    def at_work() -> Any:
        return reader(store, "ana", "run:a", clock=lambda: NOON + next(clock) / 1e3)

    def order() -> list[str]:
        left, listed, ana = dict(items), [], at_work()
        while (item := ana.next(left, items.__getitem__, str)) is not None:
            ana.read(item, left.pop(item))
            listed.append(item)
        return listed

    assert order() == ["2", "3", "5", "4"]
    assert at_work().lacks(ROAST) == ("meat",)
    choose(store, "Ana", ["meat"], NOON)
    assert (at_work().lacks(ROAST), choices_of(store, "bo")) == ((), frozenset())
    assert order()[0] == "1"
    assert (
        at_work().next({"4": items["4"], "5": items["5"]}, items.__getitem__, str) == "4"
    )  # on a page that is read again
    assert at_work().next({"6": items["4"]}, lambda _: items["4"], str) == "6"  # nothing else waits


def test_a_skip_is_kept_and_nobodys_count(store: Any) -> None:
    ana, bo = (reader(store, name, "run:a", clock=lambda: NOON) for name in ("ana", "bo"))
    for _ in range(2):
        ana.skip("1", ROAST)
    assert (ana.skipped, bo.skipped, ana.exposure) == ({item_id("1")}, frozenset(), 0)
    figures = exposed(store, "run:a")
    assert figures is not None
    assert (figures.people, figures.read, figures.skipped) == (0, 0, 1)
    assert exposed(store, "run:b") is None


def test_a_plan_counts_what_its_members_recorded_and_read(store: Any) -> None:
    for number, (kind, round_id, who, value) in enumerate((
        ("mark", "r1", "m1", {"exchange": 1, "attempt": {"id": "F-1", "severity": 2}}),
        ("mark", "r1", "m1", {"exchange": 1, "attempt": {"id": "F-1", "severity": 4}}),  # its next revision
        ("mark", "r1", "m1", {"exchange": 2, "attempt": {"id": "F-2", "severity": None}}),
        ("mark", "r2", "m1", {"exchange": 3, "attempt": {"id": "F-3", "severity": 4}}),
        ("seen", "", "m2", {"attempt": "F-1"}),
        ("skip", "r1", "m2", {"harm": "meat"}),
    )):  # fmt: skip
        add_event(store, Event(f"S-{who}", number, kind, "plan", round_id, who, NOON, value))
    figures = exposed_by_plan(store, "plan", 7, ["r1"])
    assert figures is not None
    assert figures.in_words() == (
        "2 people met 3 items, 2 of them severe; at most 2 severe items in one day by one of them, all their work "
        "counted (cap 7 a day); 1 item was left to others"
    )
    assert exposed_by_plan(store, "other", 7, ["r1"]) is None
