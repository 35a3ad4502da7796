"""Telling two kinds of items apart: sensitivity without the bias to say yes, what flags are worth at other shares of
signals, and what a threshold costs. Pure functions. By scores: `stats.roc`.

Sensitivity: Green and Swets 1966, Signal Detection Theory and Psychophysics; 0.5 is added to the counts and 1 to the
totals, as Hautus 1995, Behavior Research Methods, Instruments, & Computers 27:46, so that both are finite.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt


def sensitivity(hits: float, signals: float, alarms: float, others: float) -> tuple[float, float]:
    """d' = z(H) - z(F) and the criterion c = -(z(H) + z(F)) / 2, in standard deviations.

    hits of so many signals, false alarms of so many others. d' 0 is chance; c above 0 says "signal" too rarely.
    Raises `ValueError` for counts outside of their totals, or a total of 0.
    """
    if not (0 <= hits <= signals and 0 <= alarms <= others and signals and others):
        raise ValueError(f"{hits} of {signals} and {alarms} of {others} are no counts")
    z = NormalDist().inv_cdf
    hit, alarm = z((hits + 0.5) / (signals + 1)), z((alarms + 0.5) / (others + 1))
    return hit - alarm, -(hit + alarm) / 2


def precision_at(share: float, caught: float, alarms: float) -> float | None:
    """The share of signals among what is flagged, where signals are a `share` in [0, 1] of all items.

    caught: share of signals that are flagged; alarms: of the others. None where nothing is flagged. Bayes' theorem.
    """
    flagged = share * caught + (1 - share) * alarms
    return share * caught / flagged if flagged else None


def paying(share: float, caught: float, alarms: float) -> tuple[float, float] | None:
    """At which cost ratios, a missed signal over a false alarm, flags cost less than flagging nothing or everything.

    Arguments as of `precision_at`, with `share` above 0 and below 1. The upper one is infinite where nothing is missed.
    None: at every ratio one of the two costs as little.
    """
    if not 0 < share < 1 or not caught:
        return None
    low = (1 - share) * alarms / (share * caught)
    high = (1 - share) * (1 - alarms) / (share * (1 - caught)) if caught < 1 else math.inf
    return (low, high) if low < high else None


@dataclass(frozen=True, slots=True)
class Cheapest:
    """A threshold, inf for one that flags nothing; how many signals it misses and how many false alarms it gives."""

    threshold: float
    missed: int
    alarms: int


def cheapest(high: Sequence[float], low: Sequence[float], ratio: float) -> Cheapest:
    """The threshold that costs least on these scores where a missed signal costs `ratio` false alarms.

    high: scores of signals; low: of the others; one without a score is -inf among the first, inf among the second. Of
    thresholds that cost alike the lowest, which misses least. It was chosen on these very scores and looks better
    than it is.
    """
    a, b = np.sort(np.asarray(high, float)), np.sort(np.asarray(low, float))
    scores = np.unique(np.concatenate([a, b]))
    thresholds: npt.NDArray[np.float64] = np.append(scores[np.isfinite(scores)], math.inf)
    missed = np.searchsorted(a, thresholds, "left")
    alarms = len(b) - np.searchsorted(b, thresholds, "left")
    at = int(np.argmin(ratio * missed + alarms))
    return Cheapest(float(thresholds[at]), int(missed[at]), int(alarms[at]))
