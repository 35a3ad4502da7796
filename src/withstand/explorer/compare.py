"""Two cells side by side: their rates, what changed between them, and the changed cases first."""

import re
from typing import Any

from starlette.responses import Response

from withstand.core import Json
from withstand.core.outcomes import OUTCOMES
from withstand.explorer import queries
from withstand.explorer.app import Asked
from withstand.explorer.differing import compared, shown
from withstand.explorer.index import Known
from withstand.explorer.read import place_of, view
from withstand.explorer.security import Refused
from withstand.report import comparison as words
from withstand.results.cases import picked
from withstand.results.cells import WORDS, measures
from withstand.store.store import RunRow

MARKS = ("suite", "suite_version", "split", "judge", "sampling")
"""What must be equal for two rates to be compared."""
AT_ONCE = 2_000
"""Cases of two cells whose paired test is in the page. That of more takes up to a second, and comes after the page."""


def page(asked: Asked) -> Response:
    """One cell beside another, of this run or of another one."""
    one = asked.known()
    other = _other(asked, one.run)
    two = one if other.key == one.run.key else asked.known(run=other)
    a, b = _cells(asked, one, two)
    if a is None or b is None:
        return asked.page("compare", run=one.run, known=one, sides=None, others=_others(asked), a=a, b=b, two=two)
    only = re.fullmatch(r"(\w+)-(\w+)", asked.query.get("only", ""))
    pair = (only[1], only[2]) if only and {only[1], only[2]} <= set(OUTCOMES) else None
    skip = int(asked.query.get("skip", "0")) if re.fullmatch(r"\d{1,9}", asked.query.get("skip", "0")) else 0
    listed, pairs = queries.differing(asked.explorer.index, (one, a), (two, b), pair, skip)
    cells = one.summary["cells"][a], two.summary["cells"][b]
    later = sum(cell["cases"] for cell in cells) > AT_ONCE and asked.query.get("part") != "difference"
    statistics = None if later else compared(asked.explorer.index, (one, a), (two, b))
    told: dict[str, Any] = {
        "row": statistics,
        "told": words.texts({**statistics, "name": ""}) if statistics else [],
        "directions": shown(statistics) if statistics else [],
    }
    if asked.partial and asked.query.get("part") == "difference":
        return asked.page("_difference", run=one.run, two=two, **told)
    shared = sum(pairs.values())
    matching = pairs.get(pair, 0) if pair else shared
    values: dict[str, Any] = {
        "run": one.run,
        "known": one,
        "two": two,
        "others": _others(asked),
        "a": a,
        "b": b,
        "sides": cells,
        "pairs": pairs,
        **told,
        "later": later,
        "shared": shared,
        "changed": sum(n for (left, right), n in pairs.items() if left != right),
        "alone": (cells[0]["cases"] - shared, cells[1]["cases"] - shared),
        "differ": [name for name in MARKS if cells[0][name] != cells[1][name]],
        "terms": [WORDS[measures(cell)] for cell in cells],
        "rows": list(_rows(asked, one, two, listed)),
        "pair": pair,
        "skip": skip,
        "size": queries.PAIRS,
        "more": skip + queries.PAIRS if matching > skip + queries.PAIRS else 0,
        "query": {"a": a, "with": other.key[:16], "b": b},
    }
    return asked.page("compare", **values)


def _rows(asked: Asked, one: Known, two: Known, listed: Any) -> Any:
    """The cases of both sides, each as a page shows it."""
    left = picked(asked.explorer.store, one.run, [entry[0] for entry in listed])
    right = picked(asked.explorer.store, two.run, [entry[1] for entry in listed])
    for (spot_a, spot_b, behavior, before, after), case_a, case_b in zip(listed, left, right, strict=True):
        yield {
            "behavior": behavior,
            "left": view(asked, one, spot_a, case_a),
            "right": view(asked, two, spot_b, case_b),
            "changed": before != after,
            "places": (place_of(one.run.key, spot_a), place_of(two.run.key, spot_b)),
        }


def _others(asked: Asked) -> list[RunRow]:
    return asked.explorer.index.runs()


def _other(asked: Asked, run: RunRow) -> RunRow:
    wanted = asked.query.get("with", "")
    if not wanted:
        return run
    found = next((each for each in _others(asked) if each.key.startswith(wanted) and len(wanted) >= 12), None)
    if found is None:
        raise Refused(404, "this store has no such run")
    return found


def _cells(asked: Asked, one: Known, two: Known) -> tuple[int | None, int | None]:
    """The cells that were chosen, else the two that lie next to each other."""
    chosen = [asked.query.get(name, "") for name in ("a", "b")]
    known = one.summary["cells"], two.summary["cells"]
    cells = [int(c) if c.isdigit() and int(c) < len(k) else None for c, k in zip(chosen, known, strict=True)]
    harmful = [[c["index"] for c in k if not c["benign"]] or [c["index"] for c in k] for k in known]
    first = cells[0] if cells[0] is not None else next(iter(harmful[0]), None)
    if cells[1] is not None or first is None:
        return first, cells[1]
    if two is not one:
        return first, _like(one.summary["cells"][first], two.summary["cells"])
    return first, next((c for c in harmful[1] if c != first), first)


def _like(cell: Json, cells: list[Json]) -> int | None:
    """The cell of another run that is most alike."""
    names = ("suite", "attack", "target", "defense", "benign")
    best = max(cells, key=lambda other: [cell[name] == other[name] for name in ("benign", *names)], default=None)
    return best["index"] if best else None


ROUTES = (("/runs/{run}/compare", page, ["GET"]),)
