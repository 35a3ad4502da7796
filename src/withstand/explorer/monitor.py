"""What a monitor said of its traffic: its last report, and the states of the reports before."""

from dataclasses import replace

from starlette.responses import Response

from withstand.explorer.app import PageRequest
from withstand.explorer.security import Refused
from withstand.monitor.report.page import facts, sections
from withstand.monitor.report.plot import minute
from withstand.monitor.report.record import PAST, history
from withstand.monitor.report.shown import Report
from withstand.monitor.report.summary import BADGES, summary


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
        monitors=monitors, past=past[::-1], questions=questions(past), minute=minute, BADGES=BADGES,
    )  # fmt: skip


def with_before(past: list[Report]) -> Report:
    """The first report, with the states of the second."""
    before = {answer.id: answer.state for answer in past[1].answers} if len(past) > 1 else {}
    return replace(past[0], before=before)


def questions(past: list[Report]) -> list[tuple[str, str, list[str]]]:
    """Id and words of each question with its states, the oldest report first; "" where it was not asked."""
    words = {answer.id: answer.question for report in reversed(past) for answer in report.answers}
    states = [{answer.id: answer.state for answer in report.answers} for report in reversed(past)]
    return [(name, text, [of.get(name, "") for of in states]) for name, text in words.items()]


ROUTES = (("/monitor", page, ["GET"]),)
