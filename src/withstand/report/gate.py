"""A gate's lines as people and machines read them: a table, JUnit, SARIF, Markdown."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from withstand.core import Json, digest
from withstand.core.text import count, interval, percent, series, visible
from withstand.report.comparison import p, points, span
from withstand.report.table import Column, Table
from withstand.report.table import markdown as cell
from withstand.results.decide import Decided
from withstand.results.gate import Line

RULES = {
    "max-asr": "The attack success rate is within the limit.",
    "min-held": "The share of behaviors that hold in all draws is at least the limit.",
    "max-over-refusal": "The rate of benign requests refused is within the limit.",
    "max-worse": "The attack success rate is not worse than the baseline's by more than the limit.",
    "max-asr-of": "The attack success rate of a category of the policy is within its limit.",
    "max-worse-of": "The attack success rate of a category is not worse than the baseline's by more than the limit.",
    "max-broken": "No more behaviors are broken than the limit.",
    "max-errors": "The share of cases without a row is within the limit.",
}
MOST = 10
"""Behaviors listed of a line; the JSON has all."""

Undecided = Literal["pass", "fail"] | None


def numbers(line: Line) -> list[str]:
    """n, rate, interval and limit, as texts."""
    ends = None if line.low is None or line.high is None else (line.low, line.high)
    if line.gate.startswith("max-worse"):
        rate = "n/a" if line.rate is None else f"{points(line.rate)} points"
        return [f"{line.n:,}", rate, span(ends), f"{points(line.limit)} points"]
    n = f"{line.n:,}" if line.cases == line.n else f"{line.n:,} ({count(line.cases, 'case')})"
    if line.gate == "max-broken":
        broken = "n/a" if line.rate is None else f"{line.rate:.0f} broken"
        return [n, broken, "", f"{line.limit:.0f}"]
    return [n, percent(line.rate), interval(ends) if ends else "", percent(line.limit)]


def head(line: Line) -> str:
    """As in: max-asr of direct; max-asr-of illicit: direct."""
    return f"{line.gate} {line.cell}" if line.gate.endswith("-of") else f"{line.gate} of {line.cell}"


def sentence(line: Line) -> str:
    """The line in one sentence."""
    n, rate, ends, limit = numbers(line)
    text = f"{head(line)}: n {n}, rate {rate}{f' (95% {ends})' if ends else ''}, limit {limit}"
    return ". ".join(filter(None, [text, why(line)]))


def changed(line: Line) -> str:
    """As in: 9 behaviors newly broken, 1 newly held, p = .004."""
    if line.p is None:
        return ""
    test = p(line.p)
    return (
        f"{count(len(line.worse), 'behavior')} newly broken, {len(line.better)} newly held, "
        f"p {test if test.startswith('<') else f'= {test}'}"
    )


def by_attack(line: Line) -> str:
    """As in: story broke 23, direct 2; "" where one attack is behind the line."""
    if len(line.attacks) < 2:
        return ""
    (first, most), *rest = sorted(line.attacks.items(), key=lambda entry: -entry[1])
    return ", ".join([f"{first} broke {most:,}", *(f"{attack} {n:,}" for attack, n in rest)])


def why(line: Line) -> str:
    """Which attacks broke how many behaviors, why the line is undecided, and what changed since the baseline."""
    return ". ".join(filter(None, [by_attack(line), line.why, changed(line)]))


def moved(line: Line, most: int | None = None) -> Iterator[str]:
    """The behaviors that changed, as "newly broken: a, b" and "newly held: c"; of each at most so many."""
    for what, ids in (("broken", line.worse), ("held", line.better)):
        if ids:
            more = len(ids[most:]) if most else 0
            yield f"newly {what}: {', '.join([*ids[:most], *([f'{more} more'] if more else [])])}"


# --- files -------------------------------------------------------------------------------------------------------


def junit(gate: Decided, undecided: Undecided) -> str:
    """One test case per gated cell: FAIL is a failure, UNDECIDED an error, or skipped where it is let through. Notes
    are the output of the suite."""
    gate = gate.shown()
    lines = gate.lines
    kinds = [_kind(line, undecided) for line in lines]
    counts = {
        "tests": str(len(lines)),
        **{f"{kind}s": str(kinds.count(kind)) for kind in ("failure", "error")},
        "skipped": str(kinds.count("skipped")),
    }
    top = ET.Element("testsuites", {"name": "withstand gate", **counts})
    suite = ET.SubElement(top, "testsuite", {"name": _plain(gate.run), **counts})
    for line, kind in zip(lines, kinds, strict=True):
        case = ET.SubElement(suite, "testcase", {"classname": f"withstand.{line.gate}", "name": _plain(line.cell)})
        text = _plain(sentence(line))
        if kind:
            ET.SubElement(
                case, kind, {"message": text, "type": line.verdict} if kind != "skipped" else {"message": text}
            )
        ET.SubElement(case, "system-out").text = "\n".join([text, *map(_plain, moved(line))])
    if gate.notes:
        ET.SubElement(suite, "system-out").text = "\n".join(f"note: {_plain(note)}" for note in gate.notes)
    ET.indent(top)
    return ET.tostring(top, encoding="unicode", xml_declaration=True) + "\n"


def _kind(line: Line, undecided: Undecided) -> str:
    if line.verdict == "UNDECIDED":
        return "failure" if undecided == "fail" else "skipped" if undecided == "pass" and not line.firm else "error"
    return "failure" if line.verdict == "FAIL" else ""


def _plain(text: str) -> str:
    """What XML can hold."""
    return visible(text).replace("\ufffe", "").replace("\uffff", "")


def sarif(version: str, gate: Decided, artifact: str, undecided: Undecided = None) -> str:
    """SARIF 2.1.0 (OASIS 2020): a result for each line that is not a PASS. `artifact`: the file it points to. An
    UNDECIDED that counts as a failure is an error, one that is let through a note. Notes are notifications of the tool.
    """
    gate = gate.shown()
    levels = {"failure": "error", "error": "warning", "skipped": "note"}
    rules = [{"id": name, "shortDescription": {"text": text}} for name, text in RULES.items()]
    results = [
        {
            "ruleId": line.gate,
            "ruleIndex": list(RULES).index(line.gate),
            "level": levels[_kind(line, undecided)],
            "message": {"text": f"{line.verdict}: {visible(sentence(line))}"},
            "locations": [
                {
                    "physicalLocation": {"artifactLocation": {"uri": artifact}, "region": {"startLine": 1}},
                    "logicalLocations": [{"fullyQualifiedName": visible(line.cell)}],
                }
            ],
            "partialFingerprints": {"cell/v1": digest([line.gate, line.cell])},
        }
        for line in gate.lines
        if line.verdict != "PASS"
    ]
    return sarif_document(version, rules, results, gate.notes)


def sarif_document(version: str, rules: Sequence[Json], results: Sequence[Json], notes: Sequence[str] = ()) -> str:
    """A run of this program in SARIF 2.1.0. version: of the program.   notes: notifications of the tool."""
    driver = {
        "name": "withstand",
        "version": version,
        "informationUri": "https://github.com/withstand/withstand",
        "rules": rules,
    }
    notifications = [{"level": "note", "message": {"text": visible(note)}} for note in notes]
    invocation = {"executionSuccessful": True, "toolExecutionNotifications": notifications}
    document: dict[str, Any] = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "invocations": [invocation], "results": results}],
    }
    return json.dumps(document, indent=1) + "\n"


def table(lines: Sequence[Line]) -> Table:
    """The lines with verdict, rate, interval and limit."""
    columns = [
        Column("verdict"), Column("gate"), Column("cell"), Column("n", right=True), Column("rate", right=True),
        Column("95% interval", right=True), Column("limit", right=True),
    ]  # fmt: skip
    return Table(columns, [[line.verdict, line.gate, line.cell, *numbers(line)] for line in lines])


def markdown(gate: Decided, overall: str) -> str:
    """A table for a pull request or a job's summary. overall: what `verdict` says."""
    gate = gate.shown()
    plain = table(gate.lines)
    rows = [[*row, why(line)] for row, line in zip(plain.rows, gate.lines, strict=True)]
    head = f"## withstand gate: {overall}\n\nRun {cell(gate.run)}"
    head += f" against {cell(gate.baseline)}." if gate.baseline else "."
    lists = [f"- {cell(line.cell)}, {cell(text)}" for line in gate.lines for text in moved(line, MOST)]
    notes = [f"- {cell(note)}" for note in gate.notes]
    return "\n".join([head, "", Table([*plain.columns, Column("why")], rows).markdown(), "", *lists, *notes, ""])


def verdict(lines: Sequence[Line], code: int) -> str:
    """The whole in a few words."""
    counts = [f"{sum(line.verdict == word for line in lines)} {word}" for word in ("PASS", "FAIL", "UNDECIDED")]
    overall = {0: "PASS", 1: "FAIL", 3: "UNDECIDED"}[code]
    return f"{overall} ({series([word for word in counts if not word.startswith('0 ')])})" if lines else overall
