"""The section "is it getting worse": series by day against what is usual, marked where counts do not compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from withstand.core import Json
from withstand.core.text import count, decimals, percent
from withstand.monitor.alerts import records
from withstand.monitor.alerts.budget import budget_of
from withstand.monitor.alerts.rise import Scores, daily_scores, rises, whitened
from withstand.monitor.alerts.section import figure, when
from withstand.monitor.alerts.watch import without_incidents
from withstand.monitor.section import Chart, Context, Line, Mark, Section, State
from withstand.monitor.series.panel import Name, Panel, marks, read_panel, silent
from withstand.redteam.dates import DAY
from withstand.report.table import Column, Table
from withstand.stats import cusum
from withstand.stats.counts import rate_ratio

QUESTION = "Is it getting worse?"
WEEK = 7
RECENT = 14
"""Days for which a rise is still named."""
LIMIT = 3.0
"""Standard deviations of an EWMA from which a level is noted (reference: lambda 0.2, L 3)."""
CHARTS = 8


@dataclass(frozen=True, slots=True)
class Trend:
    """How a series went in the last week. value, usual: a day, on average, per usual volume where it is flags.

    level: of its EWMA, in standard deviations of it; None: no past.   risen: since when, where that was clear in the
    last two weeks.   since: first day of its version.   state: in a word.
    """

    name: Name
    value: float | None
    usual: float | None
    times: tuple[float, float, float] | None
    level: float | None
    risen: float | None
    since: float
    state: str


def section(context: Context) -> Section:
    """Which series have risen, within the budget of false alarms, and which are out of their usual range."""
    panel = read_panel(context)
    if panel is None:
        return Section("trend", QUESTION, "Unknown: there is no traffic.", "unknown")
    panel = without_incidents(panel, records.alerts(context.store, context.settings.keeping.name))
    scores = daily_scores(panel)
    risen = {
        alarm.series: (alarm.start, alarm.at) for alarm in rises(panel, budget_of(context.settings.alarms), scores)
    }
    trends = [trend for at in range(len(scores.names)) if (trend := _trend(panel, scores, at, risen)) is not None]
    rising = [trend for trend in trends if trend.risen is not None]
    odd = {word: [trend for trend in trends if trend.state == word] for word in ("above usual", "below usual")}
    dumb, high = silent(panel), often(panel, context.settings.accounts.rate)
    past = [trend for trend in trends if trend.level is not None]
    noted = [*odd["above usual"], *odd["below usual"], *dumb, *high]
    whole = len(past) == len(trends) and any(trend.name.kind == "category" for trend in past)
    state: State = "alarm" if rising else "note" if noted else "calm" if whole else "unknown"
    advice = tuple(
        f"{trend.name.title}: read flagged exchanges since {when(trend.risen)[:10]}; compare them with those before"
        for trend in rising
    ) + tuple(f"{name.title}: see why it labels nothing since {when(since)[:10]}" for name, since in dumb)
    if odd["below usual"]:
        advice += ("Below usual: see that the log is whole and the labeler works, before you take it for good news",)
    return Section(
        "trend",
        QUESTION,
        _answer(trends, rising, odd, past) + _unasked(dumb, high),
        state,
        [_table(trends)],
        _charts(context, panel, scores),
        advice,
        [_json(trend) for trend in trends],
    )


def _trend(panel: Panel, scores: Scores, at: int, risen: dict[Name, tuple[float, float]]) -> Trend | None:
    """None for a series that has ended, or that never was."""
    name, last = scores.names[at], panel.over - 1
    there = np.isfinite(panel.tokens) if name.kind == "tokens" else panel.alive[:, at]
    if last < 0 or not there[last]:
        return None
    since = panel.at(int(np.flatnonzero(there)[0]))
    score = scores.score[: last + 1, at]
    days = np.flatnonzero(np.isfinite(score[-WEEK:])) + max(0, last + 1 - WEEK)
    if not len(days):
        return Trend(name, None, None, None, None, None, since, "unknown: no past of two weeks")
    begun, clear = risen.get(name, (None, None))
    if clear is not None and clear <= panel.at(last + 1) - RECENT * DAY:
        begun = None
    path, deviation = cusum.ewma(whitened(scores.score)[: last + 1, at][np.isfinite(score)])
    level = float(path[-1] / deviation[-1])
    value, usual = float(scores.value[days, at].mean()), float(scores.usual[days, at].mean())
    spread = float(scores.spread[days, at].mean())
    error = spread / len(days) + spread / float(scores.past[days, at].mean())
    events = value * len(days)
    times = rate_ratio(events, usual * len(days), error) if name.kind != "tokens" else None
    word = "above usual" if level > LIMIT else "below usual" if level < -LIMIT else "as usual"
    return Trend(name, value, usual, times, level, begun, since, "rising" if begun is not None else word)


def often(panel: Panel, borne: float) -> list[tuple[Name, float]]:
    """Series whose flags are a larger share of the last week's exchanges than is borne of one account: what was there
    from the beginning never rises."""
    week = panel.hours[max(0, panel.over - WEEK) : panel.over].sum(axis=(0, 1))
    volume = max(1.0, float(week[panel.names.index(Name("volume"))]))
    shares = [float(flags) / volume for flags in week]
    return [
        (name, share)
        for name, share in zip(panel.names, shares, strict=True)
        if name.kind == "category" and share > borne
    ]


def _unasked(dumb: Sequence[tuple[Name, float]], high: Sequence[tuple[Name, float]]) -> str:
    """What no comparison with the past can show."""
    text = ""
    if dumb:
        listed = ", ".join(f"{name.title} since {when(since)[:10]}" for name, since in dumb[:3])
        text += f" Unknown is {listed}: it labels nothing, which is no calm."
    if high:
        listed = ", ".join(f"{name.title} {percent(share)}" for name, share in high[:3])
        text += f" Much is flagged, also where it is usual: {listed} of the last week's exchanges."
    return text


def _answer(
    trends: Sequence[Trend], rising: Sequence[Trend], odd: Mapping[str, Sequence[Trend]], past: Sequence[Trend]
) -> str:
    if not past:
        return "Unknown: no series has a past of two weeks yet."
    text = f"{len(rising)} of {len(past)} series with a past of two weeks rise, within the budget of false alarms"
    for trend in rising[:3]:
        text += f"; {trend.name.title} since {when(trend.risen)[:10]}"
        if trend.times:
            text += (
                f", {trend.times[0]:.2f} times usual ({trend.times[1]:.2f} to {trend.times[2]:.2f}) in the last week"
            )
    text += "."
    for word, listed in odd.items():
        if listed:
            text += (
                f" {word.split()[0].title()} their usual range: {', '.join(trend.name.title for trend in listed[:3])}."
            )
    if not any(trend.name.kind == "category" for trend in trends):
        text += " Unknown is what screeners would flag: none has labeled the last day."
    if len(past) < len(trends):
        text += f" Unknown for {count(len(trends) - len(past), 'series', 'series')} with a past under two weeks."
    return text + " Flags are the screeners' word: prevalence says what they are worth."


def _table(trends: Sequence[Trend]) -> Table:
    columns = [
        Column("series"), Column("version"), Column("a day, last week", figure, right=True),
        Column("usual", figure, right=True), Column("times usual (95%)", _times, right=True),
        Column("EWMA", decimals(1), unit="deviations", right=True), Column("state"),
    ]  # fmt: skip
    rows = [
        (trend.name.title, trend.name.version, (trend.value,), (trend.usual,), trend.times or (None, None, None),
         trend.level, trend.state)
        for trend in trends
    ]  # fmt: skip
    note = (
        "Flags and refusals are per usual volume of exchanges, so that growth of the service is no rise. Rising: a"
        " CUSUM over its limit, which keeps the budget. Above or below usual: an EWMA beyond 3 deviations, which does"
        " not."
    )
    return Table(columns, rows, "The last week against what is usual", note)


def _times(value: float | None, low: float | None, high: float | None) -> str:
    return "" if value is None else f"{value:.2f} ({low:.2f} to {high:.2f})"


def _charts(context: Context, panel: Panel, scores: Scores) -> list[Chart]:
    """One chart for each category, with the series of all its labelers and versions, then the others."""
    annotated = marks(panel)
    alerts = [alert for alert in records.alerts(context.store, context.settings.keeping.name) if alert.state != "false"]
    groups: dict[tuple[str, str], list[int]] = {}
    for at, name in enumerate(scores.names):
        groups.setdefault((name.kind, name.category), []).append(at)
    charts = []
    for (kind, category), places in groups.items():
        lines = [line for at in places if (line := _line(panel, scores, at)) is not None]
        usual = [line for at in places if (line := _usual(panel, scores, at)) is not None]
        own = [
            mark
            for mark in annotated
            if any(name in mark.text for name in {scores.names[at].labeler for at in places} if name)
        ]
        own += [
            Mark(alert.at, f"alert {alert.id} ({alert.rule})")
            for alert in alerts if (alert.series.kind, alert.series.category) == (kind, category)
        ]  # fmt: skip
        if lines:
            title = f"{category}, flags a day" if kind == "category" else f"{scores.names[places[0]].title} a day"
            charts.append(Chart(title, [*lines, *usual], marks=sorted(own, key=lambda mark: (mark.ts, mark.text))))
    return charts[:CHARTS]


def _line(panel: Panel, scores: Scores, at: int) -> Line | None:
    name = scores.names[at]
    counts = panel.tokens if name.kind == "tokens" else panel.hours[:, :, at].sum(axis=1)
    there = np.isfinite(panel.tokens) if name.kind == "tokens" else panel.alive[:, at]
    days = [day for day in range(panel.over) if there[day]]
    if not days:
        return None
    label = f"{name.side} ({name.labeler} {name.version.partition(',')[0]})" if name.labeler else name.title
    return Line(label, [(panel.at(day), float(counts[day])) for day in days])


def _usual(panel: Panel, scores: Scores, at: int) -> Line | None:
    """What was usual for the volume of each day, with the range of 95% of days."""
    days = np.flatnonzero(np.isfinite(scores.score[:, at]))
    if not len(days):
        return None
    name = scores.names[at]
    counts = panel.tokens if name.kind == "tokens" else panel.hours[:, :, at].sum(axis=1)
    value = scores.value[days, at]
    scale = np.where(value > 0, counts[days] / np.where(value > 0, value, 1), 1.0)
    usual, spread = scores.usual[days, at] * scale, scores.spread[days, at]
    reach = 1.96 * np.sqrt((1 / np.maximum(usual, 1.0) if name.kind != "tokens" else 0.0) + spread)
    points = [(panel.at(int(day)), float(mean)) for day, mean in zip(days, usual, strict=True)]
    return Line(
        f"usual: {name.side} ({name.labeler})" if name.labeler else "usual", points,
        [float(mean) for mean in usual * np.exp(-reach)], [float(mean) for mean in usual * np.exp(reach)],
    )  # fmt: skip


def _json(trend: Trend) -> Json:
    return {
        "series": trend.name.key, "title": trend.name.title, "value": trend.value, "usual": trend.usual,
        "times": list(trend.times) if trend.times else None, "ewma": trend.level, "risen": trend.risen,
        "since": trend.since, "state": trend.state,
    }  # fmt: skip
