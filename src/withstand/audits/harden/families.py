"""To which family of attacks an attack belongs, and what a training knows of it. Pure functions on components.

An attack around another, as best_of_n around story, belongs to the families of both: what was trained on either does
not hold it out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from withstand.audits.harden.records import Family
from withstand.core import SpecError
from withstand.core.optional import optional
from withstand.registry import find

FOLDERS: Mapping[str, Family] = {
    "gradient": "gradient", "search": "search", "llm": "LLM-led", "templated": "templated",
}  # fmt: skip
PREFILL = "prefill"
SEARCHES: Mapping[str, Family] = {"r2d2": "gradient", "latent": "gradient", "beear": "gradient"}
"""Stages that search by gradients while they train, whatever attacks are named beside them."""
NO_ATTACKS = ("direct", "question", "likelihood", "trigger")
"""What sends or reads the request as it is: every training row is one, so that it holds nothing out."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """An attack of a hardening. families: the first is what tables call it; held_out: no training attack has one."""

    spec: Mapping[str, Any]
    label: str
    families: tuple[Family, ...]
    held_out: bool


def families_of(attack: Any) -> tuple[Family, ...]:
    """The families of an attack, its own first, then those of attacks inside it. Raises `SpecError` for one of a
    user's own that names none."""
    inside = [part for part in find.parts(attack) if hasattr(part, "run") and hasattr(part, "most")]
    return tuple(dict.fromkeys(family for part in inside for family in _own(part)))


def _own(attack: Any) -> tuple[Family, ...]:
    name, module = find.name_of(type(attack)), type(attack).__module__.split(".")
    if module[:2] != ["withstand", "attacks"]:
        if (named := _named(attack)) is None:
            raise SpecError(
                f"the attack {name} does not say its family", hint=f'family: ClassVar[str] = "{get_args(Family)[0]}"'
                f" in its class, or another of {', '.join(get_args(Family)[1:])}"
            )  # fmt: skip
        return (named,)
    if name == PREFILL:
        return ("prefill",)
    if optional(attack, "conversations"):
        return ("multi-turn",)
    folder = FOLDERS[module[2]]
    return ("multi-turn", folder) if "turns" in attack.needs else (folder,)


def _named(component: Any) -> Family | None:
    """The family that a component from outside the package says; None where it says none of these."""
    named: Family = optional(component, "family")
    return named if named in get_args(Family) else None


def trained_on(stage: Any, attacks: Iterable[Any]) -> dict[Family, str]:
    """The families that a training knows, each with what it knows it by: the training attacks, those inside the stage,
    and the search of the stage itself."""
    trained: dict[Family, str] = {}
    for part in find.parts(stage):
        own = find.name_of(type(part))
        if hasattr(part, "train") and (family := SEARCHES.get(own) or _named(part)):
            trained.setdefault(family, own)
        if hasattr(part, "run") and hasattr(part, "most"):
            attacks = [*attacks, part]
    for attack in attacks:
        for family in families_of(attack):
            trained.setdefault(family, find.name_of(type(attack)))
    return trained


def chosen(stage: Any, training: Sequence[Mapping[str, Any]], held_out: Sequence[Mapping[str, Any]]) -> list[Chosen]:
    """The attacks of a hardening, those that were trained on first.

    Raises `SpecError` where none is held out, and for a held-out attack of a family that the training knows.
    """
    if not training:
        raise SpecError("no training attack is named", hint="--attacks gcg,steps=60; repeats")
    if not held_out:
        raise SpecError(
            "no attack is held out: withstand harden refuses to report the gain on trained attacks alone",
            hint="--hold-out story: an attack of a family that the training does not know; repeats",
        )
    sides = [[(spec, find.build("attack", spec)) for spec in side] for side in (training, held_out)]
    trained = trained_on(stage, [attack for _, attack in sides[0]])
    rows: dict[str, Chosen] = {}
    for number, side in enumerate(sides):
        for spec, attack in side:
            label = find.label("attack", spec)
            if find.name_of(type(attack)) in NO_ATTACKS:
                raise SpecError(f"{label} is no attack: it sends the request as it is", hint="name an attack instead")
            families = families_of(attack)
            if number:
                _check_held_out(label, families, trained)
            rows.setdefault(label, Chosen(spec, label, families, bool(number)))
    return list(rows.values())


def _check_held_out(label: str, families: Sequence[Family], trained: Mapping[Family, str]) -> None:
    for family in families:
        if family in trained:
            inside = "" if family == families[0] else ", by the attack inside it"
            free = [name for name in get_args(Family) if name not in trained]
            raise SpecError(
                f"{label} is not held out: it is of the family {family}{inside}, which the training knows "
                f"by {trained[family]}",
                hint=f"hold out an attack of another family: {', '.join(free)}" if free else "train on fewer families",
            )
