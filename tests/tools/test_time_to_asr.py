"""The figures of bench/time_to_asr.py, by hand."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "bench" / "time_to_asr.py"


@pytest.fixture(scope="module")
def bench() -> Any:
    spec = importlib.util.spec_from_file_location("time_to_asr", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.RESAMPLES = 100
    return module


def row(side: str, behavior: str, flops: float, broken: bool, seed: int = 0) -> dict[str, Any]:
    return {"side": side, "behavior": behavior, "seed": seed, "broken": broken, "flops": flops, "seconds": None}


def test_the_median_is_kaplan_and_meiers(bench: Any) -> None:
    """Broken at 1, 3 and 4, held at 2 and 5: 4/5 are left after 1, 4/5 * 2/3 = 0.53 after 3, 0.27 after 4."""
    cells = [row("ours", str(at), at, broken) for at, broken in ((1, 1), (2, 0), (3, 1), (4, 1), (5, 0))]
    assert bench.time_to(0.5, cells, "flops") == (4, True)
    assert bench.time_to(0.46, cells, "flops") == (3, True)
    assert bench.time_to(0.8, cells, "flops") == (5, False)  # never seen: above the most that was spent
    # leaving out the censored one would say 3 of four: the half would be reached at 3
    assert bench.time_to(0.5, [cell for cell in cells if cell["flops"] != 2], "flops") == (3, True)


def test_the_ratio_has_an_interval_over_behaviors_and_errs_to_the_high_side(bench: Any) -> None:
    def cells(ours: float, held: int) -> list[dict[str, Any]]:
        return [
            row(side, f"b{i}", (i + 1) * (ours if side == "ours" else 100.0), side == "ours" or i >= held, seed)
            for i in range(10)
            for seed in (0, 1)
            for side in bench.SIDES
        ]

    seen = bench.compared(cells(10.0, 0), "flops")
    assert (seen["behaviors"], seen["ratio"], seen["ours"]["cells"]) == (10, 0.1, 20)
    low, high = seen["interval"]
    assert low <= 0.1 <= high
    seen = bench.compared(cells(10.0, 10), "flops")  # nothing broken in at most 1,000: the true median is above
    assert (seen["nanogcg"]["reached"], seen["ratio"]) == (False, 50 / 1000)
    swapped = [{**cell, "side": {"ours": "nanogcg", "nanogcg": "ours"}[cell["side"]]} for cell in cells(10.0, 10)]
    assert bench.compared(swapped, "flops")["ratio"] is None
    assert bench.compared(cells(10.0, 0), "seconds") == {"behaviors": 0}
    assert bench.compared([*cells(10.0, 0), row("ours", "alone", 1, True)], "flops")["behaviors"] == 10
