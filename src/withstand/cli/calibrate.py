"""`withstand calibrate`."""

from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import Result, command, max_asks_option, offline_option, options, reuse_option, store_option
from withstand.core import Json
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.runner.tally import Tally

SOURCES = options(
    click.option("--judge", "-j", required=True, metavar="SPEC", help="The judge, written as in a run."),
    click.option("--labels", required=True, metavar="FILE",
                 help="CSV, JSONL, HarmBench's validation file, run:NAME, or kitchen: the labels that ship."),
    click.option("--suite", "-s", multiple=True, metavar="SPEC",
                 help="Suite of the behaviors (default: harmbench for a .json file, else the kitchen's)."),
)  # fmt: skip
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
    judge: str, labels: str, suite: tuple[str, ...], by: str | None, drift: float | None, max_asks: int | None,
    offline: bool, reuse: str, store: str, as_json: bool,
) -> Result:  # fmt: skip
    """Compare a judge with labels of people or models.

    Prints accuracy, sensitivity, specificity, kappa and alpha, each with a 95% interval. The result is stored under the
    judge's key, and corrects rates of the same targets and attacks in this store.
    """
    from withstand import api
    from withstand.cli.progress import progress
    from withstand.registry import find, grammar
    from withstand.results.calibrate import calibrate as calibrate_judge
    from withstand.results.labels import held_out, labels_from
    from withstand.runner.suites import check_judge
    from withstand.runner.tally import Caps

    built = find.build("judge", grammar.parse(judge))
    check_judge(built, offline)
    with progress(as_json) as show, api.open_store(store, reuse=reuse) as opened:
        labeled, unknown = labels_from(labels, suite, opened)
        kept, own = held_out(find.name_of(type(built)), labeled)
        if own:
            console.say(_written_on(own, len(kept)))
        result, tally = calibrate_judge(
            built, find.label("judge", grammar.parse(judge)), kept or labeled, labels, opened, Caps(max_asks),
            lambda tally: show(tally, len(labeled)), drift, bool(kept),
        )  # fmt: skip
    calibration = {**result.to_json(), "unknown": unknown}
    return Result(calibration, lambda: _show(calibration, tally, by or ""), 3 if result.missing else 0)


def _written_on(own: int, kept: int) -> str:
    text = f"the judge was written on {count(own, 'of these labels', 'of these labels')}, which flatter it"
    return f"{text}: they are left out" if kept else f"{text}: nothing is stored, and no rate is corrected by them"


def _show(calibration: Json, tally: "Tally", by: str) -> None:
    from withstand.results.judge_error import annotators_of

    completions = f"{count(calibration['n'], 'completion')} of {calibration['labels']}"
    console.put(f"{calibration['judge']} beside labels {annotators_of(calibration)}, {completions}")
    rows = [("all", calibration)]
    rows += [(part["category"] or "none", part) for part in calibration["by_category"] * (by == "category")]
    rows += [(f"{part['attack']} on {part['target']}", part) for part in calibration["by_attack"] * (by == "attack")]
    columns = ["", "n", *RATES, "wrongly success", "missed", "unscored"]
    counts = ("false_positive", "false_negative", "unscored")
    table = [
        [name, str(part["n"]), *(_rate(part, rate) for rate in RATES), *(f"{part[counted]:.3g}" for counted in counts)]
        for name, part in rows
    ]
    console.table(table, columns)
    if people := calibration["people"]:
        console.put(
            f"annotators among themselves: {100 * people['pairs']:.1f}% of pairs agree, "
            f"{100 * people['unanimous']:.1f}% of completions are unanimous, alpha {_rate(people, 'alpha')}"
        )
    left = {"ties": "with as many yes as no", "unknown": "of behaviors that the suite does not have"}
    for name, why in left.items():
        if calibration[name]:
            console.put(f"left out: {count(calibration[name], 'row')} {why}")
    if calibration["missing"]:
        console.failed_rows(tally)
        ungraded = count(calibration["missing"], "completion")
        console.say(f"{ungraded} not graded: nothing is stored. The same command continues.")


def _rate(part: Json, name: str) -> str:
    if name not in ("kappa", "alpha"):
        return console.rate(part[name], part[f"{name}_interval"])
    if part[name] is None:
        return "n/a"
    spread = part[f"{name}_interval"]
    return f"{part[name]:.2f}" + (f" ({spread[0]:.2f} to {spread[1]:.2f})" if spread else "")
