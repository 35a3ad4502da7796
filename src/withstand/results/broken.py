"""How many behaviors were broken, as a gate counts them: of cases that are no sample, such as mended findings.

No interval is made: each case must hold, and what has no verdict may be broken too.
"""

from collections.abc import Iterator, Mapping, Sequence

from withstand.core.text import count, series
from withstand.results.gate import Decision, Line, Place, names_of, nothing, part_name
from withstand.results.graded import Graded, by_target
from withstand.results.limits import Limits

GATE = "max-broken"
MOST = 10
"""Behaviors that a line names."""


def lines(cells: Sequence[Graded], limits: Limits) -> Iterator[Line]:
    """A line for each target, where the number of broken behaviors is gated."""
    if limits.broken is None:
        return
    names, groups = names_of(cells), by_target(cells)
    for group in groups:
        yield _line(group, names, limits.broken)
    if not groups:
        yield nothing(GATE, "no harmful cell", limits.broken, "no harmful behaviors were sent")


def _line(group: Sequence[Graded], names: Mapping[Place, str], limit: int) -> Line:
    name = part_name(group, names)
    results = {
        key: [cell.behaviors.get(key) for cell in group]
        for key in dict.fromkeys(key for cell in group for key in cell.behaviors)
    }
    broken = [key for key, seen in results.items() if any(cell and cell.count("success") for cell in seen)]
    unknown = [
        key for key, seen in results.items()
        if key not in broken and any(cell is None or cell.unknown or not cell.cases for cell in seen)
    ]  # fmt: skip
    cases = sum(cell.cases for seen in results.values() for cell in seen if cell)
    ids = sorted({cell.id for key in broken for cell in results[key] if cell})
    parts = [f"broken: {series(ids[:MOST])}{' and others' if ids[MOST:] else ''}"] if broken else []
    parts += [f"{count(len(unknown), 'behavior')} without every verdict may be broken too"] if unknown else []
    decision: Decision = (
        "FAIL" if len(broken) > limit else "PASS" if len(broken) + len(unknown) <= limit else "UNDECIDED"
    )
    if decision != "FAIL" and (why := _why_open(group, results)):
        return nothing(GATE, name, limit, why)
    return Line(
        GATE, name, decision, len(results), cases, len(broken), None, None, limit, "; ".join(parts),
        firm=decision == "UNDECIDED",
    )  # fmt: skip


def _why_open(group: Sequence[Graded], results: Mapping[str, object]) -> str:
    """Why nothing can pass; "" if it can."""
    if not results:
        return "it has no case"
    watched = any(cell.watched for cell in group)
    return "the run stops by what it shows: run it without stop_when_decided" if watched else ""
