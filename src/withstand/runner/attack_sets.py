"""A set of attacks, such as `adaptive`, made into the attacks that a target allows. Each is an attack as any other."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from withstand.core import Json, Model, SpecError, Suite
from withstand.registry import find, sets
from withstand.registry.grammar import Spec
from withstand.runner.draws import Draws
from withstand.runner.spec import RunSpec

_PLAIN = re.compile(r"[^,\"'\[\]{}=@\n\r]+")
"""A text that a label can hold."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """A set before one target. access: "black_box" or "white_box".   left_out: what it did not try, as sentences."""

    name: str
    access: str
    attacks: tuple[dict[str, Any], ...]
    left_out: tuple[str, ...]

    @property
    def label(self) -> str:
        return f"{self.name},access={self.access}"

    @property
    def labels(self) -> list[str]:
        return [find.label("attack", attack) for attack in self.attacks]

    def json(self) -> Json:
        return {"set": self.label, "attacks": list(self.attacks), "labels": self.labels, "left_out": [*self.left_out]}


@dataclass(frozen=True, slots=True)
class Named:
    """An attack of a run: its spec, the draws that grade it, and the set that names it."""

    spec: dict[str, Any]
    draws: Draws
    expansion: Expansion | None = None


def attacks_of(spec: RunSpec, suite: Suite, judge: Spec, target: str, model: Model, temperature: float) -> list[Named]:
    """The attacks of a run on one suite and target, sets made into theirs. What a set holds too is named once.

    judge: of the cells.   target: its label.   temperature: at which it is drawn. With weights at hand a set is drawn
    as often as compute allows, unless the run says how often or the temperature is 0.
    """
    attacks: list[Named] = []
    of_sets: set[str] = set()
    for attack in filter(sets.is_set, spec.attack):
        expansion = expand(attack, suite, judge, target, model, temperature)
        auto = expansion.access == "white_box" and spec.draws == 1 and temperature > 0
        draws = "auto" if auto else spec.draws
        new = [m for m, label in zip(expansion.attacks, expansion.labels, strict=True) if label not in of_sets]
        attacks += [Named(member, draws, expansion) for member in new]
        of_sets.update(expansion.labels)
    others = [attack for attack in plain(spec.attack) if find.label("attack", attack) not in of_sets]
    return [*(Named(attack, spec.draws) for attack in others), *attacks]


def expand(
    attack: Mapping[str, Any], suite: Suite, judge: Spec, target: str, model: Model, temperature: float = 1.0
) -> Expansion:
    """The attacks of a set that a target allows. judge: of the run.   target: its label.

    Raises `SpecError` where the white-box form is asked for and the target does not give weights and gradients.
    """
    name, access = attack["use"], sets.access_of(attack)
    lacks = [need for need in ("weights", "gradients") if need not in model.gives]
    if access == "white_box" and lacks:
        raise SpecError(
            f"{name},access=white_box needs {lacks[0]}, which {target} does not give",
            hint=f"{name} alone takes the form that each target allows",
        )
    white = access != "black_box" and not lacks
    behaviors = suite.load()  # all of them, so that a limit changes no attack
    targeted = all(behavior.target_string for behavior in behaviors)
    texts = [behavior.text for behavior in behaviors if _PLAIN.fullmatch(behavior.text)]
    transfer = min(texts, key=lambda text: (len(text), text), default="")  # the shortest request is the simpler one
    attacks, left_out = [], []
    for member in sets.members(name):
        if member.get("white_box") and not white:
            why = f"{target} gives no {lacks[0]}" if lacks else "the black-box form was chosen"
            left_out.append(f"{name}: {member['missing']}: {why}")
            continue
        fields = sets.fields_of(member) | ({} if targeted else member.get("untargeted", {}))
        values = {"judge": judge, "transfer": transfer}
        fields |= {key: values[key] for key in ("judge", "transfer") if key in fields}
        needs = find.build("attack", fields).needs
        if lacking := sorted(needs - model.gives):
            left_out.append(f"{name}: {member['missing']}: {target} gives no {lacking[0]}")
            continue
        attacks.append({key: value for key, value in fields.items() if value != ""})
    if white and temperature == 0:
        left_out.append(f"{name}: no repeated draws: at temperature 0 each draw is the same answer")
    return Expansion(name, "white_box" if white else "black_box", tuple(attacks), tuple(left_out))


def plain(attacks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that are no set."""
    return [attack for attack in attacks if not sets.is_set(attack)]


def recorded(spec: RunSpec, plan: Json) -> list[dict[str, Any]]:
    """The attacks of a run that a store holds: those of its spec, and what its sets were made into."""
    return [*plain(spec.attack), *(attack for entry in plan.get("sets", ()) for attack in entry["attacks"])]


def forms(spec: RunSpec) -> Iterator[tuple[str, RunSpec]]:
    """A spec that names a set in each of the set's two forms; nothing for one without a set."""
    if any(map(sets.is_set, spec.attack)):
        for access in ("black_box", "white_box"):
            attacks = [attack | ({"access": access} if sets.is_set(attack) else {}) for attack in spec.attack]
            yield access, spec.model_copy(update={"attack": attacks})
