"""Whose rows a run would take from the store, counted before anything is asked: rows of writers whom the user does not
trust end it, unless it was said that all count."""

from collections import Counter
from collections.abc import Iterable

import sqlalchemy as sql

from withstand.core.optional import optional
from withstand.runner.plan import Plan
from withstand.runner.stages import Running, reusable_keys
from withstand.store import marks
from withstand.store.store import RunRow, Store, chunks
from withstand.store.tables import label, row, want


def check_plan(plan: Plan, store: Store, run: RunRow, shard: tuple[int, int]) -> bool:
    """Raise `ForeignRowsError` where a run would take rows or labels of others; whether it does where all count.

    Where the store names no other writer, only rows that the run has wanted before are looked at: the plan is not
    walked through. Rows that it meets later are checked when they are met.
    """
    keys = reusable_keys(Running(plan, store, run, shard=shard)) if store.marks.untrusted() else _wanted(store, run)
    with_labels = any(optional(cell.judge, "waits") for cell in plan.cells)
    return _check(store, keys, with_labels)


def check_run(store: Store, run: RunRow) -> bool:
    """As `check_plan`, of a run that is judged again."""
    return _check(store, _wanted(store, run), any(cell.get("waits") for cell in run.plan["cells"]))


def _wanted(store: Store, run: RunRow) -> list[str]:
    return [key for (key,) in store.select(sql.select(want.c.key).where(want.c.run == run.key).distinct())]


def _check(store: Store, keys: Iterable[str], with_labels: bool) -> bool:
    reuse, of = store.reuse, 0
    authors: Counter[str] = Counter()
    with store.reusing("all"):  # to count them
        for part in chunks(dict.fromkeys(keys), 500):
            entries = store.marks.checked(row, (), row.c.key.in_(part))
            authors += store.marks.others(row, entries, marks.CHECKED["row"])
            of += len(entries)
    if reuse != "all":
        marks.refuse(store.where, "row", authors, of)
    if with_labels:
        store.marks.checked(label, (), sql.true())
    return bool(authors)
