"""Coverage as a matrix of any two axes, the rest summed, and its figures: tables for a page, a file and a terminal."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from withstand.core import Json, to_json
from withstand.core.text import count, tidy
from withstand.redteam.coverage.cell import Inside
from withstand.redteam.coverage.cells import STATES, Axis, Cell, Coverage, State, merged_state
from withstand.redteam.coverage.numbers import Balance, Share, balance, pairwise, suggest, weighted, weighted_by
from withstand.redteam.dates import day_of, second_of
from withstand.redteam.harms.kinds import Discovery
from withstand.redteam.harms.tables import discovered
from withstand.redteam.plan.records import Plan
from withstand.report.shell import render
from withstand.report.table import Column, Table, csv_lines
from withstand.report.table import markdown as line
from withstand.results.cells import plain

LEGEND: Mapping[State, str] = {
    "empty": "nothing was tried here, which is no evidence of safety",
    "thin": "fewer distinct inputs than the round asks for, or all by one tester",
    "covered": "enough distinct inputs, by more than one tester: it was tested, which is no proof that it is safe",
    "stale": "was covered before the layer changed",
    "blocked": "cannot be reached",
    "n/a": "left out by the plan",
}
NOTE = (
    "Equal inputs count once, attempts that ended in an error not at all. A sum of cells is covered where each of them"
    " is. Minutes of a member's round are shared evenly among what they recorded. Nothing here is a rate of harm:"
    " findings were looked for."
)
ANY = "(any)"


@dataclass(frozen=True, slots=True)
class Square:
    """The cells of a row and a column as one. states: how many cells are in each.   need: inputs that all cells need.

    last: seconds since 1970.
    """

    state: State
    states: Mapping[State, int]
    need: int
    attempts: int
    inputs: int
    testers: tuple[str, ...]
    unsure: int
    findings: int
    confirmed: int
    minutes: float
    last: float | None

    def __str__(self) -> str:
        apply = sum(self.states.values()) - self.states.get("n/a", 0)
        state = f"{self.state} {self.states.get('covered', 0)}/{apply}" if apply > 1 else self.state
        counts = [
            count(self.inputs, "input") if apply != 1 else f"{self.inputs} of {count(self.need, 'input')}",
            count(len(self.testers), "tester"), count(self.findings, "finding") if self.findings else "",
            f"{self.unsure} unsure" if self.unsure else "",
        ]  # fmt: skip
        return f"{state}: {', '.join(filter(None, counts))}" if self.attempts else state


def square(cells: Sequence[Cell]) -> Square:
    """Several cells as one; a tester of several is one tester."""
    tallies = [cell.tally for cell in cells if cell.tally.attempts]
    states = Counter(cell.state for cell in cells)
    return Square(
        merged_state(states), dict(states), sum(cell.need for cell in cells if cell.state != "n/a"),
        sum(t.attempts for t in tallies), sum(t.inputs for t in tallies),
        tuple(sorted({name for t in tallies for name in t.testers})), sum(t.unsure for t in tallies),
        sum(t.findings for t in tallies), sum(t.confirmed for t in tallies), sum(t.minutes for t in tallies),
        max((t.last for t in tallies if t.last is not None), default=None),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows and columns in the plan's order; a square is missing where the plan asks for no such cell."""

    rows: Axis
    columns: Axis
    row_names: tuple[str, ...]
    column_names: tuple[str, ...]
    squares: Mapping[tuple[str, str], Square]


def matrix(of: Coverage, plan: Plan, rows: Axis = "harm", columns: Axis = "layer") -> Matrix:
    """The cells by two axes, all others summed."""
    ids = [[h.id for h in plan.harms], [layer.id for layer in plan.layers], [r.id for r in plan.in_order]]
    order = {name: at for names in ids for at, name in enumerate(names)}
    groups: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in of.cells:
        groups[getattr(cell, rows), getattr(cell, columns)].append(cell)
    names = (dict.fromkeys(place[at] for place in groups) for at in (0, 1))
    row_names, column_names = (tuple(sorted(axis, key=lambda name: order.get(name, -1))) for axis in names)
    return Matrix(
        rows, columns, row_names, column_names, {place: square(cells) for place, cells in groups.items()}
    )  # fmt: skip


def table(shown: Matrix) -> Table:
    """A matrix, each square with its state, inputs, testers and findings."""
    columns = [Column(shown.rows), *(Column(name or ANY, mark=_css) for name in shown.column_names)]
    rows = [
        [row or ANY, *(shown.squares.get((row, column)) for column in shown.column_names)] for row in shown.row_names
    ]
    return Table(columns, rows, f"Coverage, {shown.rows} by {shown.columns}", NOTE)


def _css(square: Square | None) -> str | None:
    return f"state-{square.state.replace('/', '')}" if square else None


# --- figures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a coverage; next: the cells that are proposed.   kinds: of harm that were found, where counted."""

    overall: Share
    by: Mapping[Axis, Mapping[str, Share]]
    pairs: Share
    balance: Balance
    next: tuple[Cell, ...]
    kinds: Discovery | None = None


def figures(of: Coverage, plan: Plan, number: int = 5, kinds: Discovery | None = None) -> Figures:
    """All figures that need no texts. number: of the cells that are proposed."""
    axes: tuple[Axis, ...] = ("layer", "mindset", "round")
    by = {axis: weighted_by(of.cells, axis) for axis in axes}
    return Figures(
        weighted(of.cells), by, pairwise(of, plan), balance(of, plan), tuple(suggest(of, plan, number)), kinds
    )  # fmt: skip


def tables(of: Coverage, shown: Figures) -> list[Table]:
    """The figures, the cells to test next, why cells are left out, and what is in no cell; those that have rows."""
    kinds = [discovered(shown.kinds)] if shown.kinds else []
    parts = [_shares(of, shown), _next(shown), *kinds, _reasons(of), _outside(of)]
    return [part for part in parts if part.rows]


def _shares(of: Coverage, shown: Figures) -> Table:
    rows: list[list[Any]] = [["weight of covered cells", "all", shown.overall]]
    rows += [["weight of covered cells", f"{axis} {n}", s] for axis, by in shown.by.items() for n, s in by.items()]
    rows.append(["pairs of harm, feature, persona, layer and language", "all", shown.pairs])
    for name in ("mindset", "language", "tester"):
        for value, attempts in getattr(shown.balance, name).items():
            rows.append(["attempts", f"{name} {value or 'not said'}", f"{attempts:,}"])
    if shown.balance.gini is not None:
        rows.append(["attempts", "Gini of testers, 0 if even", f"{shown.balance.gini:.2f}"])
    rows += [["attempts", "tester unsure", str(of.unsure)]] if of.unsure else []
    return Table([Column("of"), Column("for"), Column("value", right=True)], rows, "Coverage in figures")


def _next(shown: Figures) -> Table:
    names = ("harm", "feature", "persona", "layer", "round")
    columns = [*map(Column, names), Column("state"), Column("inputs", right=True), Column("weight", right=True)]
    rows = [
        [*(getattr(c, name) or ANY for name in names), c.state, f"{c.tally.fresh} of {c.need}", c.weight]
        for c in shown.next
    ]
    return Table(columns, rows, "Cells to test next", "By weight, then by pairs that nothing has met.")


def _reasons(of: Coverage) -> Table:
    reasons = Counter((c.layer, c.round, c.state, c.reason) for c in of.cells if c.state in ("blocked", "n/a"))
    rows = [[*key, number] for key, number in reasons.items()]
    columns = [*map(Column, ("layer", "round", "state", "why")), Column("cells", right=True)]
    return Table(columns, rows, "Cells that cannot be tested, or are left out")


def _outside(of: Coverage) -> Table:
    rows: list[list[Any]] = [[part.reason, part.attempts] for part in of.outside]
    rows += [["they ended in an error", of.errors]] if of.errors else []
    return Table([Column("why"), Column("attempts", right=True)], rows, "Attempts that count in no cell")


def looked_at(of: Inside) -> Table:
    """The attempts of a cell, near-duplicates side by side."""
    columns = [Column("input", right=True), *map(Column, ("attempt", "tester", "date", "verdict", "harm"))]
    rows = [
        [number, a.id, a.tester, day_of(a.surfaced), a.verdict, a.harm]
        for number, group in enumerate(of.groups, 1)
        for a in group
    ]
    return Table(columns, rows, "Attempts", "Inputs that are the same but for little have one number.")


# --- forms ----------------------------------------------------------------------------------------------------------


def html(of: Coverage, plan: Plan, shown: Matrix, numbers: Figures) -> str:
    """The coverage as a page."""
    return render(
        Path(__file__).parent / "coverage.html.j2", name=plan.purpose.name, matrix=table(shown), legend=LEGEND,
        parts=tables(of, numbers), facts=_facts(of, numbers),
    )  # fmt: skip


def _facts(of: Coverage, numbers: Figures) -> list[tuple[str, list[str]]]:
    covered = f"{sum(cell.state == 'covered' for cell in of.cells):,} of {len(of.cells):,}"
    return [
        ("rounds", [", ".join(of.rounds)]), ("cells covered", [covered]), ("by weight", [str(numbers.overall)]),
        ("attempts", [f"{of.attempts:,}"]),
    ]  # fmt: skip


def markdown(of: Coverage, plan: Plan, shown: Matrix, numbers: Figures) -> str:
    """The coverage in GitHub's Markdown."""
    lines = [f"# {line(plan.purpose.name)}: coverage", *(f"- {state}: {words}" for state, words in LEGEND.items()), ""]
    for part in (table(shown), *tables(of, numbers)):
        lines += part.section(2)
    return "\n".join(lines)


def csv(of: Coverage) -> Iterable[str]:
    """All cells, a line each."""
    names = ("harm", "feature", "persona", "mindset", "layer", "round", "state", "reason", "weight", "need")
    counted = ("attempts", "inputs", "fresh", "testers", "minutes", "unsure", "findings", "confirmed", "last")
    return csv_lines([*names, *counted], _csv_rows(of, names))


def _csv_rows(of: Coverage, names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    for cell in of.cells:
        tally = cell.tally
        yield {name: getattr(cell, name) for name in names} | {
            "attempts": tally.attempts, "inputs": tally.inputs, "fresh": tally.fresh, "testers": len(tally.testers),
            "minutes": tidy(round(tally.minutes, 1)), "unsure": tally.unsure, "findings": tally.findings,
            "confirmed": tally.confirmed,
            "last": "" if tally.last is None else second_of(tally.last),
        }  # fmt: skip


def as_json(of: Coverage, shown: Matrix, numbers: Figures) -> Json:
    """The coverage for machines."""
    squares = [
        {shown.rows: row, shown.columns: column} | plain(part) for (row, column), part in shown.squares.items()
    ]  # fmt: skip
    return {
        "schema": 1, "plan": of.plan, "rounds": list(of.rounds), "legend": dict(LEGEND), "states": list(STATES),
        "matrix": {"rows": shown.rows, "columns": shown.columns, "squares": squares},
        "weighted": _share(numbers.overall) | {
            axis: {name: _share(part) for name, part in by.items()} for axis, by in numbers.by.items()
        },
        "pairwise": _share(numbers.pairs), "balance": plain(numbers.balance), "attempts": of.attempts,
        "unsure": of.unsure, "errors": of.errors, "next": plain(numbers.next),
        "discovery": to_json(numbers.kinds),
        "outside": plain(of.outside), "cells": plain(of.cells),
    }  # fmt: skip


def _share(part: Share) -> dict[str, Json]:
    return {"met": part.met, "of": part.of, "share": part.share}
