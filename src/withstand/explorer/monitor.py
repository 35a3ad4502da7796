"""What a monitor said of its traffic: its last report, the states of those before, and the alerts that wait."""

import time
from dataclasses import replace

from starlette.responses import Response

from withstand.core import SpecError
from withstand.explorer.app import PageRequest
from withstand.explorer.security import Refused
from withstand.monitor.alerts import records as alerts
from withstand.monitor.report.page import facts, sections
from withstand.monitor.report.record import PAST, history
from withstand.monitor.report.shown import Report
from withstand.monitor.report.summary import BADGES, summary
from withstand.redteam.dates import minute_of

CHOICES: tuple[alerts.State, ...] = ("true", "false", "duplicate", "triaged")
"""What may be said of an alert."""


def page(asked: PageRequest) -> Response:
    """The last report of a monitor, or the one that ends at the second in the query. It holds no text of anybody."""
    monitors = asked.explorer.monitors
    name = str(asked.query.get("name") or (monitors[0] if monitors else ""))
    if name not in monitors:
        hint = f"monitors: {', '.join(monitors)}" if monitors else "withstand monitor run LOGS --store DB keeps one"
        raise Refused(
            404, f"no monitor {name!r} has reported to this store" if name else "no monitor has reported", hint
        )
    past = history(asked.explorer.store, name, PAST)
    at = asked.query.get("at", "")
    place = next((number for number, report in enumerate(past) if str(int(report.end)) == at), 0)
    report = with_before(past[place:])
    return asked.page(
        "monitor_report", report=report, sum=summary(report), sections=sections(report), facts=facts(report),
        monitors=monitors, past=past[::-1], questions=questions(past), minute=minute_of, BADGES=BADGES,
        pending=[alert for alert in alerts.alerts(asked.explorer.store, name) if alert.pending], choices=CHOICES,
    )  # fmt: skip


def decide(asked: PageRequest) -> Response:
    """What a person says of an alert, with the reason; kept as its next revision."""
    asked.need("labeler")
    form, store = asked.form, asked.explorer.store
    alert = alerts.find(store, str(form.get("alert", "")))
    state, reason = form.get("state"), str(form.get("reason", "")).strip()[:2_000]
    chosen = next((choice for choice in CHOICES if choice == state), None)
    if chosen is None or not reason:
        raise SpecError("a decision needs a state and a reason", hint="say why, in a few words")
    asked.explorer.audit(asked.who, "alert", f"{alert.monitor} {alert.id}: {chosen}")
    alerts.decide(store, alert, chosen, reason, asked.who, time.time())
    return asked.to("/monitor", name=alert.monitor)


def with_before(past: list[Report]) -> Report:
    """The first report, with the states of the second."""
    before = {answer.id: answer.state for answer in past[1].answers} if len(past) > 1 else {}
    return replace(past[0], before=before)


def questions(past: list[Report]) -> list[tuple[str, str, list[str]]]:
    """Id and words of each question with its states, the oldest report first; "" where it was not asked."""
    words = {answer.id: answer.question for report in reversed(past) for answer in report.answers}
    states = [{answer.id: answer.state for answer in report.answers} for report in reversed(past)]
    return [(name, text, [of.get(name, "") for of in states]) for name, text in words.items()]


ROUTES = (("/monitor", page, ["GET"]), ("/monitor", decide, ["POST"]))
