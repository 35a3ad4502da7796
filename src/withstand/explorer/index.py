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
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from withstand.core import Json
from withstand.core.outcomes import SCORED
from withstand.results.summary import RunSummary, goes_on, status, summarize
from withstand.store.store import RunRow, Store, chunks
from withstand.store.tables import CASES, COMPLETIONS, VERDICTS, audit, row, want
from withstand.store.tables import run as runs

TEXT = 20_000
"""Characters of each prompt and completion that can be found by search."""
PAUSE = 2.0
"""Seconds between two readings of a run that is under way, and at least ten times what a reading takes."""
WAIT = 0.12
"""Seconds a page waits for a run that was not read yet."""

COLUMNS = "cell, place, number, sample, behavior, category, outcome, split"


@dataclass
class RunIndex:
    """What the index holds of a run. `table` numbers its tables, 0 while cases and texts are still being read."""

    run: RunRow
    summary: RunSummary
    state: Json
    counts: list[dict[int, tuple[int, int]]]  # by cell and behavior: successes, scored
    declined: list[dict[int, tuple[int, int]]]  # refused or filtered, scored
    categories: list[list[str]]  # by suite and behavior
    ids: list[list[str]]  # of the behaviors, likewise
    table: int = 0
    total: int = 0
    read: int = 0
    at: float = field(default_factory=time.time)
    took: float = 0.0
    kept: dict[Any, Any] = field(default_factory=dict)  # what pages have worked out of it

    @property
    def complete(self) -> bool:
        return bool(self.state["missing"] == 0)

    @property
    def goes_on(self) -> str:
        return goes_on(self.run)


class Index:
    """The runs of a store as read. `wait`: seconds a caller waits for a run that was not read yet. `ready`: what pages
    want worked out of a run before it is shown."""

    def __init__(
        self, store: Store, wait: float = WAIT, ready: Callable[["Index", RunIndex], None] | None = None
    ) -> None:
        self.store, self.wait, self._ready = store, wait, ready
        self._indexed: dict[str, RunIndex] = {}
        self._runs: list[RunRow] = []
        self._wanted: queue.Queue[str] = queue.Queue()
        self._asked: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._folder = Path(tempfile.mkdtemp(prefix="withstand-"))  # mode 0700
        self._local = threading.local()
        self._tables = 0
        self._purges = self._purged()
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
        """All runs, newest first. A run never changes, so that its long plan is read once."""
        keys = [key for (key,) in self.store.select(sql.select(runs.c.key).order_by(runs.c.created, runs.c.name))]
        if keys != [run.key for run in self._runs]:
            self._runs = self.store.runs()
        return self._runs[::-1]

    def of_run(self, run: RunRow, wait: float | None = None) -> RunIndex | None:
        """What is read of a run, anew where rows were missing; None if reading takes longer than `wait` seconds."""
        read_run = self._indexed.get(run.key)
        if read_run and read_run.table and read_run.complete and self._same_texts():
            return read_run
        age = time.time() - read_run.at if read_run else 0.0
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

    def _purged(self) -> int:
        count = sql.select(sql.func.count()).where(audit.c.action == "purge")
        return int(self.store.select(count)[0][0])

    def _same_texts(self) -> bool:
        """Whether nobody has purged a run since it was read; else all is read anew."""
        purges = self._purged()
        if purges != self._purges:
            self._purges = purges
            self._indexed.clear()
            return False
        return True

    def _work(self) -> None:
        with closing(self._connect()) as own:
            while not self._stop.is_set():
                key = self._wanted.get()
                if not key:
                    return
                try:
                    self._read(own, key)
                    self.error = ""
                except Exception as error:  # noqa: BLE001 - the thread outlives one bad reading; pages say what it was
                    self.error = f"{type(error).__name__}: {error}"
                with self._lock:
                    self._asked.pop(key).set()

    def _read(self, own: sqlite3.Connection, key: str) -> None:
        run = next(run for run in self.store.runs() if run.key == key)
        began = time.monotonic()
        old = self._indexed.get(key)
        total = self._wants(run)
        if old and old.table and total == old.kept.get("rows") and old.state["missing"] == 0:
            return
        texts_of = [self.store.behaviors(suite["behaviors"]) for suite in run.plan["suites"]]
        texts = [
            [texts[key] for key in suite["behaviors"]]
            for suite, texts in zip(run.plan["suites"], texts_of, strict=True)
        ]
        categories = [[text.get("category", "") for text in listed] for listed in texts]
        ids = [[text["id"] for text in listed] for listed in texts]
        summary, state = summarize(self.store, run), status(self.store, run)
        cells = run.plan["cells"]
        new = RunIndex(run, summary, state, [{} for _ in cells], [{} for _ in cells], categories, ids)
        new.kept["rows"] = total
        new.total = sum(cell.cases for cell in new.summary.cells)
        if old is None:
            self._indexed[key] = new  # rates are indexed; cases and texts follow
        self._tables += 1
        table = self._tables
        own.execute(
            f"CREATE TABLE cases_{table} (id INTEGER PRIMARY KEY, cell INTEGER, place INTEGER, number INTEGER, "
            "sample INTEGER, behavior TEXT, category TEXT, outcome TEXT, split INTEGER)"
        )
        own.execute(f"CREATE VIRTUAL TABLE words_{table} USING fts5(prompt, completion, content='')")
        own.execute("BEGIN")
        for part in chunks(self._cases(run), 500):
            if self._stop.is_set():
                return
            places = [(new.read + i, *entry[:8]) for i, entry in enumerate(part, 1)]
            own.executemany(f"INSERT INTO cases_{table} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", places)
            words = [(new.read + i, *entry[8:]) for i, entry in enumerate(part, 1)]
            own.executemany(f"INSERT INTO words_{table} (rowid, prompt, completion) VALUES (?, ?, ?)", words)
            new.read += len(part)
        own.execute("COMMIT")
        own.execute(f"CREATE INDEX cases_{table}_filter ON cases_{table} (cell, outcome, category)")
        own.execute(f"CREATE INDEX cases_{table}_place ON cases_{table} (cell, place, number, sample)")
        own.execute(
            f"CREATE INDEX cases_{table}_pair ON cases_{table} (cell, behavior, number, sample, outcome, place)"
        )
        own.execute(f"CREATE INDEX cases_{table}_outcome ON cases_{table} (outcome, cell)")
        own.execute(f"ANALYZE cases_{table}")
        marks = ", ".join("?" * len(SCORED))
        for cell, place, success, declined, scored in own.execute(
            f"SELECT cell, place, sum(outcome = 'success'), sum(outcome IN ('refused', 'filtered')), "
            f"sum(outcome IN ({marks})) FROM cases_{table} GROUP BY cell, place",
            SCORED,
        ):
            new.counts[cell][place] = (success, scored)
            new.declined[cell][place] = (declined, scored)
        new.table, new.total, new.at, new.took = table, new.read, time.time(), time.monotonic() - began
        if self._ready:
            self._ready(self, new)
        self._indexed[key] = new
        if old and old.table:
            self._drop_before(own, old.table)

    def _drop_before(self, own: sqlite3.Connection, table: int) -> None:
        """Drop tables of earlier readings. A page may still hold the last ones for one more query."""
        with self._lock:
            self._old = [*getattr(self, "_old", []), table]
            gone, self._old = self._old[:-3], self._old[-3:]
        for number in gone:
            own.execute(f"DROP TABLE IF EXISTS cases_{number}")
            own.execute(f"DROP TABLE IF EXISTS words_{number}")

    def _wants(self, run: RunRow) -> int:
        w = want.c
        return int(self.store.select(sql.select(sql.func.count()).where(w.run == run.key))[0][0])

    def _cases(self, run: RunRow) -> Iterator[tuple[Any, ...]]:
        """Each case in the plan's order: the columns of its place, its prompt and its completion."""
        suites = [self.store.behaviors(suite["behaviors"]) for suite in run.plan["suites"]]
        for cell, planned in enumerate(run.plan["cells"]):
            keys = run.plan["suites"][planned["suite"]]["behaviors"]
            texts = suites[planned["suite"]]
            verdicts, waits = self._verdicts(run, cell), "waits" in planned
            for places in chunks(self._listed(run, cell, CASES), 50):
                drafts = self.store.rows([key for *_, key in places])
                draws: dict[int, list[Any]] = defaultdict(list)
                first, last = places[0][0], places[-1][0]
                for place, number, sample, key in self._listed(run, cell, COMPLETIONS, first, last):
                    draws[place].append((number, sample, key))
                answers = self.store.rows([key for listed in draws.values() for *_, key in listed])
                for place, _, _, key in places:
                    text = texts[keys[place]]
                    names = (_plain(text["id"]), _plain(text.get("category", "")))
                    cases = drafts[key].value if key in drafts else []
                    for number, sample, drawn in draws[place] or [(0, 0, "")]:
                        lacking = "unscored" if waits and drawn in answers else "error"
                        outcome, split = verdicts.get((place, number, sample), (lacking, 0))
                        chat = cases[number]["chat"] if number < len(cases) else []
                        prompt = "\n".join([text["id"], text["text"], *(turn["text"] for turn in chat)])
                        answer = answers[drawn].value.get("text", "") if drawn in answers else ""
                        words = (_words(prompt), _words(answer))
                        yield (cell, place, number, sample, *names, outcome, split, *words)

    def _listed(self, run: RunRow, cell: int, stage: int, first: int = 0, last: int = 2**31 - 1) -> list[Any]:
        w = want.c
        return self.store.select(
            sql.select(w.behavior, w.number, w.sample, w.key)
            .where(w.run == run.key, w.stage == stage, w.cell == cell, w.behavior.between(first, last))
            .order_by(w.behavior, w.number, w.sample)
        )

    def _verdicts(self, run: RunRow, cell: int) -> Mapping[tuple[int, int, int], tuple[str, int]]:
        w, r = want.c, row.c
        split = sql.case((r.vote == "split", 1), else_=0)
        rows = self.store.select(
            sql.select(w.behavior, w.number, w.sample, r.label, split)
            .select_from(want.join(row, r.key == w.key))
            .where(w.run == run.key, w.stage == VERDICTS, w.cell == cell)
        )
        return {(place, number, sample): (label, is_split) for place, number, sample, label, is_split in rows}


def _words(text: str) -> str:
    """What can be searched."""
    return _plain(text[:TEXT])


def _plain(text: str) -> str:
    """As SQLite takes it: without a lone surrogate."""
    return text.encode("utf-8", "backslashreplace").decode()
