"""`withstand monitor alerts`: what was unusual, and what people decide about it."""

import time
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import CONTEXT, Commands, Result, command
from withstand.cli.purge import user_name
from withstand.core.text import interval, percent

if TYPE_CHECKING:
    from withstand.monitor.alerts.records import Alert, Precision, State
    from withstand.store.store import Store

LISTED = (0, 1, 2, 3, 4, 5, 6, 8, 12)
"""Columns of the section's table that fit a terminal."""
name_option = click.option("--name", default=None, metavar="NAME", help="Those of this monitor alone.")


@click.group(cls=Commands, context_settings=CONTEXT)
def alerts() -> None:
    """List and decide the alerts of monitors."""


@command("list", group=alerts, json=True, store=True)
@name_option
@click.option("--all", "all_", is_flag=True, help="Also those that were decided.")
def list_(name: str | None, all_: bool, store: "Store") -> Result:
    """List the alerts to be decided, the newest last, and the precision of their rules."""
    from withstand.monitor.alerts import records

    stored = records.alerts(store, name)
    chosen = [alert for alert in stored if all_ or alert.pending]
    rates = records.precisions(stored)
    value = {
        "schema": 1, "alerts": [alert.json() for alert in chosen],
        "precision": [{"rule": rate.rule, "true": rate.true, "false": rate.false, "share": rate.share,
                       "interval": rate.interval, "re_tune": rate.poor} for rate in rates],
    }  # fmt: skip
    return Result(value, lambda: _list(chosen, rates))


def _list(chosen: "list[Alert]", rates: "list[Precision]") -> None:
    from withstand.monitor.alerts.section import alert_table

    if not chosen:
        console.put("No alert is to be decided; --all lists the others.")
    else:
        table = alert_table(chosen, "")
        console.table([[row[at] for at in LISTED] for row in table.texts()], [table.heads()[at] for at in LISTED])
    for rate in rates:
        if rate.share is not None:
            poor = ": re-tune it" if rate.poor else ""
            decided = f"{rate.true} of {rate.true + rate.false} decided alerts were true"
            console.put(f"{rate.rule}: {decided} ({percent(rate.share)}, 95% interval {interval(rate.interval)}){poor}")


@command(group=alerts, json=True, store=True)
@click.argument("alert_id", metavar="ID")
def show(alert_id: str, store: "Store") -> Result:
    """Show an alert with its evidence, and what was said of it."""
    from withstand.monitor.alerts import records

    past = records.history(store, records.find(store, alert_id).id)
    value = {"schema": 1, "alert": past[-1].json(), "history": [revision.json() for revision in past]}
    return Result(value, lambda: _show(past))


def _show(past: "list[Alert]") -> None:
    from withstand.monitor.alerts.section import alert_table, when

    last, table = past[-1], alert_table(past[-1:], "").shown()
    for head, text in zip(table.heads(), table.texts()[0], strict=True):
        console.put(f"{head}: {text}")
    console.put(f"from: {when(last.start)} to {when(last.end)} UTC")
    console.put(f"series: {last.series.key}")
    console.put(f"exchanges: {', '.join(last.evidence) or 'none that retention has left'}")
    for revision in past:
        if revision.decided is not None:
            console.put(f"{when(revision.decided)} {revision.by}: {revision.state}, {revision.reason}")


@command(group=alerts, json=True, store=True)
@click.argument("alert_id", metavar="ID")
@click.argument("state", type=click.Choice(["true", "false", "duplicate", "triaged", "open"]))
@click.option("--reason", required=True, metavar="TEXT", help="Why.")
@click.option("--by", default="", metavar="NAME", help="Who says so; your user name by default.")
@click.option("--owner", default="", metavar="NAME", help="Who goes on with it.")
def decide(alert_id: str, state: "State", reason: str, by: str, owner: str, store: "Store") -> Result:
    """Say whether an alert is true, false or a duplicate, or that somebody has taken it up (triaged).

    The hours of a true one no longer count as usual. What was said before stays in the history.
    """
    from withstand.monitor.alerts import records

    alert = records.find(store, alert_id)
    changed = records.decide(store, alert, state, reason, by or user_name(), time.time(), owner)
    return Result({"schema": 1, "alert": changed.json()}, lambda: console.put(f"{alert.id}: {state}, by {changed.by}"))
