"""`withstand plan assign`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import Result, command, store_option
from withstand.cli.plan import checked_plan, plan_argument, round_option
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.redteam.plan.assign import Assigned
    from withstand.redteam.plan.matching import Task

COLUMNS = ("member", "harm", "mindset", "layer", "feature", "persona", "minutes", "ramp_up")


@command(json=True)
@plan_argument
@round_option
@click.option("--seed", type=int, default=None, help="Seed of the draw; by default that of the last assignment, or 0.")
@click.option("-o", "--output", metavar="FILE.csv", default=None, help="Write the table to a CSV file too.")
@store_option
def assign(path: str, round_id: str, seed: int | None, output: str | None, store: str) -> Result:
    """Say who tests what in a round, and keep it in the store.

    The same seed gives the same table, as long as the plan and the rounds before are the same. What changed since the
    last assignment is shown; the last one stands. What nobody can do is listed as unmet. Minutes are of work, without
    ramp_up, the minutes to get into what is new to a member.
    """
    from withstand import api
    from withstand.redteam.plan import assign as assigning

    one_plan = checked_plan(path)
    with api.open_store(store) as opened:
        assigned = assigning.assign(opened, one_plan, round_id, time.time(), seed)
    if output:
        _write(output, assigned.table.tasks)
    value = {
        "schema": 1, "plan": one_plan.id, "round": round_id, "seed": assigned.table.seed, "revision": assigned.revision,
        "new": assigned.is_new, "tasks": [_row(task) for task in assigned.table.tasks],
        "unmet": list(assigned.table.unmet), "free_hours": dict(assigned.table.free),
        "added": [_row(task) for task in assigned.added], "removed": [_row(task) for task in assigned.removed],
    }  # fmt: skip
    return Result(value, lambda: _show_assigned(assigned, output))


def _row(task: "Task") -> dict[str, str | float]:
    return {name: getattr(task, name) for name in COLUMNS}


def _write(output: str, tasks: "tuple[Task, ...]") -> None:
    from withstand.core.save import save
    from withstand.report.table import csv_lines

    if not output.endswith(".csv"):
        raise click.UsageError("-o takes a file that ends in .csv")
    save(Path(output), "".join(csv_lines(COLUMNS, [_row(task) for task in tasks])))


def _show_assigned(assigned: "Assigned", output: str | None) -> None:
    table = assigned.table
    rows = [[str(value) if isinstance(value, str) else f"{value:g}" for value in _row(t).values()] for t in table.tasks]
    console.table(rows, COLUMNS)
    for text in table.unmet:
        console.put(f"unmet: {text}")
    if free := [f"{member} {hours:g}" for member, hours in table.free.items() if hours]:
        console.put(f"hours left: {', '.join(free)}")
    if assigned.revision > 1 and assigned.is_new:
        console.put(f"against revision {assigned.revision - 1}:")
        for sign, tasks in (("-", assigned.removed), ("+", assigned.added)):
            for task in tasks:
                parts = (task.member, task.harm, task.layer, task.feature, task.persona)
                console.put(f"{sign} {' '.join(filter(None, parts))}")
    state = f"revision {assigned.revision}" if assigned.is_new else f"as before, revision {assigned.revision}"
    console.put(f"{table.round}: {count(len(table.tasks), 'task')}, seed {table.seed}, {state}")
    if output:
        console.put(f"wrote {output}")
