"""Least squares with errors that hold for series and for clusters: an interrupted time series, arms of accounts.

Pure functions. Pinned to statsmodels, which would bring scipy and pandas into the core.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from withstand.stats.clusters import Groups
from withstand.stats.effect import Effect
from withstand.stats.special import Floats

RELATED = np.linspace(-0.3, 0.95, 51)
"""Correlations of neighbors in a series that are thought possible."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Weighted least squares of y on the columns of x. residuals: y less what is fitted.   bread: (X'WX)^-1.

    scores: of each row, its columns times its weight times its residual.
    """

    coefficients: Floats
    residuals: Floats
    scores: Floats
    bread: Floats

    def newey_west(self, lags: int) -> Floats:
        """The covariance of the coefficients for rows in order of time, errors related over up to `lags` of them.

        Newey and West 1987, Econometrica 55:703, with the factor n / (n - k) for few rows.
        """
        n, k = self.scores.shape
        meat = self.scores.T @ self.scores
        for lag in range(1, lags + 1):
            cross = self.scores[lag:].T @ self.scores[:-lag]
            meat += (1 - lag / (lags + 1)) * (cross + cross.T)
        return np.asarray(n / (n - k) * self.bread @ meat @ self.bread)

    def clustered(self, clusters: npt.NDArray[np.int64]) -> Floats:
        """The covariance for rows of which those of a cluster are related in any way (Liang and Zeger 1986), with the
        factors G / (G - 1) and (n - 1) / (n - k)."""
        n, k = self.scores.shape
        groups = Groups(clusters, np.bincount(clusters))
        sums = groups.sums(self.scores.T)
        factor = groups.number / (groups.number - 1) * (n - 1) / (n - k)
        return np.asarray(factor * self.bread @ (sums @ sums.T) @ self.bread)


def least_squares(x: Floats, y: Floats, weights: Floats | None = None) -> Fit:
    """The fit. Raises `ValueError` where a column of x is a sum of others, or rows are not more than columns."""
    n, k = x.shape
    if n <= k or np.linalg.matrix_rank(x) < k:
        raise ValueError(f"{n} rows do not fix {k} coefficients")
    w = np.ones(n) if weights is None else weights
    bread = np.asarray(np.linalg.inv((x * w[:, None]).T @ x), np.float64)
    coefficients = bread @ (x.T @ (w * y))
    residuals = y - x @ coefficients
    return Fit(coefficients, residuals, np.asarray(x * (w * residuals)[:, None], float), bread)


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A series that may change at a time. average: over the periods after it, against the line of before, the season
    included.   level, slope: what changed at once, and per period.   newey_west: the error of `average` by Newey and
    West.   related: correlation of neighbors, the likeliest.   season: whether seasons were in it."""

    average: Effect
    level: Effect
    slope: Effect
    newey_west: float
    related: float
    season: bool


def interrupted(
    y: Floats, weights: Floats, after: npt.NDArray[np.int64], season: npt.NDArray[np.int64] | None = None
) -> Interrupted:
    """Segmented regression (Wagner et al. 2002, J. Clinical Pharmacy and Therapeutics 27:299) of a series in order.

    after: number of each period from the change on, from 0, negative before it.   season: of each period, such as the
    day of the week, from 0; None for none.   weights: what each period's value rests on.

    The error is the larger of that of Newey and West over 1.3 sqrt(n) periods (Lazarus et al. 2018, J. Business and
    Economic Statistics 36:541) and that of errors related from one period to the next, see `_related`. The first alone
    covered 59 to 79% where 95% were meant, over 28 to 112 periods; both together 92 to 99%, and 86 to 94% where
    neighbors have a correlation of 0.7 or more (`bench/monitor_effects.py`).
    Raises `ValueError` for too few periods on a side.
    """
    time, post = after.astype(float), (after >= 0).astype(float)
    columns = [np.ones(len(y)), time, post, post * time]
    if season is not None:
        columns += [(season == number).astype(float) for number in np.unique(season)[1:]]
    x, weights = np.stack(columns, axis=1), weights / weights.mean()
    fit = least_squares(x, y, weights)
    n, k = x.shape
    series = fit.newey_west(min(n - 1, math.ceil(1.3 * math.sqrt(n))))
    root = np.sqrt(weights)
    covariance, related = _related(x * root[:, None], y * root, fit.bread)
    mean = float((weights * post * time).sum() / (weights * post).sum())

    def effect(level: float, slope: float) -> Effect:
        at = np.zeros(k)
        at[2], at[3] = level, slope
        variance = max(0.0, float(at @ covariance @ at), float(at @ series @ at))
        return Effect(float(at @ fit.coefficients), math.sqrt(variance), n - k)

    at = np.zeros(k)
    at[2], at[3] = 1, mean
    return Interrupted(
        effect(1, mean), effect(1, 0), effect(0, 1), math.sqrt(max(0.0, float(at @ series @ at))), related,
        season is not None,
    )  # fmt: skip


def _related(x: Floats, y: Floats, bread: Floats) -> tuple[Floats, float]:
    """The covariance of the coefficients of least squares if each error is related to the one before, and the likeliest
    correlation.

    The mean over correlations, each weighted by its restricted likelihood (Harville 1974, Biometrika 61:383): few
    periods do not show how related they are, and the likeliest value alone covered 89 to 93%.
    """
    n, k = x.shape
    gaps = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    heights, covariances = [], []
    for correlation in RELATED:
        white = np.column_stack([x, y])
        white = np.vstack([white[:1] * math.sqrt(1 - correlation**2), white[1:] - correlation * white[:-1]])
        inner = white[:, :-1].T @ white[:, :-1]
        rest = white[:, -1] - white[:, :-1] @ np.linalg.solve(inner, white[:, :-1].T @ white[:, -1])
        variance = max(float(rest @ rest), 1e-300) / (n - k)
        heights.append((math.log(1 - correlation**2) - np.linalg.slogdet(inner)[1] - (n - k) * math.log(variance)) / 2)
        spread = variance / (1 - correlation**2) * correlation**gaps
        covariances.append(bread @ x.T @ spread @ x @ bread)
    weights = np.exp(np.array(heights) - max(heights))
    mean = np.tensordot(weights / weights.sum(), np.array(covariances), axes=1)
    return np.asarray(mean), float(RELATED[int(np.argmax(heights))])


def two_way(
    y: Floats, treated: Floats, unit: npt.NDArray[np.int64], period: npt.NDArray[np.int64], weights: Floats
) -> Effect:
    """The coefficient of `treated` with a mean for each unit and each period, errors clustered by unit.

    The means of units are taken out of all columns first (Frisch and Waugh 1933). Raises `ValueError` where the means
    alone say who is treated.
    """
    columns = [treated, *((period == number).astype(float) for number in np.unique(period)[1:])]
    sizes = np.maximum(np.bincount(unit, weights), 1e-300)
    values = [values - (np.bincount(unit, weights * values) / sizes)[unit] for values in (y, *columns)]
    fit = least_squares(np.stack(values[1:], axis=1), values[0], weights / weights.mean())
    clusters = np.unique(unit, return_inverse=True)[1]
    error = math.sqrt(float(fit.clustered(clusters)[0, 0]))
    return Effect(float(fit.coefficients[0]), error, int(clusters.max()))
