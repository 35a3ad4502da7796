"""Two cells as `withstand compare` sets them beside each other, from what the index knows."""

from collections import defaultdict
from collections.abc import Sequence

from withstand.core import SpecError
from withstand.explorer.index import Index, RunIndex
from withstand.results.compare import Pair, matched
from withstand.results.graded import DIMENSIONS, BehaviorResult, Graded, Where, cell_of
from withstand.results.labeled_pairs import labeled_pairs
from withstand.results.pair_comparison import PairComparison, compare

MARGIN = 0.05
"""Rates closer than this count as unchanged, as the command has it unless told otherwise."""


def compared(index: Index, a: tuple[RunIndex, int], b: tuple[RunIndex, int]) -> tuple[PairComparison, int] | None:
    """The row that `withstand compare` prints of these cells, and the number of rows that its p is corrected for: those
    of the two runs, or of the two targets (defenses, attacks) of one. None where the cells share no behavior, or they
    measure different things."""
    labels = tuple(len(index.store.labels(side.run.key)) for side, _ in (a, b))  # a new one may change the difference
    return a[0].once(("compared", a[1], b[0].run.key, b[0].table, b[1], labels), lambda: _compared(index, a, b))


def _compared(
    index: Index, left: tuple[RunIndex, int], right: tuple[RunIndex, int]
) -> tuple[PairComparison, int] | None:
    a, b = _graded(index, *left), _graded(index, *right)
    if a.measures != b.measures or not set(a.behaviors) & set(b.behaviors) or a == b:
        return None
    varied = tuple(name for name in DIMENSIONS if a.value(name) != b.value(name))
    others = _others(left, right)
    pairs = [Pair(a.attack, varied, a, b)]
    labels = labeled_pairs(index.store, pairs)[0]
    labeled = {0: (labels.difference, labels.note)} if labels.difference else {}
    [row] = compare(pairs, {}, MARGIN, "bonferroni", others=others, labeled=labeled)
    return row, 1 + others


def _graded(index: Index, indexed: RunIndex, cell: int) -> Graded:
    outcomes: dict[int, dict[Where, str]] = defaultdict(dict)
    for place, number, sample, outcome in index.select(
        f"SELECT place, number, sample, outcome FROM cases_{indexed.table} WHERE cell = ?", [cell]
    ):
        outcomes[place][number, sample] = outcome
    return _cell(indexed, cell, outcomes)


def _cell(indexed: RunIndex, cell: int, outcomes: dict[int, dict[Where, str]]) -> Graded:
    suite = indexed.run.plan["cells"][cell]["suite"]
    keys = indexed.run.plan["suites"][suite]["behaviors"]
    behaviors = {
        keys[place]: BehaviorResult(
            indexed.ids[suite][place], indexed.categories[suite][place], outcomes=outcomes.get(place, {})
        )
        for place in sorted(indexed.behaviors[cell])
    }
    return cell_of(indexed.run, cell, behaviors)


def _others(left_side: tuple[RunIndex, int], right_side: tuple[RunIndex, int]) -> int:
    """How many other rows that measure the same the command would print; 0 where it would not set these two beside each
    other."""
    (run_a, a), (run_b, b) = left_side, right_side
    cells_a = [_cell(run_a, cell, {}) for cell in range(len(run_a.behaviors))]
    cells_b = cells_a if run_b is run_a else [_cell(run_b, cell, {}) for cell in range(len(run_b.behaviors))]
    sides: list[Sequence[Graded]] = [cells_a, cells_b]
    if run_a is run_b:
        varied = [name for name in DIMENSIONS if cells_a[a].value(name) != cells_a[b].value(name)]
        if len(varied) != 1:
            return 0
        sides = [[c for c in cells_a if c.value(varied[0]) == cells_a[at].value(varied[0])] for at in (a, b)]
    try:
        pairs, _ = matched(*sides)
    except SpecError:
        return 0
    pairs = [pair for pair in pairs if pair.a.measures == cells_a[a].measures]
    if not any(pair.a is cells_a[a] and pair.b is cells_b[b] for pair in pairs):
        return 0
    numbers = [{id(cell): number for number, cell in enumerate(cells)} for cells in (cells_a, cells_b)]
    places = [(numbers[0][id(pair.a)], numbers[1][id(pair.b)], pair.keys) for pair in pairs]
    return sum(_both(run_a, left, run_b, right, keys) for left, right, keys in places if (left, right) != (a, b))


def _both(run_a: RunIndex, a: int, run_b: RunIndex, b: int, keys: Sequence[str]) -> bool:
    """Whether a behavior has a scored case in both."""
    columns: list[list[int]] = []
    for indexed, cell in ((run_a, a), (run_b, b)):
        hits = indexed.hits(cell, indexed.summary.cells[cell].measures)
        listed = indexed.run.plan["suites"][indexed.run.plan["cells"][cell]["suite"]]["behaviors"]
        places = {key: place for place, key in enumerate(listed)}
        columns.append([hits.get(places[key], (0, 0))[1] for key in keys])
    return any(min(scored) > 0 for scored in zip(*columns, strict=True))


def shown(row: PairComparison, most: int = 10) -> list[tuple[str, list[str], int]]:
    """The behaviors that changed in each direction: what became of them, the first of them, and how many more."""
    from withstand.report.comparison import change, moves

    return [
        (f"{became} in that", [change(moved) for moved in behaviors[:most]], len(behaviors[most:]))
        for became, behaviors in moves(row)
        if behaviors
    ]
