"""Baseline files: outcomes and test cases of a run, frozen by key and without a text, to be kept beside the code.

Each line of a cell is a behavior: its id, the key of its test cases' row, a digest of what was sent, and the outcomes.
The row is in the store of the run; `--cases-from FILE` finds it there and sends the very same chats again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from withstand.core import Json, SpecError, TestCase, bounded, digest, from_json, to_json
from withstand.core.shape import misfit
from withstand.runner.transfer import TransferredCases, check_texts, drawn_at, transferred
from withstand.store.store import Store
from withstand.store.tables import CASES, want

MARK = "withstand_baseline"
FORMAT = 1


def cases_from(name: str, where: Store) -> list[TransferredCases]:
    """The test cases of each cell that attacked in an earlier run, or in a baseline file; else none.

    Cells whose attack sends no text, an upper bound, have nothing to send on.
    """
    if name and is_baseline(name):
        return given(name, where)
    run = next((run for run in where.runs() if run.name == name), None)
    if run is None:
        return []
    transfers = []
    for index, cell in enumerate(run.plan["cells"]):
        if cell["benign"] or cell.get("upper_bound"):
            continue
        keys = run.plan["suites"][cell["suite"]]["behaviors"]
        behaviors = where.behaviors(keys)
        wanted = where.select(
            sql.select(want.c.behavior, want.c.key).where(
                want.c.run == run.key, want.c.stage == CASES, want.c.cell == index
            )
        )
        rows = where.reused(key for _, key in wanted)
        check_texts(rows.values())
        cases = {
            behaviors[keys[place]]["id"]: from_json(tuple[TestCase, ...], rows[key].value)
            for place, key in wanted
            if key in rows
        }
        transfers.append(transferred(cell, run.name, cases, drawn_at(run.plan, index)))
    if not transfers:
        raise SpecError(f"the run {name} has no test case that could be sent", hint="name one with an attack by text")
    return transfers


def sent(store: Store, keys: Sequence[str]) -> dict[str, str]:
    """For each of these rows of test cases that the store has, a digest of what the target was sent."""
    return {key: digest_of(from_json(tuple[TestCase, ...], row.value)) for key, row in store.rows(keys).items()}


def digest_of(cases: Sequence[TestCase]) -> str:
    """Of the chats; of a conversation that the target took part in, of the user's turns."""
    chats = [
        [to_json(turn) for turn in case.chat if case.completion is None or turn.role != "assistant"] for case in cases
    ]
    return digest(chats)[:16]


# --- the file ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BaselineBehavior:
    """A behavior of a cell. outcomes: NUMBER.SAMPLE=OUTCOME of each case.   sent: digest of what was sent.
    cluster: what it stands or falls with, where it has one."""

    id: str
    category: str
    cases: str
    sent: str
    outcomes: str
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class BaselineCell:
    """A cell as `results.graded` counts it."""

    suite: str
    target: str
    defense: str
    attack: str
    judge: str
    benign: bool
    suite_version: str
    checksum: str
    judge_key: str
    judge_method: str
    sampling: Mapping[str, Json]
    samples: int
    until_success: bool
    budget: Mapping[str, Json]
    identity: Mapping[str, Json] | None
    behaviors: Mapping[str, BaselineBehavior]
    cases: str = ""
    watched: bool = False
    utility: bool = False
    draws_at: float | None = None
    shown: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Baseline:
    """The whole file."""

    withstand_baseline: int
    run: str
    created: str
    cells: tuple[BaselineCell, ...]


def is_baseline(path: str) -> bool:
    """Whether there is a file with this name that begins as a baseline does."""
    try:
        return f'"{MARK}"'.encode() in bounded.head(Path(path).expanduser(), 200)
    except (OSError, SpecError):
        return False


def read(path: str) -> Json:
    """A baseline as JSON. Raises `SpecError` for a file that is none."""
    try:
        baseline = bounded.parse_json(path, bounded.read_text(Path(path).expanduser()))
    except OSError as error:
        raise SpecError(
            f"cannot read the baseline {path}: {error}", hint="`withstand gate RUN --write-baseline FILE` writes one"
        ) from error
    if not isinstance(baseline, dict) or baseline.get(MARK) != FORMAT:
        kind = f"format {baseline.get(MARK)}" if isinstance(baseline, dict) and MARK in baseline else "no baseline"
        raise SpecError(
            f"{path} is {kind}; this version of withstand reads format {FORMAT}",
            hint="`withstand gate RUN --write-baseline FILE` writes one",
        )
    if wrong := misfit(Baseline, baseline):
        raise SpecError(
            f"{path} is a damaged baseline: {wrong}",
            hint="take it from version control again, or write it anew with --write-baseline",
        )
    return baseline


def text(run: str, created: str, cells: Sequence[Mapping[str, Any]]) -> str:
    """The file: one line per fact of a cell, and one per behavior, so that a change reads well in a review."""
    head = {MARK: FORMAT, "run": run, "created": created}
    blocks = []
    for cell in cells:
        facts = [f"   {json.dumps(name)}: {json.dumps(value)}" for name, value in cell.items() if name != "behaviors"]
        lines = [f"    {json.dumps(key)}: {json.dumps(behavior)}" for key, behavior in cell["behaviors"].items()]
        behavior = ",\n".join(lines)
        blocks.append("  {\n" + ",\n".join([*facts, f'   "behaviors": {{\n{behavior}\n   }}']) + "\n  }")
    opening = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in head.items())
    return "{\n" + opening + ',\n "cells": [\n' + ",\n".join(blocks) + "\n ]\n}\n"


# --- sending them again ------------------------------------------------------------------------------------------


def given(path: str, store: Store) -> list[TransferredCases]:
    """The test cases of each cell that attacked in a baseline, from the store that holds their rows."""
    baseline = read(path)
    transfers = []
    for cell in baseline["cells"]:
        if cell["benign"]:
            continue
        behaviors = [behavior for behavior in cell["behaviors"].values() if behavior["sent"]]
        rows = store.reused(behavior["cases"] for behavior in behaviors)
        check_texts(rows.values())
        cases = {}
        for behavior in behaviors:
            row = rows.get(behavior["cases"])
            if row is None:
                lacking = sum(entry["cases"] not in rows for entry in behaviors)
                raise SpecError(
                    f"{store.where} lacks the test cases of {lacking} of {len(behaviors)} behaviors of "
                    f"{cell['attack']} in {path}",
                    hint=f"they are in the store of run {baseline['run']}: name it with --store, or bring it in with "
                    "`withstand store merge`",
                )
            listed = from_json(tuple[TestCase, ...], row.value)
            if digest_of(listed) != behavior["sent"]:
                raise SpecError(
                    f"{path}: the test cases of {behavior['id']} are not those that the baseline names",
                    hint="write the baseline anew",
                )
            cases[behavior["id"]] = listed
        transfers.append(transferred(cell, baseline["run"], cases, cell.get("draws_at")))
    return transfers
