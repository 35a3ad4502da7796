"""`withstand sample-size`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, get_args

import click

from withstand.cli import console
from withstand.cli.options import Result, command, options
from withstand.core import Json, SpecError
from withstand.stats.statistic import Statistic

if TYPE_CHECKING:
    from withstand.results.sample_size import LimitPlan, SamplePlan

TEST = options(
    click.option("--difference", type=click.FloatRange(0, 1, min_open=True), default=None, metavar="D",
                 help="Plan a comparison: the smallest difference worth detecting, 0 to 1."),
    click.option("--max-asr", "limit", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=None,
                 metavar="R", help="Plan a gate: the limit to pass."),
    click.option("--cells", type=click.IntRange(min=1), default=1, show_default=True,
                 help="Number of cells that must all pass --max-asr."),
    click.option("--power", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.8, show_default=True,
                 help="Chance to detect the difference, or to pass."),
    click.option("--alpha", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05,
                 show_default=True, help="Chance of a false alarm, two-sided."),
    click.option("--rows", type=click.IntRange(min=1), default=1, show_default=True,
                 help="Number of comparisons made at once (Bonferroni)."),
    click.option("--design-effect", "effect", type=click.FloatRange(min=1), default=1.0, metavar="D",
                 help="Behaviors in clusters: 1 + (m - 1) r for m alike with a correlation r."),
    click.option("--alike", type=click.FloatRange(-1, 1), default=0.0, show_default=True,
                 help="Correlation of A and B within a behavior; 0 is the cautious guess."),
)  # fmt: skip
PILOT = options(
    click.option("--asr", type=click.FloatRange(0, 1), default=None, metavar="R",
                 help="Rate of A, 0 to 1; --from takes it from a run."),
    click.option("--from", "pilot", metavar="RUN",
                 help="A pilot: a run that holds both sides, or RUN:target=A with --against."),
    click.option("--against", metavar="RUN",
                 help="The pilot's other side (default: --from has two targets, or two defenses)."),
    click.option("--statistic", type=click.Choice(get_args(Statistic)), default=None,
                 help="What is planned from a pilot (default: for a gate behaviors broken by any attack, for a "
                 "comparison the mean over draws of each attack)."),
    click.option("--k", type=click.IntRange(min=1), default=None, metavar="K", help="Draws, for at_k (default: all)."),
)  # fmt: skip


@command("sample-size", json=True)
@PILOT
@TEST
@click.option("--store", envvar="WITHSTAND_STORE", default="withstand.db", show_default=True, metavar="DB",
              help="Store of the pilot: a file, or a postgresql:// URL.")  # fmt: skip
def sample_size(
    asr: float | None, difference: float | None, limit: float | None, cells: int, power: float, alpha: float,
    rows: int, effect: float, alike: float, pilot: str | None, against: str | None, statistic: Statistic | None,
    k: int | None, store: str,
) -> Result:  # fmt: skip
    """Compute how many behaviors a comparison, or a gate, needs.

    A and B are tested on the same behaviors. Without a pilot, the answer is for one case per behavior. --from takes
    from a run how often A and B differ on a behavior and how similar the cases of a behavior are, and shows what more
    cases per behavior would save.
    """
    from withstand import api
    from withstand.results import sample_size as sizes

    if (difference is None) == (limit is None):
        raise SpecError(
            "a comparison or a gate, not both" if limit is not None else "what should the behaviors show?",
            hint="--difference 0.1 plans a comparison, --max-asr 0.1 a gate",
        )
    if (asr is None) == (pilot is None):
        raise SpecError(
            "give the rate of A or a run to take it from, not both" if asr is not None else "give the rate of A",
            hint="withstand sample-size --asr 0.3 --difference 0.05, or --from RUN",
        )
    if (statistic or k) and not pilot:
        raise SpecError("--statistic and --k are of a pilot", hint="--from RUN, or leave them out")
    if effect > 1 and pilot:
        raise SpecError("--design-effect, but a pilot's clusters say it", hint="leave it out, or give --asr")
    if against and not pilot:
        raise SpecError("--against, but no --from", hint="--from RUN_A --against RUN_B")
    if limit is not None:
        if asr is not None:
            return _of_limit([sizes.plan_for_limit(asr, limit, power, cells, effect)], limit, power, cells)
        with api.open_store(store, create=False) as opened:
            return _of_limit(
                sizes.limit_plans_from_pilot(opened, pilot or "", limit, power, cells, statistic or "any_attack", k),
                limit,
                power,
                cells,
            )
    change, level = difference or 0.0, alpha / rows
    if asr is not None:
        plans = [sizes.plan_for_rate(asr, change, power, level, alike, effect)]
    else:
        with api.open_store(store, create=False) as opened:
            plans = sizes.plans_from_pilot(
                opened, pilot or "", against or "", change, power, level, statistic or "mean", k
            )
    value = {
        "schema": 1, "difference": difference, "power": power, "alpha": alpha, "rows": rows,
        "plans": [asdict(plan) for plan in plans],
    }  # fmt: skip
    return Result(value, lambda: _show(value, plans))


def _of_limit(plans: "Sequence[LimitPlan]", limit: float, power: float, cells: int) -> Result:
    value = {
        "schema": 1, "max_asr": limit, "power": power, "cells": cells, "plans": [asdict(plan) for plan in plans],
    }  # fmt: skip
    return Result(value, lambda: _show_limit(value, plans))


def _show_limit(value: Json, plans: "Sequence[LimitPlan]") -> None:
    rows = [
        [plan.label, _number(plan.behaviors), _number(plan.careful), console.rate(plan.asr), console.rate(plan.below)]
        for plan in plans
    ]
    columns = ["pilot", "behaviors", "careful", "ASR", "chance below the limit"]
    piloted = any(plan.label for plan in plans)
    shown = range(5) if piloted else (1, 3)
    console.table([[row[place] for place in shown] for row in rows], [columns[place] for place in shown])
    cells = f" with all of {value['cells']} cells" if value["cells"] > 1 else ""
    console.put(f"to pass a limit of {console.rate(value['max_asr'])}{cells} at {100 * value['power']:.0f}% power")
    if piloted:
        console.put("behaviors: if the ASR is that of the pilot; careful: over all that the pilot leaves open about it")


def _number(behaviors: int | None) -> str:
    return "no number" if behaviors is None else f"{behaviors:,}"


def _show(value: Json, plans: "Sequence[SamplePlan]") -> None:
    piloted = any(plan.label for plan in plans)
    table = [
        [
            plan.label, str(plan.cases), f"{plan.behaviors:,}", _number(plan.careful), console.rate(plan.asr),
            console.rate(plan.discordance),
        ]
        for plan in plans
    ]  # fmt: skip
    columns = ["pilot", "cases per behavior", "behaviors", "careful", "ASR of A", "differ on a behavior"]
    shown = range(6) if piloted else (1, 2, 4, 5)
    console.table([[row[place] for place in shown] for row in table], [columns[place] for place in shown])
    corrected = f", corrected for {value['rows']} comparisons" if value["rows"] > 1 else ""
    console.put(
        f"to see a difference of {100 * value['difference']:.3g} points at {100 * value['power']:.0f}% power, "
        f"paired, two-sided at {100 * value['alpha']:.3g}%{corrected}"
    )
    if piloted:
        console.put("careful: with as much difference between A and B as 80% of such pilots leave open at most")
