"""The section "alerts": what was unusual, who decides, what to do, and what the rules cost in false alarms."""

from collections.abc import Sequence

from withstand.core import Json
from withstand.core.text import count, decimals, interval, percent
from withstand.monitor.alerts.budget import SHARES, TITLES, budget_of
from withstand.monitor.alerts.detect import LOOKED, SHORT
from withstand.monitor.alerts.policy_rules import MONTH, PolicyRule
from withstand.monitor.alerts.records import ENOUGH, POOR, Alert, Precision, precisions
from withstand.monitor.alerts.watch import Watched, watch
from withstand.monitor.section import Context, Section, State
from withstand.monitor.series.panel import Name, Panel, silent
from withstand.redteam.dates import minute_of
from withstand.report.table import Column, Table
from withstand.stats.counts import FEWEST_DAYS

SHOWN = 50
ADVISED = 5
QUESTION = "What is unusual, and what is to be done?"


def section(context: Context) -> Section:
    """Look for alarms, keep them as alerts, and say what stands open."""
    watched = watch(context)
    if watched is None:
        return Section("alerts", QUESTION, "Unknown: there is no traffic.", "unknown")
    pending = [alert for alert in watched.alerts if alert.pending]
    new = _without_past(watched)
    rates = precisions(watched.alerts)
    return Section(
        "alerts", QUESTION, _answer(context, watched, pending, new), _state(watched, pending, new),
        [table for table in (_pending(pending), _decided(watched.alerts), _precision(rates), _budget(context, watched),
                             _policy(watched.rules)) if table.rows],
        advice=_advice(pending, rates), value=_value(context, watched, new, rates),
    )  # fmt: skip


def _state(watched: Watched, pending: Sequence[Alert], new: Sequence[str]) -> State:
    if any(alert.state == "open" for alert in pending):
        return "alarm"
    if pending:
        return "note"
    flags = any(name.kind == "category" for name in _alive(watched.panel))
    return "calm" if flags and not new and not silent(watched.panel) else "unknown"


def _alive(panel: Panel) -> list[Name]:
    """The series that cover the last day."""
    return [name for name, lives in zip(panel.names, panel.alive[-1], strict=True) if lives]


def _without_past(watched: Watched) -> list[str]:
    """The series that cover the last day and are younger than two weeks."""
    panel = watched.panel
    young = (panel.age(panel.days) < FEWEST_DAYS) & panel.alive[-1]
    return [name.title for name, is_young in zip(panel.names, young, strict=True) if is_young]


def _answer(context: Context, watched: Watched, pending: Sequence[Alert], new: Sequence[str]) -> str:
    alarms, panel = context.settings.alarms, watched.panel
    of = sum(alert.budgeted for alert in pending)
    text = "No alert is open."
    if pending:
        named = f"{of} by the budgeted rules, {len(pending) - of} by the policy's"
        text = f"{count(len(pending), 'alert')} to be decided: {named}."
    days = min(LOOKED, max(0, panel.over - FEWEST_DAYS))
    allowed = alarms.false_alarms * days / alarms.days
    text += (
        f" The budget is {alarms.false_alarms:g} in {alarms.days:g} days: at most {allowed:.2g} false of"
        f" {sum(alert.budgeted for alert in watched.alerts)} alerts are expected in the {days} days looked at."
    )
    if panel.first_quarter and panel.days - panel.first_quarter <= SHORT:
        text += f" Quarters of an hour are unknown: retention leaves fewer than {SHORT + 1} days of exchanges."
    if not any(name.kind == "category" for name in _alive(panel)):
        text += " Unknown is what screeners would flag: none has labeled the last day."
    if new:
        listed = ", ".join(new[:4]) + (f" and {len(new) - 4} more" if len(new) > 4 else "")
        text += (
            f" Unknown is what is usual for {listed}: {'its' if len(new) == 1 else 'their'} past is under two weeks."
        )
    if dumb := silent(panel):
        listed = ", ".join(f"{name.title} since {when(since)[:10]}" for name, since in dumb[:4])
        text += f" Nothing was looked for in {listed}: it labels nothing any more."
    return text


def _advice(pending: Sequence[Alert], rates: Sequence[Precision]) -> tuple[str, ...]:
    first = [alert for alert in pending if not alert.beside or alert.beside not in {past.id for past in pending}]
    first.sort(key=lambda alert: (alert.state != "open", -(alert.times or 0), alert.at))
    beside = {past.id: sum(alert.beside == past.id for alert in pending) for past in first}
    listed = [
        f"{alert.id}{f' and {beside[alert.id]} beside it' if beside[alert.id] else ''}: read the evidence;"
        f" if it is true: {alert.action}"
        f"{f' ({alert.series.category}, policy {alert.policy})' if alert.series.category else ''}."
        f" Then: withstand monitor alerts decide {alert.id} true|false|duplicate --reason TEXT"
        for alert in first[:ADVISED]
    ]
    poor = [rate.rule for rate in rates if rate.poor]
    if poor:
        listed.append(f"Re-tune {', '.join(poor)}: under {percent(POOR)} of {ENOUGH} or more decided alerts were true.")
    return tuple(listed)


def when(ts: float | None) -> str:
    """A time as a reader sees it, in UTC."""
    return "" if ts is None else minute_of(ts)


def alert_table(listed: Sequence[Alert], title: str, note: str = "") -> Table:
    """Alerts, one a row."""
    columns = [
        Column("id"), Column("clear at", when), Column("what"), Column("rule"), Column("observed", figure, right=True),
        Column("usual", figure, right=True), Column("times usual", _times, right=True),
        Column("accounts", right=True), Column("beside"), Column("detail"), Column("action"), Column("owner"),
        Column("state"),
    ]  # fmt: skip
    rows = [
        (alert.id, alert.at, alert.series.title, ", ".join((alert.rule, *alert.also)), (alert.observed,),
         (alert.expected,), (alert.times, alert.low, alert.high), alert.accounts, alert.beside, alert.detail,
         alert.action, alert.owner, alert.state)
        for alert in listed
    ]  # fmt: skip
    return Table(columns, rows[-SHOWN:], title, note)


def figure(value: float | None) -> str:
    """A count or a mean, in two digits where it is small."""
    return "unknown" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _times(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f} ({low:.1f} to {high:.1f})" if low is not None and high is not None else f"{value:.1f}"


def _pending(pending: Sequence[Alert]) -> Table:
    note = "Observed and usual are those of the first window; the interval is of 95%."
    return alert_table(pending, "Alerts to be decided", note)


def _decided(listed: Sequence[Alert]) -> Table:
    columns = [Column("id"), Column("what"), Column("decision"), Column("reason"), Column("by"), Column("on", when)]
    rows = [
        (alert.id, alert.series.title, alert.decision, alert.reason, alert.by, alert.decided)
        for alert in listed
        if not alert.pending
    ]
    return Table(columns, rows[-SHOWN:], "Decided alerts", folded=True)


def _precision(rates: Sequence[Precision]) -> Table:
    columns = [
        Column("rule"), Column("alerts", right=True), Column("true", right=True), Column("false", right=True),
        Column("precision", percent, right=True), Column("95% interval", lambda ends: interval(ends or None)),
        Column("proposal"),
    ]  # fmt: skip
    rows = [
        (
            rate.rule,
            rate.raised,
            rate.true,
            rate.false,
            rate.share,
            [*(rate.interval or ())],
            "re-tune" if rate.poor else "",
        )
        for rate in rates
    ]
    return Table(columns, rows, "Precision of the rules", "Of decided alerts; duplicates count as neither.")


def _budget(context: Context, watched: Watched) -> Table:
    daily = budget_of(context.settings.alarms).daily
    columns = [
        Column("rule"), Column("looks for"), Column(f"false alarms in {MONTH} days", decimals(3), right=True),
        Column("alerts", right=True),
    ]  # fmt: skip
    rows = [
        (rule, TITLES[rule], share * daily * MONTH, sum(rule == alert.rule for alert in watched.alerts))
        for rule, share in SHARES.items()
    ]
    rest = 1 - sum(SHARES.values())
    rows.append(("reserve", "tails are estimated", rest * daily * MONTH, 0))
    note = "All rules, series and windows together keep the budget. Expected at most, where nothing happens."
    return Table(columns, rows, "Budget of false alarms", note, folded=True)


def _policy(rules: Sequence[PolicyRule]) -> Table:
    columns = [
        Column("series"), Column("the policy says"), Column("fired", right=True),
        Column(f"would fire on usual traffic in {MONTH} days", figure, right=True),
    ]  # fmt: skip
    rows = [(rule.series.title, rule.text, len(rule.alarms), (rule.implied,)) for rule in rules]
    note = "These rules fire as written and keep no budget: the last column is the false alarms that they imply."
    return Table(columns, rows, "Rules of the policy", note)


def _value(context: Context, watched: Watched, new: Sequence[str], rates: Sequence[Precision]) -> Json:
    alarms = context.settings.alarms
    return {
        "alerts": [alert.json() for alert in watched.alerts],
        "budget": {"false_alarms": alarms.false_alarms, "days": alarms.days},
        "looked_at": min(LOOKED, watched.panel.over),
        "without_past": list(new),
        "policy_rules": [
            {"series": rule.series.key, "rule": rule.text, "fired": len(rule.alarms), "implied": rule.implied}
            for rule in watched.rules
        ],
        "precision": [
            {"rule": rate.rule, "alerts": rate.raised, "true": rate.true, "false": rate.false, "share": rate.share,
             "interval": rate.interval, "re_tune": rate.poor}
            for rate in rates
        ],
    }  # fmt: skip
