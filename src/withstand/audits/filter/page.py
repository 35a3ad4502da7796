"""The report on a filter as a page, as Markdown and as JSON. No text of the data is on it: rows are named by number."""

from collections.abc import Iterator
from pathlib import Path

from withstand.audits import files
from withstand.audits.files import without_paths
from withstand.audits.filter.tables import tables
from withstand.core import Json
from withstand.report.shell import render


def write(report: Json, folder: Path) -> None:
    """filter.json, filter.md and filter.html in the folder."""
    files.write(folder, "filter", report, markdown(report), html(report))


def markdown(report: Json) -> str:
    """One page: verdict, why, the tables, rows to read, and what the figures cannot say."""
    panels = [("What to know of the data", report["notes"]), ("Rows to read", list(look(report)))]
    panels = [(title, texts) for title, texts in panels if texts]
    panels.append(("What the figures cannot say", report["limits"]))
    return files.markdown(f"Filter: {report['verdict']}", answers(report), facts(report), tables(report), panels)


def answers(report: Json) -> list[str]:
    """The reasons of the verdict, as sentences."""
    return [f"{text[:1].upper()}{text[1:]}." for text in report["reasons"]]


def facts(report: Json) -> list[tuple[str, str]]:
    return [(name, without_paths(text)) for name, text in report["facts"]]


def look(report: Json) -> Iterator[str]:
    """Rows that were dropped from slices that lose more than others, by number."""
    for name, numbers in report["look"].items():
        if numbers:
            yield f"{name}: rows {', '.join(map(str, numbers))}"


def html(report: Json) -> str:
    """One file without scripts."""
    return render(
        Path(__file__).with_name("filter.html.j2"),
        report=report,
        facts=[(name, [text]) for name, text in facts(report)],
        parts=list(tables(report)),
        answers=answers(report),
        look=list(look(report)),
    )
