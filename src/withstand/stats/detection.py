"""Telling two kinds of items apart: sensitivity without the bias to say yes, by answers or by scores. Pure functions.

Green and Swets 1966, Signal Detection Theory and Psychophysics; 0.5 is added to the counts and 1 to the totals, as
Hautus 1995, Behavior Research Methods, Instruments, & Computers 27:46, so that both are finite.
"""

from collections.abc import Sequence
from math import exp, log, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from withstand.stats import rates

Floats = npt.NDArray[np.float64]
FAR = 700.0
"""A logit beyond which a chance is 0 to the last digit, and `exp` still has a value."""


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


def auroc(
    high: Sequence[float], low: Sequence[float], of_high: Sequence[str], of_low: Sequence[str], level: float = 0.95
) -> tuple[float, tuple[float, float]] | None:
    """The chance that an item of the first kind scores above one of the second, ties half, and its limits in [0, 1].

    of_high, of_low: the cluster of each item, which both kinds share. The variance is that of Obuchowski 1997,
    Biometrics 53:567; with clusters of one item it is DeLong's (1988, Biometrics 44:837) but for the corrections of
    both sizes. The limits are on the scale of the logit; at 0 and 1, and where nothing varies, Wilson's on the clusters
    of the smaller kind. None where a kind has no item.
    """
    a, b = np.asarray(high, dtype=float), np.asarray(low, dtype=float)
    if not a.size or not b.size:
        return None
    wins = (a[:, None] > b[None, :]) + 0.5 * (a[:, None] == b[None, :])
    area, names = float(wins.mean()), sorted({*of_high, *of_low})
    above, below = _sums(wins.mean(1) - area, of_high, names), _sums(wins.mean(0) - area, of_low, names)
    fewest = min(len(set(of_high)), len(set(of_low)))
    variance = 0.0
    if fewest > 1:
        variance = (
            _stretched(float(above @ above), len(set(of_high))) / a.size**2
            + _stretched(float(below @ below), len(set(of_low))) / b.size**2
            + 2 * _stretched(float(above @ below), len(names)) / (a.size * b.size)
        )
    if variance <= 0 or area in (0, 1):
        ends = rates.wilson(area * fewest, fewest, level)
        return area, ends or (0.0, 1.0)
    reach, center = rates.normal_limit(level) * sqrt(variance) / (area * (1 - area)), log(area / (1 - area))
    return area, (1 / (1 + exp(min(reach - center, FAR))), 1 / (1 + exp(min(-reach - center, FAR))))


def _sums(values: Floats, of: Sequence[str], names: Sequence[str]) -> Floats:
    """The sum of each cluster's values, in the order of the names."""
    place = {name: number for number, name in enumerate(names)}
    sums: Floats = np.zeros(len(names))
    np.add.at(sums, [place[name] for name in of], values)
    return sums


def _stretched(total: float, clusters: int) -> float:
    return total * clusters / (clusters - 1)
