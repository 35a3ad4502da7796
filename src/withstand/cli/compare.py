"""`withstand compare`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from withstand.cli import console
from withstand.cli.grouping import check_policy, policy_option, read_grouping
from withstand.cli.options import Result, command, options
from withstand.core import SpecError
from withstand.stats.statistic import Statistic

if TYPE_CHECKING:
    from withstand.results.comparison import Comparison
    from withstand.results.pair_comparison import Correct
    from withstand.store.store import Store

MOST = 10
"""Behaviors listed in a line; the JSON and the page have all."""

HOW = options(
    click.option("--by", type=click.Choice(["target", "defense", "attack", "policy"]), default=None,
                 help="Without B: compare the first of run A with all others. With B, policy: a row for each category "
                 "of --policy."),
    policy_option,
    click.option("--margin", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05,
                 show_default=True, help="Rates closer than this count as unchanged."),
    click.option("--correct", type=click.Choice(["bonferroni", "bh"]), default="bonferroni", show_default=True,
                 help="Correction of p and intervals for the number of rows: all hold, or (bh) most of those that "
                 "differ."),
    click.option("--statistic", type=click.Choice(get_args(Statistic)), default="mean", show_default=True,
                 help="What is compared: the mean over draws of each attack, behaviors broken by any attack, or in any "
                 "of k draws."),
    click.option("--k", type=click.IntRange(min=1), default=None, metavar="K", help="Draws, for at_k (default: all)."),
    click.option("--allow", multiple=True, type=click.Choice(["judge", "suite", "sampling", "template"]),
                 help="Compare although this differs; repeats."),
)  # fmt: skip


def _check(given: Mapping[str, Any]) -> None:
    check_policy(given["by"], given["policy"])
    if given["by"] == "policy" and not given["b"]:
        raise SpecError("--by policy compares two runs", hint="withstand compare RUN_A RUN_B --by policy --policy FILE")
    if given["by"] != "policy" and bool(given["b"]) == bool(given["by"]):
        raise SpecError(
            "say what to compare" if not given["b"] else "--by compares parts of run A: it takes no B",
            hint="withstand compare RUN_A RUN_B, or withstand compare --by target",
        )


@command(store=True, json=True, check=_check)
@click.argument("a", metavar="[A]", default="")
@click.argument("b", metavar="[B]", default="")
@HOW
@click.option("-o", "--output", metavar="FILE", help="Write a page, FILE.html, or FILE.md.")
@click.option("--reveal", is_flag=True, help="Show the behaviors' texts in the page and the JSON.")
def compare(
    a: str, b: str, by: str | None, policy: str | None, margin: float, correct: "Correct",
    allow: tuple[str, ...], output: str | None, reveal: bool, statistic: Statistic, k: int | None, store: "Store",
) -> Result:  # fmt: skip
    """Compare two runs, or the parts of one, behavior by behavior.

    Prints whether B was broken less often over all attacks, then each attack with intervals that hold together, and
    which behaviors changed. A and B are runs, or parts of runs: RUN:target=T, RUN:defense=D, RUN:attack=A. With --by,
    A is the last run by default. Over-refusal and utility are beside it.
    """
    from withstand.report import comparison as page
    from withstand.report import write
    from withstand.results.comparison import compare_runs

    grouping = read_grouping(policy)
    comparison = compare_runs(
        store, a, b, by="" if grouping else by or "", margin=margin, correct=correct, allow=allow, reveal=reveal,
        statistic=statistic, k=k, policy=grouping,
    )  # fmt: skip
    if output:
        form = page.markdown if Path(output).suffix == ".md" else page.html
        write.save(Path(output), form(comparison))
        click.echo(f"wrote {output}", err=True)
    return Result(comparison.to_json(), lambda: _show(comparison.shown()))


def _show(comparison: "Comparison") -> None:
    from withstand.report import comparison as page
    from withstand.report.defended import sentences

    console.put(f"A: {comparison.a}")
    for label in comparison.b:
        console.put(f"B: {label}")
    for text in sentences(comparison.defenses):
        console.put(text)
    console.put(page.headline(comparison))
    for table in page.tables(comparison):
        console.put("")
        console.table(table.texts(), table.heads(), table.title)
    if forest := page.forest(comparison):
        console.put("")
        console.put("B - A, in points")
        for line in forest.text():
            console.put(line)
    console.put("")
    for row in comparison.rows:
        for became, behaviors in page.moves(row):
            if behaviors:
                changes = [page.change(behavior) for behavior in behaviors[:MOST]]
                more = len(behaviors) - len(changes)
                changes += [f"{more} more (--json, or -o FILE.html)"] if more else []
                console.put(f"{row.name}, {became} in B: {', '.join(changes)}")
    for note in page.notes(comparison):
        console.say(f"note: {note}")
