"""Events of people's sessions and other records of a red team. Append-only: an edit is the next revision.

The key of an entry is what it is and its number, so that of two people who edit one revision the first stands. The
second is told so (`add` returns False) and can show both.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sql

from withstand.core import Json, digest, dumps
from withstand.store.database import loads
from withstand.store.store import Store
from withstand.store.tables import event, record

SETTINGS, CHOICE = "labelers", "labeler"
"""Kinds of records of `results.exposure`: how people who label are protected, and the categories that one of them
chose. No purge takes them for texts, or nobody would be protected after it."""


@dataclass(frozen=True, slots=True)
class Record:
    """A revision of a record. revision: from 1.   created: seconds since 1970.   purged: its texts were erased."""

    kind: str
    id: str
    revision: int
    plan: str
    created: float
    value: Json
    purged: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """A step of a person's session. number: from 0.   created: seconds since 1970.   value: what its kind says."""

    session: str
    number: int
    kind: str
    plan: str
    round: str
    member: str
    created: float
    value: Json
    purged: bool = False


RECORD = (record.c.kind, record.c.id, record.c.revision, record.c.plan, record.c.created, record.c.value)
EVENT = (
    event.c.session, event.c.number, event.c.kind, event.c.plan, event.c.round, event.c.member, event.c.created,
    event.c.value,
)  # fmt: skip


def add_record(store: Store, new: Record) -> bool:
    """Keep a revision; False where another of this number stands."""
    names = ("kind", "id", "revision", "plan", "created")
    return _add(store, record, digest(["record", new.kind, new.id, new.revision]), new, names)


def add_records(store: Store, new: Sequence[Record]) -> None:
    """Keep many revisions in one transaction; where another of a number stands, it stays."""
    names = ("kind", "id", "revision", "plan", "created")
    entries = [
        {name: getattr(entry, name) for name in names}
        | {"key": digest(["record", entry.kind, entry.id, entry.revision]), "value": dumps(entry.value)}
        | {"writer": store.writer, "purged": None}
        for entry in new
    ]
    if entries:
        store.write({record: entries})


def append(store: Store, kind: str, record_id: str, plan: str, created: float, value: Json) -> int:
    """Keep a value as the next revision of a record, behind what others write meanwhile; its number."""
    number = max((past.revision for past in revisions(store, kind, record_id=record_id)), default=0) + 1
    while not add_record(store, Record(kind, record_id, number, plan, created, value)):
        number += 1
    return number


def records(store: Store, kind: str, plan: str | None = None) -> list[Record]:
    """The last revision of each record of a kind, oldest first: of a plan, or all."""
    last = {revision.id: revision for revision in revisions(store, kind, plan)}
    return sorted(last.values(), key=lambda revision: (revision.created, revision.id))


def newest(store: Store, kind: str, plan: str, most: int) -> list[Record]:
    """The last revision of each of a plan's records of a kind, the newest first, `most` of them."""
    chosen = _chosen(record, RECORD, kind=kind, plan=plan)
    order = (record.c.created.desc(), record.c.id.desc(), record.c.revision.desc())
    last = sql.select(record.c.id, sql.func.max(record.c.revision).label("revision")).where(
        record.c.kind == kind, record.c.plan == plan
    ).group_by(record.c.id).subquery()  # fmt: skip
    chosen = chosen.join(last, sql.and_(record.c.id == last.c.id, record.c.revision == last.c.revision))
    return [
        Record(kind, record_id, number, plan, created, loads(value), bool(purged))
        for kind, record_id, number, plan, created, value, purged in store.select(chosen.order_by(*order).limit(most))
    ]


def plans(store: Store, kind: str) -> list[str]:
    """The plans that have a record of a kind."""
    return sorted(plan for (plan,) in store.select(sql.select(record.c.plan).where(record.c.kind == kind).distinct()))


def revisions(store: Store, kind: str, plan: str | None = None, record_id: str | None = None) -> list[Record]:
    """All revisions of the records of a kind, of each record the first one first."""
    chosen = _chosen(record, RECORD, kind=kind, plan=plan, id=record_id).order_by(record.c.id, record.c.revision)
    return [
        Record(kind, record_id, number, plan, created, loads(value), bool(purged))
        for kind, record_id, number, plan, created, value, purged in store.select(chosen)
    ]


def add_event(store: Store, new: Event) -> bool:
    """Keep a step of a session; False where another of this number stands."""
    names = ("session", "number", "kind", "plan", "round", "member", "created")
    return _add(store, event, event_key(new.session, new.number), new, names)


def event_key(session: str, number: int) -> str:
    """The key of a step."""
    return digest(["event", session, number])


def events(
    store: Store, plan: str | None = None, session: str | None = None, kind: str | None = None,
    member: str | None = None, since: float = 0.0,
) -> list[Event]:  # fmt: skip
    """The steps of sessions, of each session in order: of a plan, a session, a kind, a member, or all. since: seconds
    since 1970, of the earliest."""
    chosen = _chosen(event, EVENT, plan=plan, session=session, kind=kind, member=member)
    chosen = chosen.where(event.c.created >= since).order_by(event.c.session, event.c.number)
    return [_event(*columns) for columns in store.select(chosen)]


def events_of(store: Store, people: Collection[str], kinds: Collection[str], since: float) -> list[Event]:
    """The steps of these kinds by these people since a time, in whatever plan or none, of each session in order."""
    c = event.c
    plans = sql.select(c.plan).distinct()  # without which no index would do
    chosen = sql.select(*EVENT, c.purged).where(c.plan.in_(plans), c.member.in_(people), c.created >= since)
    chosen = chosen.where(c.kind.in_(kinds)).order_by(c.session, c.number)
    return [_event(*columns) for columns in store.select(chosen)]


def _event(
    session: str, number: int, kind: str, plan: str, round_id: str, member: str, created: float, value: str,
    purged: int | None,
) -> Event:  # fmt: skip
    return Event(session, number, kind, plan, round_id, member, created, loads(value), bool(purged))


def _chosen(table: sql.Table, columns: tuple[sql.Column[Json], ...], **equal: str | None) -> sql.Select[Json]:
    conditions = [table.c[name] == value for name, value in equal.items() if value is not None]
    return sql.select(*columns, table.c.purged).where(*conditions)


def _add(store: Store, table: sql.Table, key: str, new: Record | Event, names: tuple[str, ...]) -> bool:
    entry = {name: getattr(new, name) for name in names} | {"key": key, "value": dumps(new.value)}
    return stands(store, table, entry)


def stands(store: Store, table: sql.Table, entry: dict[str, Json]) -> bool:
    """Write an entry; whether what stands under its key now is what it says. So it may be written twice."""
    store.write({table: [entry | {"writer": store.writer, "purged": None}]})
    [(value,)] = store.select(sql.select(table.c.value).where(table.c.key == entry["key"]))
    return bool(value == entry["value"])
