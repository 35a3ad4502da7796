"""What of a run's figures rests on writers whom the reader does not trust."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sql

from withstand.core.errors import StoreError
from withstand.core.text import count, series
from withstand.store.marks import CHANGED, in_words
from withstand.store.store import RunRow, Store
from withstand.store.tables import calibration, label, probe, row, want
from withstand.store.tables import run as runs


@dataclass(frozen=True, slots=True)
class Others:
    """Rows of writers whom the reader of the report does not trust, `of` all its rows, as the store names its writers.

    authors: how many rows of each.   reuse: "all" where whoever ran it said that such rows count.
    """

    rows: int
    of: int
    authors: Mapping[str, int]
    reuse: str

    def in_words(self) -> str:
        """A sentence for people; "" where there are none."""
        share = f"{self.rows:,} of {count(self.of, 'row')} {'was' if self.rows == 1 else 'were'} not written by you"
        counted = " (counted by --reuse all)" if self.reuse else ""
        return f"{share}{counted}: {in_words(self.authors)}" if self.rows else ""


def others_of(store: Store, run: RunRow, writers: Mapping[str, int] | None = None) -> Others:
    """By what the store says of the processes that wrote: no mark is checked. writers: rows of each, if known."""
    if writers is None:
        of_run = sql.select(row.c.writer, sql.func.count()).join(want, want.c.key == row.c.key)
        entries = store.select(of_run.where(want.c.run == run.key).group_by(row.c.writer))
        writers = dict(tuple(entry) for entry in entries)
    authors = store.marks.of_processes(writers)
    return Others(authors.total(), sum(writers.values()), dict(sorted(authors.items())), run.reuse)


def check_own(store: Store, run: RunRow) -> None:
    """Raise `StoreError` where a row of a run, or what it says of itself, names the user as its writer and has not the
    user's mark. Rows that name others are left to `others_of`."""
    wanted = sql.select(want.c.key).where(want.c.run == run.key)
    entries = {"row": (row, row.c.key.in_(wanted)), "run": (runs, runs.c.key == run.key)}
    changed = {noun: store.marks.verified(*chosen)[1][CHANGED] for noun, chosen in entries.items()}
    if any(changed.values()):
        raise StoreError(
            f"{run.name} in {store.where} cannot be gated: it has "
            + series([in_words({CHANGED: n}, noun) for noun, n in changed.items() if n]),
            hint=f"take a copy of the store of before, or run the spec again with another --store; "
            f"`withstand store check {store.where}` counts what was changed",
        )


def left_out(store: Store, run: RunRow) -> Iterator[str]:
    """What others say of the run's judges, which corrects no rate."""
    judges = {cell["keys"]["judge"] for cell in run.plan["cells"]}
    for table, noun in ((calibration, "calibration"), (probe, "probe result")):
        if authors := store.marks.counted(table, table.c.judge.in_(judges))[1]:
            yield f"left out of what is said of the judges, since not written by you: {in_words(authors, noun)}"
    if authors := store.marks.counted(label, label.c.run == run.key)[1]:
        yield f"left out of what annotators said, since not written by you: {in_words(authors, 'label')}"
