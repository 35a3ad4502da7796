"""The commands that compare: `withstand compare` and `withstand sample-size`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.commands import CONTEXT, json_option, store_option
from withstand.core import SpecError

if TYPE_CHECKING:
    from withstand.compare import Correct, Pair, Side
    from withstand.store import Store

MOST = 10
"""Behaviors named in a line; the JSON and the page have all."""


@click.command(context_settings=CONTEXT)
@click.argument("a", metavar="A")
@click.argument("b", metavar="[B]", default="")
@click.option("--by", type=click.Choice(["target", "defense", "attack"]), default=None,
              help="Without B: the first of run A beside each other one.")  # fmt: skip
@click.option("--margin", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05, show_default=True,
              help="Rates closer than this count as unchanged.")  # fmt: skip
@click.option("--correct", type=click.Choice(["holm", "bh"]), default="holm", show_default=True,
              help="For the number of rows: Holm, or Benjamini-Hochberg.")  # fmt: skip
@click.option("--allow", multiple=True, type=click.Choice(["judge", "suite", "sampling", "template"]),
              help="Compare although this differs; repeats.")  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="Write a page, FILE.html.")
@click.option("--reveal", is_flag=True, help="Show the behaviors' texts in the page and the JSON.")
@store_option
@json_option
def compare(
    a: str, b: str, by: str | None, margin: float, correct: "Correct", allow: tuple[str, ...], output: str | None,
    reveal: bool, store: str, as_json: bool,
) -> int:  # fmt: skip
    """Set B beside A, behavior by behavior: the difference with its interval, a paired test, and what changed.

    A and B are runs, or parts of runs: RUN:target=T, RUN:defense=D, RUN:attack=A. Over-refusal stands below.
    """
    import json

    from withstand import api, console
    from withstand.report import compared, write

    if bool(b) == bool(by):
        raise SpecError(
            "say what to compare" if not b else "--by compares parts of run A: it takes no B",
            hint="withstand compare RUN_A RUN_B, or withstand compare RUN --by target",
        )
    with api.open_store(store, create=False) as opened:
        found = _compared(opened, _sides(opened, a, b, by), margin, correct, allow, reveal)
    if output:
        write.save(Path(output), compared.html(found))
    if as_json:
        click.echo(json.dumps(found))
    else:
        _print(found)
    if output:
        console.say(f"wrote {output}")
    return 0


def _sides(opened: "Store", a: str, b: str, by: str | None) -> list[tuple["Side", "Side"]]:
    from withstand.compare import side, split_by

    return split_by(opened, a, by) if by else [(side(opened, a), side(opened, b))]


def _compared(
    opened: "Store", sides: list[tuple["Side", "Side"]], margin: float, correct: "Correct", allow: tuple[str, ...],
    reveal: bool,
) -> dict[str, Any]:  # fmt: skip
    """The comparison as JSON. All rows of all sides are one family for the correction."""
    from withstand import compare as comparing

    pairs: list[Pair] = []
    notes: list[str] = []
    for one, other in sides:
        found, said = comparing.matched(one.cells, other.cells)
        pairs += found
        notes += [*said, *comparing.check(found, allow)]
    texts = opened.behaviors({key for pair in pairs for key in pair.keys})
    rows = comparing.compare(pairs, texts, margin, correct, reveal)
    for row in rows:
        told = [row["b"][each] for each in row["varied"]] if len(sides) > 1 else []
        row["name"] = " ".join([row["label"], *(f"({each})" for each in told)])
    return {
        "schema": 1,
        "a": sides[0][0].label,
        "b": [other.label for _, other in sides],
        "margin": margin,
        "correction": comparing.CORRECTIONS[correct][0],
        "revealed": reveal,
        "rows": rows,
        "notes": list(dict.fromkeys(notes)),
    }


def _print(found: dict[str, Any]) -> None:
    from withstand import console
    from withstand.report import compared

    console.put(f"A: {found['a']}")
    for label in found["b"]:
        console.put(f"B: {label}")
    for benign, what in ((False, "broken"), (True, "refused")):
        rows = [row for row in found["rows"] if row["benign"] is benign]
        if rows:
            columns = ["over-refusal" if benign else "", f"{what} in A", "in B", "B - A, points (95 %)", "p",
                       f"p ({found['correction']})", "worse", "better", "rate in B"]  # fmt: skip
            console.out.print(console.fields_table([compared.texts(row) for row in rows], columns))
    for row in found["rows"]:
        for direction, name in (("worse", "more often"), ("better", "less often")):
            if row[direction]:
                listed = [compared.change(each) for each in row[direction][:MOST]]
                more = len(row[direction]) - len(listed)
                listed += [f"{more} more (--json, or -o FILE.html)"] if more else []
                what = "refused" if row["benign"] else "broken"
                console.put(f"{row['name']}, {what} {name} in B: {', '.join(listed)}")
    for note in compared.notes(found):
        console.say(f"note: {note}")
