"""Success against budget: how many behaviors were broken by the time an attack had spent so much."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict
from typing import Literal, TypeAlias

import sqlalchemy as sql

from withstand.core import Json
from withstand.core.text import head_of
from withstand.results.counts import Counts, read_counts
from withstand.stats import power_law, sequential
from withstand.stats.clusters import Groups
from withstand.store.store import RunRow, Store, chunks
from withstand.store.tables import CASES, COMPLETIONS, VERDICTS, row, want

By = Literal["asks", "tokens", "seconds", "flops"]

Place: TypeAlias = tuple[int, int]
"""A cell and a behavior's place in its suite."""
Draws: TypeAlias = Mapping[Place, Mapping[tuple[int, int], float | None]]
"""What the draws of a behavior took, by test case and sample; None: not known."""


def within(store: Store, run: RunRow, by: By = "asks", counts: Counts | None = None) -> Iterator[Json]:
    """The points of each cell's curve, in order of cells and of what was spent; a step function between them.

    `spent`: asks to the target, tokens of all roles, seconds, or floating-point operations of local models, that the
    attack had used on a behavior by the first draw that succeeded, that draw included: a direct request stands at 1
    ask. Each test case counts as sent when it was found, with all its samples before the next one, so that draws of a
    search, of best of n and of a list of templates weigh alike. What the judge of success uses does not count, for any
    attack. An attack that asked a model that does not count its operations has no curve in them. `broken` of
    `behaviors`: those with such a case by then, among those with a scored case. `at_most`: those of the broken that a
    candidate dates which a search kept of many, judged alone: another may have broken them before, so that their cost
    is an upper bound, and the curve a lower one. `until_success` judges as it goes, and dates the first success.
    `rate` is their share, or what it would be (Kaplan-Meier) where a budget cut a search off that might have gone
    on; `low` and `high` are a 95% band that holds the whole curve at once. `area`: the mean rate over budgets from
    0 to the most that any attack of the run spent on a behavior. A cell where nothing was broken has one point, at
    0. Benign cells have none. `forecast`, of `best_of_n` by asks: its rate at 10 and at 100 times as many draws, if
    -log rate goes on as a power law of them, with limits; empty where too few rates were seen. It is no measurement.
    counts: what `counts.read_counts` found.
    """
    counted = (counts or read_counts(store, run)).behaviors
    draws = _draws(store, run, by)
    spent, cut = _spent(store, run, by, draws)
    measured = [not any(map(math.isnan, spent[index].values())) for index, _ in enumerate(run.plan["cells"])]
    harmful = [index for index, cell in enumerate(run.plan["cells"]) if not cell["benign"] and measured[index]]
    most = max((amount for index in harmful for amount in spent[index].values()), default=0.0)
    if by == "flops" and not most:
        return  # nothing was counted
    first, kept = _first(store, run, by, set(harmful), draws)
    for index in harmful:
        scored = {place for place, behavior in counted[index].items() if behavior.scored}
        if not scored:
            continue
        labels = {name: run.plan["cells"][index][name] for name in ("target", "defense", "attack")}
        times = list(first[index].values())
        # a search that ended by itself would not have found more; one that was cut off might have
        ended = [spent[index][b] if b in cut[index] else math.inf for b in scored - set(first[index])]
        groups = Groups.of([counted[index][place].cluster for place in scored])
        curve = sequential.band(times, ended, units=groups.equivalent if groups else None)
        area = sequential.area(curve, most)
        ahead = []
        if by == "asks" and head_of(labels["attack"]) == "best_of_n":
            units = {place: counted[index][place].cluster or str(place) for place in scored}
            ahead = _forecast(units, first[index], spent[index])
        for point in curve:
            broken = [place for place, time in first[index].items() if time <= point["spent"]]
            yield {
                "cell": index, **labels, "by": by, **point, "broken": len(broken),
                "at_most": sum((index, place) in kept for place in broken), "behaviors": len(scored), "area": area,
                "forecast": ahead,
            }  # fmt: skip


def _forecast(units: Mapping[int, str], first: Mapping[int, float], spent: Mapping[int, float]) -> list[Json]:
    """Of more draws than all unbroken behaviors had. units: of the scored behaviors, what stands or falls together."""
    unbroken = [spent[place] for place in units if place not in first]
    until = min(unbroken, default=max(first.values(), default=0.0))
    times = [first.get(place) for place in units]
    ahead = power_law.forecasts(times, until, [10 * until, 100 * until], [*units.values()]) if until else []
    return [asdict(forecast) for forecast in ahead]


def _draws(store: Store, run: RunRow, by: By) -> Draws:
    """Of the run's own draws; one that a test case carried costs nothing more."""
    draws: dict[Place, dict[tuple[int, int], float | None]] = defaultdict(dict)
    w = want.c
    for cell, place, number, sample, asks, amount in store.select(
        sql.select(w.cell, w.behavior, w.number, w.sample, row.c.asks, row.c[by])
        .join(row, row.c.key == w.key)
        .where(w.run == run.key, w.stage == COMPLETIONS)
    ):
        draws[cell, place][number, sample] = amount if asks else 0
    return draws


def _first(
    store: Store, run: RunRow, by: By, of: set[int], draws: Draws
) -> tuple[dict[int, dict[int, float]], set[Place]]:
    """What had been spent on each broken behavior of some cells by its first success, by cell and the behavior's place;
    and the places where that success is a candidate that a search kept of many.

    Whatever the order of the test cases in their row: a search lists the candidate that it kept last.
    """
    w = want.c
    broke: dict[Place, set[tuple[int, int]]] = defaultdict(set)
    for cell, place, number, sample in store.select(
        sql.select(w.cell, w.behavior, w.number, w.sample)
        .join(row, row.c.key == w.key)
        .where(w.run == run.key, w.stage == VERDICTS, row.c.label == "success")
    ):
        broke[cell, place].add((number, sample))
    places = store.select(sql.select(w.cell, w.behavior, w.key).where(w.run == run.key, w.stage == CASES))
    won = [(cell, place, key) for cell, place, key in places if cell in of and (cell, place) in broke]
    first: dict[int, dict[int, float]] = defaultdict(dict)
    kept: set[Place] = set()
    for part in chunks(won, 500):
        rows = store.rows(key for *_, key in part)
        for cell, place, key in part:
            cases = rows[key].value if key in rows else []
            at = [float((case.get("spent") or {}).get(by) or 0) for case in cases]
            spent, number = _first_success(at, draws.get((cell, place), {}), broke[cell, place])
            first[cell][place] = spent
            dated = cases[number] if number < len(cases) else {}
            if dated.get("score") is not None and dated.get("cut") != "success":
                kept.add((cell, place))
    return first, kept


def _first_success(
    at: Sequence[float], draws: Mapping[tuple[int, int], float | None], broke: Set[tuple[int, int]]
) -> tuple[float, int]:
    """What was spent by the first draw that succeeded, itself included, and the number of its test case.

    at: what the search had spent when it found each test case.
    """

    def order(draw: tuple[int, int]) -> tuple[float, int, int]:
        number, sample = draw
        return (at[number] if number < len(at) else 0.0, number, sample)

    drawn = 0.0
    for draw in sorted({*draws, *broke}, key=order):
        drawn += draws.get(draw) or 0
        if draw in broke:
            return order(draw)[0] + drawn, draw[0]
    return 0.0, 0


def _spent(store: Store, run: RunRow, by: By, draws: Draws) -> tuple[dict[int, dict[int, float]], dict[int, set[int]]]:
    """What each attack and its draws spent on each behavior in all (NaN: not known), and the behaviors on which a
    budget ended it, by cell."""
    spent: dict[int, dict[int, float]] = defaultdict(dict)
    cut: dict[int, set[int]] = defaultdict(set)
    for cell, place, amount, cut_by in store.select(
        sql.select(want.c.cell, want.c.behavior, row.c[by], row.c.cut)
        .join(row, row.c.key == want.c.key)
        .where(want.c.run == run.key, want.c.stage == CASES)
    ):
        amounts = [amount, *draws.get((cell, place), {}).values()]
        spent[cell][place] = sum(math.nan if part is None else part for part in amounts)
        if cut_by in ("asks", "tokens", "seconds"):
            cut[cell].add(place)
    return spent, cut
