"""Two cells side by side: their rates, what changed between them, and the changed cases first."""

import re
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from withstand.core.outcomes import OUTCOMES
from withstand.explorer import queries
from withstand.explorer.app import PageRequest
from withstand.explorer.differing import compared, shown
from withstand.explorer.gates import SpecGate, gate_of
from withstand.explorer.index import RunIndex
from withstand.explorer.numbers import whole
from withstand.explorer.read import views
from withstand.explorer.security import Refused
from withstand.report import comparison as words
from withstand.results.cells import WORDS, CellResult

MARKS = ("suite", "suite_version", "split", "judge", "sampling")
"""What must be equal for two rates to be compared."""
AT_ONCE = 2_000
"""Cases of two cells whose paired test is in the page. That of more takes up to a second, and comes after the page."""


def page(asked: PageRequest) -> Response:
    """One cell beside another, of this run or of another one."""
    left = asked.indexed()
    run_b = asked.run(asked.query["with"]) if asked.query.get("with") else left.run
    right = left if run_b.key == left.run.key else asked.indexed(run=run_b)
    a, b = _cells(asked, left, right)
    values: dict[str, Any] = {"two": right, "runs": asked.explorer.index.runs(), "a": a, "b": b}
    if a is None or b is None:
        return asked.run_page("compare", left, sides=None, **values)
    only = re.fullmatch(r"(\w+)-(\w+)", asked.query.get("only", ""))
    pair = (only[1], only[2]) if only and {only[1], only[2]} <= set(OUTCOMES) else None
    skip = asked.number("skip")
    listed, pairs = queries.differing(asked.explorer.index, (left, a), (right, b), pair, skip)
    cells = left.summary.cells[a], right.summary.cells[b]
    later = sum(cell.cases for cell in cells) > AT_ONCE and asked.query.get("part") != "difference"
    statistics = None if later else compared(asked.explorer.index, (left, a), (right, b))
    row, rows = statistics or (None, 0)
    values |= {
        "row": row, "rows_compared": rows, "texts": words.texts(row) if row else [],
        "level": words.level(row.level) if row else "",
        "directions": shown(row) if row else [], "gates": [] if later else _gates(asked, left, right),
    }  # fmt: skip
    if asked.partial and asked.query.get("part") == "difference":
        return asked.run_page("_difference", left, **values)
    shared = sum(pairs.values())
    matching = pairs.get(pair, 0) if pair else shared
    spots_a, spots_b, behaviors, before, after = zip(*listed, strict=True) if listed else ((),) * 5
    changed = [old != new for old, new in zip(before, after, strict=True)]
    return asked.run_page(
        "compare", left, sides=cells, pairs=pairs, later=later, shared=shared, pair=pair, skip=skip,
        changed=sum(n for (old, new), n in pairs.items() if old != new),
        alone=[cell.cases - shared for cell in cells], terms=[WORDS[cell.measures] for cell in cells],
        differ=[name for name in MARKS if getattr(cells[0], name) != getattr(cells[1], name)],
        rows=list(zip(behaviors, changed, views(asked, left, spots_a), views(asked, right, spots_b), strict=True)),
        size=queries.PAIRS, more=skip + queries.PAIRS if matching > skip + queries.PAIRS else 0,
        query={"a": a, "with": run_b.key[:16], "b": b}, **values,
    )  # fmt: skip


def _gates(asked: PageRequest, left: RunIndex, right: RunIndex) -> list[tuple[str, SpecGate]]:
    """What the limits in the specs of two runs say of each; nothing for two cells of one run."""
    if left is right:
        return []
    gates = [(side, gate_of(asked.explorer.store, indexed)) for side, indexed in (("this", left), ("that", right))]
    return [(side, gate) for side, gate in gates if gate]


def versions(asked: PageRequest) -> Response:
    """The two runs that were chosen in the list, the older one first."""
    chosen = [asked.run(key) for key in dict.fromkeys(asked.request.query_params.getlist("run"))]
    if len(chosen) != 2:
        raise Refused(400, "choose two runs to compare", "tick both in the list of runs")
    old, new = sorted(chosen, key=lambda run: run.created)
    return asked.to(f"/runs/{old.key[:16]}/compare", **{"with": new.key[:16]})


def _cells(asked: PageRequest, run_a: RunIndex, run_b: RunIndex) -> tuple[int | None, int | None]:
    """The cells that were chosen, else the two that lie next to each other."""
    chosen = [asked.query.get(name, "") for name in ("a", "b")]
    sides = run_a.summary.cells, run_b.summary.cells
    cells = [
        n if (n := whole(c, -1)) is not None and 0 <= n < len(k) else None for c, k in zip(chosen, sides, strict=True)
    ]
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


ROUTES = (("/compare", versions, ["GET"]), ("/runs/{run}/compare", page, ["GET"]))
