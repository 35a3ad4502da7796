"""A run's strongest attack on behaviors that the run did not ask: `withstand confirm`.

The highest of several rates is high by luck in part. On new behaviors it is one rate that nobody chose.
"""

from dataclasses import dataclass
from typing import Any

from withstand.core import Json, SpecError, digest, to_json
from withstand.core.text import count
from withstand.registry import find
from withstand.runner.spec import RunSpec
from withstand.runner.suites import choose
from withstand.store.store import RunRow

FEW = 30
"""With fewer behaviors an interval is wider than 20 points where half are broken."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The spec that asks `behaviors` others about one cell of a run, and a note where they are few, else ""."""

    spec: RunSpec
    behaviors: int
    note: str


def held_out(spec: RunSpec, row: RunRow, index: int, limit: int | None = None, offline: bool = False) -> HeldOut:
    """The cell at `index` of a run's plan on behaviors of the same suite that the run did not choose.

    limit: the most behaviors; None: as many as the run had. Raises `SpecError` where none is left, or where the cell
    cannot be asked anew.
    """
    cell = row.plan["cells"][index]
    asked = row.plan["suites"][cell["suite"]]["behaviors"]
    if spec.cases_from:
        raise SpecError(
            f"{row.name} was sent the test cases of {spec.cases_from}: no attack can be asked for new ones",
            hint="confirm that run instead",
        )
    suite = spec.suite[cell["suite"]]
    everything = {key: value for key, value in suite.items() if key not in ("limit", "ids")}
    chosen = choose(everything, spec.model_copy(update={"limit": None, "ids": None}), offline)
    others = [behavior.id for behavior in chosen.behaviors if digest(to_json(behavior)) not in asked]
    if not others:
        raise SpecError(
            f"{row.name} asked all {count(len(asked), 'behavior')} of {chosen.label}: none is held out",
            hint="run fewer with --limit, and confirm on the rest; or run the attack on another suite",
        )
    new = min(len(others), limit or len(asked))
    note = "" if new >= FEW else f"only {count(new, 'behavior')} held out: the new interval is wide"
    return HeldOut(_narrowed(spec, cell, everything, others, new), new, note)


def _narrowed(spec: RunSpec, cell: Json, suite: Json, others: list[str], limit: int) -> RunSpec:
    """The spec of a run with this cell alone, on `limit` of the behaviors with these ids."""
    target, defense = next(
        (target, defense)
        for target, defense in spec.defended_targets()
        if find.label("target", target) == cell["target"]
        and (defense["use"] if defense["use"] == "none" else find.label("defense", defense)) == cell["defense"]
    )
    update: dict[str, Any] = {
        "suite": [{**suite, "ids": others, "limit": limit}],
        "target": [target],
        "defense": [] if defense["use"] == "none" else [defense],
        "attack": [attack for attack in spec.attack if find.label("attack", attack) == cell["attack"]][:1],
        "benign": {"use": "none"},
        "utility": None,
        "gate": None,
        "stop_when_decided": None,
    }
    return spec.model_copy(update=update)
