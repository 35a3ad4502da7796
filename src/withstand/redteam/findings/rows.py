"""The attempts of a round as ordinary rows of a run: test case, completion, verdict of the person who tried it.

A run never grows once its key says what is in it, and members of a round record at the same time. So a publication is a
snapshot: the attempts of the round as they are now, one cell for each layer and tester. The same attempts again are the
same run; later ones are another. No rate is made of it (`results.by_hand`).
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from withstand.core import Behavior, Completion, Json, Message, SpecError, TestCase, Verdict, digest, to_json
from withstand.redteam.plan.records import Plan
from withstand.redteam.replay.asking import behavior_of
from withstand.results.by_hand import METHOD, NO_RATE
from withstand.runner.drive import value_of
from withstand.store.attempts import Attempt, attempts
from withstand.store.store import Row, RunRow, Store, Want
from withstand.store.tables import CASES, COMPLETIONS, VERDICTS


@dataclass(frozen=True, slots=True)
class Published:
    """A snapshot of a round. new: False where it was published before.   left_out: reason -> how many attempts."""

    run: RunRow
    attempts: int
    new: bool
    left_out: Mapping[str, int]


def publish(store: Store, plan: Plan, round_id: str) -> Published:
    """Put the attempts of a round into the store as a run. Raises `SpecError` where there is none to put."""
    plan.round(round_id)
    kept, left_out = list[Attempt](), Counter[str]()
    for attempt in sorted(attempts(store, plan.id), key=lambda attempt: (attempt.surfaced, attempt.id)):
        if attempt.round == round_id:
            reason = _why_not(attempt)
            left_out.update([reason] if reason else [])
            kept += [] if reason else [attempt]
    if not kept:
        raise SpecError(f"no attempt of round {round_id!r} can be published", hint="record some first")
    cells: dict[tuple[str, str], list[Attempt]] = {}
    for attempt in kept:
        cells.setdefault((attempt.layer, attempt.tester), []).append(attempt)
    described = _described(plan, round_id, cells)
    key = digest(described)
    existing = next((run for run in store.runs() if run.key == key), None)
    if existing is None:
        _record(store, plan, round_id, key, described, cells)
    run = next(run for run in store.runs() if run.key == key)
    return Published(run, len(kept), existing is None, dict(left_out))


def _why_not(attempt: Attempt) -> str:
    """Why an attempt cannot be a row of ours; "" if it can."""
    if attempt.purged:
        return "texts erased"
    if attempt.foreign:
        return "of writers whom you do not trust in this store"
    texts = attempt.sensitivity != "not_stored" and any(turn.role == "user" for turn in attempt.turns)
    return "" if texts else "of no stored text"


def _described(plan: Plan, round_id: str, cells: Mapping[tuple[str, str], Sequence[Attempt]]) -> Json:
    """The plan of the run, as that of any other."""
    layers = {layer.id: layer for layer in plan.layers}
    targets = {layer: layers[layer].target if layer in layers else "" for layer, _ in cells}
    return {
        "suites": [_suite(plan, round_id, of_cell) for of_cell in cells.values()],
        "cells": [_cell(at, layer, tester, of_cell) for at, ((layer, tester), of_cell) in enumerate(cells.items())],
        "targets": {layer or "no layer": {"use": METHOD, "target": target} for layer, target in targets.items()},
        "components": [],
        "budget": {},
        "seed": 0,
        "attempts": sorted(attempt.id for of_cell in cells.values() for attempt in of_cell),
    }


def _suite(plan: Plan, round_id: str, of_cell: Sequence[Attempt]) -> Json:
    return {
        "name": f"{plan.id}, {round_id}", "version": "", "split": "", "license": "", "twin": None,
        "notes": [NO_RATE], "behaviors": [digest(to_json(_behavior(attempt))) for attempt in of_cell],
    }  # fmt: skip


def _cell(at: int, layer: str, tester: str, of_cell: Sequence[Attempt]) -> Json:
    mitigations = sorted({attempt.mitigations for attempt in of_cell} - {"", "none"})
    return {
        "target": layer or "no layer", "defense": ", ".join(mitigations) or "none", "attack": METHOD, "judge": tester,
        "suite": at, "benign": False, "samples": 1, "judge_method": METHOD, "until_success": False,
        "sampling": {"max_tokens": 0, "temperature": 0.0, "top_p": 1.0}, "notes": [NO_RATE],
        "keys": {
            "target": digest([METHOD, layer]), "attack": digest([METHOD]), "judge": digest([METHOD, tester]),
            "until": digest(None), "cases": digest([_content(attempt) for attempt in of_cell]),
        },
    }  # fmt: skip


def _behavior(attempt: Attempt) -> Behavior:
    """What was tried, named by the attempt; its category is the harm."""
    return behavior_of(attempt, attempt.harm_id)


def _content(attempt: Attempt) -> Json:
    """All of an attempt that its rows hold."""
    return [to_json(attempt.turns), attempt.output, attempt.output_description, verdict_of(attempt).why]


def verdict_of(attempt: Attempt) -> Verdict:
    """What the person says, in words: unscored, so that it is in no rate."""
    rated = f", severity {attempt.rated} ({attempt.word})" if attempt.rated else ""
    harm = f", {attempt.harm_name}" if attempt.harm else ""
    status = f"; {attempt.status}" if attempt.is_finding else ""
    return Verdict("unscored", why=f"{attempt.tester} by hand: {attempt.verdict}{rated}{harm}{status}")


def _record(
    store: Store, plan: Plan, round_id: str, key: str, described: Json,
    cells: Mapping[tuple[str, str], Sequence[Attempt]],
) -> None:  # fmt: skip
    origin = {"from": "plan", "path": [plan.path], "plan": plan.id, "round": round_id}
    store.add_run(RunRow(key, _name(store, plan, round_id), time.time(), {"imported": origin}, described))
    behaviors = [_behavior(attempt) for of_cell in cells.values() for attempt in of_cell]
    store.add_texts({digest(to_json(behavior)): to_json(behavior) for behavior in behaviors}, {})
    for at, of_cell in enumerate(cells.values()):
        parts = [_rows(at, place, attempt) for place, attempt in enumerate(of_cell)]
        store.add(rows=[row for _, rows in parts for row in rows])
        store.add_wants(key, [want for wants, _ in parts for want in wants])


def _rows(cell: int, place: int, attempt: Attempt) -> tuple[list[Want], list[Row]]:
    chat = tuple(Message(turn.role, turn.text) for turn in attempt.turns)
    answer = attempt.output or (f"[{attempt.output_description}]" if attempt.output_description else "")
    completion, verdict, case = Completion(chat, answer), verdict_of(attempt), TestCase(attempt.id, chat)
    rows = [
        Row(digest(["by hand", CASES, attempt.id, to_json(case)]), "1", [to_json(case)], test_cases=1, cut="",
            refused=0, malformed=0),
        Row(digest(["by hand", COMPLETIONS, attempt.id, to_json(chat), answer]), "stop", value_of(completion)),
        Row(digest(["by hand", VERDICTS, attempt.id, attempt.revision, to_json(verdict)]), "unscored",
            to_json(verdict)),
    ]  # fmt: skip
    stages = (CASES, COMPLETIONS, VERDICTS)
    return [Want(stage, cell, place, 0, 0, row.key) for stage, row in zip(stages, rows, strict=True)], rows


def _name(store: Store, plan: Plan, round_id: str) -> str:
    """A name that no other snapshot has."""
    taken, base = {run.name for run in store.runs()}, f"{plan.id}-{round_id}-by-hand"
    names = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)
