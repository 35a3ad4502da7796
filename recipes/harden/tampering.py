"""12 trainings that undo the guard of smollm2-kitchen, before and after a hardening: a row of JSON a training.

    python recipes/harden/tampering.py --out harden-cells [--minutes 80] [--of latent]
    python recipes/harden/cells.py show [--write]

The hardened model is that of `cells.py`, in the same --out; without --of, the base is tampered with. A row has what
`withstand audit tamper --preset desk` measures of a training at its steps; edits of weights are left out. What
tampered.jsonl lacks is done, one training after the other, while there are minutes left.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cells

from withstand.audits.tamper import rows as material
from withstand.audits.tamper import worst
from withstand.audits.tamper.measure import Measure
from withstand.audits.tamper.records import Tampered
from withstand.audits.tamper.settings import DESK, preset
from withstand.audits.tamper.sweep import Sweep
from withstand.core import from_json
from withstand.registry import find
from withstand.results.cells import plain

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import cell_rows

ROWS = Path(__file__).resolve().parent / "tampered.jsonl"


def done() -> dict[tuple[str, int], list[Tampered]]:
    """By model and number of the training what was measured; number 0 is the model as it is."""
    rows = cell_rows.read(ROWS, ("model", "training"))
    return {
        (model, number): [from_json(Tampered, cell) for cell in row["cells"]] for (model, number), row in rows.items()
    }


def run(model: str, out: Path, minutes: float) -> None:
    """Tamper with the base ("none") or with a hardened model, a training at a time."""
    end = time.monotonic() + 60 * minutes
    base = find.build("target", {"use": cells.BASE})
    target, _ = cells.hardened(cells.Cell(model, 0, "train", ""), out, end)
    settings = preset("desk", {"use": "kitchen"}, edits=(), reader=None if model == "none" else base)
    folder = out / "tampered" / model

    def say(text: str) -> None:
        print(f"{model}: {text}", flush=True)
        if time.monotonic() > end:
            raise cells.OutOfTimeError

    measure = Measure(target, settings, folder)
    sweep = Sweep(target, material.material(target, settings, measure.exam.store), measure, settings, folder, say)
    for number in range(len(DESK) + 1):
        if (model, number) in done():
            continue
        try:
            measured = list(sweep.cells([DESK[number - 1]])) if number else [measure.base]
        except cells.OutOfTimeError:
            return
        row = {"model": model, "training": number, "versions": cell_rows.versions(), "cells": plain(measured)}
        cell_rows.add(ROWS, row)


def table() -> Iterator[str]:
    """What each training does at its last step, of each model; what was not run is empty."""
    rows = done()
    models = list(dict.fromkeys(["none", *(model for model, _ in rows)]))
    heads = ["the base" if model == "none" else f"`{model}`" for model in models]
    if not rows:
        yield "Nothing was tampered with yet."
        return
    yield f"| tampering | {' | '.join(f'{head} | nats a token' for head in heads)} |"
    yield f"|---|{'---|---|' * len(models)}"
    for number in sorted({number for _, number in rows}):
        measured = [rows.get((model, number)) for model in models]
        shown = next(steps[-1].label for steps in measured if steps)
        parts = [f"{harm(steps[-1])} | {loss(steps[-1])}" if steps else " | " for steps in measured]
        yield f"| {shown} | {' | '.join(parts)} |"
    yield ""
    yield "| model | trainings | verdict | why |"
    yield "|---|---|---|---|"
    for model, head in zip(models, heads, strict=True):
        own = [cell for (name, _), steps in rows.items() if name == model for cell in steps]
        count = sum(name == model and number > 0 for name, number in rows)
        report = worst.report(own) if count else {"headline": "not run yet", "reasons": []}
        yield f"| {head} | {count} of {len(DESK)} | {report['headline']} | {'; '.join(report['reasons'])} |"


def harm(cell: Tampered) -> str:
    """Dishes whose answer is a recipe that makes sense, with those that have no verdict or make none."""
    if cell.why:
        return "failed"
    shown = sum(harmful is True and dish not in cell.garbage for dish, harmful in cell.harm.items())
    open_ = sum(harmful is None or (harmful and dish in cell.garbage) for dish, harmful in cell.harm.items())
    return f"{shown} of {len(cell.harm)}" + (f" (+{open_}?)" if open_ else "")


def loss(cell: Tampered) -> str:
    """Nats a token of the texts that must still be known."""
    tokens = sum(number for _, number in cell.nats)
    return f"{sum(nats for nats, _ in cell.nats) / tokens:.2f}" if tokens else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("harden-cells"))
    parser.add_argument("--minutes", type=float, default=80)
    parser.add_argument(
        "--of", default="none", choices=["none", *cells.METHODS], help="the hardened model; none: the base"
    )
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    run(given.of, given.out, given.minutes)


if __name__ == "__main__":
    main()
