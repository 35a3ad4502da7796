"""`withstand monitor make-logs`."""

from pathlib import Path

import click

from withstand.cli import console
from withstand.cli.options import Result, command
from withstand.core import SpecError, did_you_mean
from withstand.core.text import count


@command("make-logs", json=True)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Log to write (JSONL).")
@click.option("--truth", type=click.Path(dir_okay=False, path_type=Path), help="Also write what is true of it (JSON).")
@click.option("--days", default=28, show_default=True, metavar="N", help="Days from 2 March 2026 on.")
@click.option("--per-day", default=5_000, show_default=True, metavar="N", help="Exchanges of an average day.")
@click.option("--seed", default=0, show_default=True, metavar="S", help="Equal seeds give equal logs.")
@click.option(
    "--plant", default="spam,template,roleplay,novel,probing,drift,jump", show_default=True, metavar="LIST",
    help="What to plant, with commas between; none: ordinary traffic, for false alarms.",
)  # fmt: skip
@click.option("--drift", "sigmas", type=click.FloatRange(min=0), default=1.0, show_default=True, metavar="X",
              help="Size of the drift, in standard deviations of a day's count.")  # fmt: skip
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def make_logs(
    out: Path, truth: Path | None, days: int, per_day: int, seed: int, plant: str, sigmas: float, force: bool
) -> Result:
    """Make up a month of a kitchen's traffic, with misuse planted in it, and the truth about it.

    Nothing in it is harmful: insults to soups and a miracle pan stand in for it.
    """
    from withstand.monitor.made.write import KINDS, frame_of, write_log

    kinds = [] if plant == "none" else [kind.strip() for kind in plant.split(",")]
    for kind in kinds:
        if kind not in KINDS:
            hint = did_you_mean(kind, KINDS, f"of {', '.join(KINDS)}; or none")
            raise SpecError(f"nothing to plant is called {kind!r}", hint=hint)
    frame = frame_of(days, per_day, seed)
    for path in (out, truth):
        if path is not None and path.exists() and not force:
            raise SpecError(f"{path} is there already", hint="name another file, or add --force")
    written = write_log(out, truth, frame, kinds, sigmas)
    value = {
        "schema": 1, "log": str(out), "truth": str(truth) if truth else None, "exchanges": written.exchanges,
        "bytes": written.size, "planted": {plant.kind: len(plant.exchanges) for plant in written.plants},
    }  # fmt: skip

    def show() -> None:
        console.put(
            f"{out}: {count(written.exchanges, 'exchange')} in {count(days, 'day')}, {written.size / 1e6:.1f} MB"
        )
        for plant in written.plants:
            size = count(len(plant.exchanges), "exchange") if plant.exchanges else "in ordinary traffic"
            console.put(f"  {plant.kind}: {plant.what} ({size})")

    return Result(value, show)
