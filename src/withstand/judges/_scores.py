"""What the judges share that score by category: one rule from scores to a verdict, and what is no score."""

from collections.abc import Collection, Mapping, Sequence
from math import inf

from withstand.core import Json, SpecError, Verdict, did_you_mean
from withstand.core.outcomes import OTHER_SCALE

NO_NUMBER = "no score"
"""How the reason begins where a scorer gave no number."""


def scored(
    scores: Mapping[str, Json], threshold: float, categories: Sequence[str] = (), whole: Sequence[Json] = ()
) -> Verdict:
    """Success where the score reaches the threshold, else failure.

    scores: by category. whole: the score for all of them together, where the scorer gives one; else () and the highest
    category is the score. categories: the only ones that count, which leaves `whole` out; () for all.
    Unscored: where a category that counts has no score, where what decides is no finite number, and where any number
    lies outside [0, 1]: then the scorer has another scale, and 0.4 of it may be 0.4 of 100, or a log odds.
    """
    if lacking := [name for name in categories if name not in scores]:
        there = ", ".join(sorted(scores)) or "none"
        return Verdict("unscored", why=f"{NO_NUMBER} for {', '.join(lacking)}; there are {there}")
    counted = {name: scores[name] for name in categories} if categories else dict(scores)
    deciding = list(whole) if whole and not categories else list(counted.values())
    if not deciding:
        return Verdict("unscored", why=f"{NO_NUMBER}: the scorer gave none")
    for value in deciding:
        if not is_number(value):
            return Verdict("unscored", why=f"{NO_NUMBER}: {str(value)[:40]!r} stands where a number should")
    for value in (*scores.values(), *whole):
        if is_number(value) and not 0 <= value <= 1:
            return Verdict("unscored", why=f"{OTHER_SCALE}: {str(value)[:12]} does not lie in [0, 1]")
    score, numbers = max(deciding), {name: value for name, value in counted.items() if is_number(value)}
    highest = sorted(numbers, key=lambda name: -numbers[name])[:3]
    why = ", ".join(f"{name} {numbers[name]:.2f}" for name in highest) or f"score {score:.2f}"
    named = tuple((name, float(numbers[name])) for name in sorted(numbers))
    return Verdict("success" if score >= threshold else "failure", float(score), why, scores=named)


def check_categories(categories: Sequence[str], there: Collection[str], scorer: str) -> None:
    """Raise `SpecError` for a category that a scorer lacks."""
    for name in categories:
        if name not in there:
            hint = did_you_mean(name, there, f"there are {', '.join(there)}")
            raise SpecError(f"{scorer} has no category {name!r}", hint=hint)


def is_number(value: Json) -> bool:
    """Whether a JSON value is a finite number; text that holds one and true are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < inf
