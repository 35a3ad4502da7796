"""What a run's rows count up to, in one pass over the store: the base of every report."""

import datetime
import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sql

from withstand.core.outcomes import OUTCOMES, SCORED
from withstand.runner.budget import DRAFTS
from withstand.store.store import RunRow, Store
from withstand.store.tables import CASES, COMPLETIONS, VERDICTS, row, want

USED = ("tokens", "seconds", "cost")
PARTS = {CASES: "search", COMPLETIONS: "answers", VERDICTS: "verdicts"}


Sums: TypeAlias = dict[Any, float]
"""Of a cell: by what is counted, and by stage and what was used there."""


class BehaviorCounts:
    """What one behavior of one cell came to: counts by outcome, and how many were wanted."""

    __slots__ = ("asks", "cases", "cluster", "counts", "decided", "done", "test_cases", "waiting")

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
        self.asks = 0  # chats to the target, of the search and of its cases
        self.test_cases = -1  # test cases the attack made; -1 while there is no row
        self.cases = 0  # completions wanted
        self.cluster = ""  # what it stands or falls with
        self.done = 0  # completions in the store
        self.decided = 0  # verdicts in the store
        self.waiting = 0  # answers that people have not labeled yet, where they are the judge

    def close(self, by_people: bool) -> None:
        """What is wanted and has no row is an error, never a failure of the attack; what waits for people, unscored."""
        self.cases = 1 if self.test_cases < 0 else max(self.cases, self.test_cases)
        self.waiting = self.done - self.decided if by_people else 0
        self.counts["unscored"] += self.waiting
        self.counts["error"] = self.cases - self.decided - self.waiting

    @property
    def scored(self) -> int:
        return sum(self.counts[name] for name in SCORED)


@dataclass(frozen=True, slots=True)
class Reused:
    """Rows that were there before the run began, `of` all its rows, and the time of the oldest (None: no such row)."""

    rows: int
    of: int
    oldest: str | None


class Counts(NamedTuple):
    """What one pass over a run's rows gives: by cell and behavior, by cell, and of the whole."""

    behaviors: list[dict[int, BehaviorCounts]]
    sums: list[Sums]
    reused: Reused
    writers: Counter[str]


def read_counts(store: Store, run: RunRow) -> Counts:
    """Counts by cell and behavior, sums by cell, and what was there before the run began; one query."""
    w, r = want.c, row.c
    old = sql.case((r.created < run.created, 1), else_=0)
    attack = (r.test_cases, r.cut, *(r[name] for name in DRAFTS))
    groups = store.select(
        sql.select(
            w.stage, w.cell, w.behavior, r.label, r.writer, sql.func.count(),
            sql.func.sum(r.asks), sql.func.sum(r.tokens), sql.func.sum(r.seconds), sql.func.sum(r.cost),
            sql.func.sum(old), sql.func.min(r.created), *attack,
        )
        .select_from(want.outerjoin(row, r.key == w.key))
        .where(w.run == run.key)
        .group_by(w.stage, w.cell, w.behavior, r.label, r.writer, *attack)
    )  # fmt: skip
    cells = len(run.plan["cells"])
    by_cell: list[dict[int, BehaviorCounts]] = [defaultdict(BehaviorCounts) for _ in range(cells)]
    sums: list[Sums] = [
        dict.fromkeys(("asks", "cut", "won", "own", *DRAFTS, *USED, *itertools.product(PARTS, USED)), 0)
        for _ in range(cells)
    ]
    rows = old_rows = 0
    oldest = run.created
    writers: Counter[str] = Counter()
    for stage, cell, place, label, wrote, count, asks, tokens, seconds, cost, reused, created, *facts in groups:
        behavior = by_cell[cell][place]
        if stage == COMPLETIONS:
            behavior.cases += count
        if label is None:
            continue
        if stage == CASES:
            behavior.test_cases, cut, *drafts = facts
            sums[cell]["cut"] += behavior.test_cases if cut == "seconds" else 0
            sums[cell]["won"] += behavior.test_cases if cut == "success" else 0
            for name, number in zip(DRAFTS, drafts, strict=True):
                sums[cell][name] += number or 0
        elif stage == COMPLETIONS:
            behavior.done += count
            sums[cell]["own"] += count - asks
        else:
            behavior.counts[label] += count
            behavior.decided += count
        sums[cell]["asks"] += asks
        behavior.asks += asks
        for name, value in zip(USED, (tokens, seconds, cost), strict=True):
            sums[cell][name] += value
            sums[cell][stage, name] += value
        writers[wrote] += count
        rows += count
        old_rows += reused
        oldest = min(oldest, created)
    clusters = run.plan.get("clusters", {})
    for cell, by_behavior in zip(run.plan["cells"], by_cell, strict=True):
        keys = run.plan["suites"][cell["suite"]]["behaviors"]
        for place, behavior in by_behavior.items():
            behavior.close("waits" in cell)
            behavior.cluster = clusters.get(keys[place], "")
    return Counts(by_cell, sums, Reused(old_rows, rows, iso(oldest) if old_rows else None), writers)


def iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
