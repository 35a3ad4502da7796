"""`withstand plan`."""

from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import CONTEXT, Commands, Result, command
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.redteam.plan.records import Plan
    from withstand.redteam.tables import Problem

plan_argument = click.argument("path", metavar="PLAN")
round_option = click.option("--round", "round_id", required=True, metavar="R", help="Id of the round.")


@click.group(cls=Commands, context_settings=CONTEXT)
def plan() -> None:
    """Plan a red team of people: who tests what, and how far it is."""


@command(group=plan, json=True)
@plan_argument
def check(path: str) -> Result:
    """Say what is wrong in a plan, and which recommendations it leaves out.

    It builds the layers' targets and asks them nothing. Exit code 2 where there are errors.
    """
    from withstand.redteam.plan.check import check as check_plan
    from withstand.redteam.plan.check import policy_categories
    from withstand.redteam.plan.records import read_plan

    checked = read_plan(path)
    categories, problems = policy_categories(checked)
    problems += check_plan(checked, categories)
    errors = sum(problem.level == "error" for problem in problems)
    value = {
        "schema": 1, "plan": checked.id, "path": path, "errors": errors, "warnings": len(problems) - errors,
        "problems": [
            {"level": p.level, "rule": p.rule, "place": p.place, "message": p.message, "hint": p.hint} for p in problems
        ],
    }  # fmt: skip
    return Result(value, lambda: _show(path, problems, errors), 2 if errors else 0)


def _show(path: str, problems: "tuple[Problem, ...]", errors: int) -> None:
    if problems:
        rows = [[p.level, p.rule, p.place, f"{p.message}; {p.hint}" if p.hint else p.message] for p in problems]
        console.table(rows, ["", "rule", "where", "what"])
    console.put(f"{path}: {count(errors, 'error')}, {count(len(problems) - errors, 'warning')}")


def checked_plan(path: str) -> "Plan":
    """The plan of a file. Raises `SpecError` with all its errors; a layer's target is not built."""
    from withstand.redteam.plan.check import check as check_plan
    from withstand.redteam.plan.check import policy_categories
    from withstand.redteam.plan.records import read_plan
    from withstand.redteam.tables import Problems

    one_plan = read_plan(path)
    categories, listed = policy_categories(one_plan)
    Problems(path, [*listed, *check_plan(one_plan, categories, targets=False)]).check()
    return one_plan
