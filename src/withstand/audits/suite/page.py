"""An audit of suites for people: Markdown, and one HTML file. No prompt of a suite or of a log is in either."""

from collections.abc import Iterator
from pathlib import Path

from withstand.audits import files
from withstand.audits.files import without_paths
from withstand.audits.suite.audit import Audited
from withstand.audits.suite.records import Evidence, Finding
from withstand.core.text import whole
from withstand.report.shell import render
from withstand.report.table import Column, Table
from withstand.results.cells import plain

CLASSES = {"pass": "good", "fail": "bad", "warn": "warn", "not known": "open"}


def write(audited: Audited, folder: Path) -> None:
    """suite.json, suite.md and suite.html in the folder."""
    files.write(folder, "suite", plain(audited), markdown(audited), html(audited))


def summary(audited: Audited) -> Table:
    """One row for each fault."""
    rows = [
        [finding.id, finding.fault, finding.state, without_paths(finding.answer), without_paths(finding.todo)]
        for finding in audited.findings
    ]
    columns = [
        Column("check"), Column("fault"), Column("state", mark=lambda state: CLASSES[state]), Column("what was seen"),
        Column("what to do"),
    ]  # fmt: skip
    return Table(columns, rows, "The checks", "Not known is no pass.")


def tables(audited: Audited) -> Iterator[Table]:
    """The evidence of each finding."""
    for finding in audited.findings:
        for evidence in finding.evidence:
            yield _table(finding, evidence)


def _table(finding: Finding, evidence: Evidence) -> Table:
    columns = []
    for at, name in enumerate(evidence.columns):
        values = [row[at] for row in evidence.rows]
        numbers = bool(values) and all(isinstance(value, int | float) for value in values)
        columns.append(Column(name, _number if numbers else _text, right=numbers))
    title = f"{finding.id}: {evidence.title}"
    return Table(columns, evidence.rows, title, evidence.note, folded=len(evidence.rows) > 12)


def _number(value: float) -> str:
    return f"{value:.2f}" if isinstance(value, float) else whole(value)


def _text(value: object) -> str:
    return without_paths("" if value is None else str(value))


def facts(audited: Audited) -> list[tuple[str, str]]:
    return [(name, without_paths(text)) for name, text in audited.facts]


def markdown(audited: Audited) -> str:
    """One page: verdict, checks, then their evidence, and what was not tested."""
    title = f"Suite audit: {audited.verdict}, {audited.headline}"
    parts = [summary(audited), *tables(audited)]
    return files.markdown(title, [], facts(audited), parts, [("What was not tested", audited.limits)])


def html(audited: Audited) -> str:
    """One file without scripts."""
    return render(
        Path(__file__).with_name("suite.html.j2"),
        audited=audited,
        facts=[(name, [text]) for name, text in facts(audited)],
        parts=[summary(audited), *tables(audited)],
    )
