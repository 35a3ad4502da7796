"""What of a run's figures rests on writers whom the reader does not trust."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sql

from withstand.core.text import count
from withstand.store.marks import in_words
from withstand.store.store import RunRow, Store
from withstand.store.tables import calibration, label, probe, row, want


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


def left_out(store: Store, run: RunRow) -> Iterator[str]:
    """What others say of the run's judges, which corrects no rate."""
    judges = {cell["keys"]["judge"] for cell in run.plan["cells"]}
    for table, noun in ((calibration, "calibration"), (probe, "probe result")):
        if authors := store.marks.counted(table, table.c.judge.in_(judges))[1]:
            yield f"left out of what is said of the judges, since not written by you: {in_words(authors, noun)}"
    if authors := store.marks.counted(label, label.c.run == run.key)[1]:
        yield f"left out of what annotators said, since not written by you: {in_words(authors, 'label')}"
