"""What the models of a plan take of their devices: for `--dry-run`, and to refuse what cannot fit.

A local model's `footprint()` says it before it is loaded, in GiB: {"weights": ..., "row": ..., "free": ...}, its
weights (0 if they are loaded), a row of 1,024 tokens while it is decoded, and what is there for it (None if nobody can
say).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from withstand.core import Json, SpecError
from withstand.core.optional import optional
from withstand.registry import find
from withstand.runner.plan import Cell, Plan

HINT = (
    "a smaller dtype (dtype=bfloat16), quantize=int4, another device for one of them (device=cuda:1), several devices "
    "(device_map=auto), or fewer local models in one run"
)


def memory(plan: Plan) -> list[Json]:
    """One entry per local model: the roles that it has, its place and what it takes of it, in GiB.

    Raises `SpecError` for a place that cannot hold at once what a stage needs there. Test cases and completions need
    attacks, targets and defenses; verdicts need the judges alone.
    """
    roles: dict[Any, dict[str, None]] = defaultdict(dict)
    for cell in plan.cells:
        for role, model in _models(cell):
            roles[model][f"{role} {cell.labels[role]}"] = None
    taken: dict[Any, Json] = {model: model.footprint() for model in roles}
    judges = {model for model, names in roles.items() if any(name.startswith("judge ") for name in names)}
    others = {model for model, names in roles.items() if not all(name.startswith("judge ") for name in names)}
    for stage in (others, judges):
        for place in dict.fromkeys(model.place for model in stage):
            _check(place, {model: roles[model] for model in roles if model in stage and model.place == place}, taken)
    return [
        {"roles": list(names), "place": model.place}
        | {name: None if gib is None else round(gib, 3) for name, gib in taken[model].items()}
        for model, names in roles.items()
    ]


def _check(place: str, roles: Mapping[Any, Mapping[str, None]], taken: Mapping[Any, Json]) -> None:
    """Whether a place can hold the weights of these models and one row of the largest."""
    need = sum(taken[model]["weights"] for model in roles) + max(taken[model]["row"] for model in roles)
    free_here = [free for model in roles if (free := taken[model]["free"]) is not None]
    if free_here and need > min(free_here):
        shares = "; ".join(
            f"{taken[model]['weights']:.1f} GiB for {' and '.join(names)}" for model, names in roles.items()
        )
        raise SpecError(
            f"{place} cannot hold {need:.1f} GiB, and {min(free_here):.1f} GiB are free: {shares}", hint=HINT
        )


def _models(cell: Cell) -> Iterator[tuple[str, Any]]:
    """The local models of a cell with their roles. A judge that stops an attack is part of the attack."""
    parts = {
        "target": cell.target.model,
        "defense": cell.target.defense,
        "attack": (cell.attack, cell.until),
        "judge": cell.judge,
    }
    for role, part in parts.items():
        yield from ((role, model) for model in find.parts(part) if optional(model, "footprint"))
    yield from (("attack", copy) for copy in _copies(cell.attack, cell.target.model))


def _copies(attack: Any, model: Any) -> Iterator[Any]:
    """The target in the other dtypes in which an attack loads it too."""
    if "weights" not in optional(attack, "needs") or not optional(model, "footprint"):
        return
    for dtype in {getattr(attack, name, "") for name in ("dtype", "screen")} & {"float32", "bfloat16"}:
        if dtype != model.identity()["dtype"]:
            yield replace(model, dtype=dtype)
