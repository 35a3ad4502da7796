"""How the members of an ensemble voted: their verdicts' reasons begin with what came of the vote."""

import sqlalchemy as sql

from withstand.core import Json
from withstand.core.text import head_of
from withstand.store.store import RunRow, Store
from withstand.store.tables import VERDICTS, row, want


def votes(store: Store, run: RunRow) -> list[Json]:
    """Of each ensemble that judged cells of a run: verdicts in which all who could say agreed, were split, or were
    fewer than its quorum."""
    judges = {index: cell["judge"] for index, cell in enumerate(run.plan["cells"]) if not cell["benign"]}
    listed = {index: judge for index, judge in judges.items() if head_of(judge) == "ensemble"}
    if not listed:
        return []
    w, v = want.c, row.c.value

    def begins(word: str) -> sql.ColumnElement[int]:
        return sql.func.sum(sql.case((v.like(f'%"why":"{word}: %'), 1), else_=0))

    found = store.select(
        sql.select(w.cell, begins("agreed"), begins("split"), sql.func.count())
        .select_from(want.join(row, row.c.key == w.key))
        .where(w.run == run.key, w.stage == VERDICTS, w.cell.in_(listed))
        .group_by(w.cell)
    )
    told: dict[str, Json] = {}
    for cell, agreed, split, count in found:
        each = told.setdefault(listed[cell], {"judge": listed[cell], "agreed": 0, "split": 0, "few": 0})
        each["agreed"] += agreed
        each["split"] += split
        each["few"] += count - agreed - split
    return list(told.values())
