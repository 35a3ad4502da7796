"""`withstand import`: make runs of what other tools have written."""

from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli.options import CONTEXT, Commands, Result, command, json_option, options, store_option
from withstand.core import Behavior, Json
from withstand.core.text import count

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORDED = options(
    click.option("--name", default="", metavar="RUN", help="Name of the run."), store_option, json_option
)  # fmt: skip


@click.group("import", cls=Commands, context_settings=CONTEXT)
def import_() -> None:
    """Import runs of HarmBench or JailbreakBench.

    An imported run can be reported, labeled and judged as any other.
    """


@command(group=import_)
@click.argument("place", metavar="DIR")
@click.option("--suite", "-s", default="", metavar="SPEC",
              help="Suite of the behaviors (default: data/behavior_datasets in DIR or above it).")  # fmt: skip
@RECORDED
def harmbench(place: str, suite: str, name: str, store: str, as_json: bool) -> int:
    """Import HarmBench's test cases, completions and results.

    DIR is an experiment's folder, one above it, or one JSON file. Label 1 is success, 0 failure, -1 unscored. A
    completion $ERROR$ counts as missing. Nothing is sent: `withstand judge run` judges completions without a label.
    """
    from withstand.formats import harmbench
    from withstand.results.imported import harmbench_suite

    parts = harmbench.read(place)
    plan, behaviors = harmbench_suite(place, suite)
    source = {"from": "harmbench", "path": [place]} | ({"suite": suite} if suite else {})
    return _record(plan, behaviors, parts, source, name, store, as_json)


@command(group=import_)
@click.argument("places", metavar="FILE...", nargs=-1, required=True)
@RECORDED
def jailbreakbench(places: tuple[str, ...], name: str, store: str, as_json: bool) -> int:
    """Import JailbreakBench's artifacts.

    They bring their behaviors; jailbroken true is success, false failure.
    """
    from withstand.formats import jailbreakbench
    from withstand.results.imported import jailbreakbench_suite

    behaviors, parts = jailbreakbench.read(places)
    source = {"from": "jailbreakbench", "path": list(places)}
    return _record(jailbreakbench_suite(behaviors), behaviors, parts, source, name, store, as_json)


def _record(
    suite: Json, behaviors: "Sequence[Behavior]", parts: list[Any], source: Json, name: str, store: str, as_json: bool
) -> int:
    from withstand import api
    from withstand.cli import cells
    from withstand.results import exchange

    behaviors = exchange.used(behaviors, parts)  # before the store is opened: a mistake leaves no empty one behind
    with api.open_store(store) as opened:
        run = api.Run(opened, exchange.record(opened, suite, behaviors, parts, source, name))
        cases = sum(cell["cases"] for cell in run.cells)
        console.say(f"run {run.name}: {count(len(parts), 'cell')}, {count(cases, 'test case')}; store {store}")
        return Result(run.summary, lambda: cells.show_imported(run, store)).finish(as_json)
