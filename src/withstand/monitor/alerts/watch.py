"""All rules over the traffic of a monitor: what they alarm at becomes alerts in the store, with evidence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from withstand.core.text import clock
from withstand.monitor.alerts import records
from withstand.monitor.alerts.budget import budget_of
from withstand.monitor.alerts.detect import token_alarms, windows
from withstand.monitor.alerts.policy_rules import PolicyRule, policy_rules
from withstand.monitor.alerts.records import Alert
from withstand.monitor.alerts.rise import daily_scores, rises
from withstand.monitor.alerts.weekly import weekly
from withstand.monitor.section import Context
from withstand.monitor.series.panel import Booleans, Panel, read_panel
from withstand.redteam.dates import HOUR
from withstand.stats.bursts import RATIO, bursts

EVIDENCE = 20
"""Exchanges that an alert names."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What the rules say of the traffic. alerts: all of this monitor, as they stand."""

    panel: Panel
    alerts: Sequence[Alert]
    rules: Sequence[PolicyRule]


def watch(context: Context) -> Watched | None:
    """Look at all traffic and keep what is new in the store; None where there is none.

    Nothing that was decided changes, and the same traffic gives no second alert.
    """
    panel = read_panel(context)
    if panel is None:
        return None
    monitor, stored = context.settings.keeping.name, records.alerts(context.store, context.settings.keeping.name)
    panel = without_incidents(panel, stored)
    budget = budget_of(context.settings.alarms)
    rules = policy_rules(context, panel)
    alarms = [
        *windows(panel, budget), *token_alarms(panel, budget), *rises(panel, budget, daily_scores(panel)),
        *weekly(context, panel, budget), *(alarm for rule in rules for alarm in rule.alarms),
    ]  # fmt: skip
    before = {alert.id for alert in stored}
    gathered = records.gather(alarms, monitor, context.policy.header.version, stored)
    grown = [
        alert if alert.id in before else _with_evidence(context, replace(alert, beside=_beside(alert, gathered)))
        for alert in gathered
    ]
    records.keep(context.store, grown, stored)
    return Watched(panel, records.alerts(context.store, monitor), rules)


def _beside(alert: Alert, others: Sequence[Alert]) -> str:
    """The id of the first alert of this category whose window overlaps, "" for this one itself or none."""
    same = [
        past
        for past in others
        if past.series.category == alert.series.category != "" and past.state != "false"
        and past.start < alert.end and alert.start < past.end
    ]  # fmt: skip
    first = min(same, key=lambda past: (past.at, past.id), default=alert)
    return "" if first is alert else first.id


def without_incidents(panel: Panel, stored: Sequence[Alert]) -> Panel:
    """The panel whose hours of confirmed incidents say nothing about what is usual."""
    struck: Booleans = np.zeros(panel.hours.shape, bool)
    for alert in stored:
        if alert.state == "true" and alert.series in panel.names:
            first, last = int(alert.start // HOUR) - 24 * panel.first, int((alert.end - 1) // HOUR) - 24 * panel.first
            flat = struck.reshape(-1, struck.shape[-1])
            flat[max(0, first) : max(0, last + 1), panel.names.index(alert.series)] = True
    return replace(panel, struck=struck) if struck.any() else panel


def _with_evidence(context: Context, alert: Alert) -> Alert:
    """With the exchanges it is about, the action of the policy, who owns it, and when it was densest."""
    category = context.policy.categories.get(alert.series.category)
    rows = _exchanges(context, alert)
    times = sorted(ts for _, _, _, ts in rows)
    detail = alert.detail
    if alert.expected and alert.rule in ("burst", "spike", "day") and len(times) > 1:
        dense = max(bursts(times, alert.expected / alert.length), key=lambda burst: burst.events, default=None)
        if dense is not None and dense.events >= RATIO:
            detail = f"{dense.events} within {clock(dense.end - dense.start)}"
    return replace(
        alert,
        action=category.action if category else "log",
        owner=context.policy.header.owner,
        evidence=tuple(f"{seq}:{name}" if name else str(seq) for seq, name, _, _ in rows[:EVIDENCE]),
        accounts=len({account for _, _, account, _ in rows}),
        detail=detail,
    )


def _exchanges(context: Context, alert: Alert) -> list[tuple[int, str, str, float]]:
    """Number, id of the log, account and time of the exchanges of an alert, the surest first."""
    span = [alert.start, min(alert.end, context.now)]
    name = alert.series
    if name.kind == "category":
        return context.traffic.rows(
            """SELECT seq, id, account, ts FROM label JOIN exchange USING (seq) WHERE flagged AND chosen <> 'audit'
            AND category = ? AND side = ? AND labeler = ? AND version = ? AND ts >= ? AND ts <= ?
            ORDER BY score DESC, seq""",
            [name.category, name.side, name.labeler, name.version, *span],
        )
    where = "refused" if name.kind == "refused" else "true"
    return context.traffic.rows(
        f"SELECT seq, id, account, ts FROM exchange WHERE {where} AND ts >= ? AND ts <= ? ORDER BY audit, seq "
        "LIMIT 10000",
        span,
    )
