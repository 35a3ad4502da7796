"""Success against budget: how many behaviors were broken by the time an attack had spent so much."""

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Literal

import sqlalchemy as sql

from withstand.core import Json
from withstand.results.counts import Counts, read_counts
from withstand.stats import sequential
from withstand.store.store import RunRow, Store, chunks
from withstand.store.tables import CASES, VERDICTS, row, want

By = Literal["asks", "tokens", "seconds", "flops"]


def within(store: Store, run: RunRow, by: By = "asks", counts: Counts | None = None) -> Iterator[Json]:
    """The points of each cell's curve, in order of cells and of what was spent; a step function between them.

    `spent`: asks to the target, tokens of all roles, seconds, or floating-point operations of local models, that the
    attack had used on a behavior when it found the first test case that succeeded; sending the case itself is not
    counted, so that direct requests stand at 0. A search that keeps its best candidate alone is dated by that one, and
    may have broken the behavior before: `until_success` dates the first success. An attack that asked a model that does
    not count its operations has no curve in them. `broken` of `behaviors`: those with such a case by then, among those
    with a scored case. `rate` is their share, or what it would be (Kaplan-Meier) where a budget cut a search off that
    might have gone on; `low` and `high` are a 95% band that holds the whole curve at once. `area`: the mean rate over
    budgets from 0 to the most that any attack of the run spent on a behavior. A cell where nothing was broken has one
    point, at 0. Benign cells have none.
    counts: what `counts.read_counts` found.
    """
    counted = (counts or read_counts(store, run)).behaviors
    spent, cut = _spent(store, run, by)
    measured = [None not in spent[index].values() for index, _ in enumerate(run.plan["cells"])]
    harmful = [index for index, cell in enumerate(run.plan["cells"]) if not cell["benign"] and measured[index]]
    most = max((amount for index in harmful for amount in spent[index].values()), default=0.0)
    if by == "flops" and not most:
        return  # nothing was counted
    first = _first(store, run, by, set(harmful))
    for index in harmful:
        scored = {place for place, behavior in counted[index].items() if behavior.scored}
        if not scored:
            continue
        labels = {name: run.plan["cells"][index][name] for name in ("target", "defense", "attack")}
        times = list(first[index].values())
        # a search that ended by itself would not have found more; one that was cut off might have
        ended = [spent[index][b] if b in cut[index] else math.inf for b in scored - set(first[index])]
        curve = sequential.band(times, ended)
        area = sequential.area(curve, most)
        for point in curve:
            broken = sum(time <= point["spent"] for time in times)
            yield {"cell": index, **labels, "by": by, **point, "broken": broken, "behaviors": len(scored), "area": area}


def _first(store: Store, run: RunRow, by: By, of: set[int]) -> dict[int, dict[int, float]]:
    """What had been spent on each broken behavior of some cells by its first success, by cell and the behavior's place.

    Of several test cases that succeeded the cheapest counts, whatever their order: a search lists the candidate that it
    kept last.
    """
    w = want.c
    numbers: dict[tuple[int, int], set[int]] = defaultdict(set)
    for cell, place, number in store.select(
        sql.select(w.cell, w.behavior, w.number)
        .join(row, row.c.key == w.key)
        .where(w.run == run.key, w.stage == VERDICTS, row.c.label == "success")
        .distinct()
    ):
        numbers[cell, place].add(number)
    places = store.select(sql.select(w.cell, w.behavior, w.key).where(w.run == run.key, w.stage == CASES))
    won = [(cell, place, key) for cell, place, key in places if cell in of and (cell, place) in numbers]
    first: dict[int, dict[int, float]] = defaultdict(dict)
    for part in chunks(won, 500):
        rows = store.rows(key for *_, key in part)
        for cell, place, key in part:
            cases = rows[key].value if key in rows else []
            spent = [cases[number].get("spent") or {} for number in numbers[cell, place] if number < len(cases)]
            first[cell][place] = min((float(amounts.get(by, 0)) for amounts in spent), default=0.0)
    return first


def _spent(store: Store, run: RunRow, by: By) -> tuple[dict[int, dict[int, float]], dict[int, set[int]]]:
    """What each attack spent on each behavior in all, and the behaviors on which a budget ended it, by cell."""
    spent: dict[int, dict[int, float]] = defaultdict(dict)
    cut: dict[int, set[int]] = defaultdict(set)
    for cell, place, amount, cut_by in store.select(
        sql.select(want.c.cell, want.c.behavior, row.c[by], row.c.cut)
        .join(row, row.c.key == want.c.key)
        .where(want.c.run == run.key, want.c.stage == CASES)
    ):
        spent[cell][place] = amount
        if cut_by in ("asks", "tokens", "seconds"):
            cut[cell].add(place)
    return spent, cut
