"""A small share of bench/monitor_alerts.py: false alarms within the budget, and what is planted is seen in time."""

import sys
from pathlib import Path

import numpy as np
import pytest

from withstand.monitor.alerts.budget import SHARES, Budget
from withstand.monitor.alerts.records import gather

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import monitor_alerts as bench


def test_shares_leave_a_reserve_and_tests_divide_them():
    assert sum(SHARES.values()) < 0.6
    budget = Budget(1 / 30)
    assert 24 * 9 * budget.alpha("spike", 24 * 9) == pytest.approx(SHARES["spike"] / 30)


def test_null_days_and_planted_ones():
    rng = np.random.default_rng(0)
    counts = bench.quarters(74, np.array([0.3, 1.0, 3.0, 30.0, 300.0]), rng, **bench.REGIMES["autocorrelated"])
    alarms = bench.alarms_of(bench.panel_of(counts, np.full(74, np.nan)))
    assert len(gather(alarms, "bench", "1")) <= 2  # 60 days bear two
    shown = bench.planted(3, 1, events=300, hours=5, rate=1.0, wanted=1)
    assert shown["seen_in_time"] == shown["planted"] == 8
