"""A comparison in words, and as one small HTML file that asks the network for nothing."""

from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from withstand.core.text import count, rate, series
from withstand.report.table import Column, Table
from withstand.results.cells import COUNTED, Interval
from withstand.results.comparison import Comparison
from withstand.results.pair_comparison import Change, ComparedSide, PairComparison

MINUS = "\u2212"


def change(moved: Change) -> str:
    """A behavior that changed; with how many of its cases, where it has several."""
    if {moved.a, moved.b} == {"0 of 1", "1 of 1"}:
        return moved.behavior
    return f"{moved.behavior} ({moved.a} -> {moved.b})"


def moves(row: PairComparison) -> list[tuple[str, Sequence[Change]]]:
    """What became of behaviors in B, and which they are: those that became worse for the target, then better."""
    if row.measures == "utility":
        return [("became wrong", row.worse), ("became right", row.better)]
    counted = COUNTED[row.measures]
    return [(f"{counted} more often", row.worse), (f"{counted} less often", row.better)]


def by_measure(rows: Sequence[PairComparison]) -> Iterator[tuple[str, list[PairComparison]]]:
    """The rows by what they measure, in the order in which they are shown."""
    for what in COUNTED:
        if some := [row for row in rows if row.measures == what]:
            yield what, some


def p(value: float | None) -> str:
    """p as people read it: .031, or <.0001."""
    if value is None:
        return "n/a"
    return (
        "<.0001" if value < 1e-4 else "1" if value >= 0.9995 else f"{value:.4f}".lstrip("0")[: 5 if value < 0.01 else 4]
    )


def points(difference: float | None) -> str:
    """A difference of rates in points, with its sign."""
    if difference is None:
        return "n/a"
    return f"{100 * difference:+.0f}" if abs(difference) >= 0.005 or not difference else f"{100 * difference:+.1f}"


def span(ends: Interval | None) -> str:
    """The ends of a difference in points; "" for None."""
    return "" if ends is None else f"{points(ends[0])} to {points(ends[1])}"


TITLES = {
    "harm": "Attack success: behaviors broken",
    "over-refusal": "Over-refusal: benign requests refused",
    "utility": "Utility: questions answered correctly (higher is better)",
}


def table(what: str, rows: Sequence[PairComparison], correction: str) -> Table:
    """The rows that measure `what`: A and B, their difference with its interval, p, and how many behaviors changed."""
    up, down = ("good", "bad") if what == "utility" else ("bad", "good")
    columns = [
        Column("cell" if what == "harm" else what),
        Column(f"{COUNTED[what]} in A", _side),
        Column("in B", _side),
        Column(f"B {MINUS} A", _difference, "points, 95%"),
        Column("difference", unit=f"{MINUS}100 to +100 points", draw=lambda value: _forest(*value)),
        Column("p", p, right=True),
        Column("p", p, correction, right=True),
        Column("worse", right=True),
        Column("better", right=True),
        Column("rate in B", mark={"higher": up, "lower": down}.get),
    ]
    return Table(columns, [_values(row) for row in rows], TITLES[what])


def _values(row: PairComparison) -> list[Any]:
    difference = (row.difference, row.interval)
    counts = [len(row.worse), len(row.better)]
    return [row.name, row.a, row.b, difference, difference, row.p, row.p_corrected, *counts, row.says]


def texts(row: PairComparison) -> list[str]:
    """A row of the table as texts."""
    return table(row.measures, [row], "").texts()[0]


def _side(side: ComparedSide) -> str:
    return f"{side.hits:,} of {side.scored:,} ({rate(side.rate)})"


def _difference(difference: float | None, ends: Interval | None) -> str:
    return f"{points(difference)} ({span(ends)})" if ends else "n/a"


def _forest(difference: float, ends: Interval | None) -> Markup:
    """The interval on a line from -100 to +100 points, with a mark at the difference."""
    if ends is None:
        return Markup()
    low, high = ((end + 1) * 50 for end in ends)
    return Markup(
        '<svg class="forest" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<line x1="50" x2="50" y2="10"/><rect x="{:.2f}" y="4" width="{:.2f}" height="2"/>'
        '<rect class="at" x="{:.2f}" y="1.5" width="1.2" height="7"/></svg>'
    ).format(_difference(difference, ends), low, max(high - low, 0.4), (difference + 1) * 50 - 0.6)


def notes(comparison: Comparison) -> list[str]:
    """What a reader must know, each note once, with the rows it is about where it is not about all."""
    rows = comparison.rows
    labels: dict[str, list[str]] = {}
    for row in rows:
        bounds = [f"{row.label}: {span(row.bounds)} points whichever way they fall"] if row.bounds else []
        for note in [*row.notes, *bounds]:
            labels.setdefault(note, []).append(row.label)
        if "string matching" in (row.a.judge_method, row.b.judge_method) and not row.benign:
            labels.setdefault("judged by string matching: not comparable with published ASR", []).append(row.label)
    if not any(row.measures == "over-refusal" or row.varied == ("attack",) for row in rows):
        labels.setdefault("no benign prompts on both sides: a model that refuses everything would look better", [])
    whole = [note if len(at) in (0, len(rows)) or note.partition(":")[0] in at else f"{', '.join(at)}: {note}"
             for note, at in labels.items()]  # fmt: skip
    return list(dict.fromkeys([*comparison.notes, *whole]))


def headline(comparison: Comparison) -> str:
    """The answer in a sentence: on how many attacks B was broken less often, and on how many more."""
    what, rows = next(by_measure(comparison.rows))
    parts = []
    for says, phrase in (("lower", "less often"), ("higher", "more often")):
        hits = [row.name for row in rows if row.says == says]
        if hits:
            parts.append(f"{COUNTED[what]} {phrase} in {len(hits)} of {count(len(rows), 'row')} ({series(hits)})")
    if parts:
        return f"B was {' and '.join(parts)}."
    return f"No difference between A and B was shown in {count(len(rows), 'row')}."


def html(comparison: Comparison) -> str:
    """The page. Texts of behaviors are in it only where the comparison was made with them."""
    from withstand.report.shell import HERE, render

    comparison = comparison.shown()
    rows = comparison.rows
    methods = dict.fromkeys(row.method for row in rows if row.method)
    return render(
        HERE / "comparison.html.j2",
        headline=headline(comparison),
        facts=[("A", [comparison.a]), ("B", comparison.b)],
        parts=[table(what, some, comparison.correction) for what, some in by_measure(rows)],
        changes=[_changes(row.name, *move, comparison.revealed) for row in rows for move in moves(row)],
        notes=notes(comparison),
        methods=list(methods) or ["no test"],
        rows=len(rows),
        correction=comparison.correction,
        margin=comparison.margin,
    )


def _changes(name: str, became: str, behaviors: Sequence[Change], revealed: bool) -> Table:
    heads = ("behavior", "category", "A", "B", "text" if revealed else "text, hidden")
    rows = [[moved.behavior, moved.category, moved.a, moved.b, moved.text] for moved in behaviors]
    return Table([*map(Column, heads)], rows, f"{name}: {len(behaviors)} {became} in B", folded=True)
