"""Likelihoods of all 1,465 pieces of SafeText's advice on `smollm2`, in one batch against one at a time; see bench.py.

The data is the user's copy: `WITHSTAND_SAFETEXT`, or shared/data/safetext beside the checkout.
"""

import os
import statistics
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PLACES = (os.environ.get("WITHSTAND_SAFETEXT", ""), ROOT / "shared/data/safetext", ROOT.parent / "shared/data/safetext")
ALONE = 40
"""Pieces of advice that are scored one at a time, three times."""


def bench(_folder: Path) -> dict[str, Any]:
    """Wall and CPU seconds of all, and the ratio of the rates; the pieces that are scored alone are spread evenly."""
    try:
        import torch
    except ImportError:
        return {"skipped": "needs the extra `local`"}
    from withstand.attacks.templated.likelihood import Likelihood
    from withstand.data.safetext import NAME, SafeText
    from withstand.registry import find

    copy = next((str(place) for place in PLACES if place and (Path(place) / NAME).is_file()), "")
    if not copy:
        return {"skipped": f"needs {NAME}: set WITHSTAND_SAFETEXT to its folder"}
    advice: dict[str, list[str]] = {}
    for harmless in (False, True):
        for behavior in SafeText(copy, harmless=harmless).load():
            advice.setdefault(behavior.context, []).append(behavior.target_string)
    parts = [{"scenario": scenario, "advice": texts} for scenario, texts in advice.items()]
    single = [{"scenario": scenario, "advice": [text]} for scenario, texts in advice.items() for text in texts]
    model, attack = find.build("target", "smollm2"), Likelihood()
    attack.scores(model, parts[:2])  # warm
    few, rates, worst = single[:: len(single) // ALONE][:ALONE], [], 0.0
    start, cpu = time.perf_counter(), time.process_time()
    batched = [value for values in attack.scores(model, parts) for value in values]
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    for _ in range(3):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        alone = [attack.scores(model, [part])[0][0] for part in few]
        rates.append((len(few) / (time.perf_counter() - begin), len(few) / (time.process_time() - begin_cpu)))
        batch = batched[:: len(single) // ALONE][:ALONE]
        worst = max(worst, *(abs(a - b) for a, b in zip(alone, batch, strict=True)))
    one, one_cpu = (statistics.median(column) for column in zip(*rates, strict=True))
    return {
        "scorings": len(single),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "per_second": round(len(single) / seconds, 1),
        "one_at_a_time_per_second": round(one, 1),
        "ratio": round(len(single) / seconds / one, 2),
        "ratio_by_cpu_seconds": round(len(single) / cpu / one_cpu, 2),
        "largest_difference_nats_per_token": float(f"{worst:.1g}"),
        "threads": torch.get_num_threads(),
        "goal": "under 120 s on two cores; ratio >= 2.5",
    }
