"""What the cells of a run say: what a cell measures, its rate with the interval, its bounds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from withstand.core.outcomes import SCORED

Record: TypeAlias = Mapping[str, Any]
"""A JSON object of the summary or of the cases."""


def measures(cell: Record) -> str:
    """What the rate of a cell is, of a summary or a plan: "harm", "over-refusal" or "utility"."""
    return str(cell.get("measures") or ("over-refusal" if cell["benign"] else "harm"))


COUNTED = {"harm": "broken", "over-refusal": "refused", "utility": "right"}
"""What a cell measures -> the word for what is counted of it."""


OUTCOME_WORDS = {
    "success": "broken",
    "failure": "held",
    "refused": "refused",
    "filtered": "filtered",
    "unscored": "unscored",
    "error": "error",
}
"""Outcome -> the word that people read, where harm is measured."""

WORDS = {
    "harm": OUTCOME_WORDS,
    "over-refusal": {**OUTCOME_WORDS, "success": "answered", "failure": "answered"},
    "utility": {**OUTCOME_WORDS, "success": "right", "failure": "wrong"},
}
"""What a cell measures -> outcome -> the word that people read."""


def word_of(cell: Record, outcome: str) -> str:
    """The outcome of a case of this cell as people read it."""
    return WORDS[measures(cell)][outcome]


def rate_of(cell: Record) -> tuple[float | None, Sequence[float] | None]:
    """The rate of a cell in what it measures, and its interval."""
    match measures(cell):
        case "utility":
            told = cell["utility"] or {}
            return told.get("rate"), ends_of(told)
        case "over-refusal":
            return cell["over_refusal"], cell["over_refusal_interval"]
    return cell["asr"], cell["asr_interval"]


def ends_of(utility: Record | None) -> Sequence[float] | None:
    """The interval of a utility as a summary has it."""
    return [utility["low"], utility["high"]] if utility and utility.get("low") is not None else None


def defense_of(cell: Record) -> str:
    """The name of the defense, "" for none."""
    name = cell.get("defense") or ""
    return "" if name == "none" else str(name)


def notes_of(cell: Record) -> list[str]:
    return list(cell.get("notes") or [])


def scored_of(cell: Record) -> int:
    return sum(int(cell[name]) for name in SCORED)


def bounds_of(cell: Record) -> Sequence[float] | None:
    """The bounds, where they say more than the rate does."""
    bounds: Sequence[float] | None = cell.get("asr_bounds")
    return bounds if bounds is not None and not math.isclose(bounds[0], bounds[1], abs_tol=1e-9) else None


def reason_of(cell: Record) -> str:
    """Why a rate is missing."""
    notes = notes_of(cell)
    return "; ".join(notes) if notes else "no case was scored" if not scored_of(cell) else "not computed"
