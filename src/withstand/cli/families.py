"""`withstand families`."""

from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import Result, command, run_argument

if TYPE_CHECKING:
    from withstand.results.families import By, Families
    from withstand.store.store import Store


@command(store=True, json=True)
@run_argument
@click.option(
    "--parent",
    default="direct",
    show_default=True,
    metavar="ATTACK",
    help="The attack whose one case of a behavior is the parent of its variants.",
)
@click.option(
    "--by",
    type=click.Choice(["attack", "cluster"]),
    default="attack",
    show_default=True,
    help="Variants: the cases of other attacks, or the behaviors of a cluster that is named like its parent's id.",
)
def families(name: str, parent: str, by: "By", store: "Store") -> Result:
    """Compare variants of each behavior with their parent.

    Prints, of each attack that makes variants (of every other attack, where none does): how many families have one
    verdict, how often a variant flips its parent's, and how many parents any variant broke; what was right on both
    halves; and what became of the variants that were asked for. p is by whole families, after Holm's correction.
    """
    from withstand.results.families import families as of_run
    from withstand.results.summary import find_run

    result = of_run(store, find_run(store, name), parent, by)
    return Result(result.to_json(), lambda: _show(result))


def _show(result: "Families") -> None:
    from withstand.report.families import tables

    for place, table in enumerate(tables(result)):
        groups: dict[str, list[list[str]]] = {}
        for row, texts in zip(table.rows, table.texts(), strict=True):
            if isinstance(row, str):
                groups[row] = rows = []
            else:
                rows.append(texts)
        for number, (where, rows) in enumerate(groups.items()):
            if place or number:
                console.put("")
            console.table(rows, table.heads(), f"{table.title}; {where}")
    for warning in result.warnings:
        console.say(f"warning: {warning}")
