"""Two cells side by side: their rates, what changed between them, and the changed cases first."""

import re
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from withstand.core.outcomes import OUTCOMES
from withstand.explorer import queries
from withstand.explorer.app import PageRequest
from withstand.explorer.differing import compared, shown
from withstand.explorer.index import RunIndex
from withstand.explorer.read import place_of, view
from withstand.explorer.security import Refused
from withstand.report import comparison as words
from withstand.results.cases import picked
from withstand.results.cells import WORDS, CellResult, plain
from withstand.store.store import RunRow

MARKS = ("suite", "suite_version", "split", "judge", "sampling")
"""What must be equal for two rates to be compared."""
AT_ONCE = 2_000
"""Cases of two cells whose paired test is in the page. That of more takes up to a second, and comes after the page."""


def page(asked: PageRequest) -> Response:
    """One cell beside another, of this run or of another one."""
    left = asked.indexed()
    run_b = _run_beside(asked, left.run)
    right = left if run_b.key == left.run.key else asked.indexed(run=run_b)
    a, b = _cells(asked, left, right)
    if a is None or b is None:
        return asked.page("compare", run=left.run, indexed=left, sides=None, runs=_runs(asked), a=a, b=b, two=right)
    only = re.fullmatch(r"(\w+)-(\w+)", asked.query.get("only", ""))
    pair = (only[1], only[2]) if only and {only[1], only[2]} <= set(OUTCOMES) else None
    skip = int(asked.query.get("skip", "0")) if re.fullmatch(r"\d{1,9}", asked.query.get("skip", "0")) else 0
    listed, pairs = queries.differing(asked.explorer.index, (left, a), (right, b), pair, skip)
    cells = left.summary.cells[a], right.summary.cells[b]
    later = sum(cell.cases for cell in cells) > AT_ONCE and asked.query.get("part") != "difference"
    statistics = None if later else compared(asked.explorer.index, (left, a), (right, b))
    row, rows = statistics or (None, 0)
    difference: dict[str, Any] = {
        "row": row,
        "rows_compared": rows,
        "texts": words.texts(plain(row)) if row else [],
        "directions": shown(plain(row)) if row else [],
    }
    if asked.partial and asked.query.get("part") == "difference":
        return asked.page("_difference", run=left.run, two=right, **difference)
    shared = sum(pairs.values())
    matching = pairs.get(pair, 0) if pair else shared
    values: dict[str, Any] = {
        "run": left.run,
        "indexed": left,
        "two": right,
        "runs": _runs(asked),
        "a": a,
        "b": b,
        "sides": cells,
        "pairs": pairs,
        **difference,
        "later": later,
        "shared": shared,
        "changed": sum(n for (left, right), n in pairs.items() if left != right),
        "alone": (cells[0].cases - shared, cells[1].cases - shared),
        "differ": [name for name in MARKS if getattr(cells[0], name) != getattr(cells[1], name)],
        "terms": [WORDS[cell.measures] for cell in cells],
        "rows": list(_rows(asked, left, right, listed)),
        "pair": pair,
        "skip": skip,
        "size": queries.PAIRS,
        "more": skip + queries.PAIRS if matching > skip + queries.PAIRS else 0,
        "query": {"a": a, "with": run_b.key[:16], "b": b},
    }
    return asked.page("compare", **values)


def _rows(asked: PageRequest, run_a: RunIndex, run_b: RunIndex, listed: Any) -> Any:
    """The cases of both sides, each as a page shows it."""
    left = picked(asked.explorer.store, run_a.run, [entry[0] for entry in listed])
    right = picked(asked.explorer.store, run_b.run, [entry[1] for entry in listed])
    for (spot_a, spot_b, behavior, before, after), case_a, case_b in zip(listed, left, right, strict=True):
        yield {
            "behavior": behavior,
            "left": view(asked, run_a, spot_a, case_a),
            "right": view(asked, run_b, spot_b, case_b),
            "changed": before != after,
            "places": (place_of(run_a.run.key, spot_a), place_of(run_b.run.key, spot_b)),
        }


def _runs(asked: PageRequest) -> list[RunRow]:
    return asked.explorer.index.runs()


def _run_beside(asked: PageRequest, run: RunRow) -> RunRow:
    wanted = asked.query.get("with", "")
    if not wanted:
        return run
    match = next((run for run in _runs(asked) if run.key.startswith(wanted) and len(wanted) >= 12), None)
    if match is None:
        raise Refused(404, "this store has no such run")
    return match


def _cells(asked: PageRequest, run_a: RunIndex, run_b: RunIndex) -> tuple[int | None, int | None]:
    """The cells that were chosen, else the two that lie next to each other."""
    chosen = [asked.query.get(name, "") for name in ("a", "b")]
    sides = run_a.summary.cells, run_b.summary.cells
    cells = [int(c) if c.isdigit() and int(c) < len(k) else None for c, k in zip(chosen, sides, strict=True)]
    harmful = [[c.index for c in k if not c.benign] or [c.index for c in k] for k in sides]
    first = cells[0] if cells[0] is not None else next(iter(harmful[0]), None)
    if cells[1] is not None or first is None:
        return first, cells[1]
    if run_b is not run_a:
        return first, _like(run_a.summary.cells[first], run_b.summary.cells)
    return first, next((c for c in harmful[1] if c != first), first)


def _like(cell: CellResult, cells: Sequence[CellResult]) -> int | None:
    """The cell of another run that is most alike."""
    names = ("benign", "suite", "attack", "target", "defense")
    best = max(cells, key=lambda near: [getattr(cell, n) == getattr(near, n) for n in names], default=None)
    return best.index if best else None


ROUTES = (("/runs/{run}/compare", page, ["GET"]),)
