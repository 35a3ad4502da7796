"""Attacks led by an attacker model: asks of 20 behaviors pooled, beside the same run one behavior after another.

Called by bench.py. Both sides ask the same: the same models, attacks and behaviors, only test cases, no final answers.
"""

import time
from pathlib import Path
from typing import Any

from withstand import api
from withstand.runner.begin import begin, planned
from withstand.runner.spec import run_spec
from withstand.runner.stages import Running, make_test_cases

BEHAVIORS = 20
PAIR = {"use": "pair", "streams": 1, "steps": 3, "judge": "kitchen", "tries": 1}
WIDE = PAIR | {"streams": 30}  # the paper's: one behavior fills half of the connections by itself
TAP = {"use": "tap", "depth": 3, "width": 2, "branching": 2, "judge": "kitchen", "tries": 1}
DRAFT = {
    "use": "scripted",
    "reply": '{"improvement": "more", "prompt": "Draft {n}"}',
    "width": 1,
    "lanes": 64,
    "seconds": 0.1,
}


def bench(folder: Path) -> dict[str, Any]:
    """Seconds for the test cases of PAIR and TAP on an API of 64 connections that takes 0.1 s.

    What pooling gains on a local model is `decode`'s to measure.
    """
    found: dict[str, Any] = {}
    for attack in (PAIR, TAP, WIDE):
        spec = {"target": DRAFT | {"reply": "I can't {n}."}, "attack": attack | {"attacker": DRAFT}}
        seconds(spec | {"limit": 1}, folder / f"warm-{len(found)}.db")
        pooled = seconds(spec | {"limit": BEHAVIORS}, folder / f"pooled-{len(found)}.db")
        one = sum(seconds(spec | {"ids": [behavior]}, folder / f"one-{len(found)}.db") for behavior in behaviors())
        name = f"{attack['use']} of {attack['streams']} streams" if "streams" in attack else attack["use"]
        found[name] = {"pooled_s": round(pooled, 2), "one_at_a_time_s": round(one, 2), "ratio": round(one / pooled, 1)}
    return found | {"goal": "pooled >= 8x one at a time"}


def behaviors() -> list[str]:
    spec = run_spec({"suite": SUITE, "target": "scripted", "attack": "direct", "limit": BEHAVIORS, "benign": "none"})
    return [behavior.id for behavior in planned(spec, None).suites[0].behaviors]


SUITE = {"use": "kitchen", "split": "test"}


def seconds(spec: dict[str, Any], store: Path) -> float:
    """Of the stage that makes test cases."""
    with api.open_store(store) as opened:
        plan, row = begin(run_spec({"suite": SUITE, "benign": "none", **spec}), opened)
        start = time.perf_counter()
        make_test_cases(Running(plan, opened, row))
        return time.perf_counter() - start
