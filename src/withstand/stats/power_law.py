"""What more draws would break, if -log ASR(N) goes on as a power law of the draws N: Hughes et al. 2024 (Best-of-N
Jailbreaking, arXiv:2412.03556). A forecast, never a measurement: behaviors that no draw breaks do not show in it.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing

LEAST = 3
"""Different rates in (0, 1) that a law is fitted to."""
RESAMPLES = 1_000

Floats: TypeAlias = np.typing.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Forecast:
    """The ASR at so many draws, in [0, 1], with 95% limits: of the behaviors, if the law holds."""

    draws: float
    rate: float
    low: float
    high: float


def fit(draws: Floats, rates: Floats, least: int = LEAST) -> Floats:
    """log a and -b of -log rate = a N^-b, by least squares of logarithms over the points with a rate in (0, 1).

    draws: N of each point.   rates: a row of them for each curve. NaN for a curve with fewer than `least` such points.
    """
    inside = (rates > 0) & (rates < 1)
    x, n = np.where(inside, np.log(draws), 0.0), np.maximum(inside.sum(axis=1), 1)
    y = np.where(inside, np.log(-np.log(np.where(inside, rates, 0.5))), 0.0)
    middle_x, middle_y = x.sum(axis=1) / n, y.sum(axis=1) / n
    apart = np.where(inside, x - middle_x[:, None], 0.0)
    spread = (apart**2).sum(axis=1)
    slope = (apart * y).sum(axis=1) / np.where(inside.sum(axis=1) >= least, spread, np.nan)
    return np.stack([middle_y - slope * middle_x, slope])


def rate_at(draws: Sequence[float], seen: Floats, law: Floats) -> Floats:
    """Of each curve the rate at so many draws: by its law, and at least what was `seen`; without a law that alone."""
    start, slope = law[:, :, None]
    with np.errstate(over="ignore"):
        by_law = np.exp(-np.exp(start + slope * np.log(np.asarray(draws, dtype=float))))
    rates: Floats = np.fmax(seen[:, None], by_law)
    return rates


def forecasts(
    times: Sequence[float | None], until: float, draws: Sequence[float], groups: Sequence[Hashable] = (), seed: int = 0
) -> list[Forecast]:
    """The ASR at more `draws` than `until`; empty where too few different rates were seen to fit a law, and where
    nothing is left to break.

    times: of each behavior the draw that broke it first, None for none.   until: the draws that all unbroken had.
    groups: of behaviors that stand or fall together, drawn together; none: each by itself.   The limits are of a
    bootstrap of behaviors: where the law is true they hold 92 to 96% of the time (50 to 200 behaviors, 16 to 128 draws,
    10 and 100 times as many; 200 simulations each).
    """
    ends = np.array(sorted({time for time in times if time is not None and time <= until} | {until}), dtype=float)
    places = {group: place for place, group in enumerate(dict.fromkeys(groups or range(len(times))))}
    broken, sizes, ever = np.zeros((len(places), len(ends))), np.zeros(len(places)), np.zeros(len(places))
    for time, group in zip(times, groups or range(len(times)), strict=True):
        broken[places[group]] += ends >= (math.inf if time is None else time)
        sizes[places[group]] += 1
        ever[places[group]] += time is not None
    seen = broken.sum(axis=0, keepdims=True) / len(times)
    law = fit(ends, seen)
    if np.isnan(law).any() or None not in times:
        return []
    weights = np.random.default_rng(seed).multinomial(len(places), np.full(len(places), 1 / len(places)), RESAMPLES)
    among = weights @ sizes
    drawn = rate_at(draws, (weights @ ever) / among, fit(ends, (weights @ broken) / among[:, None], 2))
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    [at] = rate_at(draws, np.array([ever.sum() / len(times)]), law)
    return [Forecast(n, float(at[i]), float(low[i]), float(high[i])) for i, n in enumerate(draws)]
