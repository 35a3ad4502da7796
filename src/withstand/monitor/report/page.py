"""The report of a monitor as one HTML file, as Markdown and as JSON."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from withstand.core import Json, to_json
from withstand.core.save import save
from withstand.core.text import count, whole
from withstand.monitor.report.plot import Plot, plot_of
from withstand.monitor.report.shown import Answer, Report
from withstand.monitor.report.summary import BADGES, changes, summary
from withstand.monitor.section import Mark
from withstand.redteam.dates import minute_of
from withstand.report.shell import render
from withstand.report.table import markdown as line

TEMPLATE = Path(__file__).parent / "report.html.j2"
SCHEMA = "withstand.monitor-report/1"


def write(report: Report, folder: Path) -> None:
    """Write `report.html`, `report.md` and `report.json` into the folder of a monitor."""
    for suffix, text in (("html", html(report)), ("md", markdown(report)), ("json", dumps(report))):
        save(folder / f"report.{suffix}", text)


def html(report: Report) -> str:
    """One file that opens anywhere."""
    return render(
        TEMPLATE, report=report, sum=summary(report), sections=sections(report), facts=facts(report), BADGES=BADGES
    )


def sections(report: Report) -> list[tuple[Answer, str, list[Plot | None]]]:
    """Each section with its state in the report before and its charts, in which incidents are marked."""
    marks = [Mark(event.ts, f"incident {event.id} ({event.category})") for event in report.incidents]
    return [
        (answer, report.before.get(answer.id, ""), [plot_of(chart, marks) for chart in answer.charts])
        for answer in report.answers
    ]


def facts(report: Report) -> list[tuple[str, tuple[str, ...]]]:
    """What the report is about."""
    return [
        ("traffic", (f"{minute_of(report.start)} to {minute_of(report.end)} UTC" if report.exchanges else "none",)),
        ("exchanges", (whole(report.exchanges),)),
        ("accounts", (whole(report.accounts),)),
        ("policy", (report.policy,)),
        ("incidents", tuple(f"{event.id}, {event.category}" for event in report.incidents) or ("none opened",)),
    ]


def value(report: Report) -> Json:
    """The report for machines: the figures of the sections, and their tables as texts."""
    sum_ = summary(report)
    head = {
        "schema": SCHEMA, "state": sum_.state, "summary": sum_.sentence,
        "changed": {answer.id: {"from": was, "to": answer.state} for answer, was in changes(report)},
    }  # fmt: skip
    return {**head, **to_json(report)}


def dumps(report: Report) -> str:
    """`value` as text, equal for equal reports."""
    return json.dumps(value(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def markdown(report: Report) -> str:
    """The report for a terminal, a ticket or a wiki."""
    return re.sub(r"\n{3,}", "\n\n", "\n".join(_markdown(report))) + "\n"


def _markdown(report: Report) -> Iterator[str]:
    sum_ = summary(report)
    yield from (f"# {line(report.name)}: what happens in the traffic", "", f"**{sum_.sentence}**", "")
    for answer in sum_.open:
        first = f" Do first: {line(answer.advice[0])}" if answer.advice and answer.state == "alarm" else ""
        yield f"- **{BADGES[answer.state]}** {line(answer.question)} {line(answer.answer)}{first}"
    for answer in sum_.calm:
        yield f"- calm: {line(answer.question)}"
    yield ""
    yield from (f"- {name}: {line('; '.join(texts))}" for name, texts in facts(report))
    for answer, was, plots in sections(report):
        yield from ("", f"## {line(answer.question)}", "", f"**{BADGES[answer.state]}** {line(answer.answer)}", "")
        if was and was != answer.state:
            yield from (f"In the report before: {was}.", "")
        yield from (f"{number}. {line(text)}" for number, text in enumerate(answer.advice, 1))
        yield ""
        for plot in filter(None, plots):
            points = "; ".join(f"{line(curve.name)}: last {curve.last}" for curve in plot.curves)
            yield from (f"{line(plot.title)}: {points}.", "")
            yield from (f"- {note.when} {line(note.text)}" for note in plot.notes)
            yield ""
        for shown in answer.tables:
            yield from shown.table().section(3)
    yield from ("---", f"{count(len(report.answers), 'question')}. Times are UTC and the log's own.")
