"""The policy's own rules: `alert = { min_count, window, rate_multiplier }` of a category, as its owner wrote them.

A rule fires in a window of its series with `min_count` flags or more that are also `rate_multiplier` times what is
usual, where that is known; a category without a past is judged by `min_count` alone. Windows are aligned to UTC. These
rules keep no budget: what they would fire at on usual traffic is said beside them.
"""

from dataclasses import dataclass

import numpy as np

from withstand.monitor.alerts.detect import LOOKED, Alarm, expected_on
from withstand.monitor.section import Context
from withstand.monitor.series.panel import Name, Panel
from withstand.redteam.dates import DAY, HOUR, length_of
from withstand.redteam.policy.records import Alert as Limit
from withstand.stats.counts import rate_ratio, tail
from withstand.stats.special import Floats

RULE = "policy"
MONTH = 30


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A category's rule on one series. implied: firings in `MONTH` days on usual traffic, by its forecast; None where
    nothing is known to be usual.   alarms: where it fired."""

    series: Name
    limit: Limit
    implied: float | None
    alarms: tuple[Alarm, ...]

    @property
    def text(self) -> str:
        times = f", {self.limit.rate_multiplier:g} times usual" if self.limit.rate_multiplier else ""
        return f"{self.limit.min_count} in {self.limit.window}{times}"


def policy_rules(context: Context, panel: Panel) -> list[PolicyRule]:
    """Each rule of the policy on each series of its category."""
    usual: tuple[Floats, Floats] | None = None
    listed = []
    for at, name in enumerate(panel.names):
        category = context.policy.categories.get(name.category)
        if category is None or category.alert is None:
            continue
        usual = usual or usual_hours(panel)
        limit = category.alert
        length = length_of(limit.window)
        assert length is not None, limit.window  # the policy's reader has checked it
        starts, counts = _windows(context, panel, at, length)
        judged = starts >= panel.at(max(0, panel.days - LOOKED))
        starts, counts = starts[judged], counts[judged]
        means, spreads = _usual(panel, usual[0][:, :, at], usual[1][:, :, at], starts, length)
        need = np.maximum(limit.min_count, np.where(np.isfinite(means), np.ceil(limit.rate_multiplier * means), 0))
        fired = np.stack([starts, counts, means, spreads], axis=1)[counts >= need]
        alarms = tuple(_alarm(panel, name, figures.tolist(), length, limit) for figures in fired)
        listed.append(PolicyRule(name, limit, _implied(starts, length, means, spreads, need, panel.now), alarms))
    return listed


def usual_hours(panel: Panel) -> tuple[Floats, Floats]:
    """Of each hour what is usual and its spread, days x 24 x series; NaN where nothing is known."""
    means, spreads = (np.full(panel.hours.shape, np.nan) for _ in range(2))
    for day in range(max(0, panel.days - LOOKED), panel.days):
        tested, usual = expected_on(panel, panel.hours, panel.weights, day)
        if usual is not None:
            means[day][:, tested], spreads[day][:, tested] = usual.mean, usual.spread
    return means, spreads


def _windows(context: Context, panel: Panel, at: int, length: int) -> tuple[Floats, Floats]:
    """Starts of the windows with a flag, and how many."""
    if length % HOUR == 0:
        flags: Floats = panel.hours[:, :, at].ravel()
        starts = (panel.first * DAY + np.arange(len(flags)) * HOUR) // length * length
        places, inverse = np.unique(starts, return_inverse=True)
        counts = np.bincount(inverse, flags)
        return places[counts > 0].astype(np.float64), counts[counts > 0].astype(np.float64)
    name = panel.names[at]
    rows = context.traffic.rows(
        """SELECT floor(ts / $1) * $1 AS start, count(*) FROM label JOIN exchange USING (seq)
        WHERE flagged AND chosen <> 'audit' AND category = $2 AND side = $3 AND labeler = $4 AND version = $5
            AND ts >= $6 AND ts <= $7 GROUP BY ALL ORDER BY start""",
        [length, name.category, name.side, name.labeler, name.version, panel.first * DAY, panel.now],
    )
    table: Floats = np.array(rows, float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _usual(panel: Panel, means: Floats, spreads: Floats, starts: Floats, length: int) -> tuple[Floats, Floats]:
    """What is usual in windows, and its spread: of whole hours added up, or of a part of one."""
    flat, spread = means.ravel(), spreads.ravel()
    first = ((starts - panel.first * DAY) // HOUR).astype(int)
    size = max(1, length // HOUR)
    places = np.clip(first[:, None] + np.arange(size), 0, len(flat) - 1)
    return flat[places].sum(axis=1) * min(1.0, length / HOUR), spread[places].mean(axis=1)


def _implied(
    starts: Floats, length: int, means: Floats, spreads: Floats, need: Floats, now: float
) -> float | None:  # fmt: skip
    """Firings in a month: the tails of the windows of the last four weeks, with the hours' spread (an upper end)."""
    recent = (starts >= now - 28 * DAY) & np.isfinite(means)
    if not recent.any():
        return None
    chances = tail(need[recent], means[recent], spreads[recent])
    return float(chances.mean()) * MONTH * DAY / length


def _alarm(panel: Panel, name: Name, figures: list[float], length: int, limit: Limit) -> Alarm:
    start, count, mean, spread = figures
    has_past = bool(np.isfinite(mean))
    times, low, high = rate_ratio(count, mean, spread) if has_past else (None, None, None)
    detail = f"at least {limit.min_count} in {limit.window}"
    if limit.rate_multiplier:
        detail += f" and {limit.rate_multiplier:g} times what is usual" + ("" if has_past else ", which is unknown")
    window = (start, start + length, min(start + length, panel.now), count, mean if has_past else None)
    return Alarm(RULE, name, *window, times, low, high, None, None, detail)
