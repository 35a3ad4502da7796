"""Rates watched while they grow, without a plan of looks: limits that hold however often one looks.

A 95% interval that is looked at after every behavior leaves the true rate out far more often than 5 times in 100. A
confidence sequence does not: with probability 95% it holds the rate at every look at once. Pure functions.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from withstand.stats.special import kolmogorov_quantile, log_beta

PRIOR = 0.5
"""Both parameters of the beta mixture: Jeffreys's, even between rates."""


def confidence_sequence(rates: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Limits of the mean of independent rates in [0, 1], one per behavior, that hold at all times together.

    What has a beta mixture of likelihood ratios below 1 / (1 - level): Robbins 1970 (Annals of Mathematical Statistics
    41:1397); for means of anything in [0, 1], which a coin of the same mean dominates, Howard et al. 2021 (Annals of
    Statistics 49:1055, arXiv:1810.08240). Wide at first: no behavior gives 0 and 1.
    """
    if any(not 0 <= rate <= 1 for rate in rates):
        raise ValueError("rates must lie in [0, 1]")
    return binomial_sequence(math.fsum(rates), len(rates), level)


def binomial_sequence(total: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """`confidence_sequence` of `n` rates with the sum `total`, which is all that it depends on."""
    if not 0 <= total <= n:
        raise ValueError(f"{n} rates have the sum {total}")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie in (0, 1)")
    if not n:
        return 0.0, 1.0
    rate, edge = total / n, -math.log1p(-level)
    low = 0.0 if _wealth(0.0, total, n) < edge else _root(0.0, rate, total, n, edge)
    high = 1.0 if _wealth(1.0, total, n) < edge else _root(1.0, rate, total, n, edge)
    return low, high


def poisson_sequence(events: int, exposure: float, scale: float, level: float = 0.95) -> tuple[float, float]:
    """Limits of a Poisson process's rate, in events per unit of exposure, that hold at all times together.

    What has a gamma mixture of likelihood ratios below 1 / (1 - level) (Robbins 1970, as above). scale: a rate above 0
    that was declared beforehand, at which the mixture has its mean; the limits hold for any, and are narrow near it.
    Without exposure 0 and infinity.
    """
    if events < 0 or not 0 <= exposure < math.inf or not 0 < scale < math.inf or (events and not exposure):
        raise ValueError(f"{events} events in an exposure of {exposure}, scale {scale}")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie in (0, 1)")
    if not exposure:
        return 0.0, math.inf
    rate, edge = events / exposure, -math.log1p(-level)

    def wealth(mean: float) -> float:
        return _poisson_wealth(mean, events, exposure, PRIOR / scale)

    high = max(rate, scale)
    while wealth(high) < edge:
        high *= 2
    low = _crossing(0.0, rate, wealth, edge) if events else 0.0
    return low, _crossing(high, rate, wealth, edge)


def _poisson_wealth(mean: float, events: int, exposure: float, prior: float) -> float:
    """log of the mixture's likelihood over that of `mean`. prior: the second parameter of the gamma, an exposure."""
    if mean <= 0:
        return math.inf if events else -math.inf
    mixture = PRIOR * math.log(prior) - math.lgamma(PRIOR) + math.lgamma(PRIOR + events)
    mixture -= (PRIOR + events) * math.log(prior + exposure)
    return mixture - events * math.log(mean) + mean * exposure


def _wealth(mean: float, total: float, n: int) -> float:
    """log of the mixture's likelihood over that of `mean`: a martingale that starts at 0, if `mean` is true."""
    rest = n - total
    if (mean <= 0 and total > 0) or (mean >= 1 and rest > 0):
        return math.inf
    own = (total * math.log(mean) if total else 0.0) + (rest * math.log1p(-mean) if rest else 0.0)
    return log_beta(PRIOR + total, PRIOR + rest) - log_beta(PRIOR, PRIOR) - own


def _root(outside: float, inside: float, total: float, n: int, edge: float) -> float:
    return _crossing(outside, inside, lambda mean: _wealth(mean, total, n), edge)


def _crossing(outside: float, inside: float, wealth: Callable[[float], float], edge: float) -> float:
    """Where the wealth crosses `edge` between a mean that is left out and the rate seen, which never is."""
    for _ in range(60):  # halved to 1e-18 of the distance
        middle = (outside + inside) / 2
        if wealth(middle) >= edge:
            outside = middle
        else:
            inside = middle
    return outside


# --- curves ------------------------------------------------------------------------------------------------------


def band(
    times: Sequence[float], censored: Sequence[float], level: float = 0.95, units: float | None = None
) -> list[dict[str, Any]]:
    """Success against budget with a band that holds the whole curve at once, with its chance `level`.

    times: what was spent when each broken behavior was first broken.   censored: what had been spent on each other one
    when its search ended: it might have been broken later, and says nothing beyond that point.   units: as how many
    behaviors they count, in clusters `stats.clusters.Groups.equivalent`; default: all.

    The curve is 1 less Kaplan and Meier's (1958, JASA 53:457), the band Hall and Wellner's (1980, Biometrika 67:133).
    Without censoring it is Kolmogorov's, whose critical value it takes.
    """
    n = len(times) + len(censored)
    if not n:
        return []
    units = units or n
    events = sorted(set(times))
    alive, variance, curve = 1.0, 0.0, []
    critical = kolmogorov_quantile(level)  # of a bridge on all of [0, 1]: at most a little wide where it ends early
    for at in [0.0, *(time for time in events if time > 0)]:
        risk = sum(time >= at for time in times) + sum(time >= at for time in censored)
        deaths = sum(time == at for time in times)
        if deaths:
            alive *= 1 - deaths / risk
            variance += deaths / (risk * (risk - deaths)) if risk > deaths else math.inf
        reach = critical * (1 + n * variance) * alive / math.sqrt(units) if alive > 0 else critical / math.sqrt(units)
        rate = 1 - alive
        curve.append({"spent": at, "rate": rate, "low": max(0.0, rate - reach), "high": min(1.0, rate + reach)})
    for before, after in pairwise(curve):
        after["low"] = max(after["low"], before["low"])  # the true curve rises, so that its limits may
    for after, before in pairwise(curve[::-1]):
        before["high"] = min(before["high"], after["high"])
    return curve


def area(curve: Sequence[dict[str, Any]], most: float) -> float | None:
    """Mean rate over budgets from 0 to `most`: the area under the curve in [0, 1], 1 if all broke at once."""
    if not curve or most <= 0:
        return None
    steps = [*[point["spent"] for point in curve if point["spent"] < most], most]
    rates: list[float] = [point["rate"] for point in curve if point["spent"] < most]
    return float(sum(rate * (b - a) for rate, (a, b) in zip(rates, pairwise(steps), strict=True)) / most)
