"""How a run begins: planned, named, recorded in the store with what it wants."""

import time
import warnings
from collections.abc import Iterable
from typing import Any

from withstand.core import Json, SpecError, digest, to_json
from withstand.core.optional import optional
from withstand.core.stage import MARKS
from withstand.core.taxonomy import of_categories
from withstand.registry import find
from withstand.registry.source import code_hash
from withstand.runner import baseline
from withstand.runner.aliases import aliases_of
from withstand.runner.clusters import joined
from withstand.runner.gating import gate_of
from withstand.runner.memory import memory
from withstand.runner.plan import Plan, make_plan
from withstand.runner.reuse import check_plan
from withstand.runner.spec import RunSpec
from withstand.runner.stages import case_wants
from withstand.store.store import RunRow, Store


def begin(
    spec: RunSpec, where: Store, name: str = "", offline: bool = False, shard: tuple[int, int] = (0, 1)
) -> tuple[Plan, RunRow]:
    """Plan a run and record it. An equal plan continues where it stopped. It is an error where a name has another plan,
    where rows to reuse are of others, and where the models of a new run cannot fit into their device."""
    plan = planned(spec, where, offline)
    stop, described = spec.stop_when_decided, described_by(plan, spec)
    key = digest(described)
    there = next((run for run in where.runs() if run.key == key), None)
    if there is None:  # one that is there may have nothing left to ask
        memory(plan)
    name = named(where, key, name, plan.name(key))
    aliases = aliases_of(spec, [chosen.label for chosen in plan.suites])  # beside what the key is made of
    beside = {"aliases": aliases, "gate": gate_of(spec, plan)}  # in no key
    beside |= {
        "prompts": plan.prompts(),
        "clusters": _clusters(plan, where),
        "sets": plan.sets(),
        "knows": plan.knows(),
        "marked": _marked(plan),
    }
    beside |= {"taxonomy": _taxonomy(plan)}
    kept = {part: value for part, value in beside.items() if value}
    if there is None or "draws_at" in there.plan:  # else the keys of runs that were sent its cases would change
        kept |= {"draws_at": drawn} if (drawn := _draws_at(plan)) else {}
    new = RunRow(key, name, time.time(), spec.written(), described | kept)
    of_others = check_plan(plan, where, new, shard)
    where.add_run(new)
    where.set_beside(new, beside)
    if of_others:
        where.note_reuse(key)
    texts = {digest(text := to_json(b)): text for chosen in plan.suites for b in chosen.behaviors}
    where.add_texts(texts, sources_of(plan.classes(), where))
    if stop is None:  # else they are wanted part by part
        where.add_wants(key, case_wants(plan))
    run = next((run for run in where.runs() if run.name == name), None)
    if run is None or run.key != key:  # another process took the name, or the run, a moment ago
        raise SpecError(f"run {name!r} exists with another spec", hint="choose another --name")
    return plan, run


def _marked(plan: Plan) -> dict[str, list[str]]:
    """Label of each target whose training left marks on it -> their names."""
    marks = {cell.labels["target"]: optional(cell.target.model, "marks") for cell in plan.cells}
    return {label: [name for name in MARKS if name in names] for label, names in marks.items() if names}


def _draws_at(plan: Plan) -> dict[str, float]:
    """Index of each cell whose attack draws its own answers at a temperature of its own -> that temperature."""
    drawn = {str(cell.index): optional(cell.attack, "draws_at") for cell in plan.cells}
    return {index: temperature for index, temperature in drawn.items() if temperature is not None}


def described_by(plan: Plan, spec: RunSpec) -> Json:
    """What the key of a run is the digest of."""
    stop = spec.stop_when_decided
    return plan.json() | ({} if stop is None else {"stop_when_decided": stop})


def would_be(plan: Plan, spec: RunSpec, where: Store | None, name: str = "") -> Json:
    """Key and name of the run that this plan would be, and whether it is there. Raises `SpecError` as `named` does."""
    key = digest(described_by(plan, spec))
    if where is None:
        return {"key": key, "name": name or plan.name(key), "recorded": False}
    return {
        "key": key,
        "name": named(where, key, name, plan.name(key)),
        "recorded": any(run.key == key for run in where.runs()),
    }


def _taxonomy(plan: Plan) -> list[dict[str, list[str]]]:
    """Of each suite, category -> what its behaviors are counted under; [] where no suite says it."""
    maps = [of_categories(optional(chosen.suite, "taxonomy")) for chosen in plan.suites]
    return maps if any(maps) else []


def _clusters(plan: Plan, where: Store) -> dict[str, str]:
    """The clusters of a plan's behaviors, with what any run of the store has of them; warns where that is more."""
    keys = {digest(to_json(b)) for chosen in plan.suites for b in chosen.behaviors}
    own = plan.clusters()
    clusters = joined(own, [run.plan.get("clusters", {}) for run in where.runs()], keys)
    if len(set(clusters.values())) - len(clusters) < len(set(own.values())) - len(own):
        warnings.warn(
            f"{len(clusters):,} behaviors are in clusters, as runs of this store recorded, {len(own):,} of them in the "
            "suites: the intervals take the recorded ones. If those are wrong, use another store.",
            stacklevel=2,
        )
    return clusters


def named(where: Store, key: str, name: str, otherwise: str) -> str:
    """The name of the run with this key: what it has, else `name`, else `otherwise`; or an error that says why not."""
    runs = {run.name: run for run in where.runs()}
    name = name or next((run.name for run in runs.values() if run.key == key), otherwise)
    if name in runs and runs[name].key != key:
        raise SpecError(f"run {name!r} exists with another spec", hint="choose another --name, or leave it out")
    if renamed := next((run.name for run in runs.values() if run.key == key and run.name != name), ""):
        raise SpecError(f"this run already exists as {renamed!r}", hint=f"use --name {renamed}, or leave --name out")
    return name


def planned(spec: RunSpec, where: Store | None, offline: bool = False) -> Plan:
    """The plan of a spec; `where` holds the run that `cases_from` may name."""
    plan = make_plan(spec, baseline.cases_from(spec.cases_from, where) if where else (), offline)
    aliases_of(spec, [chosen.label for chosen in plan.suites])  # raises where two components would have one name
    plan.clusters()  # raises where a behavior has two
    return plan


def sources_of(classes: Iterable[Any], where: Store) -> dict[str, Json]:
    """Name, version and code hash of each component; warns where a version stands for two sources."""
    sources = [
        {"name": find.name_of(cls), "version": find.version_of(cls), "source": code_hash(cls)} for cls in classes
    ]
    stored = where.components()
    for entry in sources:
        if any(_changed(old, entry) for old in stored):
            warnings.warn(
                f"{entry['name']} changed its source but not its version: rows of the old source are reused. "
                "If results differ, raise its `version`.",
                stacklevel=2,
            )
    return {digest(entry): entry for entry in sources}


def _changed(old: Json, new: Json) -> bool:
    """Whether two records of one component and version differ in their source; hashes of two schemes say nothing."""
    same = old["name"] == new["name"] and old["version"] == new["version"]
    schemes = {entry["source"].rpartition(":")[0] for entry in (old, new)}
    return same and len(schemes) == 1 and "" not in schemes and old["source"] != new["source"]
