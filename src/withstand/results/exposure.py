"""How people who read harmful texts are protected, the same way wherever they do: label page and terminal, the queue of
a monitor, the console of a red team.

Each person reads at most so many severe items in a day; skips without penalty; reads no category that they did not
choose, where it has to be chosen; and meets categories in turn. What somebody read is an event of the store: ids,
never a text. Whether an item counts as severe is told by its category and by what its reader says of it, never by a
judge or a screener: a counter that knew their verdicts would tell them to who labels.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from withstand.core import Json, at_least, digest, from_json, to_json
from withstand.core.taxonomy import is_under
from withstand.core.text import count, head_of
from withstand.store.attempts import SEVERE
from withstand.store.revisions import CHOICE, SETTINGS, Event, add_event, append, events, events_of, revisions
from withstand.store.store import Store

DAY = 86_400.0
"""Seconds; days begin at midnight, UTC."""
READ, JUDGED, SKIPPED = "read", "judged", "skipped"
"""Kinds of the events: an item was shown; its reader said how it is; its reader left it to others."""
OF_SUITE = "suite:"
"""What stands before the name of a suite, where it stands for all of its categories."""
HARM: Mapping[str, bool | None] = {"success": True, "failure": False, "unsure": None}
"""What a vote on a case says of its severity, see `Settings.severity`."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Topic:
    """What an item is of. categories: none where that is not known.   suite: its name.

    sure: whether it is of nothing else. An exchange of traffic, before somebody has read it, may be of anything.
    """

    categories: tuple[str, ...] = ()
    suite: str = ""
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Settings:
    """How people are protected. daily_cap: most severe items that one person reads in a day (UTC).

    rotate: most items of one category in a row, while another one waits.   severe, mild: categories (and those under
    them, as "a.b" is under "a") or "suite:NAME". Items of the first are severe whatever their reader says; those of
    the second never. Any other counts as severe unless its reader says that it shows no harm.
    opt_in: those that are shown only to who chose them.
    """

    daily_cap: int = 20
    rotate: int = 3
    severe: tuple[str, ...] = ()
    mild: tuple[str, ...] = ("suite:kitchen", "suite:kitchen-advice", "suite:kitchen-app", "suite:kitchen-talk")
    opt_in: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        at_least(0, self, "daily_cap")
        at_least(1, self, "rotate")

    def severity(self, topic: Topic, harm: bool | None = None) -> bool:
        """Whether an item counts as severe. harm: what its reader says; None: nothing yet, or that they cannot tell."""
        if self._names(self.severe, topic):
            return True
        return not self.is_mild(topic) and harm is not False

    def is_mild(self, topic: Topic) -> bool:
        """Whether an item never counts as severe: all of its categories are mild, or its suite is."""
        if self._names(self.severe, topic) or not topic.sure:
            return False
        by_category = [named(self.mild, category) for category in topic.categories]
        return f"{OF_SUITE}{topic.suite}" in self.mild or (bool(by_category) and all(by_category))

    def asks(self, topic: Topic) -> tuple[str, ...]:
        """The entries of `opt_in` that a reader of this must have chosen."""
        return tuple(entry for entry in self.opt_in if self._names((entry,), topic))

    @staticmethod
    def _names(entries: Collection[str], topic: Topic) -> bool:
        return f"{OF_SUITE}{topic.suite}" in entries or any(named(entries, category) for category in topic.categories)


def named(entries: Collection[str], category: str) -> bool:
    """Whether a category, or one above it, is among these."""
    return any(is_under(category, entry) for entry in entries if entry)


def read_settings(store: Store) -> Settings | None:
    """The settings of a store; None where nobody set any."""
    last = revisions(store, SETTINGS, record_id=SETTINGS)[-1:]
    return from_json(Settings, last[0].value) if last else None


def keep_settings(store: Store, settings: Settings, who: str, now: float) -> None:
    """Set them, for everybody who works on this store."""
    append(store, SETTINGS, SETTINGS, "", now, to_json(settings))
    store.add_audit(who, "labelers", f"cap {settings.daily_cap} a day")


def choices_of(store: Store, person: str) -> frozenset[str]:
    """The categories that a person chose to read."""
    last = revisions(store, CHOICE, record_id=key_of(person))[-1:]
    return frozenset(last[0].value["chosen"]) if last else frozenset()


def choose(store: Store, person: str, chosen: Iterable[str], now: float) -> None:
    """Keep what a person chooses to read from now on. Nobody chooses for another."""
    append(store, CHOICE, key_of(person), "", now, {"chosen": sorted(chosen)})


def key_of(person: str) -> str:
    """How events name a person: "Ana" and "ana" are one."""
    return person.strip().casefold()


def cap_of(settings: Settings | None, of_plan: int | None) -> int:
    """The cap that holds: the lower one of what was set for the store and of a plan's; else the default."""
    caps = [cap for cap in (settings.daily_cap if settings else None, of_plan) if cap is not None]
    return min(caps, default=Settings().daily_cap)


# --- who reads ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reader:
    """A person at work on one thing. where: on what, as `run:KEY`, see `place_of_run`.   cap: severe items a day.

    chosen: categories that they chose.   clock: seconds since 1970.
    """

    store: Store
    person: str
    where: str
    settings: Settings
    cap: int
    chosen: frozenset[str]
    clock: Callable[[], float] = field(default=time.time, repr=False)

    @property
    def exposure(self) -> int:
        """Severe items that they read today."""
        return exposure(self.store, self.person, self.clock())

    @property
    def at_cap(self) -> bool:
        return self.exposure >= self.cap

    def lacks(self, topic: Topic) -> tuple[str, ...]:
        """What they would have to choose before they are shown this."""
        return tuple(entry for entry in self.settings.asks(topic) if entry not in self.chosen)

    def next(self, items: Iterable[T], topic_of: Callable[[T], Topic], name_of: Callable[[T], str]) -> T | None:
        """The first item that they may be shown, of another category after `rotate` in a row; None for none.

        What they read today already comes again in any case, and else at the cap what is mild. What is passed over
        keeps its place: a case of a random sample that has no label counts both ways, whoever passed over it.
        """
        at_cap, same = self.at_cap, self._in_a_row()
        today = {step.session for step in _today(self.store, self.person, self.clock(), (READ,))}
        second: T | None = None
        for item in items:
            topic = topic_of(item)
            waits = same and same in topic.categories
            if self.lacks(topic):
                continue
            if (at_cap or waits) and self._session(name_of(item)) in today:
                return item
            if at_cap and not self.settings.is_mild(topic):
                continue
            if not waits:
                return item
            second = item if second is None else second
        return second

    def _in_a_row(self) -> str:
        """The category of the last `rotate` items, if it is one."""
        day = _today(self.store, self.person, self.clock(), (READ,))
        last = sorted(day, key=lambda step: step.created)[-self.settings.rotate :]
        categories = {_value(step).get("category", "") for step in last}
        return str(categories.pop()) if len(categories) == 1 and len(last) == self.settings.rotate else ""

    def read(self, item: str, topic: Topic, harm: bool | None = None) -> bool:
        """Count that they are shown an item; False at the cap, where they must not be. Once a day it counts once.

        harm: what they said of it before, see `Settings.severity`.
        """
        session = self._session(item)
        if events(self.store, session=session):
            return True
        severe = self.settings.severity(topic, harm)
        if severe and self.at_cap:
            return False
        self._add(session, 0, READ, item, topic, severe)
        return True

    def judge(self, item: str, topic: Topic, harm: bool | None) -> None:
        """Count an item as its reader says that it is. topic: with the categories that they gave it, where they do."""
        session, severe = self._session(item), self.settings.severity(topic, harm)
        for _ in range(9):  # another window may write the next step first
            steps = events(self.store, session=session)
            if steps and bool(_value(steps[-1]).get("severe", True)) == severe:
                return
            if self._add(session, len(steps), JUDGED if steps else READ, item, topic, severe):
                return

    def skip(self, item: str, topic: Topic) -> None:
        """Leave an item to others. Nothing counts against who skips."""
        session = f"skipped-{digest([key_of(self.person), self.where, item])[:24]}"
        self._add(session, 0, SKIPPED, item, topic, severe=None)

    @property
    def skipped(self) -> frozenset[str]:
        """The ids (`item_id`) of what they left to others here."""
        return skipped(self.store, self.where, self.person)

    def _session(self, item: str) -> str:
        day = int(self.clock() // DAY)
        return f"{READ}-{digest([key_of(self.person), self.where, item, day])[:24]}"

    def _add(self, session: str, number: int, kind: str, item: str, topic: Topic, severe: bool | None) -> bool:
        value = {
            "item": item_id(item), "where": self.where, "severe": severe, "category": (*topic.categories, "")[0],
        }  # fmt: skip
        return add_event(self.store, Event(session, number, kind, "", "", key_of(self.person), self.clock(), value))


def reader(
    store: Store, person: str, where: str, of_plan: int | None = None, clock: Callable[[], float] = time.time
) -> Reader:
    """A person at work, by the settings of the store. of_plan: the cap of a plan, where they work by one."""
    settings = read_settings(store)
    cap = cap_of(settings, of_plan)
    return Reader(store, person, where, settings or Settings(), cap, choices_of(store, person), clock)


def place_of_run(run_key: str) -> str:
    """What a run is called, where somebody labels it."""
    return f"run:{run_key[:16]}"


def place_of_monitor(name: str) -> str:
    """What the queue of a monitor is called."""
    return f"monitor:{digest(name)[:16]}"


def topic_of_case(run_plan: Json, cell: int, category: str) -> Topic:
    """What a case of a cell is of."""
    suite = run_plan["suites"][run_plan["cells"][cell]["suite"]]["name"]
    return Topic((category,) if category else (), head_of(suite))


def item_id(item: str) -> str:
    """The id of an item in events, which no purge takes for a text."""
    return digest(item)[:16]


# --- what was read -----------------------------------------------------------------------------------------------


def exposure(store: Store, person: str, now: float) -> int:
    """Severe items that a person met on the day (UTC) of `now`, each once: what they read to label, what they read of
    others' findings, and findings of their own. What cannot be read of an entry any more counts as severe."""
    return sum(_severe(_today(store, person, now, (READ, JUDGED, "mark", "seen"))).values())


def _severe(steps: Iterable[Event]) -> dict[tuple[str, float, str], bool]:
    """By person, day and what it was: whether it counts as severe. Of a finding any step that says so holds; of an item
    to label the last one."""
    severe: dict[tuple[str, float, str], bool] = {}
    for step in sorted(steps, key=lambda step: (step.session, step.number)):
        name, says = _counted(step)
        key = (key_of(step.member), step.created - step.created % DAY, name)
        severe[key] = says or (step.kind not in (READ, JUDGED) and severe.get(key, False))
    return severe


def _counted(step: Event) -> tuple[str, bool]:
    """What a step is about, and whether it says that this is severe."""
    value = _value(step)
    if step.kind in (READ, JUDGED):
        return step.session, value.get("severe") is not False
    if step.kind == "seen":
        return f"finding {value.get('attempt')}", True
    attempt = value.get("attempt")
    if not isinstance(attempt, dict):
        return f"step {step.session} {step.number}", True
    return f"finding {attempt.get('id')}", (attempt.get("severity") or 0) >= SEVERE


def skipped(store: Store, where: str, person: str | None = None) -> frozenset[str]:
    """The ids of what was left to others: by anybody, or by a person."""
    member = None if person is None else key_of(person)
    steps = events(store, "", kind=SKIPPED, member=member)
    return frozenset(_value(step).get("item", "") for step in steps if _value(step).get("where") == where)


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a piece of work cost its readers. people, read: how many met how many items; severe: of these.

    most: severe items that one person met in one day on which they worked on it, all their work counted.
    skipped: items that somebody left to others. Whose they are is not said: to skip costs nobody anything.
    """

    people: int
    read: int
    severe: int
    most: int
    skipped: int
    cap: int

    def in_words(self) -> str:
        """The counter as reports print it."""
        words = f"{count(self.people, 'person', 'people')} met {count(self.read, 'item')}, {self.severe} of them severe"
        if self.people:
            words += f"; at most {count(self.most, 'severe item')} in one day by one of them, all their work counted"
        left = f"; {count(self.skipped, 'item was', 'items were')} left to others" if self.skipped else ""
        return f"{words} (cap {self.cap} a day){left}"


def exposed(store: Store, where: str) -> Exposure | None:
    """The exposure counter of a report; None where nobody read or skipped anything."""
    steps = [step for kind in (READ, JUDGED) for step in events(store, "", kind=kind)]
    here = [step for step in steps if _value(step).get("where") == where]
    return _figures(store, here, len(skipped(store, where)), None)


def exposed_by_plan(store: Store, plan: str, cap: int, rounds: Collection[str]) -> Exposure | None:
    """The same of rounds of a red team's plan with this cap: findings that its members recorded, and those of others
    that they read (also on pages of no round)."""
    steps = [step for kind in ("mark", "seen") for step in events(store, plan, kind=kind)]
    here = [step for step in steps if step.round in ("", *rounds)]
    left = sum(step.round in rounds for step in events(store, plan, kind="skip"))
    return _figures(store, here, left, cap)


def _figures(store: Store, steps: Sequence[Event], left: int, of_plan: int | None) -> Exposure | None:
    """The figures of these steps. left: what was left to others."""
    severe = _severe(steps)
    if not severe and not left:
        return None
    days = {(step.member, step.created - step.created % DAY) for step in steps}
    most = max((exposure(store, who, day) for who, day in days), default=0)
    cap = cap_of(read_settings(store), of_plan)
    return Exposure(len({who for who, _, _ in severe}), len(severe), sum(severe.values()), most, left, cap)


def people_of(store: Store, now: float, days: int) -> dict[str, list[int]]:
    """Severe items by person, of today and of each day before it, for who cares for them."""
    start = now - now % DAY - (days - 1) * DAY
    steps = [step for kind in (READ, JUDGED, "mark", "seen") for step in events(store, kind=kind, since=start)]
    names = {key_of(step.member): step.member for step in sorted(steps, key=lambda step: step.member, reverse=True)}
    return {
        name: [exposure(store, name, now - day * DAY) for day in range(days)]
        for name in sorted(filter(None, names.values()))
    }


def _today(store: Store, person: str, now: float, kinds: Collection[str]) -> list[Event]:
    start = now - now % DAY
    steps = events_of(store, {person, key_of(person)}, kinds, start)
    return [step for step in steps if step.created < start + DAY]


def _value(step: Event) -> Mapping[str, Any]:
    return step.value if isinstance(step.value, dict) else {}
