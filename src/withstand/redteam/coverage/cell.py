"""A cell that is looked at: its attempts, near-duplicates as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sql

from withstand.core import SpecError, did_you_mean
from withstand.redteam.coverage.cells import AXES, Cell, Coverage, State, places
from withstand.redteam.findings.similar import NEAR, Similar, sent
from withstand.redteam.plan.records import Plan
from withstand.store.attempts import Attempt, attempts
from withstand.store.store import Store
from withstand.store.tables import attempt


@dataclass(frozen=True, slots=True)
class Inside:
    """The attempts of some cells. groups: of near-duplicates, oldest first; those that ended in an error are in none.

    state: of the one cell, "" of several, were near-duplicates one input: never better than the cell's own.
    """

    cells: tuple[Cell, ...]
    groups: tuple[tuple[Attempt, ...], ...]
    state: State | None


def inside(store: Store | None, plan: Plan, of: Coverage, where: Mapping[str, str]) -> Inside:
    """What lies in the cells with these values of axes. Raises `SpecError` for an axis or a cell that is not there."""
    for axis in where:
        if axis not in AXES:
            raise SpecError(f"{axis!r} is no axis", hint=did_you_mean(axis, AXES, f"axes: {', '.join(AXES)}"))
    cells = tuple(cell for cell in of.cells if all(getattr(cell, axis) == value for axis, value in where.items()))
    if not cells:
        raise SpecError("the plan has no such cell", hint="`withstand plan coverage PLAN -o cells.csv` lists all")
    wanted = {cell.spot for cell in cells}
    names = [name for name, spot in places(store, plan) if spot in wanted] if store else []
    listed = sorted(attempts(store, ids=names), key=lambda a: (a.surfaced, a.id)) if store and names else []
    groups = near_duplicates(listed)
    return Inside(cells, groups, _state(cells[0], groups) if len(cells) == 1 else None)


def near_duplicates(listed: Sequence[Attempt]) -> tuple[tuple[Attempt, ...], ...]:
    """Attempts in groups of those whose inputs are the same but for little."""
    index, groups, of = Similar(), dict[str, list[Attempt]](), dict[str, str]()
    first: dict[str, str] = {}
    for entry in listed:
        near = [match.attempt.id for match in index.matches(sent(entry.turns), 1, NEAR)]
        like = first.setdefault(entry.input, near[0] if near else entry.id)
        of[entry.id] = of.get(like, entry.id)
        groups.setdefault(of[entry.id], []).append(entry)
        index.add(entry)
    return tuple(map(tuple, groups.values()))


def _state(cell: Cell, groups: Sequence[Sequence[Attempt]]) -> State:
    enough = min(len(groups), cell.tally.inputs) >= cell.need
    return "thin" if cell.state in ("covered", "stale") and not enough else cell.state


def of_others(store: Store, plan: Plan) -> int:
    """Attempts by writers whom the user does not trust, by what they say of themselves. They count in the coverage,
    since a team shares a store; so who may write to it may make it look well covered."""
    c = attempt.c
    counted = sql.select(c.writer, sql.func.count(c.id.distinct())).where(c.plan == plan.id).group_by(c.writer)
    return sum(store.marks.of_processes(dict(map(tuple, store.select(counted)))).values())
