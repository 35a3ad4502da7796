"""`withstand plan coverage`."""

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from withstand.cli import console
from withstand.cli.options import Result, command, store_option
from withstand.cli.plan import plan_argument
from withstand.core import SpecError
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.redteam.plan.records import Plan
    from withstand.report.table import Table
    from withstand.store.store import Store

T = TypeVar("T")
AXES = ("harm", "feature", "persona", "layer", "round", "mindset")


@command(json=True)
@plan_argument
@click.option("--rows", type=click.Choice(AXES), default="harm", show_default=True, help="What the rows are.")
@click.option("--columns", type=click.Choice(AXES), default="layer", show_default=True, help="What the columns are.")
@click.option("--round", "round_id", default=None, metavar="R", help="One round alone.")
@click.option("--suggest", type=click.IntRange(min=0), default=5, show_default=True, metavar="N",
              help="Propose the N cells to test next.")  # fmt: skip
@click.option("-o", "--output", default=None, metavar="FILE", help="Write FILE.html, .md, .csv (all cells) or .json.")
@click.option("--cell", default=None, metavar="AXIS=ID,...", help="Look into these cells: near-duplicates count once.")
@store_option
def coverage(
    path: str, rows: Any, columns: Any, round_id: str | None, suggest: int, output: str | None, cell: str | None,
    store: str,
) -> Result:  # fmt: skip
    """Show what a red team has tested, as a matrix of any two axes, and what is left.

    An empty cell is no evidence of safety.
    """
    if rows == columns:
        raise SpecError(f"rows and columns are both {rows}", hint="choose another axis for one of them")
    if cell is not None:
        return in_store(path, store, lambda opened, read: _cell(opened, read, round_id, cell))
    return in_store(path, store, lambda opened, read: _matrix(opened, read, round_id, (rows, columns), suggest, output))


def _matrix(
    store: "Store | None", plan: "Plan", round_id: str | None, axes: tuple[Any, Any], suggest: int, output: str | None
) -> Result:
    from withstand.redteam.coverage import table as forms
    from withstand.redteam.coverage.cell import of_others
    from withstand.redteam.coverage.cells import coverage as cover
    from withstand.redteam.harms.kinds import discovery

    of = cover(store, plan, round_id)
    shown, figures = forms.matrix(of, plan, *axes), forms.figures(of, plan, suggest, discovery(store, plan))
    foreign = of_others(store, plan) if store else 0
    value = {**forms.as_json(of, shown, figures), "of_untrusted_writers": foreign}
    if foreign:
        console.say(f"note: {count(foreign, 'attempt')} counted here came from writers whom you do not trust")
    if output:
        writers = {
            ".html": lambda: forms.html(of, plan, shown, figures),
            ".md": lambda: forms.markdown(of, plan, shown, figures),
            ".csv": lambda: "".join(forms.csv(of)),
            ".json": lambda: json.dumps(value) + "\n",
        }
        console.write(output, writers)

    def show() -> None:
        show_tables([forms.table(shown), *forms.tables(of, figures)])
        for state in dict.fromkeys(cell.state for cell in of.cells):
            console.put(f"{state}: {forms.LEGEND[state]}")

    return Result(value, show)


def _cell(store: "Store | None", plan: "Plan", round_id: str | None, cell: str) -> Result:
    from withstand.redteam.coverage import table as forms
    from withstand.redteam.coverage.cell import inside
    from withstand.redteam.coverage.cells import coverage as cover

    of = cover(store, plan, round_id)
    where = dict(part.strip().partition("=")[::2] for part in cell.split(","))
    looked = inside(store, plan, of, where)
    square = forms.square(looked.cells)
    value = {
        "schema": 1, "plan": plan.id, "cells": len(looked.cells), "state": square.state, "inputs": square.inputs,
        "need": square.need, "near_duplicates_merged": {"inputs": len(looked.groups), "state": looked.state},
        "groups": [[attempt.id for attempt in group] for group in looked.groups],
    }  # fmt: skip

    def show() -> None:
        table = forms.looked_at(looked)
        console.table(table.texts(), table.heads(), table.title)
        state = f": {looked.state}" if looked.state else ""
        console.put(f"{cell}: {square}; with near-duplicates as one {len(looked.groups)}{state}")

    return Result(value, show)


def in_store(path: str, store: str, use: "Callable[[Store | None, Plan], T]") -> T:
    """What becomes of a plan and of what a store holds of it; None, and a note, where there is no store yet."""
    from withstand import api
    from withstand.cli import flags
    from withstand.redteam.plan.records import read_plan

    read = read_plan(path)
    if not flags.exists(store):
        console.say(f"note: there is no store at {store}, so nothing was recorded; --store names another")
        return use(None, read)
    with api.open_store(store, create=False) as opened:
        return use(opened, read)


def show_tables(tables: "Sequence[Table]") -> None:
    """Tables with their notes, a line apart."""
    for table in tables:
        console.table(table.texts(), table.heads(), table.title)
        if table.note:
            console.put(table.note)
        print()
