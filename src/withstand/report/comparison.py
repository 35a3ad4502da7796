"""A comparison in words, and as one small HTML file that asks the network for nothing."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

from withstand.core.text import count, percent, rate, series
from withstand.report.defended import sentences
from withstand.report.forest import Forest, Line, points_of
from withstand.report.table import Column, Table
from withstand.report.table import markdown as escaped
from withstand.results.cells import COUNTED, Interval
from withstand.results.comparison import Comparison
from withstand.results.overall import Counted, Overall
from withstand.results.pair_comparison import ALPHA, Change, ComparedSide, PairComparison

MINUS = "\u2212"

R = TypeVar("R", PairComparison, Overall)


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


def by_measure(rows: Sequence[R]) -> Iterator[tuple[str, list[R]]]:
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

Row: TypeAlias = PairComparison | Overall


def level(value: float) -> str:
    """The level of an interval: "95%", "98.3%"."""
    return f"{100 * value:.3g}%" if value < 0.999 else f"{100 * value:.5g}%"


def table(what: str, rows: Sequence[Row], title: str = "") -> Table:
    """The rows that measure `what`: A and B, their difference with its interval, p, and how many behaviors changed."""
    up, down = ("good", "bad") if what == "utility" else ("bad", "good")
    most = max(row.level for row in rows)
    times = ALPHA / (1 - most)
    columns = [
        Column("cell" if what == "harm" else what),
        Column(f"{COUNTED[what]} in A", _side),
        Column("in B", _side),
        Column(f"B {MINUS} A", _difference, f"points, {level(most)}"),
        Column("p", p, f"\u00d7{times:.3g}" if times > 1.001 else "", right=True),
        Column("worse / better"),
        Column("rate in B", mark={"higher": up, "lower": down}.get),
    ]
    return Table(columns, [_values(row) for row in rows], title or TITLES[what])


def tables(comparison: Comparison) -> Iterator[Table]:
    """What all rows say together, for each measure; then the rows, where there are more of them."""
    for what, together in by_measure(comparison.overall):
        yield table(what, together, f"Overall. {TITLES[what]}")
    for what, some in by_measure(comparison.rows):
        if _several(comparison, what):
            yield table(what, some)


def _values(row: Row) -> list[Any]:
    worse, better = (moved if isinstance(moved, int) else len(moved) for moved in (row.worse, row.better))
    difference = (row.difference, row.interval)
    return [row.name, row.a, row.b, difference, row.p_corrected, f"{worse:,} / {better:,}", row.says]


def texts(row: PairComparison) -> list[str]:
    """A row of the table as texts."""
    return table(row.measures, [row]).texts()[0]


def _side(side: ComparedSide | Counted) -> str:
    return f"{rate(side.rate)} of {side.scored:,}"


def _difference(difference: float | None, ends: Interval | None) -> str:
    return f"{points(difference)} ({span(ends)})" if ends else "n/a"


def forest(comparison: Comparison) -> Forest | None:
    """The forest plot of what all rows say together, and of the rows; None with nothing to compare."""
    lines = [*_lines(comparison.overall, True)]
    for what, some in by_measure(comparison.rows):
        if _several(comparison, what):
            lines += _lines(some, False)
    return Forest.of(lines)


def _several(comparison: Comparison, what: str) -> bool:
    """Whether the rows say more than what all of them say together."""
    together = [row for row in comparison.overall if (row.measures, row.statistic) == (what, "mean")]
    return sum(row.measures == what for row in comparison.rows) > len(together)


def _lines(rows: Sequence[Row], overall: bool) -> Iterator[Line]:
    for row in rows:
        if row.interval is not None and row.difference is not None:
            yield Line(row.name, row.difference, *row.interval, _difference(row.difference, row.interval), overall)


def notes(comparison: Comparison) -> list[str]:
    """What a reader must know, each note once, with the rows it is about where it is not about all."""
    rows = comparison.rows
    labels: dict[str, list[str]] = {
        f"{row.name}: {span(row.bounds)} points whichever way they fall": []
        for row in comparison.overall
        if row.bounds and len(row.rows) > 1
    }
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


def heading(comparison: Comparison) -> str:
    """What becomes of the gains of defenses, and the headline."""
    return " ".join([*sentences(comparison.defenses), headline(comparison)])


def headline(comparison: Comparison) -> str:
    """The answer: whether B was broken less often over all rows, what became of over-refusal, and which rows differ."""
    what, together = next(by_measure(comparison.overall))
    rows, worst = ([row for row in together if row.statistic == name] for name in ("mean", "any_attack"))
    if len(rows) > 1:
        parts = _differing(COUNTED[what], "comparison", [(row.side, row.says) for row in rows])
        return f"{parts}." if parts else f"No difference to A was shown in {count(len(rows), 'comparison')}."
    [row] = rows
    by_any = [f"; if any attack counts: {points(o.difference)} ({span(o.interval)})" for o in worst if o.interval]
    sentences = [f"{_answer(row)}{''.join(by_any)}."]
    contrary = [(cell.name, cell.says) for cell in comparison.rows if cell.measures == what and cell.says != row.says]
    if len(row.rows) > 1 and (parts := _differing(COUNTED[what], "row", contrary)):
        sentences.append(f"{parts}.")
    for beside in comparison.overall:
        if beside.measures == "over-refusal" and what == "harm":
            sentences.append(f"{_answer(beside)}.")
    return " ".join(sentences)


def _answer(row: Overall) -> str:
    did = {"harm": "was broken", "over-refusal": "refused benign requests", "utility": "was right"}[row.measures]
    if row.difference is None:
        return (
            f"Nothing to compare: no {'behavior' if row.measures == 'harm' else 'request'} has a verdict on both sides"
        )
    figure = f"{points(row.difference)} points ({span(row.interval)})"
    if row.measures == "harm":
        figure += f" on {count(row.behaviors, 'behavior')}"
    if row.bounds and row.bounds[0] <= 0 <= row.bounds[1] and row.says in ("lower", "higher"):
        figure += ", which cases without a verdict could undo"
    match row.says:
        case "lower":
            return f"B {did} less often than A: {figure}"
        case "higher":
            return f"B {did} more often than A: {figure}"
        case "no difference shown":
            return f"It is open whether B {did} more or less often than A: {figure}"
    return f"B {did} as often as A, {row.says.removeprefix('unchanged ')}: {figure}"


def _differing(counted: str, of: str, rows: Sequence[tuple[str, str]]) -> str:
    """In which rows (of what) B was lower and higher, by their names and answers; "" for none."""
    parts = []
    for says, phrase in (("lower", "less often"), ("higher", "more often")):
        if names := [name for name, answer in rows if answer == says]:
            parts.append(f"{counted} {phrase} than A in {count(len(names), of)} ({series(names)})")
    return f"B was {' and '.join(parts)}" if parts else ""


def html(comparison: Comparison) -> str:
    """The page. Texts of behaviors are in it only where the comparison was made with them."""
    from withstand.report.shell import HERE, render

    comparison = comparison.shown()
    return render(
        HERE / "comparison.html.j2",
        headline=heading(comparison),
        facts=[("A", [comparison.a]), ("B", comparison.b)],
        forest=forest(comparison),
        points_of=points_of,
        parts=list(tables(comparison)),
        changes=[_changes(row.name, *move, comparison.revealed) for row in comparison.rows for move in moves(row)],
        notes=notes(comparison),
        how=how(comparison),
        margin=comparison.margin,
    )


def how(comparison: Comparison) -> str:
    """How it was tested, in sentences."""
    methods = list(dict.fromkeys(row.method for row in comparison.rows if row.method)) or ["no test"]
    return (
        f"p: two-sided, by {' and '.join(methods)}, and by the score test that the interval comes from, whichever "
        "is larger. p and intervals are corrected for the rows that measure the same "
        f"({comparison.correction}): p is multiplied by the number after \u00d7. A row differs just where its interval "
        f"excludes 0, and is unchanged where it lies within {percent(comparison.margin).removesuffix('%')} points. "
        "Overall: of each behavior the mean over the rows, or whether any attack broke it; behaviors are the "
        "independent units."
    )


def markdown(comparison: Comparison) -> str:
    """The comparison in GitHub's Markdown, without texts of behaviors."""
    comparison = comparison.shown()
    parts = [f"# {escaped(heading(comparison))}", f"A: {escaped(comparison.a)}"]
    parts += [f"B: {escaped(label)}" for label in comparison.b]
    for part in tables(comparison):
        parts += [f"## {escaped(part.title)}", part.markdown()]
    if plot := forest(comparison):
        drawn = "\n".join(line.replace("`", "'") for line in plot.text())
        parts += [f"## B {MINUS} A", f"```text\n{drawn}\n```"]
    parts.append("\n".join(f"- {escaped(note)}" for note in [*notes(comparison), how(comparison)]))
    return "\n\n".join(parts) + "\n"


def _changes(name: str, became: str, behaviors: Sequence[Change], revealed: bool) -> Table:
    heads = ("behavior", "category", "A", "B", "text" if revealed else "text, hidden")
    rows = [[moved.behavior, moved.category, moved.a, moved.b, moved.text] for moved in behaviors]
    return Table([*map(Column, heads)], rows, f"{name}: {len(behaviors)} {became} in B", folded=True)
