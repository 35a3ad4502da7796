"""Runs to and from what other tools wrote: parts of HarmBench's form become ordinary rows of a run, and back."""

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from withstand.core import (
    Behavior,
    Completion,
    Json,
    SpecError,
    TestCase,
    Verdict,
    did_you_mean,
    digest,
    from_json,
    to_json,
    user,
)
from withstand.formats.harmbench import LABELS, OUTCOMES, Entry, Part
from withstand.results.cases import cases
from withstand.runner.begin import named
from withstand.runner.clusters import clusters_of
from withstand.runner.drive import value_of
from withstand.store.store import Failure, Row, RunRow, Store, Want
from withstand.store.tables import CASES, COMPLETIONS, VERDICTS

# --- in ----------------------------------------------------------------------------------------------------------


def record(
    store: Store, suite: Json, behaviors: Sequence[Behavior], parts: Sequence[Part], origin: Json, name: str = ""
) -> RunRow:
    """Put parts into the store as a run with a cell each, and return it. The same parts again are the same run.

    suite: its name, version and so on, as in a plan; behaviors: those that the parts name (see `used`); origin: where
    the parts come from, stored in place of a spec. What lacks a completion is an error of the run, in the failure log;
    what lacks a label waits for `withstand judge run`.
    """
    described = {
        "suites": [{**suite, "behaviors": [digest(to_json(behavior)) for behavior in behaviors], "twin": None}],
        "cells": [_cell(part) for part in parts],
        "targets": {part.model: {"use": "imported", "name": part.model} for part in parts},
        "components": [],
        "budget": {},
        "seed": 0,
    }
    key = digest(described)
    fresh = all(run.key != key for run in store.runs())
    name = named(store, key, name, f"{suite['name'].partition(',')[0].replace(':', '-')}-{key[:6]}")
    run = RunRow(key, name, time.time(), {"imported": origin}, described)
    store.add_run(run)
    store.set_beside(run, {"clusters": clusters_of([(suite["name"], behaviors)])})
    store.add_texts({digest(to_json(behavior)): to_json(behavior) for behavior in behaviors}, {})
    for index, part in enumerate(parts):
        wants, rows, failures = _rows(index, part, behaviors)
        store.add_wants(key, wants)
        store.add(rows=rows, failures=failures if fresh else ())
    return next(run for run in store.runs() if run.key == key)


def used(suite_behaviors: Sequence[Behavior], parts: Iterable[Part]) -> list[Behavior]:
    """The behaviors that any part names, in the suite's order. Raises `SpecError` for one that the suite lacks."""
    names = {name for part in parts for name in part.entries}
    unknown = sorted(names - {behavior.id for behavior in suite_behaviors})
    if unknown:
        others = f" and {len(unknown) - 1} others" if unknown[1:] else ""
        meant = did_you_mean(unknown[0], [behavior.id for behavior in suite_behaviors])
        meant += " " if meant else ""
        raise SpecError(
            f"the suite has no behavior {unknown[0]!r}{others}",
            hint=f"{meant}--suite names the suite that has them all, as in --suite harmbench:FOLDER,split=all",
        )
    return [behavior for behavior in suite_behaviors if behavior.id in names]


def _cell(part: Part) -> Json:
    """A cell as a plan has it. Its keys hold all that the part says, so that other content is another run."""
    contents = {name: [to_json(entry) for entry in entries] for name, entries in part.entries.items()}
    labeled = any(entry.label is not None for entries in part.entries.values() for entry in entries)
    empty = sum(not entries for entries in part.entries.values())
    notes = ["imported: made by another tool, by its files"]
    notes += [] if labeled else ["the files hold no verdict: `withstand judge run` has a judge give them"]
    notes += [f"{empty} behaviors without a test case are in the bounds only"] if empty else []
    return {
        "target": part.model,
        "defense": part.defense,
        "attack": part.method if part.method == "imported" else f"{part.method}/{part.experiment}",
        "judge": "imported" if labeled else "none",
        "suite": 0,
        "benign": False,
        "samples": 1,
        "sampling": {"max_tokens": part.tokens, "temperature": 0.0, "top_p": 1.0},
        "judge_method": "imported",
        "until_success": False,
        "keys": {
            "target": digest(["imported", part.model, part.defense]),
            "attack": digest(["imported", part.method, part.experiment]),
            "judge": digest(["imported"]),
            "until": digest(None),
            "cases": digest(contents),
        },
        "notes": notes,
        "layout": [part.method, part.experiment],
    }


def _rows(index: int, part: Part, behaviors: Sequence[Behavior]) -> tuple[list[Want], list[Row], list[Failure]]:
    wants: list[Want] = []
    rows: list[Row] = []
    failures: list[Failure] = []
    for place, behavior in enumerate(behaviors):
        entries = part.entries.get(behavior.id, ())
        sent = [TestCase(behavior.id, user(entry.test_case)) for entry in entries]
        key = digest(["imported cases", to_json(behavior), to_json(sent)])
        wants.append(Want(CASES, index, place, 0, 0, key))
        if sent:
            rows.append(Row(key, str(len(sent)), to_json(sent), test_cases=len(sent), cut="", refused=0, malformed=0))
        else:
            failures.append(Failure(key, CASES, "the imported files hold no test case of this behavior", AGAIN))
        for number, entry in enumerate(entries):
            key = digest(["imported completion", to_json(behavior), entry.test_case, entry.generation])
            wants.append(Want(COMPLETIONS, index, place, number, 0, key))
            if entry.generation is None:
                failures.append(
                    Failure(key, COMPLETIONS, "the imported files hold no completion of this test case", AGAIN)
                )
                continue
            value = value_of(Completion(sent[number].chat, entry.generation))
            rows.append(Row(key, "stop", value, asks=1))  # an ask of the tool that made it
            if entry.label is not None:
                verdict = Verdict(OUTCOMES[entry.label], why=f"imported label {entry.label}")  # type: ignore[arg-type]
                key = digest(["imported verdict", key, entry.label])
                wants.append(Want(VERDICTS, index, place, number, 0, key))
                rows.append(Row(key, verdict.outcome, to_json(verdict)))
    return wants, rows, failures


AGAIN = "have the tool that made the files make it, and import them again"


# --- out ---------------------------------------------------------------------------------------------------------


def parts_of(store: Store, run: RunRow) -> tuple[list[Behavior], list[Part], list[str]]:
    """A run's harmful cells as parts, the behaviors that they name, and what was left out, for people.

    A test case with several samples becomes as many of one each. HarmBench's test cases are one text of a user: a cell
    with any other is left out whole, so that no rate changes by it.
    """
    plan = run.plan
    keys = [key for suite in plan["suites"] for key in suite["behaviors"]]
    texts = store.behaviors(keys)
    entries: dict[int, dict[str, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    unfit: set[int] = set()
    for case in cases(store, run):
        index, chat = case.cell, case.chat
        if plan["cells"][index]["benign"] or not chat:
            continue
        if len(chat) != 1 or chat[0].role != "user":
            unfit.add(index)
        label = LABELS.get(case.outcome) if case.completion is not None else None
        entries[index][case.behavior].append(Entry(chat[0].text, case.completion, label))
    left = [f"{_title(plan['cells'][index])}: not every test case is one text of a user" for index in sorted(unfit)]
    left += [
        f"{_title(cell)}: {'benign prompts' if cell['benign'] else 'no test case'}"
        for index, cell in enumerate(plan["cells"])
        if index not in entries
    ]
    harmful = {cell["suite"] for cell in plan["cells"] if not cell["benign"]}
    suites = [suite["name"] if len(harmful) > 1 else "" for suite in plan["suites"]]
    taken: dict[tuple[str, str], tuple[Any, set[tuple[int, str]]]] = {}
    parts = [
        _placed(cell, suites[cell["suite"]], {name: tuple(listed) for name, listed in entries[index].items()}, taken)
        for index, cell in enumerate(plan["cells"])
        if index in entries and index not in unfit
    ]
    wanted = {name for part in parts for name in part.entries}
    behaviors: dict[str, Behavior] = {}
    for key in keys:
        behavior: Behavior = from_json(Behavior, texts[key])
        if behavior.id in wanted and not behavior.benign and behaviors.setdefault(behavior.id, behavior) != behavior:
            raise SpecError(
                f"two suites of {run.name} have a behavior {behavior.id!r}, and they differ",
                hint="export a run of one suite",
            )
    return list(behaviors.values()), parts, left


def _title(cell: Mapping[str, Any]) -> str:
    return f"{cell['attack']} on {cell['target']}" + ("" if cell["defense"] == "none" else f" behind {cell['defense']}")


def _placed(
    cell: Mapping[str, Any],
    suite: str,
    entries: dict[str, tuple[Entry, ...]],
    taken: dict[tuple[str, str], tuple[Any, set[tuple[int, str]]]],
) -> Part:
    """A cell's part under names of its own; models share an experiment as far as they were sent the same.

    suite: its name, where a run has several.
    """
    model = _safe(cell["target"] + ("" if cell["defense"] == "none" else f"-{cell['defense']}"))
    own = f"{model}-{suite}" if suite else model
    method, experiment = cell.get("layout") or (cell["attack"], own)
    method, experiment = _safe(method), _safe(experiment)
    tokens = cell["sampling"]["max_tokens"]
    sent = {name: [entry.test_case for entry in listed] for name, listed in entries.items()}
    number = 1
    while True:
        tried = (method, experiment + ("" if number == 1 else f"-{number}"))
        shared, models = taken.setdefault(tried, (sent, set()))
        if shared == sent and (tokens, model) not in models:
            models.add((tokens, model))
            return Part(*tried, model, entries, tokens)
        number += 1


def _safe(label: str) -> str:
    """A label as the name of a file or folder on any system; one that is such a name stays as it is."""
    name = re.sub(r"[^\w.+=@-]+", "_", label).strip("._-") or "unnamed"
    return name if len(name.encode()) <= 120 else f"{name[:40]}-{digest(label)[:8]}"
