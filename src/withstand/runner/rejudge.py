"""Verdicts on what a run has: of another judge for an imported run (`withstand judge run`), of another scorer for any
(`withstand toxicity --rescore`), and of people, from what they said in `withstand label`. Nothing but judges is asked.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import sqlalchemy as sql

from withstand.core import (
    Behavior,
    Completion,
    Flow,
    Json,
    Judge,
    SpecError,
    TestCase,
    Verdict,
    digest,
    from_json,
    user,
)
from withstand.core.optional import optional
from withstand.core.prompts import prompts_of
from withstand.core.records import last_asked, nothing_to_judge
from withstand.formats.labels import newest, said_by
from withstand.registry import find
from withstand.registry.grammar import parse
from withstand.runner.aliases import alias_of
from withstand.runner.begin import named, sources_of
from withstand.runner.drive import Job, completion_of, drive
from withstand.runner.reuse import check_run
from withstand.runner.stages import lacking, placed, verdict_job
from withstand.runner.tally import Caps, Tally
from withstand.store.store import RunRow, Store, Want, chunks
from withstand.store.tables import BESIDE, CASES, COMPLETIONS, VERDICTS, row, want


def judged_by(store: Store, run: RunRow, spec: str, name: str = "") -> RunRow:
    """The run of the same completions under the judge `spec`; made if it is not there, named after both.

    Raises `SpecError` for a run that was not imported, since there `withstand run` does it.
    """
    if "imported" not in run.spec:
        raise SpecError(
            f"{run.name} was not imported",
            hint="run its spec with another --judge: its completions are reused, and nothing but the judge is asked",
        )
    return rescored_by(store, run, spec, name)


def rescored_by(store: Store, run: RunRow, spec: str, name: str = "", fresh: str = "") -> RunRow:
    """The same of any run: its target is neither built nor asked.

    fresh: a mark with which verdicts are made anew that the store has, as of a service that changed since. Raises
    `SpecError` for what people tried by hand, and for a run whose texts were purged.
    """
    imported = run.spec.get("imported", {"from": "run", "path": []})
    if imported["from"] == "plan":
        hint = "what people tried is no sample; `withstand plan findings reproduce` asks again, with a judge"
        raise SpecError(f"{run.name} was found by hand: no rate", hint=hint)
    _check_kept(store, run)
    base = imported.get("run", run.name)
    judge: Judge = find.build("judge", parse(spec))
    label = find.label("judge", parse(spec))
    classes: set[Any] = {type(part) for part in find.parts(judge)}
    own = {label: alias} if (alias := alias_of("judge", parse(spec))) else {}
    aliases = run.plan.get("aliases", {}) | ({"judge": own} if own else {})
    plan = {
        **{name: value for name, value in run.plan.items() if name not in BESIDE},
        "cells": [_cell(cell, judge, label) for cell in run.plan["cells"]],
        "components": sorted([find.name_of(cls), str(find.version_of(cls))] for cls in classes),
        **({"fresh": fresh} if fresh else {}),
    }
    key = digest(plan)
    name = named(store, key, name, f"{base}-{parse(spec)['use'].replace(':', '-')}-{key[:6]}")
    new = RunRow(key, name, time.time(), {"imported": {**imported, "run": base}, "judge": spec}, plan)
    store.add_run(new)
    prompts = prompts_of(find.parts(judge))
    names = ("clusters", "taxonomy", "knows", "marked", "draws_at")
    beside = {name: run.plan[name] for name in names if name in run.plan}
    store.set_beside(new, {"aliases": aliases, "prompts": prompts, **beside})
    store.add_texts({}, sources_of(classes, store))
    store.add_wants(key, (entry for stage in (CASES, COMPLETIONS) for entry in _wants(store, run.key, stage)))
    judged = next(judged for judged in store.runs() if judged.key == key)
    return replace(judged, spec={**judged.spec, "judge": spec})  # what the store says of it is data


def _cell(cell: Json, judge: Judge, label: str) -> Json:
    notes = [note for note in cell["notes"] if "`withstand judge run`" not in note]
    kept = {name: value for name, value in cell.items() if name != "waits"}
    return {
        **kept,
        "judge": label,
        "judge_method": judge.method,
        **({"waits": waits} if (waits := optional(judge, "waits")) else {}),
        "keys": {**cell["keys"], "judge": digest(find.describe(judge))},
        "notes": notes,
    }


def _check_kept(store: Store, run: RunRow) -> None:
    """Raise `SpecError` for a run of which some texts were purged: no judge may read what stands in their place."""
    erased = sql.select(sql.func.count()).where(
        want.c.run == run.key, want.c.stage.in_((CASES, COMPLETIONS)), want.c.key == row.c.key, row.c.purged == 1
    )
    [(count,)] = store.select(erased)
    if count:
        hint = "its verdicts are kept; `withstand run --fresh` asks for everything again, as a new run"
        raise SpecError(f"texts of {run.name} were purged: {count} rows have none to judge", hint=hint)


def grade(
    store: Store,
    run: RunRow,
    caps: Caps | None = None,
    on_progress: Callable[[Tally, int], None] = lambda _tally, _total: None,
) -> Tally:
    """Have the judge of a run that `judged_by` made say what it has not said yet."""
    judge: Judge = find.build("judge", parse(run.spec["judge"]))
    if check_run(store, run):
        store.note_reuse(run.key)
    if optional(judge, "waits"):
        return by_people(store, run)
    judge_key, fresh = digest(find.describe(judge)), [run.plan["fresh"]] if "fresh" in run.plan else []
    [(total,)] = store.select(sql.select(sql.func.count()).where(want.c.run == run.key, want.c.stage == COMPLETIONS))
    jobs = (
        placed(draw, verdict_job(judge, judge_key, behavior, completion, fresh, counted=True))
        for draw, behavior, completion in _answers(store, run)
    )
    return _drive_verdicts(store, run, jobs, caps, lambda tally: on_progress(tally, total))


def by_people(store: Store, run: RunRow) -> Tally:
    """Make the verdicts of a judge that waits for people, from all labels of the store, wherever they were given.

    An answer is known by its behavior, by what was asked last and by its text. A verdict that was made stands.
    """
    cells = run.plan["cells"]
    if not any(cell.get("waits") for cell in cells):
        return Tally(stage=VERDICTS)
    return _drive_verdicts(store, run, _labeled(store, run, _votes(store)))


def _labeled(store: Store, run: RunRow, votes: Mapping[str, Mapping[str, bool]]) -> Iterator[tuple[Want, Job]]:
    for draw, behavior, completion in _answers(store, run):
        cell = run.plan["cells"][draw.cell]
        people_votes = votes.get(_answer_key([behavior.id, behavior.text, behavior.context], completion), {})
        if cell.get("waits") and (len(people_votes) >= cell["waits"] or nothing_to_judge(completion)):
            judge = _People(said_by(list(people_votes.values())))
            job = verdict_job(
                judge, cell["keys"]["judge"], behavior, completion, (), counted=not cell["benign"],
                refusable=cell["benign"] and cell.get("measures") != "utility",
            )  # fmt: skip
            yield placed(draw, job)


@dataclass(frozen=True, slots=True)
class _People:
    """A judge that knows what people said."""

    method: ClassVar[Literal["people"]] = "people"
    asks: ClassVar[int] = 0
    verdict: Verdict

    def grade(self, behavior: Behavior, completions: Sequence[Completion]) -> Flow[list[Verdict]]:
        yield from ()
        return [self.verdict for _ in completions]


def _votes(store: Store) -> dict[str, dict[str, bool]]:
    """What each person said of each answer; the last label of a case is the one that counts, and of several cases with
    the same answer the first. Who was unsure leaves it to others."""
    votes: dict[str, dict[str, bool]] = defaultdict(dict)
    last = newest(label for run in store.runs() for label in store.votes(run.key))
    for label in sorted(last, key=lambda label: label["created"]):
        if label["vote"] == "unsure" or label["annotator"] != "person":
            continue
        behavior = [label["behavior"][name] for name in ("behavior", "text", "context")]
        answer = Completion(user(label["prompt"]), label["completion"])
        votes[_answer_key(behavior, answer)].setdefault(label["labeler"], label["vote"] == "success")
    return votes


def _answer_key(behavior: Sequence[str], completion: Completion) -> str:
    asked = last_asked(completion.chat)
    return digest([*behavior, asked, completion.text])


def _drive_verdicts(
    store: Store,
    run: RunRow,
    jobs: Iterable[tuple[Want, Job]],
    caps: Caps | None = None,
    on_progress: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    tally = Tally(stage=VERDICTS)
    drive(lacking(store, run.key, tally, jobs, add_wants=True), store, tally, caps, on_progress=on_progress)
    return tally


def _answers(store: Store, run: RunRow) -> Iterator[tuple[Want, Behavior, Completion]]:
    """Every completion that a run has, by the want it answers."""
    _check_kept(store, run)
    texts = store.behaviors({key for suite in run.plan["suites"] for key in suite["behaviors"]})
    behaviors = [[from_json(Behavior, texts[key]) for key in suite["behaviors"]] for suite in run.plan["suites"]]
    drawn: dict[tuple[int, int], list[Want]] = defaultdict(list)
    for entry in _wants(store, run.key, COMPLETIONS):
        drawn[entry.cell, entry.behavior].append(entry)
    for part in chunks(_wants(store, run.key, CASES), 100):
        rows = store.reused([entry.key for entry in part])
        rows |= store.reused([draw.key for entry in part for draw in drawn[entry.cell, entry.behavior]])
        for attacked in part:
            sent = from_json(tuple[TestCase, ...], rows[attacked.key].value) if attacked.key in rows else ()
            for draw in drawn[attacked.cell, attacked.behavior]:
                if draw.key in rows:
                    behavior = behaviors[run.plan["cells"][draw.cell]["suite"]][draw.behavior]
                    yield draw, behavior, completion_of(sent[draw.number].chat, rows[draw.key].value)


def _wants(store: Store, run_key: str, stage: int) -> list[Want]:
    w = want.c
    rows: list[Any] = store.select(
        sql.select(w.stage, w.cell, w.behavior, w.number, w.sample, w.key)
        .where(w.run == run_key, w.stage == stage)
        .order_by(w.cell, w.behavior, w.number, w.sample)
    )
    return [Want(*entry) for entry in rows]
