"""How many behaviors decide a rate against a limit: exact chances of the gate's verdicts. Pure functions.

The verdicts are those of Clopper and Pearson's interval (`breaks.Estimate.limits`): it lies within the limit up to a
count of successes, and above it from another.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from withstand.stats.rates import Floats, normal_limit
from withstand.stats.score import low_tail
from withstand.stats.special import binomial_cdf, binomial_sf, t_quantile

POWER = 0.8
DECIDED = 0.85
"""Chance with which "n behaviors would decide it" is said, so that it is true in 80% at least (`bench/plans.py`)."""
MOST = 1_000_000
"""Behaviors beyond which no plan goes."""

_GRID = 81
_SLACK = 0.02
"""The chance goes up and down in n, since counts are whole; with a few behaviors more it is this much lower at most."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """What is believed of a rate after `successes` of `cases`, effective ones maybe: Beta, by Jeffreys's prior.

    `rates` in (0, 1) and their `weights`, which add up to 1.
    """

    rates: Floats
    weights: Floats

    @staticmethod
    def of(successes: float, cases: float) -> "Posterior":
        """Raises `ValueError` for counts that cannot be."""
        if not 0 <= successes <= cases:
            raise ValueError(f"{successes} successes among {cases} cases")
        # the prior is even in this angle, and the standard deviation of the angle is nearly the same for all rates
        middle, reach = math.asin(math.sqrt((successes + 0.5) / (cases + 1))), 4 / math.sqrt(cases + 1)
        low, high = max(0.0, middle - reach), min(math.pi / 2, middle + reach)
        angles = low + (np.arange(_GRID) + 0.5) / _GRID * (high - low)
        rates = np.sin(angles) ** 2
        logs = successes * np.log(rates) + (cases - successes) * np.log1p(-rates)
        weights = np.exp(logs - logs.max())
        return Posterior(rates, weights / weights.sum())

    def below(self, limit: float) -> float:
        """The chance that the rate lies below `limit`."""
        return float(self.weights[self.rates < limit].sum())


def sd_limit(behaviors: int) -> float:
    """The upper limit, wrong in 20% of the pilots, of a standard deviation, over the one seen on 2 or more behaviors.

    By the chi-square distribution, in the approximation of Wilson and Hilferty (1931, PNAS 17:684).
    """
    df = behaviors - 1
    spread = 2 / (9 * df)
    return float((1 - spread + NormalDist().inv_cdf(0.2) * math.sqrt(spread)) ** -1.5)


def most_to_pass(n: float, limit: float, level: float = 0.95) -> int:
    """The most successes of `n` cases with which the interval lies within `limit` in (0, 1); -1: none pass.

    `n` need not be whole: an effective number.
    """
    counts = _near(n, limit, -normal_limit(level))
    return int(counts[binomial_cdf(counts, n, limit) <= (1 - level) / 2].max(initial=-1))


def fewest_to_fail(n: float, limit: float, level: float = 0.95) -> int:
    """The fewest successes of `n` cases with which the interval lies above `limit` in (0, 1); above `n`: none fail."""
    counts = _near(n, limit, normal_limit(level))
    return int(counts[binomial_sf(counts - 1, n, limit) < (1 - level) / 2].min(initial=math.floor(n) + 1))


def _near(n: float, limit: float, deviations: float) -> npt.NDArray[np.int64]:
    """Counts near so many standard deviations from the mean: exact cutoffs lie within 2 of the normal ones."""
    middle = math.floor(max(n, 0) * limit + deviations * math.sqrt(max(n, 0) * limit * (1 - limit)))
    return np.arange(max(middle - 3, 0), max(middle + 4, 1))


def pass_power(n: int, rate: float, limit: float) -> float:
    """The chance that `n` behaviors of one case pass `limit`, if their rate is `rate`."""
    return float(binomial_cdf(most_to_pass(n, limit), n, rate))


def behaviors_to_pass(rate: float, limit: float, power: float = POWER, cells: int = 1) -> int | None:
    """The least number of behaviors of one case with which all `cells` of this rate pass; None: no number up to MOST.

    Cells are taken as independent; of the same behaviors they pass together more often.
    """
    _check(limit, power)
    if rate >= limit:
        return None
    wanted = power ** (1 / cells)
    return _settled(cache(lambda n: pass_power(n, rate, limit)), wanted, limit)


def behaviors_to_pass_after(
    successes: float, cases: float, behaviors: int, limit: float, power: float = POWER, cells: int = 1
) -> int | None:
    """The same of a new run, where the rate is known from a pilot alone; None: its rate may lie above the limit.

    behaviors: of the pilot, which knew its rate as well as `cases` independent cases would. The chance to pass is the
    mean over what the pilot leaves open (assurance: O'Hagan et al. 2005, Pharmaceutical Statistics 4:187).
    """
    _check(limit, power)
    believed, per_behavior, wanted = Posterior.of(successes, cases), cases / behaviors, power ** (1 / cells)
    if believed.below(limit) <= wanted:
        return None

    def chance(n: int) -> float:
        scored = round(n * per_behavior)
        return float(believed.weights @ binomial_cdf(most_to_pass(scored, limit), scored, believed.rates))

    return _least(chance, wanted, 1)


def behaviors_to_decide(
    successes: float, cases: float, behaviors: int, limit: float, power: float = DECIDED
) -> int | None:
    """How many behaviors in all, those that were asked among them, bring PASS or FAIL with this chance; None: > MOST.

    The chance is over what `successes` of `cases` (effective ones) leave open about the rate, and over the new cases.
    """
    if not 0 < limit < 1:
        return None
    _check(limit, power)
    believed, per_behavior = Posterior.of(successes, cases), cases / behaviors

    def chance(n: int) -> float:
        new, total = round((n - behaviors) * per_behavior), n * per_behavior
        passes = binomial_cdf(math.floor(most_to_pass(total, limit) - successes + 1e-9), new, believed.rates)
        fails = binomial_sf(math.ceil(fewest_to_fail(total, limit) - successes - 1e-9) - 1, new, believed.rates)
        return float(believed.weights @ (passes + fails))

    return _least(chance, power, behaviors + 1)


def behaviors_to_exclude(
    difference: float, interval: tuple[float, float], behaviors: int, limit: float, power: float = DECIDED
) -> int | None:
    """The same for a difference with its 95% interval on so many behaviors; None: > MOST. Normal approximation.

    What is known leaves the true difference open by the interval; the mean over all behaviors moves toward it.
    """
    error = (interval[1] - interval[0]) / 2 / normal_limit(0.95)
    if error <= 0:
        return None
    normal = NormalDist()

    def chance(n: int) -> float:
        moves = error * math.sqrt(1 - behaviors / n)
        reach = normal_limit(0.95) * error * math.sqrt(behaviors / n)
        gap = limit - difference
        return normal.cdf((gap - reach) / moves) + 1 - normal.cdf((gap + reach) / moves)

    return _least(chance, power, behaviors + 1)


def behaviors_to_keep(margin: float, changing: float = 0.0, power: float = POWER) -> int:
    """How many behaviors of one case show that a rate did not rise by `margin` in (0, 1), one-sided at 2.5%.

    changing: the share that gets worse by chance, and as large a share that gets better, in [0, 0.5); with 0 it is the
    least number that can show it at all. The verdict is that of `paired.Difference.limits`; exact, see `stats.score`.
    """
    _check(margin, power)
    if not 0 <= changing < 0.5:
        raise ValueError(f"changing is {changing}; it must lie in [0, 0.5)")
    n = _least(lambda size: float(low_tail(0, 0, size, margin) <= 0.025), 0.5, 1) or MOST
    while changing and keep_power(n, margin, changing) < power:
        n += max(1, n // 20)
    return n


def keep_power(n: int, margin: float, changing: float) -> float:
    """The chance that `n` behaviors show it, where a share `changing` gets worse and as large a one better."""
    reach = math.ceil(n * changing + 6 * math.sqrt(n * changing) + 2)
    total = 0.0
    for better in range(min(reach, n) + 1):
        worse = 0
        while worse + better <= n and worse <= reach and low_tail(worse, better, n, margin) <= 0.025:
            both = math.comb(n, worse) * math.comb(n - worse, better)
            total += both * changing ** (worse + better) * (1 - 2 * changing) ** (n - worse - better)
            worse += 1
    return total


def behaviors_to_show(
    difference: float, sd: float, single: float, power: float = POWER, alpha: float = 0.05
) -> int:  # fmt: skip
    """How many behaviors of several cases show a difference of two runs with this power, two-sided at `alpha`.

    sd: of the change of a behavior with so many cases; single: with one case. The p of a comparison is the larger one
    of the permutation test's, which is that of Student's t nearly, and the score test's on the effective behaviors (see
    `stats/paired`): its variance is that without a difference, and has half a behavior added on either side.
    """
    if not difference or sd <= 0 or single < 0:
        raise ValueError(f"difference {difference} must not be 0, sd {sd} be above 0, and single {single} 0 or more")
    normal, gap, variance = NormalDist(), abs(difference), max(single, 1e-9) ** 2
    limit, reserve = normal.inv_cdf(1 - alpha / 2), normal.inv_cdf(power)
    without = variance + gap**2
    n = max(4, math.ceil(((limit + reserve) * sd / gap) ** 2))
    while True:
        effective = n * (n * variance + 0.5) / (n * sd**2 + 0.5)
        by_score = gap * math.sqrt(effective / without) - reserve * math.sqrt(variance / without) >= limit
        if by_score and gap * math.sqrt(n) / sd - reserve >= t_quantile(1 - alpha / 2, n - 1):
            return n
        n += max(1, n // 500)


def _check(limit: float, power: float) -> None:
    if not (0 < limit < 1 and 0 < power < 1):
        raise ValueError(f"limit {limit} and power {power} must lie in (0, 1)")


def _least(chance: Callable[[int], float], wanted: float, start: int) -> int | None:
    """The least n from `start` on whose chance is `wanted` or more, if it grows with n."""
    low, high = start - 1, start
    while chance(high) < wanted:
        low, high = high, 2 * high
        if high > 2 * MOST:
            return None
    while high - low > max(1, high // 500):  # of thousands the last digits say nothing
        middle = (low + high) // 2
        low, high = (low, middle) if chance(middle) >= wanted else (middle, high)
    return high


def _settled(chance: Callable[[int], float], wanted: float, limit: float) -> int | None:
    """The least n whose chance is `wanted` or more, and hardly falls below it a little further on."""
    rough = _least(chance, wanted - _SLACK, 1)
    if rough is None:
        return None
    # one more success is let through about every 1 / limit behaviors: the chance is lowest just before that
    teeth = math.ceil(1 / limit)
    step, n = max(1, rough // 500, teeth // 20), max(1, rough - teeth)
    while n <= MOST:
        short = [m for m in range(n + step, n + 2 * teeth + 1, step) if chance(m) < wanted - _SLACK]
        if not short and chance(n) >= wanted:
            return n
        n = short[-1] + step if short else n + max(1, rough // 500)
    return None
