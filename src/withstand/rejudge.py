"""Another judge for an imported run: `withstand judge run`. Nothing but judges is asked."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sql

from withstand import find
from withstand.core import Behavior, Json, Judge, SpecError, TestCase, digest, from_json
from withstand.drive import Caps, Job, Tally, completion_of, drive
from withstand.grammar import parse
from withstand.line import lacking, named, sources_of, verdict_job
from withstand.store import CASES, COMPLETIONS, VERDICTS, RunRow, Store, Want, chunks, want


def judged_by(store: Store, run: RunRow, spec: str, name: str = "") -> RunRow:
    """The run of the same completions under the judge `spec`; made if it is not there, named after both.

    Raises `SpecError` for a run that was not imported, since there `withstand run` does it.
    """
    if "imported" not in run.spec:
        raise SpecError(
            f"{run.name} was not imported",
            hint="run its spec with another --judge: its completions are reused, and nothing but the judge is asked",
        )
    told = {**run.spec["imported"], "run": run.spec["imported"].get("run", run.name)}
    judge: Judge = find.build("judge", parse(spec))
    label = find.label("judge", parse(spec))
    classes: set[Any] = {type(part) for part in find.parts(judge)}
    plan = {
        **run.plan,
        "cells": [_cell(cell, judge, label) for cell in run.plan["cells"]],
        "components": sorted([find.name_of(cls), str(find.version_of(cls))] for cls in classes),
    }
    key = digest(plan)
    name = named(store, key, name, f"{told['run']}-{parse(spec)['use'].replace(':', '-')}-{key[:6]}")
    store.add_run(RunRow(key, name, time.time(), {"imported": told, "judge": spec}, plan))
    store.add_texts({}, sources_of(classes, store))
    store.add_wants(key, (each for stage in (CASES, COMPLETIONS) for each in _wants(store, run.key, stage)))
    return next(each for each in store.runs() if each.key == key)


def _cell(cell: Json, judge: Judge, label: str) -> Json:
    notes = [note for note in cell["notes"] if "`withstand judge run`" not in note]
    return {
        **cell,
        "judge": label,
        "judge_method": judge.method,
        "keys": {**cell["keys"], "judge": digest(find.describe(judge))},
        "notes": notes,
    }


def grade(
    store: Store,
    run: RunRow,
    caps: Caps | None = None,
    on_progress: Callable[[Tally, int], None] = lambda _tally, _total: None,
) -> Tally:
    """Have the judge of a run that `judged_by` made say what it has not said yet."""
    judge: Judge = find.build("judge", parse(run.spec["judge"]))
    tally = Tally(stage=VERDICTS)
    [(total,)] = store.select(sql.select(sql.func.count()).where(want.c.run == run.key, want.c.stage == COMPLETIONS))
    jobs = _verdicts(store, run, judge)
    drive(
        lacking(store, run.key, tally, jobs, add_wants=True),
        store,
        tally,
        caps,
        on_progress=lambda t: on_progress(t, total),
    )
    return tally


def _verdicts(store: Store, run: RunRow, judge: Judge) -> Iterator[tuple[Want, Job]]:
    keys = [key for suite in run.plan["suites"] for key in suite["behaviors"]]
    behaviors = [from_json(Behavior, text) for text in map(store.behaviors(keys).__getitem__, keys)]
    judge_key = digest(find.describe(judge))
    drawn: dict[tuple[int, int], list[Want]] = defaultdict(list)
    for each in _wants(store, run.key, COMPLETIONS):
        drawn[each.cell, each.behavior].append(each)
    for part in chunks(_wants(store, run.key, CASES), 100):
        rows = store.rows([each.key for each in part])
        rows |= store.rows([draw.key for each in part for draw in drawn[each.cell, each.behavior]])
        for attacked in part:
            sent = from_json(tuple[TestCase, ...], rows[attacked.key].value) if attacked.key in rows else ()
            for draw in drawn[attacked.cell, attacked.behavior]:
                if draw.key in rows:
                    completion = completion_of(sent[draw.number].chat, rows[draw.key].value)
                    job = verdict_job(judge, judge_key, behaviors[draw.behavior], completion, (), counted=True)
                    yield Want(VERDICTS, draw.cell, draw.behavior, draw.number, draw.sample, job.keys[0]), job


def _wants(store: Store, run_key: str, stage: int) -> list[Want]:
    w = want.c
    found: list[Any] = store.select(
        sql.select(w.stage, w.cell, w.behavior, w.number, w.sample, w.key)
        .where(w.run == run_key, w.stage == stage)
        .order_by(w.cell, w.behavior, w.number, w.sample)
    )
    return [Want(*each) for each in found]
