"""Two cells as `withstand compare` sets them beside each other, from what the index knows."""

from collections import defaultdict
from collections.abc import Sequence

from withstand.core import Json, SpecError
from withstand.explorer.index import Index, Known
from withstand.results.cells import measures
from withstand.results.compare import Pair, compare, matched, says
from withstand.results.graded import DIMENSIONS, Graded, Told, Where, cell_of
from withstand.stats import paired

MARGIN = 0.05
"""Rates closer than this count as unchanged, as the command has it unless told otherwise."""


def compared(index: Index, one: tuple[Known, int], two: tuple[Known, int]) -> Json | None:
    """The row that the command prints of these cells, with `rows`, the number of rows that its p is corrected for:
    those of the two runs, or of the two targets (defenses, attacks) of one. None where the cells share no behavior, or
    they measure different things."""
    key = ("compared", one[1], two[0].run.key, two[0].table, two[1])
    if key not in one[0].kept:
        one[0].kept[key] = _compared(index, one, two)
    found: Json | None = one[0].kept[key]
    return found


def _compared(index: Index, one: tuple[Known, int], two: tuple[Known, int]) -> Json | None:
    a, b = _graded(index, *one), _graded(index, *two)
    if a.measures != b.measures or not set(a.behaviors) & set(b.behaviors) or a == b:
        return None
    varied = tuple(name for name in DIMENSIONS if a.value(name) != b.value(name))
    [row] = compare([Pair(a.attack, varied, a, b)], {}, MARGIN, "holm")
    family = [row["p"], *_others(one, two)]
    row["rows"] = len(family)
    row["p_corrected"] = paired.holm(family)[0]
    row["says"] = says(row, MARGIN)
    return row


def _graded(index: Index, known: Known, cell: int) -> Graded:
    outcomes: dict[int, dict[Where, str]] = defaultdict(dict)
    for place, number, sample, outcome in index.select(
        f"SELECT place, number, sample, outcome FROM cases_{known.table} WHERE cell = ?", [cell]
    ):
        outcomes[place][number, sample] = outcome
    return _cell(known, cell, outcomes)


def _cell(known: Known, cell: int, outcomes: dict[int, dict[Where, str]]) -> Graded:
    suite = known.run.plan["cells"][cell]["suite"]
    keys = known.run.plan["suites"][suite]["behaviors"]
    told = {
        keys[place]: Told(known.ids[suite][place], known.categories[suite][place], outcomes=outcomes.get(place, {}))
        for place in sorted(known.counts[cell])
    }
    return cell_of(known.run, cell, told)


def _others(one: tuple[Known, int], two: tuple[Known, int]) -> list[float | None]:
    """p of the other rows that the command would print; none where it would not set these two beside each other."""
    (known_a, a), (known_b, b) = one, two
    mine = [_cell(known_a, cell, {}) for cell in range(len(known_a.counts))]
    theirs = mine if known_b is known_a else [_cell(known_b, cell, {}) for cell in range(len(known_b.counts))]
    sides: list[Sequence[Graded]] = [mine, theirs]
    if known_a is known_b:
        varied = [name for name in DIMENSIONS if mine[a].value(name) != mine[b].value(name)]
        if len(varied) != 1:
            return []
        sides = [[c for c in mine if c.value(varied[0]) == mine[at].value(varied[0])] for at in (a, b)]
    try:
        pairs, _ = matched(*sides)
    except SpecError:
        return []
    if not any(pair.a is mine[a] and pair.b is theirs[b] for pair in pairs):
        return []
    numbers = [{id(cell): number for number, cell in enumerate(cells)} for cells in (mine, theirs)]
    places = [(numbers[0][id(pair.a)], numbers[1][id(pair.b)], pair.keys) for pair in pairs]
    return [_p(known_a, left, known_b, right, keys) for left, right, keys in places if (left, right) != (a, b)]


def _p(known_a: Known, a: int, known_b: Known, b: int, keys: Sequence[str]) -> float | None:
    columns: list[list[int]] = []
    for known, cell in ((known_a, a), (known_b, b)):
        planned = known.run.plan["cells"][cell]
        counts = (known.declined if measures(planned) == "over-refusal" else known.counts)[cell]
        wanted = set(keys)
        listed = known.run.plan["suites"][planned["suite"]]["behaviors"]
        found = {key: counts.get(place, (0, 0)) for place, key in enumerate(listed) if key in wanted}
        columns += [[found[key][at] for key in keys] for at in (0, 1)]
    difference = paired.difference(*columns)
    return difference.p if difference else None


def shown(row: Json, most: int = 10) -> list[tuple[str, list[str], int]]:
    """The behaviors that changed in each direction: what became of them, the first of them, and how many more."""
    from withstand.report.comparison import change, turned

    return [
        (f"{turned(row, side)} in that", [change(each) for each in row[side][:most]], max(0, len(row[side]) - most))
        for side in ("worse", "better")
        if row[side]
    ]
