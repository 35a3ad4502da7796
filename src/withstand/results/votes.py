"""How the members of an ensemble voted: agreed, split, or too few could say."""

from collections import Counter, defaultdict
from dataclasses import dataclass

import sqlalchemy as sql

from withstand.core.text import head_of
from withstand.store.store import RunRow, Store
from withstand.store.tables import VERDICTS, row, want


@dataclass(frozen=True, slots=True)
class VoteCounts:
    """Verdicts of an ensemble in which all members that could say agreed, were split, or were fewer than its quorum."""

    judge: str
    agreed: int
    split: int
    few: int


def votes(store: Store, run: RunRow) -> list[VoteCounts]:
    """How often the members agreed, of each ensemble that judged harmful cells of a run."""
    judges = {index: cell["judge"] for index, cell in enumerate(run.plan["cells"]) if not cell["benign"]}
    listed = {index: judge for index, judge in judges.items() if head_of(judge) == "ensemble"}
    if not listed:
        return []
    w = want.c

    def times(vote: str) -> sql.ColumnElement[int]:
        return sql.func.sum(sql.case((row.c.vote == vote, 1), else_=0))

    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for cell, agreed, split, count in store.select(
        sql.select(w.cell, times("agreed"), times("split"), sql.func.count())
        .select_from(want.join(row, row.c.key == w.key))
        .where(w.run == run.key, w.stage == VERDICTS, w.cell.in_(listed))
        .group_by(w.cell)
    ):
        counts[listed[cell]] += Counter(agreed=agreed, split=split, few=count - agreed - split)
    return [VoteCounts(judge, count["agreed"], count["split"], count["few"]) for judge, count in counts.items()]
