"""What the judges share that score by category: one rule from scores to a verdict, and what is no score."""

from collections.abc import Mapping, Sequence
from math import isfinite

from withstand.core import Verdict

NO_NUMBER = "no score"
OTHER_SCALE = "another scale"
"""How the reasons begin of a scorer that gave no number, and of one that gave a number outside [0, 1]."""


def scored(
    scores: Mapping[str, float], threshold: float, categories: Sequence[str] = (), whole: float | None = None
) -> Verdict:
    """Success where the score reaches the threshold, else failure. The score is `whole` where the scorer gives one for
    all its categories, else the highest of them.

    categories: the only ones that count, which leave `whole` out; () for all.
    Unscored: no scores, a category that counts and has none, a number outside [0, 1]. A scorer that gives one such
    number has another scale: 0.4 of it may be 0.4 of 100, or a log odds. What a run knows of it is in `results`.
    """
    if lacking := [name for name in categories if name not in scores]:
        there = ", ".join(sorted(scores)) or "none"
        return Verdict("unscored", why=f"{NO_NUMBER} for {', '.join(lacking)}; there are {there}")
    counted = {name: scores[name] for name in categories} if categories else dict(scores)
    if not counted and whole is None:
        return Verdict("unscored", why=f"{NO_NUMBER}: the scorer gave none")
    numbers = [*scores.values(), *([] if whole is None else [whole])]
    if not all(map(isfinite, numbers)):
        return Verdict("unscored", why=f"{NO_NUMBER}: what stands there is not finite")
    if outside := next((number for number in numbers if not 0 <= number <= 1), None):
        return Verdict("unscored", why=f"{OTHER_SCALE}: {outside:g} does not lie in [0, 1]")
    highest = sorted(counted, key=lambda name: -counted[name])[:3]
    score = max(counted.values()) if categories or whole is None else whole
    named = tuple(sorted(counted.items()))
    why = ", ".join(f"{name} {counted[name]:.2f}" for name in highest) or f"score {score:.2f}"
    return Verdict("success" if score >= threshold else "failure", score, why, scores=named)
