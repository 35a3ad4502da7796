"""How unusual a count is: negative binomial tails, and the usual count of a slot of the week with its spread.

A series is counts in `slots` equal parts of each day (24: hours). What is usual on a day is estimated from the days
before it alone, so that a forecast holds as it would have been made then. Pure functions on arrays.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from withstand.stats.special import Floats, beta_tails, binomial_mass, t_tail

WEEK = 7
FEWEST_DAYS = 14
"""Days that a forecast needs: two of each day of the week."""

_LEAST_DISPERSION = 1e-4
"""Below it a negative binomial is a Poisson distribution to the last digit that matters, and its tail costs steps."""
_REJECT = 1e-4
"""Past counts with a smaller tail than this are taken for incidents, and say nothing about what is usual."""
_ROUNDS = 3
_CLUMP, _CLUMP_EVENTS, _APART = 1.0, 20, 4_000
"""Before events are seen they count as coming in twos, which weighs as much as 20 events seen. From some
4,000 events on they tell clumps from a rate that varies."""
_NORMAL = NormalDist()


def tail(count: npt.ArrayLike, mean: npt.ArrayLike, dispersion: npt.ArrayLike) -> Floats:
    """The chance of `count` events or more, where their number is negative binomial; all broadcast.

    Its variance is mean + dispersion mean^2; a dispersion of 0 is Poisson's (to 1e-4 of the mean). A mean of 0 has no
    events. It is the regularized beta function I(mean / (mean + 1 / dispersion); count, 1 / dispersion).
    """
    count, mean, size = _broadcast(count, mean, dispersion)
    inside = (count > 0) & (mean > 0)
    point = np.where(inside, mean, 1.0) / (np.where(inside, mean, 1.0) + size)
    upper = beta_tails(np.where(inside, count, 1.0), size, point, size / (np.where(inside, mean, 1.0) + size))[0]
    return np.where(inside, upper, np.where(count > 0, 0.0, 1.0))


def mass(count: npt.ArrayLike, mean: npt.ArrayLike, dispersion: npt.ArrayLike) -> Floats:
    """The chance of exactly `count` events: the binomial mass of as many failures before `size` successes."""
    count, mean, size = _broadcast(count, mean, dispersion)
    share = size / (size + mean)
    # NB(k; r, p) = r / (r + k) C(r + k, k) p^r (1 - p)^k
    return np.asarray(size / (size + count) * binomial_mass(count, size + count, 1 - share))


def _broadcast(count: npt.ArrayLike, mean: npt.ArrayLike, dispersion: npt.ArrayLike) -> list[Floats]:
    arrays = np.broadcast_arrays(*(np.asarray(value, np.float64) for value in (count, mean, dispersion)))
    return [arrays[0], arrays[1], 1 / np.maximum(arrays[2], _LEAST_DISPERSION)]


def widened(p: npt.ArrayLike, df: npt.ArrayLike) -> Floats:
    """Upper tails whose spread was estimated with `df` degrees of freedom: the normal score of each, as Student's t.

    Exact for normal values; for counts it is how much the estimate of the spread may be off. Tails of 1/2 and more,
    and those too small for a score, stay as they are.
    """
    p, df = (np.array(value, np.float64) for value in np.broadcast_arrays(p, df))
    small = (p < 0.5) & (p > 1e-300)
    if small.any():
        scores = np.array([-_NORMAL.inv_cdf(float(value)) for value in p[small]])
        p[small] = t_tail(scores, df[small])
    return p


def scores(count: npt.ArrayLike, mean: npt.ArrayLike, dispersion: npt.ArrayLike) -> Floats:
    """Normal scores of counts by their mid-p: mean 0 and variance 1 or less where the forecast holds; within +-8."""
    middle = tail(count, mean, dispersion) - mass(count, mean, dispersion) / 2
    edge = 1e-15
    flat = np.clip(np.asarray(middle, np.float64), edge, 1 - edge)
    values = np.array([-_NORMAL.inv_cdf(float(p)) for p in flat.ravel()])
    return np.asarray(values.reshape(flat.shape))


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is usual in the slots of one day, for each series: the last axis.

    mean: counts.   dispersion: of a count about its true mean.   error: relative variance of `mean` itself.
    df: degrees of freedom of the spread.   days: as many stood behind it.
    """

    mean: Floats
    dispersion: Floats
    error: Floats
    df: Floats
    days: Floats

    @property
    def spread(self) -> Floats:
        """The dispersion of a new count about `mean`."""
        return self.dispersion + self.error

    def p(self, count: Floats) -> Floats:
        """The chance of so many events or more in each slot; 1 where they are within two deviations of the mean."""
        p = np.ones(np.broadcast(count, self.mean).shape)
        high = count > self.mean + 2 * np.sqrt(self.mean + self.spread * self.mean**2)
        if high.any():
            mean, spread, df = (np.broadcast_to(a, p.shape)[high] for a in (self.mean, self.spread, self.df))
            p[high] = widened(tail(np.broadcast_to(count, p.shape)[high], mean, spread), df)
        return p


@dataclass(frozen=True, slots=True)
class Variance:
    """(1 + c) mean + phi mean^2 of a count, for each series: `clump` and `rate`, and what is the one or the other."""

    clump: Floats
    rate: Floats
    clump_alone: Floats
    rate_alone: Floats

    def dispersion(self, mean: Floats, times: float = 1.0) -> Floats:
        """Of a count with this mean."""
        floor = np.maximum(mean, 1e-6)
        either = np.maximum(self.clump_alone / floor, self.rate_alone)
        return np.asarray(times * (self.clump / floor + self.rate + either))


def forecast(history: Floats, weekday: npt.NDArray[np.int64], of: int, weights: Floats | None = None) -> Forecast:
    """What is usual on a day of the week `of`, from the days before it.

    history: counts, as days x slots x series.   weekday: of each day, in 0 to 6.   weights: 0 for counts that say
    nothing (an outage, a confirmed incident), else 1; of the shape of `history`.

    The mean of a slot of the week lies between its own mean and that of a pattern of slot x day of the week, as far as
    the pattern explains the slots' means (an empirical-Bayes weight for each series). Counts far above what is usual
    are left out: three rounds from a trimmed start, so that a past incident neither hides the next one nor widens the
    spread. The variance of a count is (1 + c) mean + phi mean^2: events come in clumps, and their rate varies. Both
    are by moments. Where few events were seen, clumps of `_CLUMP` are assumed.
    """
    kept = np.ones_like(history) if weights is None else np.array(weights, np.float64)
    same = weekday[:, None] == np.arange(WEEK)
    means, _, _ = _means(np.minimum(history, _trimmed_top(history, kept)), kept, same)
    variance = _variance(history, means[weekday], kept, top=0.1)
    start, times = kept, 3.0  # generous at first: what is left out, is lost
    for _ in range(_ROUNDS):
        usual = means[weekday]
        kept = start * (history <= _cut(usual, variance.dispersion(usual, times)))
        means, _, _ = _means(history, kept, same)
        variance, times = _variance(history, means[weekday], kept), 1.0
    mean, error, leverage = _shrunk(history, kept, same, variance)
    variance = _variance(history, mean[weekday], kept, leverage=leverage)
    return Forecast(
        mean[of], variance.dispersion(mean[of]), error[of], _df(history, mean[weekday], kept, leverage),
        (kept.max(axis=1) > 0).sum(axis=0),
    )  # fmt: skip


def _means(history: Floats, kept: Floats, same: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """The pattern, as days of the week x slots x series; the slots' own means, and how many days are behind them.

    A slot starts from the mean of all with the weight of one event, and so does a day of the week: nothing seen in one
    of them yet is not nothing to come.
    """
    weighted = kept * history
    counts, exposure = weighted.sum(axis=0), kept.sum(axis=0)
    mean = (counts.sum(axis=0) + 1) / np.maximum(exposure.sum(axis=0), 1)
    slot = (counts + 1) / (exposure + 1 / mean)
    per_weekday = np.einsum("dw,dts->wts", same, weighted)
    exposure = np.einsum("dw,dts->wts", same, kept)
    factor = (per_weekday.sum(axis=1) + 1) / ((exposure * slot).sum(axis=1) + 1)
    own = np.where(exposure > 0, per_weekday / np.maximum(exposure, 1), slot)
    return factor[:, None, :] * slot, own, exposure


def _shrunk(
    history: Floats, kept: Floats, same: npt.NDArray[np.bool_], variance: Variance
) -> tuple[Floats, Floats, Floats]:
    """Means of the slots of the week between pattern and own mean, their relative variance, and degrees of freedom."""
    pattern, own, exposure = _means(history, kept, same)
    floor = np.maximum(pattern, 1e-9)
    noise = (1 / floor + variance.dispersion(floor)) / np.maximum(exposure, 1)  # relative variance of an own mean
    # moments of own means about the pattern, each by its precision: what exceeds their noise is of the slots
    weight = np.where((exposure > 0) & (pattern > 0), 1 / noise**2, 0.0)
    excess = (own / floor - 1) ** 2 - noise
    total = weight.sum(axis=(0, 1))
    between = np.maximum(0.0, (weight * excess).sum(axis=(0, 1)) / np.where(total > 0, total, 1))
    share = between / (between + noise)
    slots, days = history.shape[1], np.maximum(kept.max(axis=1).sum(axis=0), 1)
    seen = np.einsum("dw,dts->ws", same, kept * history)
    burden = 1 + variance.clump + variance.clump_alone  # events that come as one
    daily = burden / (seen + 1) + _daily(history, pattern, kept, same) / (days / WEEK)
    hourly = (
        burden / ((kept * history).sum(axis=0) + 1) + (variance.rate + variance.rate_alone) / days if slots > 1 else 0.0
    )
    error = share * noise + (1 - share) * (daily[:, None, :] + hourly)
    return pattern + share * (own - pattern), error, WEEK + slots - 1 + share.sum(axis=(0, 1))


def _daily(history: Floats, pattern: Floats, kept: Floats, same: npt.NDArray[np.bool_]) -> Floats:
    """The dispersion of whole days, which that of their slots does not show where slots of a day go together."""
    usual = (kept * np.einsum("dw,wts->dts", same, pattern)).sum(axis=1)
    seen = (kept * history).sum(axis=1)
    days = np.maximum((kept.max(axis=1) > 0).sum(axis=0), 1)
    spare = np.maximum(days - WEEK, 1) / days
    squares = (seen - usual) ** 2 / spare - usual
    return np.asarray(np.maximum(0.0, squares.sum(axis=0) / np.maximum((usual**2).sum(axis=0), 1e-9)))


def _variance(
    history: Floats, usual: Floats, kept: Floats, top: float = 0.0, leverage: Floats | float = 0.0
) -> Variance:
    """Clump c and rate phi of (1 + c) mean + phi mean^2, one each for a series, from two moments.

    top: a share of the counts above 0 that is left out, those farthest above the usual ones.   leverage: parameters
    of the means.
    """
    if top:
        ratio = np.where(kept * history > 0, (history - usual) / np.sqrt(np.maximum(usual + usual**2, 1e-9)), 0.0)
        ordered = np.sort(np.maximum(ratio, 0.0).reshape(-1, ratio.shape[-1]), axis=0)
        drop = np.ceil(top * (kept * history > 0).sum(axis=(0, 1))).astype(int)
        most = ordered[np.maximum(len(ordered) - 1 - drop, 0), np.arange(ordered.shape[-1])]
        kept = kept * (ratio <= most)
    n = np.maximum(kept.sum(axis=(0, 1)), 1)
    excess = kept * (history - usual) ** 2 / (np.maximum(n - leverage, 1) / n) - kept * usual
    floor = np.maximum(usual, 1e-3 * np.maximum(usual.mean(axis=(0, 1)), 1e-9))
    # sum of e = c sum of m + phi sum of m^2, and the same with each over m
    ones, m, m2 = ((kept * power).sum(axis=(0, 1)) for power in (usual / floor, usual, usual**2))
    e, e1 = excess.sum(axis=(0, 1)), (excess / floor).sum(axis=(0, 1))
    determinant = ones * m2 - m * m
    sound = determinant > 1e-3 * ones * m2
    divisor = np.where(sound, determinant, 1)
    clump, rate = (m2 * e1 - m * e) / divisor, (ones * e - m * e1) / divisor
    clump_alone, rate_alone = np.maximum(e1 / np.maximum(ones, 1e-9), 0), np.maximum(e / np.maximum(m2, 1e-9), 0)
    # one of them below 0, or slots all alike: the other one alone
    c = np.where(~sound | (clump < 0), 0.0, np.where(rate < 0, clump_alone, clump))
    phi = np.where(~sound | (clump < 0), rate_alone, np.where(rate < 0, 0.0, rate))
    events = (kept * history).sum(axis=(0, 1))
    prior = _CLUMP * _CLUMP_EVENTS / (events + _CLUMP_EVENTS)
    # few events do not tell the two apart: then each alone, and the larger of them
    apart = events / (events + _APART)
    return Variance(apart * c + prior, apart * phi, (1 - apart) * clump_alone, (1 - apart) * rate_alone)


def _df(history: Floats, usual: Floats, kept: Floats, leverage: Floats) -> Floats:
    """Degrees of freedom of the spread: 2 V^2 / var(V), V the sum of squares of days (Satterthwaite's).

    Of normal counts that go together on a day, and of heavy tails, it is less than the number of counts.
    """
    scale = np.maximum(usual.mean(axis=(0, 1)), 1e-9)
    squares = (kept * (history - usual) ** 2 / np.maximum(usual, 1e-2 * scale)).sum(axis=1)
    there = kept.max(axis=1) > 0
    days = np.maximum(there.sum(axis=0), 2)
    total = squares.sum(axis=0)
    between = (there * (squares - total / days) ** 2).sum(axis=0) * days / (days - 1)
    n = np.maximum(kept.sum(axis=(0, 1)), 1)
    spare = np.maximum(n - leverage, 1) / n
    satterthwaite = np.clip(2 * total**2 / np.maximum(between, 1e-12), days / 3, 20 * days)
    return np.asarray(np.maximum(spare * satterthwaite, 3))


def _trimmed_top(history: Floats, kept: Floats) -> Floats:
    """What each slot's counts are cut at before anything is known: the least that 1 of 8 days exceeds."""
    days = np.where(kept > 0, history, np.inf)
    ordered = np.sort(days, axis=0)
    n = kept.sum(axis=0).astype(int)
    at = np.clip(n - 1 - n // 8, 0, len(history) - 1)
    top = np.take_along_axis(ordered, at[None], axis=0)[0]
    return np.where(np.isfinite(top), np.maximum(top, 1.0), 1.0)


def _cut(usual: Floats, dispersion: Floats) -> Floats:
    """Above it a count's tail is below `_REJECT`: the third-order expansion of Cornish and Fisher, with a margin."""
    z = -_NORMAL.inv_cdf(_REJECT)
    deviation = np.sqrt(usual + dispersion * usual**2)
    skew = np.where(deviation > 0, (1 + 2 * dispersion * usual) / np.where(deviation > 0, deviation, 1), 0.0)
    return usual + deviation * (z + (z * z - 1) / 6 * skew) + 2


def rate_ratio(count: float, mean: float, spread: float, level: float = 0.95) -> tuple[float, float, float]:
    """How many times what is usual a count is, and the limits of that, on the scale of the logarithm.

    Its relative variance is 1 / count + spread (the delta method); a count of 0 is 0 times, with an upper limit.
    """
    if mean <= 0:
        return math.inf, 0.0, math.inf
    z = _NORMAL.inv_cdf((1 + level) / 2)
    reach = math.exp(z * math.sqrt(1 / max(count, 1.0) + spread))
    return count / mean, count / mean / reach, max(count, 1.0) / mean * reach


def usual_level(values: Floats, weekday: npt.NDArray[np.int64], of: int) -> tuple[float, float, float] | None:
    """Mean and standard deviation of a new value on a day of the week, and the latter's degrees of freedom.

    values: one a day, such as the logarithm of a mean; what is no number is left out. A level and an offset of each
    day of the week, in halves of its residuals so that few weeks do not make a pattern. Values beyond 4 deviations, by
    the median of absolute ones, are left out. None with fewer than `FEWEST_DAYS`.
    """
    there = np.isfinite(values)
    if there.sum() < FEWEST_DAYS:
        return None
    values, weekday = values[there], weekday[there]
    middle = float(np.median(values))
    residuals = values - middle - _offsets(values - middle, weekday)[weekday]
    spread = 1.4826 * float(np.median(np.abs(residuals)))
    sound = np.abs(residuals) <= 4 * spread if spread > 0 else np.ones(len(values), bool)
    values, weekday = values[sound], weekday[sound]
    middle = float(values.mean())
    offsets = _offsets(values - middle, weekday)
    residuals = values - middle - offsets[weekday]
    df = max(len(values) - WEEK, 3)
    return middle + offsets[of], float(np.sqrt((residuals**2).sum() / df * (1 + WEEK / len(values)))), float(df)


def _offsets(residuals: Floats, weekday: npt.NDArray[np.int64]) -> Floats:
    counts = np.bincount(weekday, minlength=WEEK)
    return np.asarray(np.bincount(weekday, residuals, minlength=WEEK) / (counts + 1))
