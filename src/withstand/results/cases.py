"""The cases of a run, one by one: what was sent, what came back, what was said of it."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

import sqlalchemy as sql

from withstand.core import Json, from_json
from withstand.core import TestCase as Case
from withstand.store.store import RunRow, Store, chunks
from withstand.store.tables import CASES, COMPLETIONS, VERDICTS, failure, want

Place: TypeAlias = tuple[int, int, int, str]
"""Behavior, number of the test case, sample, key of the row."""


WAITING = "waiting for a person"
"""Why a case is unscored whose judge is people, and which too few have labeled."""


def cases(store: Store, run: RunRow, per_cell: int | None = None) -> Iterator[Json]:
    """Every case of a run, in the plan's order: what was sent, what came back, what was said of it.

    `per_cell` keeps at most that many of each cell: the same number of draws of each behavior, as far as it goes.
    """
    plan = run.plan
    texts = store.behaviors({key for suite in plan["suites"] for key in suite["behaviors"]})
    for index, cell in enumerate(plan["cells"]):
        behaviors = [texts[key] for key in plan["suites"][cell["suite"]]["behaviors"]]
        yield from islice(
            _cell_cases(store, index, _listed(store, run, index, per_cell, len(behaviors)), behaviors, "waits" in cell),
            per_cell,
        )


LABELS = ("suite", "target", "defense", "attack", "judge")


def labeled(summary: Json, listed: Iterable[Json]) -> Iterator[Json]:
    """Cases with the labels of their cell before them."""
    for case in listed:
        cell = summary["cells"][case["cell"]]
        yield {**{name: cell[name] for name in LABELS}, **case}


def learned(store: Store, run: RunRow) -> list[Json]:
    """What the attacks of a run have learned for later ones to start from, as autodan_turbo its strategies."""
    found: list[Json] = []
    for index in range(len(run.plan["cells"])):
        for part in chunks(_listed(store, run, index, None, 0)[CASES], 100):
            for row in store.rows([key for *_, key in part]).values():
                for case in from_json(tuple[Case, ...], row.value):
                    found += json.loads(case.learned) if case.learned else []
    return found


Spot: TypeAlias = tuple[int, int, int, int]
"""A case of a run: cell, behavior, number of the test case, sample."""


def picked(store: Store, run: RunRow, spots: Sequence[Spot]) -> list[Json]:
    """These cases alone, in this order; those that the run does not have are left out."""
    w = want.c
    found: dict[Spot, Json] = {}
    by_cell: dict[int, list[Spot]] = defaultdict(list)
    for spot in spots:
        if 0 <= spot[0] < len(run.plan["cells"]):
            by_cell[spot[0]].append(spot)
    for cell, asked in by_cell.items():
        listed: dict[int, list[Place]] = {CASES: [], COMPLETIONS: [], VERDICTS: []}
        here = {spot[1:] for spot in asked}
        for part in chunks(sorted({behavior for behavior, _, _ in here}), 100):
            for stage, *place in store.select(
                sql.select(w.stage, w.behavior, w.number, w.sample, w.key)
                .where(w.run == run.key, w.stage.in_(listed), w.cell == cell, w.behavior.in_(part))
                .order_by(w.behavior)
            ):
                if stage == CASES or tuple(place[:3]) in here:
                    listed[stage].append(tuple(place))
        keys = run.plan["suites"][run.plan["cells"][cell]["suite"]]["behaviors"]
        keys = {behavior: keys[behavior] for behavior, *_ in listed[CASES]}
        texts = store.behaviors(keys.values())
        places = {text["id"]: behavior for behavior, key in keys.items() if (text := texts[key])}
        known = {behavior: texts[key] for behavior, key in keys.items()}
        for case in _cell_cases(store, cell, listed, known, "waits" in run.plan["cells"][cell]):
            found[cell, places[case["behavior"]], case["case"], case["sample"]] = case
    return [found[spot] for spot in spots if spot in found]


def _listed(store: Store, run: RunRow, cell: int, most: int | None, behaviors: int) -> dict[int, list[Place]]:
    """The wants of a cell by stage, as (behavior, number, sample, key) in order."""
    w = want.c
    kept = []
    if most is not None:
        each = max(1, most // behaviors)
        kept = [w.number < each, w.sample < each, w.behavior < most]
    found = store.select(
        sql.select(w.stage, w.behavior, w.number, w.sample, w.key)
        .where(w.run == run.key, w.cell == cell, *kept)
        .order_by(w.stage, w.behavior, w.number, w.sample)
    )
    listed: dict[int, list[Place]] = {CASES: [], COMPLETIONS: [], VERDICTS: []}
    for stage, *place in found:
        listed[stage].append(tuple(place))
    return listed


def _cell_cases(
    store: Store,
    cell: int,
    listed: Mapping[int, Sequence[Place]],
    behaviors: Sequence[Json] | Mapping[int, Json],
    waits: bool,
) -> Iterator[Json]:
    verdict_key = {place[:3]: place[3] for place in listed[VERDICTS]}
    draws: dict[int, list[Place]] = defaultdict(list)
    for place in listed[COMPLETIONS]:
        draws[place[0]].append(place)
    for part in chunks(listed[CASES], 100):
        wanted = [draw for behavior, *_ in part for draw in draws[behavior]]
        keys = [place[3] for place in [*part, *wanted]] + [verdict_key.get(place[:3], "") for place in wanted]
        rows = store.rows(keys)
        errors = _errors(store, [key for key in keys if key not in rows])
        for behavior, _, _, key in part:
            text = behaviors[behavior]
            entry = {"cell": cell, "behavior": text["id"], "category": text.get("category", "")}
            entry |= {"text": text["text"], "context": text.get("context", "")}
            made = from_json(tuple[Case, ...], rows[key].value) if key in rows else ()
            if not draws[behavior]:
                yield entry | _blank() | {"chat": []} | _why(errors, key)
            for _, number, sample, completion in draws[behavior]:
                judged = verdict_key.get((behavior, number, sample), "")
                value = rows[completion].value if completion in rows else {}
                verdict = rows[judged].value if judged in rows else {}
                case = made[number] if number < len(made) else None
                outcome = {"outcome": rows[judged].label} if judged in rows else _why(errors, completion, judged)
                if waits and completion in rows and judged not in rows:
                    outcome = {"outcome": "unscored", "why": WAITING}
                yield entry | _blank() | {
                    "case": number,
                    "sample": sample,
                    "chat": [{"role": m.role, "text": m.text} for m in case.chat] if case else [],
                    "completion": value.get("text") if completion in rows else None,
                    "reasoning": value.get("reasoning", ""),
                    "tool_calls": [{"arguments": "", **call} for call in value.get("tool_calls", ())],
                    "finish": value.get("finish", "stop") if completion in rows else "",
                    "tokens": {kind: value.get(f"{kind}_tokens", 0) for kind in _TOKENS} if value else {},
                    "score": verdict.get("score"),
                    "why": verdict.get("why", ""),
                    "spent": {name: getattr(case.spent, name) for name in _SPENT} if case else {},
                    "cut": case.cut if case else "",
                } | outcome  # fmt: skip


_SPENT = ("asks", "tokens", "seconds", "flops")
_TOKENS = ("prompt", "answer", "reasoning")


def _blank() -> dict[str, Any]:
    return {
        "case": 0, "sample": 0, "completion": None, "reasoning": "", "tool_calls": [], "finish": "", "tokens": {},
        "outcome": "error", "score": None, "why": "", "error": "", "hint": "", "spent": {}, "cut": "",
    }  # fmt: skip


def _why(errors: Mapping[str, tuple[str, str]], *keys: str) -> dict[str, str]:
    error, hint = next((errors[key] for key in keys if key in errors), ("not reached", "run the same command again"))
    return {"outcome": "error", "error": error, "hint": hint}


def _errors(store: Store, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The newest failure of each key."""
    f = failure.c
    found: dict[str, tuple[str, str]] = {}
    for part in chunks([key for key in keys if key], 500):
        for key, error, hint in store.select(
            sql.select(f.key, f.error, f.hint).where(f.key.in_(part)).order_by(f.created)
        ):
            found[key] = (error, hint)
    return found
