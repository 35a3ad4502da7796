"""Does an attack know the defense before its target? The adaptive attack is the measure of a defense; a static one
flatters it (Tramer et al. 2020, arXiv:2002.08347; Nasr et al. 2025, arXiv:2510.09023)."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any, Literal

from withstand.core import Defense, Flow, Json, TestCase, UpperBounds, intercept
from withstand.core.guards import FRESH, MOST_ASKED, bypassed, randomized
from withstand.core.optional import optional
from withstand.registry import find
from withstand.runner.transfer import TransferredCases

Knowledge = Literal["", "static", "adaptive"]
"""Of an attack on a target: there is no defense; it does not know the defense; it does."""

SEARCH = 1
"""Of how attacks by weights and informed ones use what they know; another number makes their rows anew."""


def knowledge(attack: Any, defense: Defense | None) -> Knowledge:
    """What an attack knows of a defense. A transferred test case and one found on a surrogate know nothing."""
    if defense is None:
        return ""
    if isinstance(attack, TransferredCases) or _elsewhere(attack):
        return "static"
    return "adaptive" if by_design(attack, defense) or by_asking(attack) else "static"


def static_alone(met: Iterable[tuple[str, bool]]) -> bool:
    """Whether a defended target met attacks that do not know its defense, and has no verdict on one that does: its rate
    then flatters the defense. met: of each of its harmful cells, the `Knowledge`, and whether it has a verdict; what a
    run of 0.1 does not say is static."""
    kinds = set(met)
    return any(knows != "adaptive" for knows, _ in kinds) and ("adaptive", True) not in kinds


def by_asking(attack: Any) -> bool:
    """Whether its search asks the target, and so meets the defense, as often as it likes."""
    return bool(optional(attack, "adapts") and attack.most().asks.get("target"))


def by_design(attack: Any, defense: Defense) -> bool:
    """Whether it is built against the defense: by weights seen through it, or in words made for it."""
    if "weights" in attack.needs:
        guards = (
            () if optional(attack, "upper_bound") else ("terms", "scan", "suspicion")
        )  # no guard reads what is no text
        return any(optional(defense, name) is not None for name in ("wrap", *guards))
    return informed(attack, defense)


def informed(attack: Any, defense: Defense | None) -> bool:
    """Whether the attack is told the bypasses of the defense. The prompt alone is none: it would know nothing."""
    if defense is None or not optional(attack, "informed") or _elsewhere(attack):
        return False
    return any(template.strip() != "{prompt}" for template in optional(defense, "bypasses"))


def _elsewhere(attack: Any) -> bool:
    """Whether it, or an attack inside it, searches on another model, which no defense stands before."""
    return any(optional(part, "surrogates") for part in find.parts(attack))


def described_attack(attack: Any, defense: Defense | None) -> Json:
    """What decides the test cases of an attack, for their key."""
    if isinstance(attack, TransferredCases):
        return ["given", attack.label]
    described = find.describe(attack)
    if defense is None or _elsewhere(attack) or not by_design(attack, defense):
        return described
    ways = [list(optional(defense, "bypasses"))] if informed(attack, defense) else []
    return ["knows its defense", SEARCH, described, *ways]


def worded_anew(flow: Flow[None], defense: Any, benign: Collection[str]) -> Flow[None]:
    """The flow of an attack without a search, whose final test cases are sent as they are and, beside it, in the words
    of each bypass of the defense. benign: ids of behaviors that nobody needs a bypass for."""

    def handle(item: Any) -> Flow[Any]:
        answer = yield item
        if (
            isinstance(item, TestCase)
            and item.score is None
            and item.completion is None
            and item.behavior not in benign
        ):
            for chat in dict.fromkeys(bypassed(defense, item.chat)):
                yield replace(item, chat=chat)
        return answer

    return (yield from intercept(flow, handle))


def bounds(attack: Any, defense: Defense | None, benign: bool) -> UpperBounds:
    """The upper bounds of an attack for one behavior behind a defense: of an informed one each final test case comes in
    the words of each bypass too, a search draws its best candidates again before a randomized defense, and one by
    weights asks a guard that is a model about texts after each of its pieces."""
    most: UpperBounds = attack.most()
    if defense is None:
        return most
    if "weights" in attack.needs and _must_be_asked(defense) and not _elsewhere(attack):
        most = replace(most, asks={**most.asks, "guard": _pieces(attack) * MOST_ASKED * max(1, defense.asks - 1)})
    if most.drawn:
        return most
    if by_asking(attack):
        times = 1 + FRESH if randomized(defense) and not _elsewhere(attack) else 1
        asks = {role: count * (times if role in ("target", "judge") else 1) for role, count in most.asks.items()}
        return replace(most, asks=asks)
    if informed(attack, defense) and not benign:
        return replace(most, cases=most.cases * (1 + len(optional(defense, "bypasses"))))
    return most


def _must_be_asked(defense: Defense) -> bool:
    """Whether asking is the only way to know what it says of a prompt."""
    return bool(optional(defense, "suspicion")) and not (optional(defense, "terms") or optional(defense, "scan"))


def _pieces(attack: Any) -> int:
    """The most pieces of work of a search by weights, the first and the last of each restart among them."""
    steps = next((n for name in ("steps", "passes", "rounds", "length") if (n := getattr(attack, name, 0))), 0)
    steps *= len(attack.init) if hasattr(attack, "passes") else 1  # each goes through all places
    restarts: int = getattr(attack, "n", 1)
    return restarts * (2 - steps // -getattr(attack, "every", 1))
