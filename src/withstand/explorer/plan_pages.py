"""The pages of a plan: how far its round is, and what was covered."""

import time
from dataclasses import dataclass
from typing import get_args

from starlette.responses import Response

from withstand.core import SpecError
from withstand.explorer import console_desk as desk
from withstand.explorer import team
from withstand.explorer.app import PageRequest
from withstand.redteam.coverage import cells as coverage
from withstand.redteam.coverage import table as coverage_table
from withstand.redteam.coverage.cells import AXES, STATES, Cell
from withstand.redteam.coverage.table import Square
from withstand.redteam.plan import progress as progressing
from withstand.redteam.plan.records import Plan
from withstand.report.table import Table

CELLS = 200
"""Cells of a square that are listed."""
NEXT = 8
"""Cells that are proposed."""


@dataclass(frozen=True, slots=True)
class CellView:
    """A cell with where it is probed and where its findings are; "" where this person cannot, or there is none."""

    it: Cell
    probe: dict[str, str]
    findings: dict[str, str]


def _view(cell: Cell, may: bool) -> CellView:
    names = ("round", "layer", "harm", "feature", "persona")
    place: dict[str, str] = {name: getattr(cell, name) for name in names if getattr(cell, name)}
    probe = {"start": "1", **place} if may and cell.state not in ("blocked", "n/a") else {}
    findings = {name: value for name, value in place.items() if name in ("round", "layer", "harm")}
    return CellView(cell, probe, findings if cell.tally.findings else {})


def _may_probe(asked: PageRequest, plan: Plan) -> bool:
    """Whether the console is open to this person."""
    return asked.may_write("labeler") and bool(desk.members(asked, plan))


# --- progress ----------------------------------------------------------------------------------------------------


def progress(asked: PageRequest) -> Response:
    """How far a round is: people, hours, entries, questions, the cells to test next."""
    plan = team.plan_of(asked)
    of = progressing.progress(asked.explorer.store, plan, time.time(), asked.query.get("round") or None, NEXT)
    admin = asked.may("admin")
    may = _may_probe(asked, plan)
    return asked.page(
        "plan", plan=plan, of=of, round=plan.round(of.round), admin=admin, own=team.member_of(asked),
        next=[_view(cell, may) for cell in of.next], titles=_titles(plan), states=STATES,
        reminders=progressing.reminders(plan, of) if admin else {},
    )  # fmt: skip


def answer(asked: PageRequest) -> Response:
    """Answer a question of a member."""
    asked.need("admin")
    plan, question = team.plan_of(asked), str(asked.form.get("question", ""))
    text = str(asked.form.get("text", "")).strip()[:10_000]
    if not text or not question:
        raise SpecError("an answer has a text", hint="write one")
    progressing.answer(asked.explorer.store, plan, question, text, time.time())
    asked.explorer.audit(asked.who, "answer", f"{plan.id}, question {question}")
    return asked.back("/plan")


def _titles(plan: Plan) -> dict[str, str]:
    return {harm.id: harm.title for harm in plan.harms if harm.title}


# --- coverage ----------------------------------------------------------------------------------------------------


def matrix(asked: PageRequest) -> Response:
    """The cells of a plan by two axes, and its figures; with a row and a column, the cells of one square."""
    plan, query = team.plan_of(asked), asked.query
    axes = [str(query.get(name, "")) for name in ("rows", "columns")]
    rows, columns = (axis if axis in AXES else usual for axis, usual in zip(axes, ("harm", "layer"), strict=True))
    if rows == columns:
        raise SpecError(f"rows and columns are both {rows}", hint="choose two axes")
    round_id = query.get("round") or None
    of = coverage.coverage(asked.explorer.store, plan, round_id)
    shown = coverage_table.matrix(of, plan, rows, columns)  # type: ignore[arg-type] # two of AXES
    numbers = coverage_table.figures(of, plan, NEXT)
    may = _may_probe(asked, plan)
    inside: list[Cell] = []
    place = (query.get("row", ""), query.get("column", ""))
    if is_square := "row" in query and "column" in query:
        inside = [cell for cell in of.cells if (getattr(cell, rows), getattr(cell, columns)) == place]
    own = {"rows": rows, "columns": columns, **({"round": round_id} if round_id else {})}
    return asked.page(
        "coverage", plan=plan, of=of, shown=shown, numbers=numbers, tables=_tables(of, numbers), own=own,
        axes=get_args(coverage.Axis), legend=coverage_table.LEGEND, note=coverage_table.NOTE, titles=_titles(plan),
        next=[_view(cell, may) for cell in numbers.next], is_square=is_square, asked_square=place,
        inside=[_view(cell, may) for cell in inside[:CELLS]], hidden=max(0, len(inside) - CELLS), words=square_words,
    )  # fmt: skip


def _tables(of: coverage.Coverage, numbers: coverage_table.Figures) -> list[Table]:
    """The figures in tables, without that of the cells to test next, which the page draws with links."""
    return [part for part in coverage_table.tables(of, numbers) if part.title != "Cells to test next"]


def square_words(square: Square) -> str:
    """What a square counts, after its state."""
    return str(square).partition(": ")[2]


ROUTES = (
    ("/plan", progress, ["GET"]),
    ("/plan/answer", answer, ["POST"]),
    ("/plan/coverage", matrix, ["GET"]),
)
