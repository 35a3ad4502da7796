"""All of one store added to another, as a set union. Marks of writers are kept."""

from collections.abc import Iterator

import sqlalchemy as sql

from withstand.core import StoreError
from withstand.store import files
from withstand.store.store import Store, chunks
from withstand.store.tables import attempt, event, meta, record, tables

BY_NUMBER = (attempt, record, event)
"""Tables whose keys say what an entry is and its number, not what it holds: two stores may differ in one."""


def merge(source: Store, into: Store) -> dict[str, int]:
    """Add everything of `source`, files that people attached too; how many entries were new, by table.

    Raises `StoreError` on a clash of names.

    What the user wrote in it stays the user's, and what others wrote theirs.
    """
    names = {run.name: run.key for run in into.runs()}
    for run in source.runs():
        if names.get(run.name, run.key) != run.key:
            raise StoreError(
                f"both {into.where} and {source.where} have a run {run.name!r}, with different specs",
                hint="nothing was merged; rerun one of them under another --name",
            )
    before = dict(_sizes(into))
    for table in tables.sorted_tables:
        if table is meta:  # whose store it is, and its schema, are not content
            continue
        with source.errors(), source.engine.connect() as connection:
            entries = connection.execution_options(yield_per=5_000).execute(sql.select(table)).mappings()
            for part in entries.partitions():
                into.write({table: source.marks.passed_on(table, map(dict, part), into.marks)}, sign=False)
    files.copy(source, into)
    return {name: size - before[name] for name, size in _sizes(into)}


def differing(source: Store, into: Store) -> list[str]:
    """What both have under one number, with different content, as "attempt F-20260202-1a2b3c4d, revision 2".

    A merge leaves that of `into`; the other stays in `source` alone.
    """
    both: list[str] = []
    for table in BY_NUMBER:
        c = table.c
        names = (c.session, c.number) if table is event else (c.id, c.revision)
        for part in chunks(source.select(sql.select(c.key, c.value, *names).order_by(*names)), 500):
            keys = [key for key, *_ in part]
            standing = dict(tuple(entry) for entry in into.select(sql.select(c.key, c.value).where(c.key.in_(keys))))
            kind = "step" if table is event else "revision"
            both += [
                f"{table.name} {owner}, {kind} {number}"
                for key, value, owner, number in part
                if standing.get(key, value) != value
            ]
    return both


def _sizes(store: Store) -> Iterator[tuple[str, int]]:
    for table in tables.sorted_tables:
        yield table.name, store.select(sql.select(sql.func.count()).select_from(table))[0][0]
