"""`withstand sample-size`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import Result, command, options
from withstand.core import Json, SpecError

if TYPE_CHECKING:
    from withstand.results.sample_size import SamplePlan

TEST = options(
    click.option("--difference", type=click.FloatRange(0, 1, min_open=True), required=True, metavar="D",
                 help="The smallest difference worth detecting, 0 to 1."),
    click.option("--power", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.8, show_default=True,
                 help="Chance to detect it."),
    click.option("--alpha", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05,
                 show_default=True, help="Chance of a false alarm, two-sided."),
    click.option("--rows", type=click.IntRange(min=1), default=1, show_default=True,
                 help="Number of comparisons made at once (Bonferroni)."),
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
)  # fmt: skip


@command("sample-size", json=True)
@PILOT
@TEST
@click.option("--store", envvar="WITHSTAND_STORE", default="withstand.db", show_default=True, metavar="DB",
              help="Store of the pilot: a file, or a postgresql:// URL.")  # fmt: skip
def sample_size(
    asr: float | None, difference: float, power: float, alpha: float, rows: int, alike: float, pilot: str | None,
    against: str | None, store: str,
) -> Result:  # fmt: skip
    """Compute how many behaviors a comparison needs.

    A and B are tested on the same behaviors. Without a pilot, the answer is for one case per behavior. --from takes
    from a run how often A and B differ on a behavior and how similar the cases of a behavior are, and shows what more
    cases per behavior would save.
    """
    from withstand import api
    from withstand.results.sample_size import plan_for_rate, plans_from_pilot

    if (asr is None) == (pilot is None):
        raise SpecError(
            "give the rate of A or a run to take it from, not both" if asr is not None else "give the rate of A",
            hint="withstand sample-size --asr 0.3 --difference 0.05, or --from RUN",
        )
    if against and not pilot:
        raise SpecError("--against, but no --from", hint="--from RUN_A --against RUN_B")
    level = alpha / rows
    if asr is not None:
        plans = [plan_for_rate(asr, difference, power, level, alike)]
    else:
        with api.open_store(store, create=False) as opened:
            plans = plans_from_pilot(opened, pilot or "", against or "", difference, power, level)
    value = {
        "schema": 1, "difference": difference, "power": power, "alpha": alpha, "rows": rows,
        "plans": [asdict(plan) for plan in plans],
    }  # fmt: skip
    return Result(value, lambda: _show(value, plans))


def _show(value: Json, plans: "Sequence[SamplePlan]") -> None:
    table = [
        [plan.label, str(plan.cases), f"{plan.behaviors:,}", console.rate(plan.asr), console.rate(plan.discordance)]
        for plan in plans
    ]
    columns = ["pilot", "cases per behavior", "behaviors", "ASR of A", "differ on a behavior"]
    start = 0 if any(plan.label for plan in plans) else 1
    console.table([row[start:] for row in table], columns[start:])
    corrected = f", corrected for {value['rows']} comparisons" if value["rows"] > 1 else ""
    console.put(
        f"to see a difference of {100 * value['difference']:.3g} points at {100 * value['power']:.0f}% power, "
        f"paired, two-sided at {100 * value['alpha']:.3g}%{corrected}"
    )
