"""Does an attack know the defense before its target? The adaptive attack is the measure of a defense; a static one
flatters it (Tramer et al. 2020, arXiv:2002.08347; Nasr et al. 2025, arXiv:2510.09023)."""

from typing import Any, Literal

from withstand.core import Defense, Json
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
    if isinstance(attack, TransferredCases) or optional(attack, "surrogates"):
        return "static"
    return "adaptive" if by_design(attack, defense) or by_asking(attack) else "static"


def by_asking(attack: Any) -> bool:
    """Whether its search asks the target, and so meets the defense, as often as it likes."""
    return bool(attack.most().asks.get("target"))


def by_design(attack: Any, defense: Defense) -> bool:
    """Whether it is built against the defense: by weights seen through it, or in words made for it."""
    if "weights" in attack.needs:
        return any(optional(defense, name) is not None for name in ("wrap", "terms", "scan", "suspicion"))
    return bool(optional(attack, "informed") and optional(defense, "bypasses"))


def described_attack(attack: Any, defense: Defense | None) -> Json:
    """What decides the test cases of an attack, for their key."""
    if isinstance(attack, TransferredCases):
        return ["given", attack.label]
    described = find.describe(attack)
    if defense is None or optional(attack, "surrogates") or not by_design(attack, defense):
        return described
    return ["knows its defense", SEARCH, described]
