"""Success against budget: how many behaviors were broken by the time an attack had spent so much."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sql

from withstand import stats
from withstand.core import Json
from withstand.report.counts import Counts, read
from withstand.store import CASES, RunRow, Store, chunks, want

By = Literal["asks", "tokens", "seconds"]


def within(store: Store, run: RunRow, by: By, counts: Counts | None = None) -> Iterator[Json]:
    """One point per cell and amount at which a further behavior was broken, in the plan's order and rising.

    `spent`: asks to the target, tokens of all roles, or seconds, that the attack had used on a behavior when it found a
    test case that succeeded; sending the case itself is not counted, so that direct requests stand at 0. `broken` of
    `behaviors`: those with such a case by then, among those with a scored case; `rate` with its 95 % Wilson interval.
    A cell where nothing was broken has one point, at 0. Benign cells have none. counts: what `summary.read` found.
    """
    found = (counts or read(store, run)).found
    spent = _spent(store, run, found, by)
    for index, cell in enumerate(run.plan["cells"]):
        n = sum(behavior.scored > 0 for behavior in found[index].values())
        if cell["benign"] or not n:
            continue
        labels = {name: cell[name] for name in ("target", "defense", "attack")}
        amounts = sorted(spent[index])
        for amount in sorted({0.0, *amounts}):
            broken = bisect_right(amounts, amount)
            low, high = stats.wilson(broken, n) or (0.0, 1.0)
            point = {"spent": amount, "broken": broken, "behaviors": n, "rate": broken / n, "low": low, "high": high}
            yield {"cell": index, **labels, "by": by, **point}


def _spent(store: Store, run: RunRow, found: Sequence[Mapping[int, Any]], by: By) -> dict[int, list[float]]:
    """What had been spent on each broken behavior by its first success, by cell.

    What is spent only grows from case to case, so that the first success is also the cheapest.
    """
    w = want.c
    places = store.select(sql.select(w.cell, w.behavior, w.key).where(w.run == run.key, w.stage == CASES))
    won = [(cell, found[cell][behavior].won, key) for cell, behavior, key in places]
    spent: dict[int, list[float]] = defaultdict(list)
    for part in chunks((place for place in won if place[1] is not None), 500):
        rows = store.rows(key for *_, key in part)
        for cell, number, key in part:
            cases = rows[key].value if key in rows else []
            spent[cell].append(float((cases[number].get("spent") or {}).get(by, 0)) if number < len(cases) else 0.0)
    return spent
