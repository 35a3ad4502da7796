"""Rows of a replay with the verdicts in a store that back them."""

from dataclasses import replace

from withstand.core import digest
from withstand.redteam.replay.asking import ReplayRow
from withstand.store.store import Row, Store


def backed(store: Store, row: ReplayRow) -> ReplayRow:
    """The row, with a verdict in the store for each of its answers."""
    labels = ["success"] * row.harmful + ["failure"] * row.safe
    name = [row.finding, row.layer, row.version]
    rows = [Row(digest([*name, place]), label, {"outcome": label}) for place, label in enumerate(labels)]
    store.add(rows=rows)
    return replace(row, verdicts=tuple(entry.key for entry in rows))
