"""The budgeted rules on counts: what is unusual in a quarter of an hour, an hour, 24 hours, or slowly over days.

Each day is judged by the days before it alone, as it would have been then, so that a run over old logs and a monitor
that follows raise the same alarms. A count so far is judged as if its window were over: it can only grow, so that an
alarm comes as early as it can and costs no budget. Pure functions on a panel; the simulation runs this code.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from withstand.monitor.alerts.budget import Budget
from withstand.monitor.series.panel import QUARTER, Name, Panel
from withstand.redteam.dates import DAY, HOUR
from withstand.stats.counts import FEWEST_DAYS, Forecast, forecast, rate_ratio, usual_level
from withstand.stats.special import Floats, t_tail

PAST = 56
"""Days before a day that say what is usual on it."""
SHORT = 21
"""The same for quarters of an hour, whose exchanges retention deletes. What it has left of an older day's past would be
less with every run, and each would be another test of the same window: so a day is judged with all of them or not."""
LOOKED = 100
"""Days before the end that a run judges. What was unusual before is in the store, if a run has seen it."""
LEAST = 5
"""Events without which a window is no alarm, however rare they were (reference: "and count >= 5")."""
STEP = 6
"""Windows of 24 hours begin every so many hours."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A window in which a series was above what is usual. start, end, at: seconds; at: when it was clear.

    observed, expected: events in the window (of tokens: of an account on a day).   times, low, high: observed over
    expected with its 95% interval.   p: of the window, or for `rise` the rate of its false alarms a day.   None is not
    known.
    """

    rule: str
    series: Name
    start: float
    end: float
    at: float
    observed: float
    expected: float | None
    times: float | None
    low: float | None
    high: float | None
    p: float | None
    alpha: float | None
    detail: str = ""


def windows(panel: Panel, budget: Budget, looked: int = LOOKED) -> list[Alarm]:
    """The alarms of `burst`, `spike` and `day` in the last `looked` days, in the order of their rules and times."""
    weights, from_day = panel.weights, panel.first_quarter
    listed: list[Alarm] = []
    if panel.quarters is not None:
        part = replace(
            panel, first=panel.first + from_day, hours=panel.hours[from_day:], alive=panel.alive[from_day:],
            sees=panel.sees[from_day:], tokens=panel.tokens[from_day:], first_quarter=0, struck=None,
        )  # fmt: skip
        quarterly = np.repeat(weights[from_day:], 4, axis=1)
        begin = max(part.days - looked, SHORT if from_day else FEWEST_DAYS)
        listed += _rule("burst", part, begin, panel.quarters, quarterly, budget, QUARTER, 0)
    begin = max(FEWEST_DAYS, panel.days - looked)
    listed += _rule("spike", panel, begin, panel.hours, weights, budget, HOUR, 0, _quarter_of(panel))
    flat, days = panel.hours.reshape(panel.days * 24, -1), panel.days
    for offset in range(STEP, 25, STEP):  # the window that ends at this hour of the day
        shifted = np.vstack([np.zeros((24 - offset, flat.shape[1])), flat])[: days * 24].reshape(days, 24, -1)
        weight = panel.whole_days.astype(float)
        if offset < 24:
            weight[1:] *= weight[:-1]
            weight[0] = 0
        sums = shifted.sum(axis=1, keepdims=True)
        parts, after = _hour_of(shifted), (offset - 24) * HOUR
        listed += _rule("day", panel, begin, sums, weight[:, None], budget, DAY, after, parts, 24 // STEP, 1)
    return listed


def _rule(
    rule: str, panel: Panel, begin: int, counts: Floats, weights: Floats, budget: Budget, length: int, after: int,
    parts: Callable[[int, int, int], Floats] | None = None, times: int = 0, beside: int = 0,
) -> Iterator[Alarm]:  # fmt: skip
    """The alarms of a rule on counts by slot of the day. begin: first day that is judged.   length: of a slot, and
    after: seconds from midnight to the first one.

    parts: day, slot, series -> counts within a window, added up, by which it is seen when it was clear.   times: tests
    of a series a day, where they are not the slots.   beside: series that are tested elsewhere.
    """
    for day in range(begin, panel.days):
        tested, usual = expected_on(panel, counts, weights, day, SHORT if rule == "burst" else PAST)
        if usual is None:
            continue
        p = usual.p(counts[day][:, tested])
        alpha = budget.alpha(rule, (len(tested) + beside) * (times or counts.shape[1]))
        for slot, place in zip(*np.nonzero((p <= alpha) & (counts[day][:, tested] >= LEAST)), strict=True):
            series = tested[place]
            mean, spread = usual.mean[slot, place], float(usual.spread[slot, place])
            start = panel.at(day, float(after + slot * length))
            clear: float = start + length
            if parts is not None:
                so_far = parts(day, slot, series)
                single = replace(
                    usual, mean=mean, dispersion=usual.dispersion[slot, place], error=usual.error[slot, place],
                    df=usual.df[place],
                )  # fmt: skip
                enough = (single.p(so_far) <= alpha) & (so_far >= LEAST)
                clear = start + (int(np.argmax(enough)) + 1) * length / len(so_far)
            observed = float(counts[day, slot, series])
            yield Alarm(
                rule, panel.names[series], start, start + length, min(clear, panel.now), observed, float(mean),
                *rate_ratio(observed, float(mean), spread), float(p[slot, place]), alpha,
            )  # fmt: skip


def expected_on(
    panel: Panel, counts: Floats, weights: Floats, day: int, days: int = PAST
) -> tuple[list[int], Forecast | None]:
    """The series that have a past of two weeks on a day, and what is usual for them on it."""
    past = slice(max(0, day - days), day)
    enough = (weights[past].max(axis=1) > 0).sum(axis=0) >= FEWEST_DAYS
    tested = [int(at) for at in np.flatnonzero(enough & panel.alive[day])]
    if not tested:
        return tested, None
    weekday = panel.weekday
    return tested, forecast(counts[past][:, :, tested], weekday[past], int(weekday[day]), weights[past][:, :, tested])


def _quarter_of(panel: Panel) -> Callable[[int, int, int], Floats] | None:
    quarters, first = panel.quarters, panel.first_quarter
    if quarters is None:
        return None

    def parts(day: int, slot: int, series: int) -> Floats:
        if day < first:
            return np.asarray(panel.hours[day, slot : slot + 1, series])
        return np.asarray(quarters[day - first, 4 * slot : 4 * slot + 4, series].cumsum())

    return parts


def _hour_of(shifted: Floats) -> Callable[[int, int, int], Floats]:
    return lambda day, _, series: np.asarray(shifted[day, :, series].cumsum())


def token_alarms(panel: Panel, budget: Budget) -> list[Alarm]:
    """Days on which an account used far more tokens than usual, on average: one of the `day` tests."""
    listed = []
    for day in range(FEWEST_DAYS, panel.over):
        usual = usual_level(np.log(panel.tokens[max(0, day - PAST) : day]), panel.weekday[max(0, day - PAST) : day],
                            int(panel.weekday[day]))  # fmt: skip
        value = float(panel.tokens[day])
        if usual is None or not np.isfinite(value):
            continue
        mean, deviation, df = usual
        p = float(t_tail((np.log(value) - mean) / max(deviation, 1e-9), df))
        alpha = budget.alpha("day", len(panel.names) + 1)
        if p <= alpha:
            reach = float(np.exp(NormalDist().inv_cdf(0.975) * deviation))
            times, end = value / float(np.exp(mean)), panel.at(day + 1)
            interval = (times, times / reach, times * reach)
            window = (panel.at(day), end, end, value, float(np.exp(mean)))
            listed.append(Alarm("day", Name("tokens"), *window, *interval, p, alpha))
    return listed
