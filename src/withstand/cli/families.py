"""`withstand families`."""

from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import Result, command, run_argument
from withstand.core.text import percent
from withstand.core.text import rate as rate_text

if TYPE_CHECKING:
    from withstand.results.families import By, Families
    from withstand.store.store import Store

PARENTS = "the behaviors that name their clusters"


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

    Prints, of each other attack: how many families have one verdict, how often a variant flips its parent's, how many
    parents any variant broke, and what was left out. p is by whole families, after Holm's correction.
    """
    from withstand.results.families import families as of_run
    from withstand.results.summary import find_run

    result = of_run(store, find_run(store, name), parent, by)
    return Result(result.to_json(), lambda: _show(result))


def _show(result: "Families") -> None:
    from withstand.results.cells import defended

    heads = ["suite", "target", "variants", "parents", "consistent", "right to wrong", "wrong to right", "any of k",
             "parents wrong", "variants wrong", "p"]  # fmt: skip
    rows = [
        [
            row.suite,
            defended(row.target, row.defense.removeprefix("none")),
            row.arm,
            f"{row.matched} of {row.parents}",
            rate_text(row.consistent.rate, row.consistent.interval),
            _of(row.right_to_wrong.flipped, row.right_to_wrong.variants),
            _of(row.wrong_to_right.flipped, row.wrong_to_right.variants),
            rate_text(row.any_of_k.rate, row.any_of_k.interval),
            percent(row.parent_rate),
            percent(row.variant_rate),
            _p(row.p_corrected),
        ]
        for row in result.rows
    ]
    console.table(rows, heads, f"{result.run}, beside {result.parent or PARENTS}")
    if result.arms:
        console.put("")
        console.table(
            [[row.suite, row.a, row.b, str(row.parents), percent(row.rate_a), percent(row.rate_b), _p(row.p_corrected)]
             for row in result.arms],
            ["suite", "A", "B", "shared parents", "A wrong", "B wrong", "p"],
        )  # fmt: skip
    for row in result.rows:
        for warning in row.warnings:
            console.say(f"warning: {row.suite}: {warning}")


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole}"


def _p(p: float | None) -> str:
    return "n/a" if p is None else "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")
