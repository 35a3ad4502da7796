"""ASR@k of searches whose checkpoints are graded by many draws."""

from collections import defaultdict
from typing import Any

import pytest

import withstand
from withstand.results.cell_builder import CellCounts, cell_result
from withstand.results.counts import BehaviorCounts


def behavior(asks: int, outcome: str) -> BehaviorCounts:
    counts = BehaviorCounts()
    counts.asks, counts.test_cases, counts.cases, counts.decided = asks, 1, 1, 1
    counts.counts[outcome] = 1
    return counts


def test_the_k_of_a_search_is_what_it_asked(tmp_path: Any) -> None:
    """Broken at 3 and 8, held when it ended at 5, unscored at 9: 1/3 by 5 asks, and 1 by 8, where one was left."""
    spec = {"suite": "kitchen", "limit": 4, "target": "scripted,reply=No.", "attack": "direct", "benign": "none"}
    warm = {"sampling": {"temperature": 1.0}, "until_success": True}
    run = withstand.run({**spec, **warm, "draws": 3}, store=tmp_path / "s.db")
    [cell] = run.cells
    assert (cell["asks"], cell["asr_at_k"]) == (4 * 4, {"1": 0.0, "2": 0.0, "4": 0.0})  # three draws, and the run's own
    planned, suite = run.row.plan["cells"][0], run.row.plan["suites"][0]
    behaviors = {
        0: behavior(3, "success"),
        1: behavior(5, "failure"),
        2: behavior(8, "success"),
        3: behavior(9, "unscored"),
    }
    sums: Any = defaultdict(int)
    counts = CellCounts(0, planned, suite, behaviors, sums, 0, [""] * 4, None)
    result = cell_result(counts)
    assert result.asr_at_k == pytest.approx({"1": 0, "2": 0, "5": 1 / 3, "8": 1})
    assert result.asr_at_k_interval is not None
    assert all(low <= result.asr_at_k[k] <= high for k, (low, high) in result.asr_at_k_interval.items())
    assert any("ASR@k counts all asks" in note for note in result.notes)
    [one] = withstand.run({**spec, **warm}, store=tmp_path / "s.db").cells
    assert one["asr_at_k"] is None
