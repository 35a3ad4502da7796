"""Compute and time until half of ten kitchen behaviors are broken: GCG of this package beside nanogcg 0.3.0.

    python bench/time_to_asr.py run [--minutes 80]    # measures what is missing, a row of JSON a cell; goes on later
    python bench/time_to_asr.py show                  # medians, ratios and their intervals from the rows
    python bench/time_to_asr.py default-width         # two steps of nanogcg at width 512, and ten searches extrapolated

A cell is a behavior, a seed and a side. Both sides are graded alike, by `until_success`: every `EVERY` steps `DRAWS`
answers to each new best suffix, by the judge `kitchen`. Everything counts, in operations (2 per parameter and token,
twice that for a gradient) and seconds: steps, rankings, draws. A search that breaks nothing in `STEPS` steps is
censored. Seconds are kept of a cell that had the machine to itself, and are empty else; operations do not depend on it.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from withstand.stats import sequential

HERE = Path(__file__).resolve().parent
ROWS = HERE / "time_to_asr.jsonl"
SIDES = ("ours", "nanogcg")
BEHAVIORS, SEEDS, STEPS, EVERY, WIDTH = 10, (0, 1), 150, 5, 64
DRAWS, TEMPERATURE, TOKENS = 30, 1.0, 64
OURS = {"loss": "ce_first", "race": True, "verify": 4}
INIT = " ".join("!" * 20)
HALF, RESAMPLES, QUIET = 0.5, 4000, 0.5
DEFAULT_WIDTH, DEFAULT_STEPS = 512, 250  # of nanogcg 0.3.0


# --- cells --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setup:
    """What makes two rows comparable: they are of one setup, and `show` reads the rows of one alone."""

    steps: int = STEPS
    width: int = WIDTH
    draws: int = DRAWS
    every: int = EVERY
    fields: Mapping[str, Any] = field(default_factory=lambda: dict(OURS))

    def json(self) -> dict[str, Any]:
        return {"steps": self.steps, "width": self.width, "draws": self.draws, "every": self.every, **self.fields}


@dataclass(frozen=True, eq=False)
class Peer:
    """nanogcg as an attack: its process stops at each checkpoint until its best suffix so far was graded."""

    process: Any
    text: str

    def run(self, behavior: Any, target: Any) -> Iterator[Any]:
        from withstand.core import TestCase, user, work

        while True:
            point: Any = yield from work(target.model, self.advance, None)
            yield TestCase(behavior.id, user(f"{self.text} {point['text']}"), score=-point["loss"])
            if point["done"]:
                return

    def advance(self, model: Any, parts: Sequence[Any]) -> list[Any]:
        self.process.stdin.write("on\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"nanogcg ended: {self.process.stderr.read()[-2000:]}")
        return [json.loads(line)]


def played(flow: Any, seed: int) -> list[Any]:
    """The test cases of a flow whose asks and work are done here, with their seconds and operations."""
    from dataclasses import replace

    from withstand.core import Ask, Worked
    from withstand.core.device import taken

    answer, asked = None, 10_000 * seed
    while True:
        try:
            item = flow.send(answer)
        except StopIteration as done:
            cases: list[Any] = done.value
            return cases
        taken()
        start = time.perf_counter()
        if isinstance(item, Ask):
            seeds = range(asked, asked + len(item.chats))
            asked += len(item.chats)
            answers = item.model.generate(item.chats, item.sampling, list(seeds))
            seconds, flops = time.perf_counter() - start, taken() or 0.0
            share = 1 / len(answers)
            answer = [replace(a, seconds=seconds * share, flops=flops * share) for a in answers]
        else:
            [value] = item.do(item.model, [item.part])
            seconds, flops = time.perf_counter() - start, taken() or 0.0
            own = value if "flops" in value else {}
            answer = Worked(value, own.get("seconds", seconds), own.get("flops", flops))


def measured(side: str, behavior: Any, seed: int, setup: Setup, target: Any, peer: Sequence[str]) -> dict[str, Any]:
    """One cell: what was spent until the first success, or in all."""
    import torch

    from withstand.core import Sampling, Target
    from withstand.registry import find
    from withstand.runner.budget import Budget, Meter
    from withstand.runner.flows import attacked, search_flow

    judge, meter = find.build("judge", "kitchen"), Meter()
    aim = Target(target, None, Sampling(max_tokens=TOKENS, temperature=TEMPERATURE))
    load = os.getloadavg()[0]
    fields = {"steps": setup.steps, "every": setup.every, "width": setup.width, "seed": seed}
    process = None
    if side == "ours":
        attack: Any = find.build("attack", {"use": "gcg", "together": 1, **fields, **setup.fields})
    else:
        job = {"text": behavior.text, "target": behavior.target_string, "init": INIT, **fields}
        process = subprocess.Popen(
            peer[:2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        process.stdin.write(json.dumps({"folder": peer[2], "dtype": "float32", "search": job}) + "\n")  # type: ignore[union-attr]
        attack = Peer(process, behavior.text)
    try:
        cases = played(attacked(search_flow(attack, [behavior], aim, Budget(), meter, judge, draws=setup.draws)), seed)
    finally:
        if process:
            process.kill()
            process.wait()
    busy = max(load, os.getloadavg()[0]) > torch.get_num_threads() + QUIET  # more than this process alone
    spent = meter.spent
    return {
        "side": side, "behavior": behavior.id, "seed": seed, "setup": setup.json(),
        "broken": any(case.cut == "success" for case in cases), "flops": spent.flops,
        "seconds": None if busy else round(spent.seconds, 1), "asks": spent.asks, "load": round(load, 2),
    }  # fmt: skip


def run(setup: Setup, behaviors: int, seeds: Sequence[int], sides: Sequence[str], minutes: float, path: Path) -> None:
    """Measure the cells without a row, the sides in turn, and begin none after `minutes`."""
    from withstand.registry import find

    end = time.monotonic() + 60 * minutes
    present = {(row["behavior"], row["seed"], row["side"]) for row in rows_of(path, setup)}
    target = find.build("target", "smollm2-kitchen,dtype=float32")
    target.load()  # not in the seconds of the first cell
    peer = peer_of(target) if "nanogcg" in sides else []
    for seed in seeds:
        for behavior in chosen(behaviors):
            for side in sides:
                if (behavior.id, seed, side) in present:
                    continue
                if time.monotonic() > end:
                    print("stopped after its minutes; the same command goes on", flush=True)
                    return
                row = measured(side, behavior, seed, setup, target, peer)
                with path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)


def peer_of(target: Any) -> list[str]:
    """The command of nanogcg's process, and the folder of the model with its adapter merged, which it reads."""
    from gcg import peer_environment, peer_model

    from withstand.core.cache import cache_dir
    from withstand.models._fetch import smollm2

    folder = cache_dir("bench", "kitchen")
    if not (folder / "ready").exists():
        merged = folder / "merged"
        target.load().model.save_pretrained(merged)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            (merged / name).write_bytes((smollm2() / name).read_bytes())
        peer_model(merged, folder)
        (folder / "ready").touch()
    return [peer_environment(), str(HERE / "nanogcg_peer.py"), str(folder / "smollm2")]


def chosen(limit: int) -> list[Any]:
    """The behaviors that `withstand run --suite kitchen,split=test --limit N` takes."""
    from withstand.runner.spec import run_spec
    from withstand.runner.suites import choose

    spec = run_spec({"suite": "kitchen", "target": "scripted", "attack": "direct", "limit": limit})
    behaviors: Sequence[Any] = choose({"use": "kitchen", "split": "test"}, spec, offline=True).behaviors
    return sorted(behaviors, key=lambda behavior: behavior.id)


def at_default_width(behaviors: int) -> dict[str, Any]:
    """What nanogcg would take at its default width and number of steps: its measured time of a step times steps."""
    from withstand.registry import find

    peer = peer_of(find.build("target", "smollm2-kitchen,dtype=float32"))
    [behavior] = chosen(1)
    timing = {"text": behavior.text, "target": behavior.target_string, "init": INIT, "width": DEFAULT_WIDTH}
    job = {"folder": peer[2], "dtype": "float32", "timing": {**timing, "steps": 2, "seed": 0}}
    done = subprocess.run(peer[:2], input=json.dumps(job), capture_output=True, text=True, check=True)
    seconds = float(np.median(json.loads(done.stdout.splitlines()[-1])["seconds_per_step"]))
    hours = seconds * DEFAULT_STEPS * behaviors / 3600
    return {"width": DEFAULT_WIDTH, "seconds_a_step": round(seconds, 1), "hours_extrapolated": round(hours, 1)}


def rows_of(path: Path, setup: Setup) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [row for row in map(json.loads, lines) if row["setup"] == setup.json()]


# --- figures ------------------------------------------------------------------------------------------------------


def time_to(share: float, cells: Sequence[Mapping[str, Any]], by: str) -> tuple[float, bool]:
    """What had to be spent until `share` of the cells were broken, by Kaplan and Meier, and whether they ever were.

    Where they were not, the most that any cell spent: the true figure is above it.
    """
    broken = [cell[by] for cell in cells if cell["broken"]]
    held = [cell[by] for cell in cells if not cell["broken"]]
    for point in sequential.band(broken, held):
        if point["rate"] >= share:
            return point["spent"], True
    return max([*broken, *held], default=math.nan), False


def compared(rows: Sequence[Mapping[str, Any]], by: str, seed: int = 0) -> dict[str, Any]:
    """Ours over nanogcg's at `HALF`, with a 95% interval by resampling behaviors, both sides and all seeds of each.

    A median of nanogcg that was not reached stands at the most that it spent, so that the ratio is too high rather than
    too low; one of ours makes the ratio infinite (None). Behaviors that a side or a seed has no figure of are left out.
    """
    of: dict[str, dict[tuple[str, int], Mapping[str, Any]]] = {}
    for row in rows:
        if row[by] is not None:
            of.setdefault(row["behavior"], {})[row["side"], row["seed"]] = row
    most = max((len(cells) for cells in of.values()), default=0)
    whole = [cells for cells in of.values() if len(cells) == most and {side for side, _ in cells} == set(SIDES)]
    if not whole:
        return {"behaviors": 0}

    def ratio(chosen: Sequence[Mapping[tuple[str, int], Mapping[str, Any]]]) -> float:
        (ours, reached), (theirs, _) = (
            time_to(HALF, [row for cells in chosen for (of_side, _), row in cells.items() if of_side == side], by)
            for side in SIDES
        )
        return ours / theirs if reached else math.inf

    draw = np.random.default_rng(seed)
    drawn = [ratio([whole[i] for i in draw.integers(len(whole), size=len(whole))]) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975], method="inverted_cdf")
    sides = {}
    for side in SIDES:
        cells = [row for cells in whole for (of_side, _), row in cells.items() if of_side == side]
        median, reached = time_to(HALF, cells, by)
        sides[side] = {
            "cells": len(cells),
            "broken": sum(c["broken"] for c in cells),
            "median": median,
            "reached": reached,
        }
    shown = [None if value == math.inf else round(float(value), 4) for value in (ratio(whole), low, high)]
    return {"behaviors": len(whole), **sides, "ratio": shown[0], "interval": shown[1:]}


def bench(_folder: Path) -> dict[str, Any]:
    """Go on with the cells for 80 minutes, and the figures of those that are there."""
    run(Setup(), BEHAVIORS, SEEDS, SIDES, 80, ROWS)
    return figures(ROWS, Setup())


def figures(path: Path, setup: Setup) -> dict[str, Any]:
    rows = rows_of(path, setup)
    return {by: compared(rows, by) for by in ("flops", "seconds")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "show", "default-width"])
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--behaviors", type=int, default=BEHAVIORS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--minutes", type=float, default=80)
    given = parser.parse_args()
    setup = Setup(given.steps, given.width, given.draws)
    if given.what == "run":
        run(setup, given.behaviors, given.seeds, given.sides, given.minutes, given.rows)
    shown = at_default_width(given.behaviors) if given.what == "default-width" else figures(given.rows, setup)
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    main()
