"""Where each case of a run is, by outcome, category and words: an SQLite file beside the server, gone when it ends.

The store is keyed by content, so that the outcome of a case is a join away and its words are inside JSON. Pages of
200,000 cases need both at once: one thread reads each run once into a small table of places with a full-text index,
and again while rows are still missing. Pages then find their cases here and read their texts from the store.
"""

import queue
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sql

from withstand.core import Json
from withstand.core.outcomes import HITS
from withstand.core.text import storable
from withstand.results.cases import CaseResult, cases
from withstand.results.counts import BehaviorCounts, read_counts
from withstand.results.summary import RunSummary, goes_on, status, summarize
from withstand.store.store import RunRow, Store, chunks
from withstand.store.tables import audit, want
from withstand.store.tables import run as runs

TEXT = 20_000
"""Characters of each prompt and completion that can be found by search."""
PAUSE = 2.0
"""Seconds between two readings of a run that is under way, and at least ten times what a reading takes."""
WAIT = 0.12
"""Seconds a page waits for a run that was not read yet."""

FORGET = "forget"
"""Asked for in place of a run: to drop what was read before a purge."""

_PURGES = sql.select(sql.func.count()).where(audit.c.action == "purge")

T = TypeVar("T")


class Entry(NamedTuple):
    """A case in the index: its number, where it is in the run, and what pages filter by."""

    id: int
    cell: int
    place: int
    number: int
    sample: int
    behavior: str
    category: str
    outcome: str
    split: int

    @property
    def spot(self) -> tuple[int, int, int, int]:
        return self.cell, self.place, self.number, self.sample


COLUMNS = ", ".join(Entry._fields)
INDEXES = {
    "filter": "cell, outcome, category",
    "place": "cell, place, number, sample",
    "pair": "cell, behavior, number, sample, outcome, place",
    "outcome": "outcome, cell",
}
"""The orders in which pages ask for cases."""


@dataclass
class RunIndex:
    """What the index holds of a run. `table` numbers its tables, 0 while cases and texts are still being read.

    behaviors: by cell and place of the behavior, its counts.   ids, categories: by suite and place.
    at: seconds since 1970 when its reading began: what came later may be missing.   took: seconds of the reading.
    """

    run: RunRow
    summary: RunSummary
    state: Json
    behaviors: list[dict[int, BehaviorCounts]]
    ids: list[list[str]]
    categories: list[list[str]]
    wants: int
    at: float
    table: int = 0
    total: int = 0
    read: int = 0
    took: float = 0.0
    kept: dict[Any, Any] = field(default_factory=dict)  # what pages have worked out of it

    @property
    def complete(self) -> bool:
        return bool(self.state["missing"] == 0)

    @property
    def goes_on(self) -> str:
        return goes_on(self.run)

    def once(self, key: Hashable, work: Callable[[], T]) -> T:
        """What `work` gives, worked out by the first page that asks."""
        if key not in self.kept:
            self.kept[key] = work()
        result: T = self.kept[key]
        return result

    def hits(self, cell: int, measure: str = "harm") -> dict[int, tuple[int, int]]:
        """Of each behavior of a cell, by its place: the cases that `measure` counts, and those scored."""
        return {
            place: (sum(behavior.counts[outcome] for outcome in HITS[measure]), behavior.scored)
            for place, behavior in sorted(self.behaviors[cell].items())
        }


class Index:
    """The runs of a store as read. `wait`: seconds a caller waits for a run that was not read yet. `ready`: what pages
    want worked out of a run before it is shown. `purged`: is called once texts were erased from the store."""

    def __init__(
        self,
        store: Store,
        wait: float = WAIT,
        ready: Callable[["Index", RunIndex], None] | None = None,
        purged: Callable[[], None] = lambda: None,
    ) -> None:
        self.store, self.wait, self._ready, self._purged = store, wait, ready, purged
        self._indexed: dict[str, RunIndex] = {}
        self._runs: list[RunRow] = []
        self._wanted: queue.Queue[str] = queue.Queue()
        self._asked: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._folder = Path(tempfile.mkdtemp(prefix="withstand-"))  # mode 0700
        self._local = threading.local()
        self._tables = 0
        self._purges = self._count_purges()
        self._stop = threading.Event()
        self.error = ""
        with closing(self._connect()) as own:
            own.execute("PRAGMA journal_mode=WAL")
        self._thread = threading.Thread(target=self._work, name="index", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._wanted.put("")
        self._thread.join(timeout=10)
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- for pages ---

    def runs(self) -> list[RunRow]:
        """All runs, newest first. A run never changes, so that its long plan is read once.

        After a purge all is read anew, so that no page shows an erased text.
        """
        purges = _PURGES.scalar_subquery()
        rows = self.store.select(sql.select(runs.c.key, purges).order_by(runs.c.created, runs.c.name))
        if [key for key, _ in rows] != [run.key for run in self._runs]:
            self._runs = self.store.runs()
        if rows and rows[0][1] != self._purges:
            self._indexed.clear()
            self._ask(FORGET).wait(10.0)
        return self._runs[::-1]

    def _count_purges(self) -> int:
        return int(self.store.select(_PURGES)[0][0])

    def of_run(self, run: RunRow, wait: float | None = None) -> RunIndex | None:
        """What is read of a run, anew where rows were missing; None if reading takes longer than `wait` seconds."""
        read_run = self._indexed.get(run.key)
        if read_run and read_run.table and read_run.complete:
            return read_run
        age = time.time() - read_run.at - read_run.took if read_run else 0.0
        if read_run is None or not read_run.table or age > max(PAUSE, 10 * read_run.took):
            done = self._ask(run.key)
            done.wait(self.wait if wait is None else wait)
        return self._indexed.get(run.key)

    def select(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """What a page's own query finds."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        return list(connection.execute(statement, values))

    # --- the thread ---

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._folder / "index.db", timeout=30, isolation_level=None)
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-65536")
        return connection

    def _ask(self, key: str) -> threading.Event:
        with self._lock:
            if key not in self._asked:
                self._asked[key] = threading.Event()
                self._wanted.put(key)
            return self._asked[key]

    def _work(self) -> None:
        with closing(self._connect()) as own:
            while not self._stop.is_set():
                try:
                    key = self._wanted.get(timeout=PAUSE)
                except queue.Empty:
                    key = FORGET
                if not key:
                    return
                try:
                    if key != FORGET:
                        self._read(own, key)
                    self._forget(own)  # after a reading too, which may have begun before a purge
                    self.error = ""
                except Exception as error:  # noqa: BLE001 - the thread outlives one bad reading; pages say what it was
                    self.error = f"{type(error).__name__}: {error}"
                with self._lock:
                    if key in self._asked:
                        self._asked.pop(key).set()

    def _forget(self, own: sqlite3.Connection) -> None:
        """Drop all that was read before a purge, from memory and from the file: nothing holds an erased text."""
        purges = self._count_purges()
        if purges == self._purges:
            return
        self._indexed.clear()
        for (name,) in own.execute("SELECT name FROM sqlite_master WHERE name GLOB 'cases_*[0-9]'").fetchall():
            number = int(name.removeprefix("cases_"))
            own.execute(f"DROP TABLE cases_{number}")
            own.execute(f"DROP TABLE IF EXISTS words_{number}")
        own.execute("VACUUM")
        own.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._purged()
        self._purges = purges

    def _read(self, own: sqlite3.Connection, key: str) -> None:
        run = next(run for run in self.store.runs() if run.key == key)
        at, began = time.time(), time.monotonic()
        old = self._indexed.get(key)
        w = want.c
        wants = int(self.store.select(sql.select(sql.func.count()).where(w.run == run.key))[0][0])
        if old and old.table and old.complete and wants == old.wants:
            return
        suites = [suite["behaviors"] for suite in run.plan["suites"]]
        texts = self.store.behaviors({key for keys in suites for key in keys})
        ids = [[texts[key]["id"] for key in keys] for keys in suites]
        categories = [[texts[key].get("category", "") for key in keys] for keys in suites]
        counts = read_counts(self.store, run)
        summary, state = summarize(self.store, run, counts), status(self.store, run, counts)
        new = RunIndex(run, summary, state, counts.behaviors, ids, categories, wants, at)
        new.total = sum(cell.cases for cell in summary.cells)
        if old is None:
            self._indexed[key] = new  # rates are there; cases and texts follow
        self._tables += 1
        if not self._fill(own, new, self._tables):
            return
        new.table, new.total, new.took = self._tables, new.read, time.monotonic() - began
        if self._ready:
            self._ready(self, new)
        self._indexed[key] = new
        if old and old.table:
            self._drop_before(own, old.table)

    def _fill(self, own: sqlite3.Connection, new: RunIndex, table: int) -> bool:
        """Write the tables of a run; False where the server ends before they are full."""
        own.execute(
            f"CREATE TABLE cases_{table} (id INTEGER PRIMARY KEY, cell INTEGER, place INTEGER, number INTEGER, "
            "sample INTEGER, behavior TEXT, category TEXT, outcome TEXT, split INTEGER)"
        )
        own.execute(f"CREATE VIRTUAL TABLE words_{table} USING fts5(name, prompt, completion, content='')")
        own.execute("BEGIN")
        places = [{behavior: place for place, behavior in enumerate(ids)} for ids in new.ids]
        for part in chunks(cases(self.store, new.run), 500):
            if self._stop.is_set():
                return False
            entries = [
                Entry(
                    new.read + i, case.cell, places[new.run.plan["cells"][case.cell]["suite"]][case.behavior],
                    case.case, case.sample, storable(case.behavior), storable(case.category), case.outcome,
                    case.vote == "split",
                )
                for i, case in enumerate(part, 1)
            ]  # fmt: skip
            own.executemany(f"INSERT INTO cases_{table} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", entries)
            words = [(entry.id, *_words(case)) for entry, case in zip(entries, part, strict=True)]
            own.executemany(f"INSERT INTO words_{table} (rowid, name, prompt, completion) VALUES (?, ?, ?, ?)", words)
            new.read += len(part)
        own.execute("COMMIT")
        for name, columns in INDEXES.items():
            own.execute(f"CREATE INDEX cases_{table}_{name} ON cases_{table} ({columns})")
        own.execute(f"ANALYZE cases_{table}")
        return True

    def _drop_before(self, own: sqlite3.Connection, table: int) -> None:
        """Drop tables of earlier readings. A page may still hold the last ones for one more query."""
        with self._lock:
            self._old = [*getattr(self, "_old", []), table]
            gone, self._old = self._old[:-3], self._old[-3:]
        for number in gone:
            own.execute(f"DROP TABLE IF EXISTS cases_{number}")
            own.execute(f"DROP TABLE IF EXISTS words_{number}")


def _words(case: CaseResult) -> tuple[str, str, str]:
    """What can be searched of a case: its behavior's id, which every page shows, its prompt, and its completion."""
    prompt = "\n".join([case.text, *(turn.text for turn in case.chat)])
    return storable(case.behavior), storable(prompt[:TEXT]), storable((case.completion or "")[:TEXT])
