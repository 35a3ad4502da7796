"""The inner attack of one R2D2 update beside the same steps through nanogcg 0.3.0, one behavior after another.

Ours is that of the preset `r2d2-desk`, on a model behind an adapter, in training: the behaviors of an update in one
pack, on a copy in bfloat16, and exact beside. The renewal of the copy counts, since each update needs it. Each job is a
process of its own. Called by bench.py; alone: `python bench/bench.py r2d2`.
"""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from gcg import HERE, median, peer_environment, peer_model, run

SEEDS = (0, 1)
MOST = 4
"""Of ours, times the steps of an update at most until its loss is as low as the peer's."""
EXACT = {"dtype": ""}


def bench(folder: Path) -> dict[str, Any]:
    """Ratios of processor time and of seconds, at equal steps and at equal loss."""
    try:
        import torch  # noqa: F401

        from withstand.models._fetch import smollm2
    except ImportError:
        return {"skipped": "needs the extra `local`"}
    from withstand.registry import find

    stage, python = find.build("stage", "r2d2-desk"), peer_environment()
    suite = find.build("suite", "kitchen,split=train")
    chosen = suite.load()[:: len(suite.load()) // stage.updated][: stage.updated]
    work = [(behavior.prompt(), suite.targets()[behavior.id][0]) for behavior in chosen]
    model = peer_model(smollm2(), folder)
    attack = stage.attack
    base = {"init": " ".join("!" * 20), "width": attack.width, "steps": attack.steps}
    rounds = []
    for seed in SEEDS:
        theirs = [
            run(
                [python, str(HERE / "nanogcg_peer.py")],
                {"folder": str(model), "dtype": "float32",
                 "timing": {**base, "seed": seed, "text": text, "target": target}},
            )
            for text, target in work
        ]  # fmt: skip
        bars = [peer["best_loss"] for peer in theirs]
        job = {"work": work, "seed": seed, "bars": bars}
        sides = {
            name: run([sys.executable, str(HERE / "r2d2.py")], {**job, "fields": fields})
            for name, fields in (("desk", {}), ("exact", EXACT))
        }
        rounds.append((theirs, sides))
    found: dict[str, Any] = {"behaviors": len(work), "steps": attack.steps, "width": attack.width}
    found["nanogcg"] = {
        "cpu_s": median([sum(peer["cpu_seconds"] for peer in theirs) for theirs, _ in rounds]),
        "s": median([sum(sum(peer["seconds_per_step"]) for peer in theirs) for theirs, _ in rounds]),
        "losses": [[round(peer["best_loss"], 3) for peer in theirs] for theirs, _ in rounds],
    }
    for name in ("desk", "exact"):
        found[name] = compared(found["nanogcg"], [sides[name] for _, sides in rounds], attack.steps)
    found["goal"] = "desk, at equal loss: ratio_cpu >= 3"
    return found


def compared(peer: dict[str, Any], rounds: list[dict[str, Any]], steps: int) -> dict[str, Any]:
    """Ours beside the peer's medians: after as many steps, and after as many as its losses took, None for never."""
    equal = [side["equal"] for side in rounds]
    result: dict[str, Any] = {"losses": [[round(loss, 3) for loss in side["losses"][steps - 1]] for side in rounds]}
    result["steps_to_equal_loss"] = equal
    for clock, unit in (("cpu", "cpu_s"), ("wall", "s")):
        after = median([side[clock][steps - 1] + side["read"][clock] for side in rounds])
        result[f"{unit}_at_equal_steps"], result[f"ratio_{clock}_at_equal_steps"] = after, peer[unit] / after
        if None not in equal:
            until = median([s[clock][n - 1] + s["read"][clock] for s, n in zip(rounds, equal, strict=True)])
            result[f"{unit}_at_equal_loss"], result[f"ratio_{clock}_at_equal_loss"] = until, peer[unit] / until
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in result.items()}


class Clock:
    """Cumulated processor time and seconds, written into a result at each `stop`."""

    def __init__(self, result: dict[str, Any]) -> None:
        self.result, self.cpu, self.wall = result, 0.0, 0.0
        self.go_on()

    def go_on(self) -> None:
        self.start = (time.process_time(), time.perf_counter())

    def stop(self) -> None:
        self.cpu += time.process_time() - self.start[0]
        self.wall += time.perf_counter() - self.start[1]
        self.result["cpu"].append(self.cpu)
        self.result["wall"].append(self.wall)


# --- one update of ours, from stdin ------------------------------------------------------------------------------


def searched(job: dict[str, Any]) -> dict[str, Any]:
    """Cumulated seconds and lowest losses after each step; `equal`: the step after which no loss is above its bar."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from withstand.attacks.gradient._search import Search
    from withstand.core import Behavior, to_json
    from withstand.engine.engine import engine_of
    from withstand.engine.text import make_prompt
    from withstand.models._fetch import smollm2
    from withstand.registry import find
    from withstand.training._view import View

    desk = find.build("stage", "r2d2-desk").attack
    most = MOST * desk.steps
    attack = replace(desk, **job["fields"], steps=most, seed=job["seed"])
    network = get_peft_model(AutoModelForCausalLM.from_pretrained(smollm2()), LoraConfig(target_modules="all-linear"))
    view = View(network, AutoTokenizer.from_pretrained(smollm2()))
    behaviors = [Behavior(f"b{i}", text, target_string=target) for i, (text, target) in enumerate(job["work"])]
    starts = [attack.begun_at(make_prompt(view, behavior, attack.init)[1]) for behavior in behaviors]
    parts = [{"behavior": to_json(b), "state": state} for b, state in zip(behaviors, starts, strict=True)]
    with view.searching():
        replace(attack, steps=1, width=4).advance(view, parts)  # copies and checks, once a training
    result: dict[str, Any] = {"cpu": [], "wall": [], "losses": [], "equal": None}
    clock = Clock(result)
    view.changed()
    with view.searching():
        pack = [Search.start(attack, view, part) for part in parts]
        while len(result["losses"]) < most and (result["equal"] is None or len(result["losses"]) < desk.steps):
            attack.step(pack)
            clock.stop()
            best = [(search.prompt, search.best, [search.best]) for search in pack]
            losses = [float(row) for row in engine_of(view).losses(best)]  # in the model's own precision
            result["losses"].append(losses)
            if result["equal"] is None and all(loss <= bar for loss, bar in zip(losses, job["bars"], strict=True)):
                result["equal"] = len(result["losses"])
            clock.go_on()
        for search in pack:  # once an update
            search.json()
        clock.stop()
    result["read"] = {name: result[name].pop() - result[name][-1] for name in ("cpu", "wall")}
    return result


if __name__ == "__main__":
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    print(json.dumps(searched(json.load(sys.stdin))))
