"""Several p values at once: corrected p, and the level of intervals that say the same as they do. Pure functions.

None (nothing to compare) stays None and counts as no comparison.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from withstand.stats.special import Floats


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Each p corrected so that the chance of any false alarm stays below the level.

    Holm 1979, Scandinavian J. Statistics 6:65. No intervals belong to it: use `bonferroni` where intervals are shown.
    """
    return _corrected(ps, _holm)


def holm_steps(tests: Iterable[int], within: Callable[[int, float], bool], alpha: float = 0.05) -> set[int]:
    """Which tests Holm's correction lets claim that a value lies within a limit, where only intervals are at hand.

    within: whether the two-sided interval of a test at this level lies within its limit. With k tests left, those pass
    that do at 1 - alpha / k, until none does; the chance that any passes wrongly is alpha / 2 at most.
    """
    left, passed = set(tests), set[int]()
    while step := {test for test in left if within(test, 1 - alpha / len(left))}:
        left -= step
        passed |= step
    return passed


def benjamini_hochberg(ps: Sequence[float | None]) -> list[float | None]:
    """Each p corrected so that the expected share of false alarms among alarms stays below the level.

    Benjamini and Hochberg 1995, J. Royal Statistical Society B 57:289.
    """
    return _corrected(ps, _benjamini_hochberg)


def bonferroni(ps: Sequence[float | None]) -> float:
    """By how much each p is multiplied, and alpha divided, for intervals that all hold together: the number of p."""
    return float(max(1, sum(p is not None for p in ps)))


def false_coverage(ps: Sequence[float | None], alpha: float = 0.05) -> float:
    """The same for intervals of which a share of `alpha` is expected to miss, among those with something to say.

    Benjamini and Yekutieli 2005, J. American Statistical Association 100:71: of m intervals, the R that Benjamini and
    Hochberg select get the level 1 - R alpha / m. The rest are written at that level too, and then claim nothing.
    """
    selected = sum(p is not None and p <= alpha for p in benjamini_hochberg(ps))
    return bonferroni(ps) / max(1, selected)


def _corrected(ps: Sequence[float | None], correct: Callable[[Floats], Any]) -> list[float | None]:
    places = [place for place, p in enumerate(ps) if p is not None]
    corrected: list[float | None] = [None] * len(ps)
    if places:
        for place, p in zip(places, correct(np.array([ps[place] for place in places], float)), strict=True):
            corrected[place] = float(p)
    return corrected


def _holm(ps: Floats) -> Floats:
    """Written here because statsmodels would bring scipy and pandas into the core."""
    order = np.argsort(ps)
    corrected = np.empty_like(ps)
    corrected[order] = np.minimum(1, np.maximum.accumulate(ps[order] * np.arange(len(ps), 0, -1)))
    return corrected


def _benjamini_hochberg(ps: Floats) -> Floats:
    order = np.argsort(ps)[::-1]
    corrected = np.empty_like(ps)
    corrected[order] = np.minimum.accumulate(ps[order] * len(ps) / np.arange(len(ps), 0, -1))
    return corrected
