"""Slow rises in normal scores: one-sided CUSUM and EWMA, and how long each runs without an alarm. Pure functions.

Page 1954, Biometrika 41:100; Roberts 1959, Technometrics 1:239. A run length is how many scores it takes to an alarm.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from withstand.stats.special import Floats

SLACK = 0.5
"""Half of the rise, in standard deviations, that a CUSUM is quickest for: of one standard deviation."""
WEIGHT = 0.2
"""Of the newest score in an EWMA."""

_OVERSHOOT = 1.166
"""Twice the mean overshoot of a normal random walk over its limit: Siegmund 1985, "Sequential Analysis", p. 27."""


def cusum(scores: Floats, limits: npt.ArrayLike = math.inf) -> Floats:
    """Of each score along the first axis: what has added up above `SLACK`, since it was 0 last or crossed `limits`.

    A score that is no number leaves the sum as it is. After an alarm (a sum of `limits` or more) it starts anew.
    """
    path, total = np.empty_like(scores), np.zeros(scores.shape[1:])
    bounds = np.broadcast_to(np.asarray(limits, np.float64), scores.shape)
    for at, score in enumerate(scores):
        total = np.where(np.isnan(score), total, np.maximum(0.0, total + np.nan_to_num(score) - SLACK))
        path[at] = total
        total = np.where(total >= bounds[at], 0.0, total)
    return path


def ewma(scores: Floats, weight: float = WEIGHT) -> tuple[Floats, Floats]:
    """The weighted mean of the scores so far along the first axis, and its standard deviation: L of them alarm.

    The deviation is exact for independent scores of variance 1: sqrt(w / (2 - w) (1 - (1 - w)^(2 t))).
    """
    path, mean = np.empty_like(scores), np.zeros(scores.shape[1:])
    for at, score in enumerate(scores):
        mean = np.where(np.isnan(score), mean, (1 - weight) * mean + weight * np.nan_to_num(score))
        path[at] = mean
    steps = np.arange(1, len(scores) + 1)
    return path, np.sqrt(weight / (2 - weight) * (1 - (1 - weight) ** (2 * steps)))


def run_length(limit: npt.ArrayLike, drift: npt.ArrayLike) -> Floats:
    """Scores to an alarm, on average, of a CUSUM whose scores lie `drift` above its slack, with variance 1.

    Siegmund's corrected diffusion: within 2% of the integral equation for limits from 3 and drifts from -1 to 1.
    """
    height, drift = np.asarray(limit, np.float64) + _OVERSHOOT, np.asarray(drift, np.float64)
    power = -2 * drift * height
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        general = (np.expm1(np.minimum(power, 700.0)) - power) / (2 * drift**2)
    return np.where(np.abs(power) < 1e-4, height**2, general)


@lru_cache(maxsize=4096)
def limit(alpha: float, slack: float = SLACK, error: float = 0.0, df: float = math.inf) -> float:
    """The least limit with `alpha` alarms a score on average, where nothing rises.

    error: standard deviation of the mean that scores are about, which is off by as much in all of them, since all are
    about one estimate.   df: degrees of freedom of their spread, likewise estimated once. Rates of alarms are averaged
    over both: an alarm is much likelier where the mean was taken too low.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must lie in (0, 1)")
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    weights = weights / weights.sum()
    # the spread is taken too small by a factor whose logarithm has the deviation 1 / sqrt(2 df)
    scales = np.exp(nodes / math.sqrt(2 * df)) if math.isfinite(df) else np.ones_like(nodes)
    shift, scale = error * nodes[:, None], scales[None, :]
    chances = weights[:, None] * weights[None, :]

    def rate(height: float) -> float:
        drift = np.minimum(shift * scale - slack / scale, 2.0)
        return float((chances / np.maximum(run_length(height / scale, drift), 1.0)).sum())

    low, high = 0.0, 1.0
    while rate(high) > alpha:
        low, high = high, 2 * high
        if high > 1e4:
            return math.inf
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if rate(middle) > alpha else (low, middle)
    return high
