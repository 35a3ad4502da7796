"""`withstand calibrate`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import Result, command, max_asks_option, offline_option, options, reuse_option, store_option
from withstand.core import Json, SpecError
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.results.panel import Panel

SOURCES = options(
    click.option("--judge", "-j", "judges", required=True, multiple=True, metavar="SPEC",
                 help="A judge, written as in a run; again for more; all: each that needs no model, key or network."),
    click.option("--labels", required=True, metavar="FILE",
                 help="CSV, JSONL, HarmBench's validation file, run:NAME, or kitchen: the labels that ship. Published"
                 " labels of people: pyrit:PATH, pyrit-refusal:PATH, pyrit-harm:PATH, harmbench:PATH,"
                 " jailbreakbench:PATH."),
    click.option("--suite", "-s", multiple=True, metavar="SPEC",
                 help="Suite of the behaviors (default: harmbench for a .json file, else the kitchen's)."),
    click.option("--column", "columns", multiple=True, metavar="OURS=THEIRS",
                 help="What a file of yours calls a column: --column completion=answer --column label_1=ana."),
    click.option("--cut", type=float, default=None, metavar="LEVEL",
                 help="Labels are levels, and a success from here on (pyrit-harm: 0.5 by default)."),
)  # fmt: skip
MANY = 30
"""Parts of which all are shown; of more those with `FEW` completions or more."""
FEW = 10
RATES = ("accuracy", "sensitivity", "specificity", "kappa", "alpha")


@command(json=True)
@SOURCES
@click.option(
    "--by",
    type=click.Choice(["category", "attack"]),
    default=None,
    help="Add a line for each category, or for each target and attack.",
)
@click.option("--transport", "drift", type=click.FloatRange(0, 1, max_open=True), default=None, metavar="DRIFT",
              help="Correct rates of other targets and attacks too, with limits for a sensitivity and specificity that"
              " differ by up to DRIFT there, such as 0.05.")  # fmt: skip
@max_asks_option
@offline_option
@reuse_option
@store_option
def calibrate(
    judges: tuple[str, ...], labels: str, suite: tuple[str, ...], columns: tuple[str, ...], cut: float | None,
    by: str | None, drift: float | None, max_asks: int | None, offline: bool, reuse: str, store: str, as_json: bool,
) -> Result:  # fmt: skip
    """Compare judges with labels of people or models.

    Prints accuracy, sensitivity, specificity, kappa and alpha, each with a 95% interval. The result is stored under the
    judge's key, and corrects rates of the same targets and attacks in this store.
    """
    from withstand import api
    from withstand.cli.progress import progress
    from withstand.results.labels import labels_from
    from withstand.results.panel import EVERY, judges_named, panel_of
    from withstand.runner.tally import Caps

    built = judges_named(judges, offline)
    with progress(as_json) as show, api.open_store(store, reuse=reuse) as opened:
        source = labels_from(labels, suite, opened, columns_of(columns), cut)
        panel = panel_of(
            built, labels, source, opened, Caps(max_asks), lambda tally: show(tally, len(source.labeled)), drift,
            EVERY in judges,
        )  # fmt: skip
    for name, own, kept in panel.own:
        console.say(_written_on(name, own, kept))
    return Result(panel.to_json(), lambda: _show(panel, by or ""), 3 if panel.missing else 0)


def columns_of(columns: Sequence[str]) -> dict[str, str]:
    """OURS=THEIRS as a mapping. Raises `SpecError` for a column that has no such name here."""
    from withstand.formats.labels import OPTIONAL, VOTE

    pairs = [column.partition("=") for column in columns]
    for ours, _, theirs in pairs:
        if not theirs or not (ours in OPTIONAL or VOTE.fullmatch(ours)):
            names = ", ".join((*OPTIONAL, "label", "label_1", "label_2"))
            raise SpecError(
                f"--column {ours}={theirs}" if theirs else f"--column {ours}", hint=f"OURS is one of {names}"
            )
    return {ours: theirs for ours, _, theirs in pairs}


def _written_on(name: str, own: int, kept: int) -> str:
    text = f"{name} was written on {count(own, 'of these labels', 'of these labels')}, which flatter it"
    return f"{text}: they are left out" if kept else f"{text}: nothing is stored, and no rate is corrected by them"


def _show(panel: "Panel", by: str) -> None:
    from withstand.results.judge_error import annotators_of

    outcome = panel.to_json()
    judges: list[Json] = outcome["judges"]
    several = len(judges) > 1
    sizes = sorted({judge["n"] for judge in judges})
    completions = " to ".join(str(size) for size in sorted({sizes[0], sizes[-1]})) if judges else "no"
    names = f"{len(judges)} judges" if several else judges[0]["judge"] if judges else "no judge"
    annotators = annotators_of(judges[0]) if judges else ""
    console.put(f"{names} beside labels {annotators}, {completions} completions of {panel.labels}")
    for note in outcome["notes"]:
        console.put(note)
    flattered = [name for name, _, kept in panel.own if not kept]
    table, columns, small = _several(judges, by, flattered) if several else (*_single(judges, by), 0)
    console.table(table, columns)
    if small:
        console.put(f"not shown: {count(small, 'part')} with fewer than {FEW} completions; --json has all")
    _show_people(outcome)
    _show_left_out(outcome)
    for judge, tally in zip(judges, panel.tallies, strict=True):
        if judge["missing"]:
            console.failed_rows(tally)
            ungraded = count(judge["missing"], "completion")
            console.say(f"{judge['judge']}: {ungraded} not graded: nothing is stored. The same command continues.")


def _parts(judge: Json, by: str) -> Iterator[tuple[str, Json]]:
    """What is shown of a judge: all, and each category or attack."""
    yield "all", judge
    if by == "category":
        yield from ((part["category"] or "none", part) for part in judge["by_category"])
    if by == "attack":
        yield from ((f"{part['attack']} on {part['target']}", part) for part in judge["by_attack"])


def _single(judges: Sequence[Json], by: str) -> tuple[list[list[str]], list[str]]:
    columns = ["", "n", *RATES, "wrongly success", "missed", "unscored"]
    counts = ("false_positive", "false_negative", "unscored")
    table = [
        [name, str(part["n"]), *(_rate(part, rate) for rate in RATES), *(f"{part[counted]:.3g}" for counted in counts)]
        for judge in judges
        for name, part in _parts(judge, by)
    ]
    return table, columns


def _several(judges: Sequence[Json], by: str, flattered: Sequence[str]) -> tuple[list[list[str]], list[str], int]:
    """A line for each judge, the highest kappa first: a judge that always says no may be accurate. With `by` for each
    part, in the parts' order; of many parts the small ones are left out and counted. flattered: judges that were
    written on these labels."""
    ranked = sorted(judges, key=lambda judge: -(judge["kappa"] or 0))
    parts = [(name, judge["judge"], part) for judge in ranked for name, part in _parts(judge, by)]
    sizes: dict[str, int] = {}
    for name, _, part in parts:
        sizes[name] = max(sizes.get(name, 0), part["n"])
    order = [name for name, size in sizes.items() if size >= FEW or len(sizes) <= MANY]
    table = [
        [
            name if by else "",
            f"{judge} (written on these)" if judge in flattered else judge,
            str(part["n"]),
            *(_rate(part, rate) for rate in RATES[:4]),
            f"{part['unscored']:.3g}",
        ]
        for at in order
        for name, judge, part in parts
        if name == at
    ]
    return table, [by, "judge", "n", *RATES[:4], "unscored"], len(sizes) - len(order)


def _show_people(outcome: Json) -> None:
    """What no judge can be expected to exceed, and what the labels' authors reach."""
    if people := next((judge["people"] for judge in outcome["judges"] if judge["people"]), None):
        completions = count(people["n"], "completion")
        console.put(
            f"annotators among themselves, on {completions}: {100 * people['pairs']:.1f}% of pairs agree, "
            f"{100 * people['unanimous']:.1f}% of completions are unanimous, alpha {_rate(people, 'alpha')}"
        )
    if figures := sorted(outcome["published"], key=lambda figure: figure["accuracy"]):
        best = figures[-1]
        models = f" ({', '.join(best['models'])})" if best["models"] else ""
        console.put(
            f"published with the labels: {count(len(figures), 'judge')} of their authors on the same {best['n']} rows, "
            f"accuracy {figures[0]['accuracy']:.3f} to {best['accuracy']:.3f}; best: {best['judge']}{models}"
        )


def _show_left_out(outcome: Json) -> None:
    left: dict[str, int] = dict(outcome["left_out"])
    if outcome["unknown"]:
        left["rows of behaviors that the suite does not have"] = outcome["unknown"]
    if ties := max((judge["ties"] for judge in outcome["judges"]), default=0):
        left["rows with as many yes as no"] = ties
    for what, times in left.items():
        console.put(f"left out: {what}: {times:,}")
    if outcome["idle"]:
        console.put(f"these score none of the completions: {', '.join(outcome['idle'])}")


def _rate(part: Json, name: str) -> str:
    if name not in ("kappa", "alpha"):
        return console.rate(part[name], part[f"{name}_interval"])
    if part[name] is None:
        return "n/a"
    spread = part[f"{name}_interval"]
    return f"{part[name]:.2f}" + (f" ({spread[0]:.2f} to {spread[1]:.2f})" if spread else "")
