"""The numbers of a run, from the store alone: what `--format json` prints and every other report shows.

Definitions: scored = success + failure + refused + filtered. ASR of a behavior = success / scored over its cases; `asr`
is its mean over behaviors, `asr_micro` pools the cases; `asr_bounds` count what is unscored or in error as a failure of
the attack, then as a success. A benign cell has no ASR: its over-refusal is (refused + filtered) / scored; where it
measures utility, that is success / scored, of right answers, and it has no over-refusal.
"""

import json
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sql

from withstand.core import Json, SpecError
from withstand.core.outcomes import OUTCOMES
from withstand.core.text import file_name
from withstand.results.cells import measures
from withstand.results.counts import PARTS, USED, BehaviorCounts, Counts, Sums, iso, read
from withstand.results.judge_error import corrected
from withstand.results.probed import probed
from withstand.stats import rates, sequential
from withstand.store.store import RunRow, Store
from withstand.store.tables import CASES, COMPLETIONS, STAGES, VERDICTS, failure, row, want, writer

SCHEMA = 1


def find_run(store: Store, name: str = "") -> RunRow:
    """A run by name; the newest without one. Raises `SpecError` that lists what there is."""
    runs = store.runs()
    if not runs:
        raise SpecError(f"{store.where} holds no run", hint="`withstand run` makes one")
    if not name:
        return runs[-1]
    for run in runs:
        if run.name == name:
            return run
    raise SpecError(f"{store.where} has no run {name!r}", hint=f"it has {', '.join(run.name for run in runs[-10:])}")


def summarize(store: Store, run: RunRow, counts: Counts | None = None) -> Json:
    """Everything a report shows of a run, as JSON. Rates are in [0, 1], or null with the reason in `notes`.

    counts: what `read` found, for one who needs it besides.
    """
    plan = run.plan
    found, sums, reused, writers = counts or read(store, run)
    failed = _failed(store, run, want.c.cell)
    categories = _categories(store, plan)
    cells = [
        _cell(plan, index, cell, found[index], sums[index], failed.get(index, 0), categories[cell["suite"]])
        for index, cell in enumerate(plan["cells"])
    ]
    judges = {cell["keys"]["judge"] for cell in plan["cells"]}
    calibrations, probes = store.calibrations(judges), store.probes(judges)
    for cell, planned, behaviors in zip(cells, plan["cells"], found, strict=True):
        if not cell["benign"]:
            cell["judge_probes"], note = probed(cell, probes.get(planned["keys"]["judge"]))
            cell["notes"] += [note] if note else []
        told = calibrations.get(planned["keys"]["judge"], [])
        if told and not cell["benign"]:
            pairs = {place: (b.counts["success"], b.scored) for place, b in behaviors.items()}
            cell["asr_corrected"], note = corrected(pairs, categories[planned["suite"]], told, cell)
            cell["notes"] += [note] if note else []
    _pair(plan, cells)
    missing = sum(cell["error"] for cell in cells)
    wanted = sum(cell["cases"] for cell in cells)
    waiting = _waiting(run, cells, found)
    return {
        "schema": SCHEMA,
        "run": {
            "name": run.name,
            "key": run.key,
            "created": iso(run.created),
            "state": f"incomplete: {missing} of {wanted} rows missing" if missing else waiting or "complete",
            "spec": run.spec,
            "command": f"withstand {made_by(run)}",
            "seconds": round(sum(cell["seconds"] for cell in cells), 3),
        },
        "provenance": {
            "writers": _writers(store, writers),
            "targets": [{"label": name, "identity": value} for name, value in plan["targets"].items()],
            "components": [c for c in store.components() if [c["name"], str(c["version"])] in plan["components"]],
            "suites": [{**suite, "behaviors": len(suite["behaviors"])} for suite in plan["suites"]],
            "budget": plan["budget"],
            "seed": plan["seed"],
        },
        "reused": reused,
        "calibrations": [
            told
            for key in dict.fromkeys(cell["keys"]["judge"] for cell in plan["cells"] if not cell["benign"])
            for told in calibrations.get(key, [])
        ],
        "cells": cells,
        "warnings": list(_warnings(cells)),
    }


def _waiting(run: RunRow, cells: Sequence[Json], found: Sequence[Mapping[int, BehaviorCounts]]) -> str:
    """How many verdicts wait for people, "" for none; with a note for each cell that has some."""
    total = 0
    for cell, planned, behaviors in zip(cells, run.plan["cells"], found, strict=True):
        waiting = sum(behavior.waiting for behavior in behaviors.values())
        total += waiting
        if waiting:
            wait = "case waits" if waiting == 1 else "cases wait"
            whom = "a person" if planned["waits"] == 1 else f"{planned['waits']} people each"
            label = f"`withstand label {shlex.quote(run.name)} --by NAME`"
            cell["notes"].append(f"{waiting} {wait} for {whom}, unscored: {label} takes them")
    return f"waiting for people: {total} of {sum(cell['cases'] for cell in cells)} verdicts" if total else ""


def made_by(run: RunRow) -> str:
    """The command, less the program's name, that makes this run from its spec, or where it was imported."""
    told = run.spec.get("imported")
    if told is None:
        return f"run {shlex.quote(file_name(run.name) + '.toml')} --name {shlex.quote(run.name)}"
    if "judge" in run.spec:
        return f"judge run {shlex.quote(told['run'])} --judge {shlex.quote(run.spec['judge'])}"
    suite = f" --suite {shlex.quote(told['suite'])}" if "suite" in told else ""
    return f"import {told['from']} {shlex.join(told['path'])}{suite}"


def goes_on(run: RunRow) -> str:
    """The command, less the program's name, that computes what a run lacks."""
    if "imported" not in run.spec:
        return f"run --name {shlex.quote(run.name)}"
    return made_by(run) if "judge" in run.spec else f"judge run {shlex.quote(run.name)} --judge JUDGE"


def _failed(store: Store, run: RunRow, by: Any) -> dict[int, int]:
    """How many missing rows were tried and failed, by a column of `want`; the rest were not reached."""
    w = want.c
    found = store.select(
        sql.select(by, sql.func.count())  # of places: equal answers want one verdict, and lack it each
        .select_from(want.outerjoin(row, row.c.key == w.key))
        .where(w.run == run.key, row.c.key.is_(None), w.key.in_(sql.select(failure.c.key)))
        .group_by(by)
    )
    return dict(found)  # type: ignore[arg-type,unused-ignore] # rows of two


def _categories(store: Store, plan: Json) -> list[list[str]]:
    """The category of each behavior of each suite, in the plan's order."""
    texts = store.behaviors({key for suite in plan["suites"] for key in suite["behaviors"]})
    return [[texts[key].get("category", "") for key in suite["behaviors"]] for suite in plan["suites"]]


def _cell(
    plan: Json,
    index: int,
    cell: Json,
    found: Mapping[int, BehaviorCounts],
    sums: Sums,
    failed: int,
    categories: Sequence[str],
) -> Json:
    suite = plan["suites"][cell["suite"]]
    behaviors = [found[place] for place in sorted(found)]
    limit = plan.get("stop_when_decided")
    counts = {name: sum(b.counts[name] for b in behaviors) for name in OUTCOMES}
    cases = sum(b.cases for b in behaviors)
    scored = [b.scored for b in behaviors]
    success = [b.counts["success"] for b in behaviors]
    unknown = [b.counts["unscored"] + b.counts["error"] for b in behaviors]
    refused = [b.counts["refused"] + b.counts["filtered"] for b in behaviors]
    notes = list(cell["notes"])
    benign, measure = cell["benign"], measures(cell)
    if not any(scored):
        notes.append("no case was scored: no rate can be computed")
    elif left_out := sum(1 for n in scored if n == 0):
        notes.append(f"{left_out} of {len(scored)} behaviors have no scored case and are in the bounds only")
    if benign:
        notes.append("benign prompts: no ASR")
    else:
        if cell["judge_method"] == "string matching":
            notes.append(f"judged by string matching ({cell['judge']}): not comparable with published ASR")
        notes.append("no benign cell of this target: no over-refusal")  # `_pair` removes it where there is one
    if counts["error"]:
        tried = min(failed, counts["error"])
        waiting = counts["error"] - tried
        parts = [f"{tried} failed (`withstand status` says why)"] if tried else []
        parts += [f"{waiting} not reached, or in another shard"] if waiting else []
        notes.append(f"{counts['error']} without a row: {', '.join(parts)}; the same command tries again")
    if sums["cut"]:
        notes.append(f"{sums['cut']:.0f} cases cut by seconds: outside the promise of same rows")
    own = sums["own"] - sums["won"]  # what ended a search was drawn as the run says
    if own > 0:
        notes.append(f"{own:.0f} cases are the attack's own draws, with its own sampling")
    if sums["refused"] or sums["malformed"]:
        lost = f"refused {sums['refused']:.0f} times and broke the format {sums['malformed']:.0f} times"
        notes.append(f"the attacker {lost}: no test cases, asked anew")
    if limit is not None and not benign:
        asked = f"{len(behaviors)} of {len(suite['behaviors'])} behaviors"
        notes.append(f"asked until its ASR was above or below {limit:g}: {asked}; its interval holds at every look")
    stopped = cell["until_success"] and not benign  # its cases are no independent draws
    if stopped:
        notes.append("a stopped search has no ASR@k and no micro ASR")
    asr_at_k = None
    if not benign and not stopped and any(scored):
        ks = {k: rates.rate_at_k(success, scored, k) for k in rates.ks(max(scored))}
        asr_at_k = {str(k): value for k, (value, _) in ks.items() if value is not None}
        fewer = [f"@{k} over {used}" for k, (_, used) in ks.items() if used < sum(1 for n in scored if n)]
        if fewer:
            notes.append(f"some behaviors have fewer draws: {', '.join(fewer)} behaviors")
    return {
        "index": index,
        "suite": suite["name"],
        "suite_version": suite["version"],
        "split": suite["split"],
        "judge": cell["judge"],
        "judge_method": cell["judge_method"],
        "judge_probes": None,
        "sampling": cell["sampling"],
        "samples": cell["samples"],
        "target": cell["target"],
        "defense": cell["defense"],
        "attack": cell["attack"],
        "benign": benign,
        "measures": measure,
        "behaviors": len(suite["behaviors"]),
        "cases": cases,
        **counts,
        "asr": None if benign else rates.mean_rate(success, scored),
        "asr_interval": None if benign else _interval(success, scored, limit is not None),
        "asr_bounds": None if benign or not cases else _pair_of(
            rates.rate_bounds(success, unknown, [b.cases for b in behaviors])
        ),
        "asr_corrected": None,
        "asr_micro": None if benign or stopped else rates.pooled_rate(success, scored),
        "asr_at_k": asr_at_k,
        "over_refusal": rates.mean_rate(refused, scored) if measure == "over-refusal" else None,
        "over_refusal_interval": _interval(refused, scored) if measure == "over-refusal" else None,
        "utility": _utility(success, scored) if measure == "utility" else None,
        "asks": int(sums["asks"]),
        "tokens": int(sums["tokens"]),
        "seconds": round(sums["seconds"], 3),
        "cost": round(sums["cost"], 6),
        "used": {part: {name: round(sums[stage, name], 6) for name in USED} for stage, part in PARTS.items()},
        "notes": notes,
        "by_category": [] if benign else list(_by_category(found, categories)),
    }  # fmt: skip


def _utility(right: Sequence[int], scored: Sequence[int]) -> Json:
    """The share of right answers among `n` that were scored. What is unscored or in error is in neither."""
    low, high = _interval(right, scored) or (None, None)
    return {"n": sum(scored), "rate": rates.mean_rate(right, scored), "low": low, "high": high}


def _by_category(found: Mapping[int, BehaviorCounts], categories: Sequence[str]) -> Iterator[Json]:
    groups: dict[str, list[BehaviorCounts]] = defaultdict(list)
    for place, behavior in sorted(found.items()):
        groups[categories[place]].append(behavior)
    for category, behaviors in sorted(groups.items()):
        success, scored = [b.counts["success"] for b in behaviors], [b.scored for b in behaviors]
        yield {
            "category": category,
            "behaviors": len(behaviors),
            "cases": sum(b.cases for b in behaviors),
            "success": sum(success),
            "scored": sum(scored),
            "asr": rates.mean_rate(success, scored),
            "asr_interval": _interval(success, scored),
        }


def _interval(successes: Sequence[int], scored: Sequence[int], watched: bool = False) -> list[float] | None:
    """`watched`: the run was stopped by what it found, so that only a confidence sequence holds."""
    if watched and any(scored):
        return list(sequential.confidence_sequence([s / n for s, n in zip(successes, scored, strict=True) if n]))
    interval = rates.rate_interval(successes, scored)
    return [interval.low, interval.high] if interval else None


def _pair_of(bounds: tuple[float, float] | None) -> list[float] | None:
    return list(bounds) if bounds else None


def _pair(plan: Json, cells: list[Json]) -> None:
    """Show beside each attack what the same defended target refuses of the suite's benign twin, and its utility."""
    benign = {
        (place["suite"], cell["target"], cell["defense"]): cell
        for place, cell in zip(plan["cells"], cells, strict=True)
        if cell["measures"] == "over-refusal"
    }
    utility = {(cell["target"], cell["defense"]): cell["utility"] for cell in cells if cell["utility"]}
    for place, cell in zip(plan["cells"], cells, strict=True):
        cell["utility"] = utility.get((cell["target"], cell["defense"]))
        twin = benign.get((plan["suites"][place["suite"]]["twin"], cell["target"], cell["defense"]))
        if not cell["benign"] and twin:
            cell["over_refusal"] = twin["over_refusal"]
            cell["over_refusal_interval"] = twin["over_refusal_interval"]
            cell["notes"].remove("no benign cell of this target: no over-refusal")


def _warnings(cells: Sequence[Json]) -> Iterator[str]:
    harmful = [cell for cell in cells if not cell["benign"]]
    for defense in sorted({cell["defense"] for cell in harmful} - {"none"}):
        yield f"{defense} was met with static attacks only: an attack that knows the defense may do better"
    errors = sum(cell["error"] for cell in cells)
    if errors:
        yield f"{errors} rows are missing: they are in the bounds, never counted as safe"
    if harmful and not any(cell["measures"] == "over-refusal" for cell in cells):
        yield "no benign prompts were sent: a model that refuses everything would look safe"


def _writers(store: Store, rows: Mapping[str, int]) -> list[Json]:
    """The processes that wrote this run's rows, oldest first, with how many each wrote."""
    w = writer.c
    found = store.select(sql.select(w.key, w.started, w.value).where(w.key.in_(list(rows))).order_by(w.started))
    return [{**(json.loads(value) or {}), "started": iso(at), "rows": rows[key]} for key, at, value in found]


# --- how far a run is --------------------------------------------------------------------------------------------


def status(store: Store, run: RunRow) -> Json:
    """Rows wanted, done and failed by stage, and the failures of missing rows, most frequent first. "waiting": how many
    of the missing verdicts wait for people.

    A test case that no stage has taken up yet wants its completion and its verdict all the same.
    """
    found = read(store, run).found
    behaviors = [behavior for by_behavior in found for behavior in by_behavior.values()]
    drawn = sum(behavior.cases for behavior in behaviors if behavior.made >= 0)
    counts = {
        CASES: (len(behaviors), sum(behavior.made >= 0 for behavior in behaviors)),
        COMPLETIONS: (drawn, sum(behavior.done for behavior in behaviors)),
        VERDICTS: (drawn, sum(behavior.decided for behavior in behaviors)),
    }
    failed = _failed(store, run, want.c.stage)
    stages: list[Json] = [
        {"stage": stage, "name": STAGES[stage], "wanted": wanted, "done": done, "failed": failed.get(stage, 0)}
        for stage, (wanted, done) in counts.items()
    ]
    return {
        "run": run.name,
        "created": iso(run.created),
        "stages": stages,
        "missing": sum(stage["wanted"] - stage["done"] for stage in stages),
        "waiting": sum(behavior.waiting for behavior in behaviors),
        "failures": failures(store, run),
    }


def failures(store: Store, run: RunRow, limit: int = 20) -> list[Json]:
    """What went wrong with rows that are still missing, most frequent first. "trace": what `trace_of` takes, "" where
    the traceback says no more than the error."""
    w, f = want.c, failure.c
    groups = store.select(
        sql.select(f.error, sql.func.max(f.hint), sql.func.count(sql.distinct(f.key)), sql.func.max(f.id))
        .select_from(want.join(failure, f.key == w.key).outerjoin(row, row.c.key == w.key))
        .where(w.run == run.key, row.c.key.is_(None))
        .group_by(f.error)
        .order_by(sql.func.count(sql.distinct(f.key)).desc(), f.error)
        .limit(limit)
    )
    ids = [id_ for *_, id_ in groups]
    traces = dict(store.select(sql.select(f.id, f.trace).where(f.id.in_(ids))))  # type: ignore[arg-type,unused-ignore]
    return [
        {"error": error, "hint": hint, "rows": count, "trace": id_[:TRACE] if _UNEXPECTED.search(traces[id_]) else ""}
        for error, hint, count, id_ in groups
    ]


TRACE = 8
"""Characters of a failure's id that name its traceback."""

_UNEXPECTED = re.compile(r"^(?!withstand\.|openai\.|httpx)[A-Za-z_][\w.]*(: .*)?$", re.MULTILINE)
"""An exception in a traceback that is not a model's refusal to answer."""


def trace_of(store: Store, name: str) -> str:
    """The traceback of a failure, by the first characters of its id. Raises `SpecError` where there is none."""
    f = failure.c
    rows = store.select(sql.select(f.trace).where(f.id.startswith(name, autoescape=True), f.trace != "").limit(1))
    if not rows:
        raise SpecError(
            f"no failure in {store.where} has the trace {name}", hint="`withstand status` names those of missing rows"
        )
    return str(rows[0][0])


def listing(store: Store) -> list[Json]:
    """The runs of a store, oldest first, each with how many verdicts it has."""
    w = want.c
    counts = {
        key: (wanted, missing)
        for key, wanted, missing in store.select(
            sql.select(w.run, sql.func.count(), sql.func.sum(sql.case((row.c.key.is_(None), 1), else_=0)))
            .select_from(want.outerjoin(row, row.c.key == w.key))
            .where(w.stage == VERDICTS)
            .group_by(w.run)
        )
    }
    listed = []
    for run in store.runs():
        wanted, missing = counts.get(run.key, (0, 0))
        cells = run.plan["cells"]
        listed.append(
            {
                "run": run.name,
                "created": iso(run.created),
                "suites": ", ".join(suite["name"] for suite in run.plan["suites"]),
                "targets": ", ".join(dict.fromkeys(cell["target"] for cell in cells)),
                "attacks": ", ".join(dict.fromkeys(cell["attack"] for cell in cells)),
                "cells": len(cells),
                "verdicts": f"{wanted - missing} of {wanted}",
            }
        )
    return listed
