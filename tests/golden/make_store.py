"""Makes the golden store and what lies beside it. It was run once, at release 0.1, and must never be run again.

The store stands for those that users have: later code must reuse its rows. A store made again would agree with the code
that made it, and would show nothing. This script uses nothing but the public API and the command line:

    python tests/golden/make_store.py NEW_FOLDER
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import withstand

HERE = Path(__file__).parent
ORDER = (
    "kitchen",
    "kitchen-other-judge",
    "searches",
    "own",
    "work",
    "error",
    "budget",
    "until-success",
    "decided",
    "people",
    "transfer",
    "transfer-baseline",
)
"""The specs, so that one comes after those whose runs it names."""

GATE = ("--baseline", "baseline.json", "--max-worse", "0.2", "--json")
LINE = ("gate", "cell", "n", "cases", "rate", "limit", "worse", "better")
FIGURES = (
    "index", "suite", "split", "judge", "judge_method", "samples", "target", "defense", "attack", "benign", "measures",
    "behaviors", "cases", "success", "failure", "refused", "filtered", "unscored", "error", "asr", "asr_bounds",
    "asr_at_k", "over_refusal", "asks", "tokens", "cost",
)  # fmt: skip


def command(*words: str, answers: str = "") -> str:
    """What a command writes to stdout; `answers` are typed into its prompts."""
    done = subprocess.run(
        [sys.executable, "-m", "withstand", *words, "--store", "old-store.sqlite"],
        input=answers,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])},
    )
    if done.returncode not in (0, 1, 3):
        raise SystemExit(done.stderr)
    return done.stdout


def main(folder: Path) -> None:
    """Make `folder` with the store, the baseline and the recorded figures."""
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("__pycache__", "*.sqlite", "*.json", "test_*"))
    sys.path.insert(0, str(folder))
    os.chdir(folder)
    for name in ORDER:
        withstand.run(f"specs/{name}.toml", store="old-store.sqlite", name=name).store.close()
        if name == "kitchen":
            command("gate", name, "--write-baseline", "baseline.json")
        if name == "people":
            command("label", name, "--by", "ana", answers="y\nn\nn\nq\n")
            command("label", "kitchen", "--by", "bo", "-n", "4", answers="y\nn\nu\nn\nq\n")
    command("export", "harmbench", "kitchen", "exported")
    command("import", "harmbench", "exported", "--name", "imported", "--suite", "kitchen")
    command("judge", "run", "imported", "--judge", "contains:Sure", "--name", "imported-judged")
    command("calibrate", "--judge", "kitchen", "--labels", "run:kitchen")
    command("judge", "probe", "kitchen")
    shutil.rmtree("exported")
    clean()
    command("bundle", "budget", "-o", "bundle.zip")
    runs = {run: figures_of(command("report", run, "--format", "json")) for run in listed_runs()}
    gates = {run: gate_of(command("gate", run, *GATE)) for run in ("kitchen", "transfer-baseline")}
    Path("figures.json").write_text(json.dumps({"runs": runs, "gates": gates}, indent=1, sort_keys=True) + "\n")
    with closing(sqlite3.connect("old-store.sqlite", isolation_level=None)) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store.execute("PRAGMA journal_mode=DELETE")
        store.execute("VACUUM")


def listed_runs() -> list[str]:
    """The names of the runs in the store."""
    return [run["run"] for run in json.loads(command("runs", "--json"))]


def figures_of(report: str) -> dict[str, Any]:
    """What of a report in JSON must not change: counts and rates, without intervals and the wording of notes."""
    summary = json.loads(report)
    cells = [{name: cell[name] for name in FIGURES} for cell in summary["cells"]]
    return {"state": summary["run"]["state"], "key": summary["run"]["key"], "cells": cells}


def gate_of(report: str) -> dict[str, Any]:
    """What of a gate's JSON must not change: what its lines counted. Intervals and verdicts may change."""
    return {"lines": [{name: line[name] for name in LINE} for line in json.loads(report)["lines"]]}


def clean() -> None:
    """Take out what the machine alone decides: its folders in tracebacks, its platform."""
    places = {str(Path(withstand.__file__).parents[1]): "site-packages", str(Path.cwd()): "work"}
    with closing(sqlite3.connect("old-store.sqlite", isolation_level=None)) as store:
        for place, name in places.items():
            store.execute("UPDATE failure SET trace = replace(trace, ?, ?)", (place, name))
        for key, value in store.execute("SELECT key, value FROM writer").fetchall():
            info = json.loads(value) | {"platform": "Linux"}
            store.execute("UPDATE writer SET value = ? WHERE key = ?", (json.dumps(info), key))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
