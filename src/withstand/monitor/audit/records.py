"""What people are asked to label of a monitor's traffic, and what they said: append-only records of the store."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

from withstand.core import digest, from_json, to_json
from withstand.core.taxonomy import UNCOVERED
from withstand.redteam.policy.records import Policy
from withstand.results.exposure import item_id
from withstand.store.revisions import Record, add_records, records
from withstand.store.store import Store

ITEM, OPINION = "audit-item", "audit-label"
"""Kinds of the store's records."""
RANDOM = "audit"
"""`chosen` of an exchange of the random audit stream."""
TWICE = 0.2
"""Share of the exchanges that two people label, so that they can be compared."""


@dataclass(frozen=True, slots=True)
class Item:
    """An exchange to label. monitor: its name.   seq: its number in the traffic.   check: of what it is, since another
    traffic may have another exchange under this number.   ts: seconds since 1970.   input, output: redacted texts.

    chosen: `audit`, or `targeted:CATEGORY:SIDE` for one that was chosen by its score.   order: in the queue, from 0.
    twice: whether two people are to label it.
    """

    id: str
    monitor: str
    seq: int
    check: str
    ts: float
    input: str
    output: str
    chosen: str
    order: int
    twice: bool
    purged: bool = False

    @property
    def wanted(self) -> int:
        """How many people are to label it."""
        return 2 if self.twice else 1


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a person said of an exchange: the categories that each side violates, none for a clean one; None: unsure.

    policy: version of the policy that the person went by.   labeled: seconds since 1970.
    """

    item: str
    labeler: str
    policy: str
    prompt: tuple[str, ...] | None
    completion: tuple[str, ...] | None
    labeled: float = 0.0


def exchange_id(monitor: str, seq: int, check: str) -> str:
    """The id of an exchange in the queue of a monitor."""
    return digest(["audit", monitor, seq, check])[:16]


def is_twice(item: str) -> bool:
    """Whether two people label it: by its id alone, so that nobody chooses."""
    return int(digest(["twice", item])[:8], 16) < TWICE * 2**32


def add_items(store: Store, items: Sequence[Item]) -> None:
    """Put exchanges into the queue; one that is in it stays as it is."""
    beside = ("id", "monitor", "purged")
    add_records(
        store,
        [
            Record(
                ITEM, item.id, 1, item.monitor, item.ts,
                {name: inner for name, inner in asdict(item).items() if name not in beside},
            )
            for item in items
        ],
    )  # fmt: skip


def items_of(store: Store, monitor: str | None = None) -> list[Item]:
    """The queue of a monitor, or of all, in the order in which people label it."""
    listed = [
        from_json(Item, {**record.value, "id": record.id, "monitor": record.plan, "purged": record.purged})
        for record in records(store, ITEM, monitor)
    ]
    return sorted(listed, key=lambda item: (item.monitor, item.order, item.id))


def add_opinions(store: Store, monitor: str, opinions: Sequence[Opinion]) -> None:
    """Keep what people said; said again it is the next revision, and the last one counts."""
    last = {record.id: record.revision for record in records(store, OPINION, monitor)}
    listed = []
    for opinion in opinions:
        id = digest(["opinion", opinion.item, opinion.labeler])[:32]
        last[id] = last.get(id, 0) + 1
        value = {name: inner for name, inner in to_json(opinion).items() if name != "labeled"}
        listed.append(Record(OPINION, id, last[id], monitor, time.time(), value))
    add_records(store, listed)


def opinions_of(store: Store, monitor: str | None = None) -> list[Opinion]:
    """The last word of each person on each exchange, oldest first."""
    return [
        from_json(Opinion, {**record.value, "labeled": record.created}) for record in records(store, OPINION, monitor)
    ]


def left_for(items: Sequence[Item], opinions: Sequence[Opinion], labeler: str) -> list[Item]:
    """What a person has to label, in order: what nobody labeled yet, or one other person of two."""
    by_item: dict[str, set[str]] = {}
    for opinion in opinions:
        by_item.setdefault(opinion.item, set()).add(opinion.labeler)
    return [
        item
        for item in items
        if labeler not in (people := by_item.get(item.id, set())) and len(people) < item.wanted and not item.purged
    ]


def passed_over(items: Sequence[Item], labeled: Collection[str], skipped: Collection[str]) -> list[Item]:
    """What was drawn and has no label though it was somebody's turn: what labelers left to others, and what comes
    before the last labeled one that was drawn alike. Labels would else be of what people like to read.

    labeled: ids with a label.   skipped: ids by `results.exposure.item_id`. A text that was purged before anybody was
    asked is nobody's choice.
    """
    last: dict[str, int] = {}
    for item in items:
        if item.id in labeled:
            last[item.chosen] = max(item.order, last.get(item.chosen, -1))
    return [
        item for item in items
        if item.id not in labeled
        and (item_id(item.id) in skipped or (item.order < last.get(item.chosen, -1) and not item.purged))
    ]  # fmt: skip


def choices(policy: Policy) -> Mapping[str, str]:
    """The categories that a person may choose, with their titles; `uncovered` is the last one."""
    listed = {id: category.title for id, category in policy.categories.items() if id != UNCOVERED}
    return listed | {UNCOVERED: policy.categories[UNCOVERED].title if UNCOVERED in policy.categories else UNCOVERED}
