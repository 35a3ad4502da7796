"""What a monitor knows of an incident: the first fields of its record, and the timeline of its retrospective."""

from collections.abc import Mapping
from dataclasses import dataclass

from withstand.core import Json
from withstand.core.taxonomy import UNCOVERED
from withstand.core.text import clock, count
from withstand.monitor.alerts.records import Alert, find, history
from withstand.monitor.report.record import latest
from withstand.monitor.traffic import Traffic
from withstand.redteam.dates import HOUR, WEEK, second_of
from withstand.redteam.policy.records import Category
from withstand.store.store import Store


@dataclass(frozen=True, slots=True)
class Flagged:
    """Flagged exchanges of an hour. hour: its beginning, seconds since 1970."""

    hour: float
    exchanges: int
    accounts: int


def incident_values(
    store: Store, alert_id: str, categories: Mapping[str, Category] | None = None, traffic: Traffic | None = None
) -> dict[str, Json]:
    """The fields of an incident that an alert gives. Raises `SpecError` for none or several alerts of this id.

    Counts are what screeners flagged while the alert went on, or without the traffic in its first window: people
    correct them. Whether it was foreseen is for people to say.
    """
    alert = find(store, alert_id)
    category = alert.series.category or UNCOVERED
    hours = flagged(traffic, alert) if traffic else []
    values: dict[str, Json] = {
        "opened": second_of(max(alert.at, alert.start)), "first_event": second_of(alert.start),
        "detected_by": "monitor", "category": category, "policy_version": alert.policy,
        "requests": round(alert.observed),
        "timeline": [{"ts": second_of(ts), "what": what} for ts, what in timeline(store, alert, hours)],
    }  # fmt: skip
    if alert.accounts:
        values["actors"] = alert.accounts
    if hours and traffic:
        [(values["requests"], values["actors"])] = traffic.rows(
            *_query(alert, "count(DISTINCT seq), count(DISTINCT account)")
        )
    if category == UNCOVERED:
        values |= {"policy_gap": True, "foreseen": "no"}
    rule = categories.get(category) if categories else None
    if rule and rule.severity:
        values["severity"] = rule.severity
    values["harm_described"] = f"{rule.title if rule else category}, after alert {alert.id}: {_numbers(alert)}"
    return values


def timeline(store: Store, alert: Alert, hours: list[Flagged]) -> list[tuple[float, str]]:
    """What was seen, by time: windows and hours of the alert, marks of the charts, and people's decisions."""
    rows = [
        (alert.start, f"the first unusual window, {clock(alert.length)} long: {_numbers(alert)}"),
        (max(alert.at, alert.start), f"the rule {alert.rule} had enough to say so"),
        (alert.end, "the last unusual window ends"),
    ]
    if hours:
        peak = max(hours, key=lambda row: (row.exchanges, -row.hour))
        words = f"{count(peak.exchanges, 'flagged exchange')} of {count(peak.accounts, 'account')} in an hour, the most"
        rows.append((max(peak.hour, alert.start), words))
    report = latest(store, alert.monitor)
    if report is not None:
        marks = {(mark.ts, mark.text) for answer in report.answers for chart in answer.charts for mark in chart.marks}
        rows += [(ts, text) for ts, text in marks if alert.start - WEEK <= ts <= alert.end]
    state = "open"
    for past in history(store, alert.id):
        if past.decided is not None and past.state != state:
            rows.append((past.decided, f"{past.by or 'somebody'} says: {past.state}"))
            state = past.state
    return sorted(rows, key=lambda row: row[0])


def flagged(traffic: Traffic, alert: Alert) -> list[Flagged]:
    """The hours of an alert of a category with what was flagged in them; none of another alert."""
    if not alert.series.category:
        return []
    what = f"floor(ts / {HOUR}) * {HOUR}, count(DISTINCT seq), count(DISTINCT account)"
    return [Flagged(float(hour), *rest) for hour, *rest in traffic.rows(*_query(alert, what, "GROUP BY 1 ORDER BY 1"))]


def _query(alert: Alert, what: str, group: str = "") -> tuple[str, list[Json]]:
    series = alert.series
    query = f"""SELECT {what} FROM label JOIN exchange USING (seq) WHERE flagged AND category = ? AND side = ?
        AND labeler = ? AND version = ? AND ts >= ? AND ts < ? {group}"""
    return query, [series.category, series.side, series.labeler, series.version, alert.start, alert.end]


def _numbers(alert: Alert) -> str:
    usual = "" if alert.expected is None else f", usual are {alert.expected:.2g}"
    return f"{alert.observed:,.4g} {alert.series.title}{usual}"
