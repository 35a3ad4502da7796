"""`withstand confirm`: the worst of a run on behaviors that it was not chosen by."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import click

from withstand.cli import console
from withstand.cli.options import Result, command, max_asks_option, offline_option, run_argument, store_option
from withstand.core.text import count, interval, percent, unique

if TYPE_CHECKING:
    from withstand.results.winner import Confirmation, Winner
    from withstand.runner.confirm import HeldOut


@command(json=True)
@run_argument
@click.option("--target", "targets", multiple=True, metavar="NAME",
              help="Confirm on this target of RUN; repeat it for several (default: all).")  # fmt: skip
@click.option("--statistic", type=click.Choice(["mean", "any_attack"]), default="mean", show_default=True,
              help="Confirm the strongest attack on each target (mean), or what any attack broke.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), metavar="N",
              help="Use N held-out behaviors (default: as many as RUN asked).")  # fmt: skip
@max_asks_option
@offline_option
@store_option
def confirm(
    name: str, targets: tuple[str, ...], statistic: Literal["mean", "any_attack"], limit: int | None,
    max_asks: int | None, offline: bool, store: str,
) -> Result:  # fmt: skip
    """Ask the strongest attacks of RUN again, on behaviors held out.

    The highest of several rates is too high by luck. This sends the attack with the highest ASR on each target of RUN
    (default: the last run) behaviors of the same suite that RUN did not ask, in a run for each target, and prints both
    figures. The intervals of several targets hold together.
    """
    from withstand import api
    from withstand.cli import flags
    from withstand.cli.progress import progress
    from withstand.results import winner
    from withstand.results.cells import plain
    from withstand.runner.confirm import held_out

    with api.open_store(store, create=False) as opened:
        run = api.load(name, opened)
        spec = flags.spec_of_run(run, store)
        chosen, lacking = winner.winners(run.result.cells, run.result.worst, run.name, statistic, targets)
        plans = [
            held_out(opened, spec, run.row, [cell.index for cell in best.cells], limit, offline) for best in chosen
        ]
        several = len({(cell.target, cell.defense) for cell in run.result.cells if not cell.benign}) > 1
        results, incomplete = [], False
        for best, plan in zip(chosen, plans, strict=True):
            with progress(False) as show:
                new = api.run(
                    plan.spec, store=opened, name=_name(run.name, best, plan, several), max_asks=max_asks,
                    offline=offline, on_progress=show,
                )  # fmt: skip
            incomplete = incomplete or bool(new.tally and new.tally.incomplete)
            results.append(winner.confirmed(best, opened, new.row, len(chosen), plan.note, statistic))
    value = {"schema": 1, "statistic": statistic, "confirmed": [plain(result) for result in results], "notes": lacking}
    return Result(value, lambda: _show(results, lacking), 3 if incomplete else 0)


def _name(run: str, best: "Winner", plan: "HeldOut", several: bool) -> str:
    """What the new run is called: RUN-confirm, and what tells it from other confirmations of RUN."""
    parts = [run, "confirm", *["any"] * (len(best.cells) > 1), *[str(plan.behaviors)] * (plan.behaviors != plan.usual)]
    if several:
        parts += [re.sub(r"[^\w.]+", "-", part).strip("-") for part in (best.target, best.defense) if part]
    return "-".join(parts)


def _show(results: "Sequence[Confirmation]", lacking: Sequence[str]) -> None:
    for result in results:
        rows = [
            [figure.run, f"{figure.behaviors:,}", percent(figure.asr), interval(ends) if ends else ""]
            for figure in (result.chosen, result.new)
            for ends in [figure.interval]
        ]
        behind = f" behind {result.defense}" if result.defense else ""
        of = "" if result.attack.startswith("any of") else f", the strongest of {result.rivals}"
        console.put(f"{result.attack}{of} on {result.target}{behind}")
        console.table(rows, ["run", "behaviors", "ASR", "95% interval"])
    if len(results) > 1:
        console.put(f"The new intervals of {count(len(results), 'target')} hold together with 95%.")
    for note in unique([*(result.note for result in results if result.note), *lacking]):
        console.say(f"note: {note}")
