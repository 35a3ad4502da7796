"""How the user's budget of false alarms is spent: so many a day, divided among rules, series and windows.

The expected number of false alarms is the sum of the chances of all tests, whatever depends on what. So each rule
gets a share of the day's budget, and each of its tests on that day an equal part of that. Which series are tested on a
day is known before the day. A rate of false discoveries (online FDR) would not do: it allows more false alarms where
there are more true ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from withstand.monitor.settings import Alarms

SHARES: Mapping[str, float] = {"burst": 0.02, "spike": 0.04, "day": 0.08, "rise": 0.25, "mix": 0.02, "text": 0.02}
"""Rule -> its part of the budget. The rest is a reserve: tails are estimated, and in simulated traffic without
incidents two rules alarmed up to four times as often as they should (bench/monitor_alerts.py)."""
VERSION = 1
"""Of all rules; it is raised with any change to what they alarm at."""
TITLES: Mapping[str, str] = {
    "burst": "many in a quarter of an hour", "spike": "many in an hour", "day": "many in 24 hours",
    "rise": "a slow rise over days", "mix": "another mix of categories", "text": "other texts than before",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Budget:
    """daily: expected false alarms a day, of all budgeted rules together."""

    daily: float

    def alpha(self, rule: str, tests: float) -> float:
        """The chance of a false alarm in each of so many tests a day."""
        return SHARES[rule] * self.daily / max(tests, 1e-9)


def budget_of(alarms: Alarms) -> Budget:
    """What a monitor's settings say."""
    return Budget(alarms.false_alarms / alarms.days)
