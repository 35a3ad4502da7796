"""Guards that score texts: area under the ROC curve, a threshold for a budget of false alarms, and the curve's band.

Pure functions. A guard blocks a text whose score is at its threshold or above. `high` are scores of what it should
block, `low` of what it should not; clusters are texts that stand or fall together, such as a request in many wordings.
A text without a score is never left out: -inf among `high` (missed) and inf among `low` (a false alarm) is the careful
reading, and the other way around the kind one.

The threshold is chosen on the very texts that its false alarms are counted on, so it looks better than it is. With k
false alarms allowed among n independent texts, those that score above the (k + 1)-th highest have the chance of a
false alarm that this order statistic has: a beta distribution with k + 1 and n - k, whatever the scores' distribution.
Its mean, (k + 1) / (n + 1), is held to the budget; its quantiles are the limits. Where texts come in clusters, the
budget is held by conformal risk control (Angelopoulos et al. 2022, arXiv:2208.02814, theorem 1) over clusters, and the
limits take each cluster for one text. Ties make either more careful. With 80 clusters, 20 of 16 texts that are alike
and the others of one, a budget of 10% had a chance of 7.2% on average, and the limits held in 99% (400 draws).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.stats.rates import normal_limit, share_interval, wilson
from withstand.stats.special import beta_quantile

Floats: TypeAlias = npt.NDArray[np.float64]
Scores: TypeAlias = Sequence[float] | Floats
Limits: TypeAlias = tuple[float, float]

POINTS = 120
"""Thresholds of a curve, at most; of more, those that are spread evenly over the texts."""
FAR = 700.0
"""A logit beyond which a chance is 0 to the last digit, and `exp` still has a value."""
_ROUNDING = 1e-9


# --- the area ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Placed:
    """An area under the curve in [0, 1], and what each text lends it. above, below: how far the share of the other
    kind that it outscores lies from the area; their sums are 0."""

    area: float
    above: Floats
    below: Floats


def placed(high: Scores, low: Scores) -> Placed:
    """The chance that a text of `high` scores above one of `low`, ties half, by ranks (Sun and Xu 2014, IEEE Signal
    Processing Letters 21:1389). Both have a text at least."""
    a, b = np.asarray(high, dtype=float), np.asarray(low, dtype=float)
    above = _outscored(a, b) / b.size
    below = 1 - _outscored(b, a) / a.size
    area = float(above.mean())
    return Placed(area, above - area, below - area)


def _outscored(scores: Floats, others: Floats) -> Floats:
    """Of each score, how many of the others lie below it, ties half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, scores, "left").astype(float)
    return (below + np.searchsorted(ordered, scores, "right")) / 2


def auroc(
    high: Scores, low: Scores, of_high: Sequence[str], of_low: Sequence[str], level: float = 0.95, stretch: float = 1.0
) -> tuple[float, Limits] | None:
    """The area and its limits in [0, 1]; None where a kind has no text.

    of_high, of_low: the cluster of each text, which both kinds may share. stretch: times the variance, for scores that
    were not drawn independently. The variance is that of Obuchowski 1997,
    Biometrics 53:567; with clusters of one text it is DeLong's (1988, Biometrics 44:837) but for the corrections of
    both sizes. The limits are on the scale of the logit; at 0 and 1, and where nothing varies, Wilson's on the clusters
    of the smaller kind.
    """
    if not len(high) or not len(low):
        return None
    ranked = placed(high, low)
    fewest = min(len(set(of_high)), len(set(of_low)))
    variance = _variance(ranked.above, ranked.below, of_high, of_low) if fewest > 1 else 0.0
    if variance <= 0 or ranked.area in (0, 1):
        ends = wilson(ranked.area * fewest / stretch, fewest / stretch, level)
        return ranked.area, ends or (0.0, 1.0)
    center = math.log(ranked.area / (1 - ranked.area))
    reach = normal_limit(level) * math.sqrt(stretch * variance) / (ranked.area * (1 - ranked.area))
    return ranked.area, (1 / (1 + math.exp(min(reach - center, FAR))), 1 / (1 + math.exp(min(-reach - center, FAR))))


def area_difference(
    a: Placed, b: Placed, of_high: Sequence[str], of_low: Sequence[str], level: float = 0.95
) -> tuple[float, Limits, float]:
    """B's area minus A's on the same texts, its limits in [-1, 1], and the two-sided p of no difference.

    DeLong's test of correlated areas (1988, section 4), with the variance of `auroc`. With one cluster of a kind, and
    where the guards rank all texts alike, nothing can be told: p is 1.
    """
    difference = b.area - a.area
    if min(len(set(of_high)), len(set(of_low))) < 2:
        return difference, (-1.0, 1.0), 1.0
    variance = _variance(b.above - a.above, b.below - a.below, of_high, of_low)
    if variance <= 0:
        return difference, (difference, difference) if difference == 0 else (-1.0, 1.0), 1.0
    error = math.sqrt(variance)
    reach = normal_limit(level) * error
    p = math.erfc(abs(difference) / error / math.sqrt(2))
    return difference, (max(-1.0, difference - reach), min(1.0, difference + reach)), p


def _variance(above: Floats, below: Floats, of_high: Sequence[str], of_low: Sequence[str]) -> float:
    """Obuchowski's, with the corrections G / (G - 1) for the clusters of each kind and of both."""
    names = sorted({*of_high, *of_low})
    a, b = _sums(above, of_high, names), _sums(below, of_low, names)
    variance = _stretched(float(a @ a), len(set(of_high))) / above.size**2
    variance += _stretched(float(b @ b), len(set(of_low))) / below.size**2
    return variance + 2 * _stretched(float(a @ b), len(names)) / (above.size * below.size)


def _sums(values: Floats, of: Sequence[str], names: Sequence[str]) -> Floats:
    """The sum of each cluster's values, in the order of the names."""
    place = {name: number for number, name in enumerate(names)}
    sums: Floats = np.zeros(len(names))
    np.add.at(sums, [place[name] for name in of], values)
    return sums


def _stretched(total: float, clusters: int) -> float:
    return total * clusters / (clusters - 1)


# --- a threshold for a budget of false alarms ----------------------------------------------------------------------


def needed(budget: float) -> int:
    """How many independent benign texts a budget in (0, 1) needs at least: none of fewer may be blocked, and even then
    a new one is blocked more often than that."""
    if not 0 < budget < 1:
        raise ValueError(f"a budget of {budget} lies outside of (0, 1)")
    return max(1, math.ceil(1 / budget - 1 - _ROUNDING))


def supported(of_low: Sequence[str]) -> float:
    """The least budget that benign texts in these clusters support: with it none may be blocked."""
    sizes = np.unique(np.asarray(of_low), return_counts=True)[1]
    return float(sizes.max() * len(sizes) / (len(of_low) * (len(sizes) + 1)))


@dataclass(frozen=True, slots=True)
class Cutoff:
    """Where a budget of false alarms lets a guard begin to block: above the score `beyond`, inf for nowhere.

    allowed: texts that may lie above, of so many `texts`.   clusters: how many of equal size know as much as these.
    """

    beyond: float
    allowed: int
    texts: int
    clusters: float


def cutoff(low: Scores, of_low: Sequence[str], budget: float) -> Cutoff | None:
    """The lowest cutoff whose expected share of false alarms is within the budget; None with too few texts."""
    sizes = np.unique(np.asarray(of_low), return_counts=True)[1]
    if len(sizes) < needed(budget):
        return None
    size = len(low) / len(sizes)
    allowed = math.floor(budget * (len(sizes) + 1) * size - int(sizes.max()) + _ROUNDING)
    if allowed < 0:
        return None
    ordered = np.sort(np.asarray(low, dtype=float))[::-1]
    return Cutoff(float(ordered[allowed]), allowed, len(low), float(len(low) ** 2 / np.square(sizes).sum()))


def alarm_limits(cut: Cutoff, alarms: int, level: float = 0.95) -> Limits:
    """Limits of the share of benign texts that a threshold above a cutoff blocks. alarms: of the texts that chose it.

    The upper limit is that of the order statistic, whatever was seen: it counts all alarms that were allowed.
    """
    tail, share = (1 - level) / 2, cut.clusters / cut.texts
    seen, most = alarms * share, cut.allowed * share
    low = beta_quantile(tail, seen, cut.clusters - seen + 1) if alarms else 0.0
    return low, 1 - beta_quantile(tail, cut.clusters - most, most + 1)


def written_threshold(beyond: float, above: float = math.inf) -> float:
    """A threshold above the score `beyond`, in as few digits as keep every score from `above` on blocked.

    above: the lowest score that is to be blocked, higher than `beyond`; inf for none.
    """
    for digits in range(3, 17):
        step = 10.0 ** (math.floor(math.log10(abs(beyond))) + 1 - digits) if beyond else 10.0**-digits
        rounded = float(f"{(math.floor(beyond / step + _ROUNDING) + 1) * step:.{digits}g}")
        if beyond < rounded <= above:
            return rounded
    return float(np.nextafter(beyond, math.inf))


# --- the curve -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Point:
    """A threshold, and the shares of benign and of harmful texts that it blocks, with the limits of each, in [0, 1].

    The limits of a point are those at which its box holds with 95%: each at 97.5%. threshold: inf blocks nothing.
    """

    threshold: float
    alarms: float
    caught: float
    alarm_ends: Limits
    caught_ends: Limits


def curve(high: Scores, low: Scores, of_high: Sequence[str], of_low: Sequence[str], level: float = 0.95) -> list[Point]:
    """The ROC curve from "blocks nothing" to "blocks all that has a score", at `POINTS` thresholds at most."""
    a, b = np.asarray(high, dtype=float), np.asarray(low, dtype=float)
    scores = np.unique(np.concatenate([a, b]))
    thresholds = np.append(scores[np.isfinite(scores)], math.inf)[::-1]
    if len(thresholds) > POINTS:
        thresholds = thresholds[np.unique(np.linspace(0, len(thresholds) - 1, POINTS).round().astype(int))]
    joint = (1 + level) / 2
    alarms, caught = _shares(b, thresholds, of_low, joint), _shares(a, thresholds, of_high, joint)
    return [
        Point(float(threshold), alarm, catch, alarm_ends, caught_ends)
        for threshold, (alarm, alarm_ends), (catch, caught_ends) in zip(thresholds, alarms, caught, strict=True)
    ]


def _shares(scores: Floats, thresholds: Floats, of: Sequence[str], level: float) -> list[tuple[float, Limits]]:
    """Of each threshold the share that is blocked and its limits: those of the one before, where it blocks as many."""
    shares: list[tuple[float, Limits]] = []
    for threshold in thresholds:
        blocked = scores >= threshold
        share = float(blocked.mean())
        shares.append(shares[-1] if shares and shares[-1][0] == share else (share, share_limits(blocked, of, level)))
    return shares


def share_limits(blocked: npt.NDArray[np.bool_], clusters: Sequence[str], level: float = 0.95) -> Limits:
    """Limits of the share of texts that are blocked: Clopper and Pearson's, on effective clusters where texts share
    one."""
    ones = np.ones(len(blocked))
    return share_interval(blocked.astype(float), ones, level, list(clusters), exact=True)


def caught_at(points: Sequence[Point], budget: float) -> Limits:
    """Limits of the share that a threshold with exactly this chance of a false alarm catches, which nobody knows.

    The lower one is of a threshold that surely has fewer false alarms, the upper one of a threshold that surely has
    more: the band of the curve at the budget.
    """
    low = max((point.caught_ends[0] for point in points if point.alarm_ends[1] <= budget), default=0.0)
    high = min((point.caught_ends[1] for point in points if point.alarm_ends[0] >= budget), default=1.0)
    return low, max(low, high)
