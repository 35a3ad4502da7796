"""What a plan will ask at most, before anything is asked: `--dry-run`."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sql

from withstand.core import Json, SpecError, UpperBounds
from withstand.core.optional import optional
from withstand.runner import attack_sets
from withstand.runner.adaptive import bounds, knowledge
from withstand.runner.begin import planned
from withstand.runner.destination import destination
from withstand.runner.draws import most_of
from withstand.runner.memory import memory
from withstand.runner.plan import Cell, Plan, has_conversations
from withstand.runner.progress import bounds_of
from withstand.runner.spec import RunSpec
from withstand.runner.transfer import TransferredCases
from withstand.stats.group_sequential import Watch
from withstand.store.store import Store
from withstand.store.tables import COMPLETIONS, row, want


def estimate(plan: Plan, store: Store | None, stop: float | None = None) -> Json:
    """Cells with upper bounds of test cases, asks by role, answer tokens and steps of searches that read weights;
    expected seconds and cost; memory.

    stop: the ASR above or below which a cell is decided; "stops" then says how many behaviors a harmful cell of each
    suite asks on average, by its true ASR.

    Seconds and cost come from earlier completions of the same target in `store`; null where there are none. Raises
    `SpecError` for models that cannot fit into their device.
    """
    earlier = _earlier(store) if store else {}
    cells = [_cell(plan, cell, earlier) for cell in plan.cells]
    asks: dict[str, int] = defaultdict(int)
    for cell in cells:
        for role, count in cell["asks"].items():
            asks[role] += count
    return {
        "cells": cells,
        "behaviors": sum(len(suite.behaviors) for suite in plan.suites),
        "asks": dict(asks),
        "answer_tokens": sum(cell["answer_tokens"] for cell in cells),
        "steps": sum(cell["steps"] for cell in cells),
        "seconds": _total([cell["seconds"] for cell in cells]),
        "cost": _total([cell["cost"] for cell in cells]),
        "memory": memory(plan),
        "stops": [] if stop is None else _stops(plan, stop),
        "hosts": list(plan.hosts),
        "destination": destination(plan.models),
        "warnings": list(plan.warnings),
    }


def forms(spec: RunSpec, store: Store | None, offline: bool = False) -> Iterator[tuple[str, Json]]:
    """What the spec would ask at most with each form of the set of attacks that it names; why one cannot be run."""
    for access, of_form in attack_sets.forms(spec):
        try:
            yield access, estimate(planned(of_form, store, offline), store)
        except SpecError as error:
            yield access, {"error": str(error)}


def _stops(plan: Plan, limit: float) -> list[Json]:
    suites = dict.fromkeys(cell.suite for cell in plan.cells if not cell.benign)
    stops = []
    for suite in (plan.suites[place] for place in suites):
        watch = Watch(limit, len(suite.behaviors))
        means = {f"{rate:g}": round(watch.chances(rate)[2], 1) for rate in (0.0, limit / 2, limit, min(1.0, 2 * limit))}
        stops.append({"suite": suite.label, "limit": limit, "behaviors": watch.behaviors, "expected": means})
    return stops


def _cell(plan: Plan, cell: Cell, earlier: dict[str, tuple[float, float]]) -> Json:
    behaviors = plan.suites[cell.suite].behaviors
    asks: dict[str, int] = defaultdict(int)
    cases = completions = graded = 0
    for behavior in behaviors:
        if isinstance(cell.attack, TransferredCases):
            most = UpperBounds(cases=len(cell.attack.cases.get(behavior.id, ())))
        else:
            most = bounds(cell.attack, cell.target.defense, cell.benign)
        cases += most.cases
        completions += 0 if most.drawn else most.cases * cell.samples
        sought = dict(most.asks)
        if cell.until:
            drawn = _drawn_in_search(cell, most)
            sought["target"] = sought.get("target", 0) + (0 if most.drawn else drawn)
            graded += most.cases if most.drawn else drawn
        for role, count in sought.items():
            held = role == "target" and plan.budget.asks is not None
            asks[role] += min(count, plan.budget.asks or count) if held else count
    judged = completions or cases
    per_answer = cell.target.defense.asks if cell.target.defense else 1
    asks["target"] = (asks["target"] + completions) * per_answer
    readings = 2 if has_conversations(cell.attack) else 1  # of the last answer, and of all of them
    asks["judge"] += readings * (judged * cell.judge.asks + (graded * cell.until.asks if cell.until else 0))
    seconds, cost = earlier.get(cell.keys["target"], (None, None))
    at_once = max(1, min(cell.target.model.lanes, asks["target"]))  # a row's seconds are its share of its batch
    return {
        "suite": plan.suites[cell.suite].label,
        **cell.labels,
        "benign": cell.benign,
        "knows": "" if cell.benign else knowledge(cell.attack, cell.target.defense),
        "behaviors": len(behaviors),
        "cases": cases,
        "asks": {role: count for role, count in asks.items() if count},
        "answer_tokens": asks["target"] * cell.target.sampling.max_tokens,
        "steps": len(behaviors) * bounds_of(cell.attack)[0] if "weights" in optional(cell.attack, "needs") else 0,
        "seconds": None if seconds is None else round(asks["target"] * seconds / at_once, 1),
        "cost": None if cost is None else round(asks["target"] * cost, 4),
    }  # fmt: skip


def _drawn_in_search(cell: Cell, most: UpperBounds) -> int:
    """Draws that grade a search which stops at a success: of each case and each new best, one a step or ask at most."""
    return max(most.cases, most.asks.get("target", 0), bounds_of(cell.attack)[0]) * most_of(cell.draws)


def _earlier(store: Store) -> dict[str, tuple[float, float]]:
    """Mean seconds and cost of a completion, by target key, over all runs of the store."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for run in store.runs():
        groups: list[Any] = store.select(
            sql.select(want.c.cell, sql.func.count(), sql.func.sum(row.c.seconds), sql.func.sum(row.c.cost))
            .join(row, row.c.key == want.c.key)
            .where(want.c.run == run.key, want.c.stage == COMPLETIONS, row.c.asks > 0)
            .group_by(want.c.cell)
        )
        for cell, count, seconds, cost in groups:
            total = sums[run.plan["cells"][cell]["keys"]["target"]]
            for place, value in enumerate((count, seconds, cost)):
                total[place] += value
    return {key: (seconds / count, cost / count) for key, (count, seconds, cost) in sums.items()}


def _total(values: list[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return round(sum(given), 4) if len(given) == len(values) and given else None
