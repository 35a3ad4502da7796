"""Rates of many units that each have few trials: a common beta prior, learned from all of them. Pure functions.

A unit with 3 hits of 4 is no worse than one with 40 of 200; its own rate says so only because it is noisy. Empirical
Bayes (Robbins 1956; Efron and Morris 1975, JASA 70:311) draws each rate towards that of the population, by as much as
the population shows that units differ.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from withstand.stats.special import Floats, beta_tails

STRONGEST = 10_000.0
"""Most trials that a prior is worth. Units that do not differ at all would else give an infinite one, under which no
unit could ever stand out."""
WEAKEST = 0.01
STEPS = 200


@dataclass(frozen=True, slots=True)
class Prior:
    """Beta(alpha, beta). method: "ML", or "pooled" where the units cannot show how they differ: all hit, none did, or
    none has two trials. Its mean is then the pooled rate, and it is worth one trial.

    units: with a trial.   hits, trials: of all.
    """

    alpha: float
    beta: float
    method: Literal["ML", "pooled", "given"] = "given"
    units: int = 0
    hits: int = 0
    trials: int = 0

    @property
    def mean(self) -> float:
        return self.alpha / (self.alpha + self.beta)

    @property
    def strength(self) -> float:
        """As many trials say as much."""
        return self.alpha + self.beta

    def posterior_mean(self, hits: npt.ArrayLike, trials: npt.ArrayLike) -> Floats:
        """The expected rate of units with these counts, in (0, 1)."""
        return np.asarray((self.alpha + np.asarray(hits, float)) / (self.strength + np.asarray(trials, float)))

    def above(self, hits: npt.ArrayLike, trials: npt.ArrayLike, rate: npt.ArrayLike) -> Floats:
        """The chance that the rate of a unit is above `rate`, in [0, 1]. The three broadcast."""
        broken, held = np.asarray(hits, float), np.asarray(trials, float) - np.asarray(hits, float)
        limit = np.asarray(rate, float)
        return beta_tails(self.alpha + broken, self.beta + held, limit, 1 - limit)[1]

    def quantiles(self, hits: npt.ArrayLike, trials: npt.ArrayLike, q: float) -> Floats:
        """Where the posterior of each unit has the chance `q` below it, to 1e-9; equal counts are worked out once.

        All at once, by false position after Illinois (Dowell and Jarratt 1971, BIT 11:168): a thousand units take a
        few hundredths of a second, where one by one they take ten.
        """
        pairs, back = np.unique(
            np.stack([np.asarray(hits, float), np.asarray(trials, float)]), axis=1, return_inverse=True
        )
        a, b = self.alpha + pairs[0], self.beta + pairs[1] - pairs[0]
        low, high = np.zeros(len(a)), np.ones(len(a))
        under, over = np.full(len(a), -q), np.full(len(a), 1 - q)
        side = np.zeros(len(a))
        for _ in range(STEPS):
            point = np.where(over - under > 0, low - under * (high - low) / (over - under), (low + high) / 2)
            # false position alone creeps where nearly all chance lies at one end
            point = np.clip(point, low + (high - low) / 100, high - (high - low) / 100)
            gap = beta_tails(a, b, point, 1 - point)[0] - q
            below = gap < 0
            under, over = (
                np.where(below, gap, np.where(side < 0, under / 2, under)),
                np.where(below, np.where(side > 0, over / 2, over), gap),
            )
            low, high = np.where(below, point, low), np.where(below, high, point)
            side = np.where(below, 1.0, -1.0)
            if (high - low).max(initial=0) < 1e-9:
                break
        return np.asarray(low[back.ravel()])


def fit(hits: npt.ArrayLike, trials: npt.ArrayLike) -> Prior:
    """The prior of most likelihood for units with these counts. Raises `ValueError` for counts that are none.

    The log-likelihood of the beta-binomial distribution is a sum of logarithms of alpha + i, beta + i and
    alpha + beta + i over the trials (Griffiths 1973, Biometrics 29:637), so that it takes no gamma functions. Newton's
    steps on log alpha and log beta, damped until each climbs. Units without a trial say nothing.
    """
    k, n = np.asarray(hits, np.int64), np.asarray(trials, np.int64)
    if k.shape != n.shape or (k < 0).any() or (k > n).any():
        raise ValueError("hits must lie between 0 and the trials of each unit")
    k, n = k[n > 0], n[n > 0]
    units, total, of = len(n), int(k.sum()), int(n.sum())
    if total in (0, of) or units < 2 or n.max() < 2:
        mean = (total + 0.5) / (of + 1)
        return Prior(mean, 1 - mean, "pooled", units, total, of)
    counts = (_beyond(k), _beyond(n - k), _beyond(n))
    alpha, beta = _climb(np.log(_moments(k, n)), counts)
    return Prior(alpha, beta, "ML", units, total, of)


def _beyond(values: npt.NDArray[np.int64]) -> Floats:
    """How many values are above i, for i from 0."""
    number = np.bincount(values)
    return np.asarray(len(values) - np.cumsum(number)[:-1], float)


def _moments(k: npt.NDArray[np.int64], n: npt.NDArray[np.int64]) -> Floats:
    """Where to start: the beta distribution with this mean and variance of units (Kleinman 1973, JASA 68:46)."""
    mean = k.sum() / n.sum()
    spread = float((n * np.square(k / n - mean)).sum())
    noise = mean * (1 - mean)
    size = float(n.sum() - np.square(n).sum() / n.sum())
    between = (spread - noise * (len(n) - 1)) / size if size > 0 else 0.0
    strength = noise / between - 1 if between > 0 else 100.0
    return np.array([mean, 1 - mean]) * float(np.clip(strength, 0.1, 1_000))


def _climb(start: Floats, counts: tuple[Floats, Floats, Floats]) -> tuple[float, float]:
    point, damping = start, 1e-3
    height, slope, bend = _likelihood(point, counts)
    for _ in range(STEPS):
        step = np.linalg.solve(-bend + damping * np.diag(1 + np.abs(np.diag(bend))), slope)
        step *= min(1.0, 2 / float(np.abs(step).max() or 1))
        tried = _inside(point + step)
        higher, next_slope, next_bend = _likelihood(tried, counts)
        if higher > height:
            gain, damping = higher - height, damping / 10
            point, height, slope, bend = tried, higher, next_slope, next_bend
            if gain < 1e-10 * (1 + abs(height)):
                break
        elif damping > 1e8:
            break
        else:
            damping = max(damping, 1e-6) * 10
    return float(np.exp(point[0])), float(np.exp(point[1]))


def _inside(point: Floats) -> Floats:
    """The same mean, with a strength between `WEAKEST` and `STRONGEST`."""
    strength = float(np.exp(point).sum())
    return np.asarray(point + np.log(np.clip(strength, WEAKEST, STRONGEST) / strength))


def _likelihood(point: Floats, counts: tuple[Floats, Floats, Floats]) -> tuple[float, Floats, Any]:
    """The log-likelihood at log alpha and log beta, its gradient and its Hessian there."""
    alpha, beta = (float(value) for value in np.exp(point))
    height, first, second = 0.0, [], []
    for number, shift, sign in zip(counts, (alpha, beta, alpha + beta), (1, 1, -1), strict=True):
        terms = shift + np.arange(len(number))
        height += sign * float(number @ np.log(terms))
        first.append(sign * float((number / terms).sum()))
        second.append(-sign * float((number / np.square(terms)).sum()))
    slope = np.array([alpha * (first[0] + first[2]), beta * (first[1] + first[2])])
    cross = alpha * beta * second[2]
    bend = np.array(
        [[alpha**2 * (second[0] + second[2]) + slope[0], cross], [cross, beta**2 * (second[1] + second[2]) + slope[1]]]
    )
    return height, slope, bend
