"""The worst of a run on behaviors that the run did not ask: `withstand confirm`.

The highest of several rates is high by luck in part. On new behaviors it is one rate that nobody chose.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from withstand.core import Json, SpecError, digest, to_json
from withstand.core.text import count, series
from withstand.registry import find
from withstand.registry.grammar import spec_of
from withstand.runner.attack_sets import recorded
from withstand.runner.clusters import clusters_of, joined
from withstand.runner.spec import RunSpec
from withstand.runner.suites import choose
from withstand.store.store import RunRow, Store

FEW = 30
"""With fewer behaviors an interval is wider than 20 points where half are broken."""
_NAMED = 10


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The spec that asks `behaviors` others about some cells of a run, of `usual` that would be asked without a limit.

    note: where they are few, and which ones were left out since they are no others, else "".
    """

    spec: RunSpec
    behaviors: int
    usual: int
    note: str


def held_out(
    store: Store, spec: RunSpec, row: RunRow, cells: Sequence[int], limit: int | None = None, offline: bool = False
) -> HeldOut:
    """Cells of a run's plan, all on one target, on behaviors of the same suite that the run did not choose.

    cells: their places.   limit: the most behaviors; None: as many as the run had. A behavior with the id, the text or
    the cluster of one that the run asked is no other one. Raises `SpecError` where none is left, or where the cells
    cannot be asked anew.
    """
    first = row.plan["cells"][cells[0]]
    asked = row.plan["suites"][first["suite"]]["behaviors"]
    if spec.cases_from:
        raise SpecError(
            f"{row.name} was sent the test cases of {spec.cases_from}: no attack can be asked for new ones",
            hint="confirm that run instead",
        )
    suite = spec.suite[first["suite"]]
    everything = {key: value for key, value in suite.items() if key not in ("limit", "ids")}
    chosen = choose(everything, spec.model_copy(update={"limit": None, "ids": None}), offline)
    new = [behavior for behavior in chosen.behaviors if digest(to_json(behavior)) not in asked]
    of_runs = [run.plan.get("clusters", {}) for run in store.runs()]
    keys = {*asked, *(digest(to_json(behavior)) for behavior in new)}
    clusters = joined(clusters_of([(chosen.label, chosen.behaviors)]), of_runs, keys)
    taken = {mark for key, text in store.behaviors(asked).items() for mark in _marks(text, clusters.get(key, ""))}
    marks = {b.id: _marks(to_json(b), clusters.get(digest(to_json(b)), "")) for b in new}
    overlap = sorted(name for name, own in marks.items() if taken.intersection(own))
    others = [behavior.id for behavior in new if behavior.id not in overlap]
    same = f"{count(len(overlap), 'behavior')} with the id, the text or the cluster of one that {row.name} asked"
    more = [f"{len(overlap) - _NAMED:,} more"] * (len(overlap) > _NAMED)
    named = series([*overlap[:_NAMED], *more]) if overlap else ""
    if not others:
        rest = f"; the rest is {same}: {named}" if overlap else ""
        raise SpecError(
            f"{row.name} asked {'' if overlap else 'all '}{count(len(asked), 'behavior')} of {chosen.label}: none is "
            f"held out{rest}",
            hint="run fewer with --limit, and confirm on the rest; or run the attack on another suite",
        )
    usual = min(len(others), len(asked))
    n = min(len(others), limit or usual)
    notes = [f"only {count(n, 'behavior')} held out: the new interval is wide"] if n < FEW else []
    notes += [f"left out: {same} ({named})"] if overlap else []
    return HeldOut(_narrowed(spec, row, cells, everything, others, n), n, usual, "; ".join(notes))


def _marks(behavior: Json, cluster: str) -> Iterator[tuple[str, str]]:
    """What no behavior that is held out may share with one that was asked."""
    if behavior.get("id"):
        yield "id", behavior["id"]
    if text := " ".join(f"{behavior.get('context', '')} {behavior.get('text', '')}".split()).casefold():
        yield "text", text
    if cluster:
        yield "cluster", cluster


def _narrowed(
    spec: RunSpec, row: RunRow, cells: Sequence[int], suite: Json, others: list[str], limit: int
) -> RunSpec:  # fmt: skip
    """The spec of a run with these cells alone, on `limit` of the behaviors with these ids."""
    cell, attacks = row.plan["cells"][cells[0]], [_fields(row.plan["cells"][index]["attack"]) for index in cells]
    target, defense = next(
        (target, defense)
        for target, defense in spec.defended_targets()
        if _fields(find.label("target", target)) == _fields(cell["target"])
        and (defense["use"] if defense["use"] == "none" else _fields(find.label("defense", defense)))
        == (cell["defense"] if cell["defense"] == "none" else _fields(cell["defense"]))
    )
    chosen = {str(fields): attack for attack in reversed(recorded(spec, row.plan))
              if (fields := _fields(find.label("attack", attack))) in attacks}  # fmt: skip
    drawn = [row.plan["cells"][index]["sampling"].get("draws", 1) for index in cells]
    update: dict[str, Any] = {
        "draws": next((draws for draws in drawn if draws != 1), spec.draws),  # a set may have more than its run
        "suite": [{**suite, "ids": others, "limit": limit}],
        "target": [target],
        "defense": [] if defense["use"] == "none" else [defense],
        "attack": [*reversed(chosen.values())],
        "benign": {"use": "none"},
        "utility": None,
        "gate": None,
        "stop_when_decided": None,
    }
    return spec.model_copy(update=update)


def _fields(label: str) -> dict[str, str]:
    """What a label says, in any order of its fields: a recorded spec has them sorted."""
    fields = spec_of(label)
    return {name: str(fields[name]) for name in sorted(fields)}
