"""`withstand confirm`: the strongest attack on behaviors that it was not chosen by."""

from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import Result, command, max_asks_option, offline_option, run_argument, store_option
from withstand.core.text import interval, percent

if TYPE_CHECKING:
    from withstand.results.winner import Confirmation


@command(json=True)
@run_argument
@click.option("--limit", type=click.IntRange(min=1), metavar="N",
              help="Use N held-out behaviors (default: as many as RUN asked).")  # fmt: skip
@max_asks_option
@offline_option
@store_option
def confirm(name: str, limit: int | None, max_asks: int | None, offline: bool, store: str) -> Result:
    """Ask the strongest attack of RUN again, on behaviors held out.

    The highest of several rates is too high by luck. This sends the attack with the highest ASR of RUN (default: the
    last run) behaviors of the same suite that RUN did not ask, as a run of its own, and prints both figures.
    """
    from withstand import api
    from withstand.cli import flags
    from withstand.cli.progress import progress
    from withstand.results import winner
    from withstand.results.cells import plain
    from withstand.runner.confirm import held_out

    with api.open_store(store, create=False) as opened:
        run = api.load(name, opened)
        cells = run.result.cells
        best = winner.strongest(cells, run.name)
        plan = held_out(flags.spec_of_run(run, store), run.row, best.index, limit, offline)
        with progress(False) as show:
            new = api.run(
                plan.spec, store=opened, name=f"{run.name}-confirm" + (f"-{limit}" if limit else ""),
                max_asks=max_asks, offline=offline, on_progress=show,
            )  # fmt: skip
        [asked] = new.result.cells
    result = winner.confirmed(cells, best, run.name, asked, new.name, plan.note)
    incomplete = bool(new.tally and new.tally.incomplete)
    return Result({"schema": 1, **plain(result)}, lambda: _show(result), 3 if incomplete else 0)


def _show(result: "Confirmation") -> None:
    rows = [
        [figure.run, f"{figure.behaviors:,}", percent(figure.asr), interval(figure.interval) if figure.interval else ""]
        for figure in (result.chosen, result.new)
    ]
    behind = f" behind {result.defense}" if result.defense else ""
    console.put(f"{result.attack}, the strongest of {result.rivals} on {result.target}{behind}")
    console.table(rows, ["run", "behaviors", "ASR", "95% interval"])
    if result.note:
        console.say(f"note: {result.note}")
