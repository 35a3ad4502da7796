"""The mitigations on smollm2-kitchen, a row of JSON a cell; what is missing stays empty.

    python recipes/finetune/rows.py --out finetune-data --rows 47
    python recipes/finetune/cells.py run finetune-data --out finetune-cells [--minutes 80]
    python recipes/finetune/cells.py show [--write]    # as a Markdown table, or into README.md

A cell is an arm on so many seeds: 1, then 3. `run` begins no cell after --minutes, and goes on later with what
cells.jsonl lacks. All cells share one folder of an audit, so that no training is done and no answer asked for twice.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import cell_rows

ROWS = Path(__file__).resolve().parent / "cells.jsonl"
PAGE = ROWS.with_name("README.md")
SET = "level1-10"
ARMS = ("plain", "lower_rate", "ptst", "lisa", "safe_lora", "safety_mix", "constrained_sft")
SEEDS = (1, 3)


def done() -> dict[tuple[str, int], dict[str, Any]]:
    """The rows that are there, by arm and number of seeds."""
    return cell_rows.read(ROWS, ("arm", "seeds"))


def run(data: Path, out: Path, minutes: float) -> None:
    """Do what is missing, a row at a time, while there are minutes left."""
    began = time.monotonic()
    for seeds in SEEDS:
        for arm in ARMS:
            if (arm, seeds) in done():
                continue
            if time.monotonic() - began > 60 * minutes:
                return
            row = figures(cell(data, arm, seeds, out), arm, seeds)
            cell_rows.add(ROWS, row)


def cell(data: Path, arm: str, seeds: int, out: Path) -> dict[str, Any]:
    """The report of an audit with this arm alone. Exits with what the audit says where it ends in an error."""
    command = [
        *(sys.executable, "-m", "withstand", "audit", "finetune", "smollm2-kitchen", str(data / f"{SET}.jsonl")),
        *("--preset", "desk", "--seeds", str(seeds), "--max-tokens", "128", "--phrases", "0", "--attack", "none"),
        *("--train", "sft,lr=0.0005,batch=4,steps=50,max_length=600", "--safe", str(data / "safe.jsonl")),
        *("--utility", "none", "--unaligned", "smollm2", "--mitigate", "none" if arm == "plain" else arm),
        *("--out", str(out)),
    ]
    ended = subprocess.run(command, check=False)
    if ended.returncode not in (0, 1, 3):  # PASS, FAIL, or a limit that is not excluded
        raise SystemExit(ended.returncode)
    report: dict[str, Any] = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    return report


def figures(report: dict[str, Any], arm: str, seeds: int) -> dict[str, Any]:
    """What a cell says of its arm, beside the base."""
    arms = {row["name"]: row for row in report["arms"]}
    base, after = arms["none"], arms[arm]
    change = after["change"]
    return {
        "set": SET, "arm": arm, "seeds": seeds, "base": base["harm_rate"], "rates": after["rates"],
        "change": change and [change["change"], change["low"], change["high"]], "refused": after["refusal"],
        "over_refusal": after["over_refusal"], "coherence": after["coherence"], "margin": after["margin"],
        "steps": after["steps"], "flops": after["cost"]["flops"], "seconds": after["cost"]["seconds"],
        "axes": {axis["axis"]: axis["verdict"] for axis in after["axes"]},
    }  # fmt: skip


def tables() -> Iterator[str]:
    """The grid as Markdown; a cell that is not there yet is empty."""
    rows = done()
    yield "| arm | seeds | harmful, by seed | change (95%) | refused | harmless refused | coherent | margin, nats |"
    yield "|---|---|---|---|---|---|---|---|"
    for arm in ARMS:
        for seeds in SEEDS:
            row = rows.get((arm, seeds))
            yield f"| `{arm}` | {seeds} | {' | '.join(texts(row)) if row else 'not run yet |  |  |  |  | '} |"


def texts(row: dict[str, Any]) -> list[str]:
    """The figures of a row as the table has them."""
    rates = ", ".join("?" if rate is None else f"{rate:.0%}" for rate in row["rates"])
    shares = ["?" if row[key] is None else f"{row[key]:.0%}" for key in ("refused", "over_refusal", "coherence")]
    change = row["change"]
    points = f"{100 * change[0]:+.1f} ({100 * change[1]:+.1f} to {100 * change[2]:+.1f})" if change else "?"
    return [rates, points, *shares, f"{row['margin']:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "show"])
    parser.add_argument("data", type=Path, nargs="?", help="the folder that rows.py made")
    parser.add_argument("--out", type=Path, default=Path("finetune-cells"))
    parser.add_argument("--minutes", type=float, default=80)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.what == "show":
        cell_rows.show(PAGE, tables(), given.write)
    elif given.data is None:
        parser.error("run needs the folder that rows.py made")
    else:
        run(given.data, given.out, given.minutes)


if __name__ == "__main__":
    main()
