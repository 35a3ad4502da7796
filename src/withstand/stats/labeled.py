"""The rate of a run from labels of its own cases: pure functions on counts.

A judge has graded all cases, and people (or a model in their place) a random part of them. Within what the judge called
alike, the labeled cases are a random sample of the others, so that the judge need not be right: it only makes strata.
Two-phase sampling (Neyman 1938, JASA 33:101; Cochran 1977, "Sampling Techniques", chapter 12), which is
prediction-powered inference (Angelopoulos et al. 2023, arXiv:2301.09633) with a judge that says yes or no and the
tuning that makes it most precise (PPI++, arXiv:2311.01453).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from withstand.stats import special

Floats = npt.NDArray[np.float64]

SMOOTH = 1.0
"""Successes and failures added to a stratum's labels, for its variance alone: none so far is not never. With 1/4 of
each the upper limit was too low in up to 7% of the draws, where a judge misses many."""

FIRST_LOOK = 30
"""Labels at the first look of labeling that stops at a wanted width; every look has twice as many as the one before."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """Cases of a run that a judge called alike.

    judged: whether it called them successes.   share: what they weigh in the rate, in [0, 1]; all strata add up to 1.
    size: how many they are.   labeled: how many of them have a label.   worth: how many labels of equal weight would
    tell as much (Kish), at most `labeled`.   rate: the weighted share of labels that say success, in [0, 1]; without
    a label what the judge said.
    """

    judged: bool
    share: float
    size: int
    labeled: int
    worth: float
    rate: float


def stratum(judged: bool, share: float, size: int, labels: Sequence[bool], weights: Sequence[float] = ()) -> Stratum:
    """From the labels of its cases, drawn at random with chances in inverse proportion to `weights` (default: equal).

    Raises `ValueError` for more labels than cases, or weights that are not above 0.
    """
    if len(labels) > size:
        raise ValueError(f"{len(labels)} labels of {size} cases")
    weighed = np.asarray(weights or [1.0] * len(labels), float)
    if (weighed <= 0).any() or len(weighed) != len(labels):
        raise ValueError("every label needs a weight above 0")
    if not len(labels):
        return Stratum(judged, share, size, 0, 0.0, float(judged))
    total = weighed.sum()
    rate = float(weighed[np.asarray(labels, bool)].sum() / total)
    return Stratum(judged, share, size, len(labels), float(total**2 / np.square(weighed).sum()), min(1.0, rate))


@dataclass(frozen=True, slots=True)
class LabeledRate:
    """A rate from labels, with its limits, all in [0, 1]. `effective`: as many labels alone would know it as well.

    labeled: how many labels it has.   unlabeled: share of what is in strata without any label, where the limits allow
    for everything.
    """

    rate: float
    low: float
    high: float
    effective: float
    labeled: int
    unlabeled: float


@dataclass(frozen=True, slots=True)
class LabeledEstimate:
    """What `labeled_estimate` rests on. lowest, highest: the rate if what is in strata without a label were held, or
    broken."""

    rate: float
    lowest: float
    highest: float
    effective: float
    labeled: int
    unlabeled: float

    def limits(self, level: npt.ArrayLike = 0.95) -> tuple[Floats, Floats]:
        """The limits at these levels, which may be several."""
        low, _ = mid_p(self.lowest, self.effective, level)
        _, high = mid_p(self.highest, self.effective, level)
        return np.minimum(low, self.rate), np.maximum(high, self.rate)

    def at(self, level: float = 0.95) -> LabeledRate:
        """The rate with its limits at one level."""
        low, high = self.limits(level)
        return LabeledRate(self.rate, float(low), float(high), self.effective, self.labeled, self.unlabeled)


def labeled_estimate(
    strata: Sequence[Stratum], behaviors: float | None = None, alike: float = 1.0
) -> LabeledEstimate | None:
    """The rate over behaviors like these; None without a label.

    behaviors: how many there are, or equal clusters of these, and alike: the design effect of the judge's verdicts, 1
    or more, where one has several cases (`stats.rates.effective_cases` gives it). Labels of cases that are no sample
    have no place here.

    The rate is the sum of the strata's rates by their shares. Its variance has two parts: which of the cases are
    labeled, with the correction for a finite population, and which behaviors were asked. The second takes the cases of
    a behavior for as alike in truth as the judge's verdicts show, less the noise that the judge added: its errors hide
    how alike they are, and with the verdicts' own design effect a nominal 95% covered 56% in the worst place. The
    limits are those of the mid-P test (Lancaster 1961; Agresti and Gottard 2007) on the effective number of labels.
    `bench/labels.py` has the simulations and what it was chosen from.
    """
    strata = [part for part in strata if part.size]
    labels = sum(part.labeled for part in strata)
    if not labels:
        return None
    share, size, got, worth, judged_rate = (
        np.array([getattr(part, name) for part in strata], float) for name in _ARRAYS
    )
    cases = sum(part.size for part in strata)
    rate, effective = estimate(share, size, got, worth, judged_rate, np.float64(behaviors or cases), alike)
    silent = np.array([part.labeled == 0 for part in strata])
    judged = np.array([part.judged for part in strata])
    lowest, highest = (rate - share[silent & judged].sum()), (rate + share[silent & ~judged].sum())
    total = min(1.0, max(0.0, float(rate)))
    return LabeledEstimate(
        total, min(total, max(0.0, float(lowest))), max(total, min(1.0, float(highest))), float(effective), labels,
        float(share[silent].sum()),
    )  # fmt: skip


_ARRAYS = ("share", "size", "labeled", "worth", "rate")


def estimate(
    share: Floats, size: Floats, labeled: Floats, worth: Floats, rate: Floats, behaviors: Any, alike: Any = 1.0
) -> tuple[Floats, Floats]:
    """The rate and its effective number of labels, for arrays of shape (..., strata); see `labeled_estimate`."""
    total = (share * rate).sum(axis=-1)
    smooth = _smooth(rate, worth)
    of_labels = _variance(share, size, labeled, rate, worth).sum(axis=-1)
    mean = (share * smooth).sum(axis=-1)
    spread = mean * (1 - mean)
    explained = (share * (smooth - mean[..., None]) ** 2).sum(axis=-1) / spread
    cases = size.sum(axis=-1)
    asked = np.maximum(cases / (1 + (np.maximum(alike, 1) - 1) / np.clip(explained, 1e-9, 1)), behaviors)
    return total, 1 / (of_labels / spread + 1 / asked)


def _smooth(rate: Any, worth: Floats) -> Floats:
    smooth: Floats = (rate * worth + SMOOTH) / (worth + 2 * SMOOTH)
    return smooth


def _variance(share: Any, size: Any, labeled: Floats, rate: Any, worth: Floats) -> Floats:
    """What the labels of a stratum add to the variance of the rate, 0 where there are none."""
    smooth = _smooth(rate, worth)
    left = np.where(labeled > 0, 1 - labeled / np.maximum(size, 1), 0.0)
    variance: Floats = share**2 * smooth * (1 - smooth) * left / np.maximum(worth, 1)
    return variance


def mid_p(rate: Any, n: Any, level: npt.ArrayLike = 0.95) -> tuple[Floats, Floats]:
    """The limits of the mid-P test for `rate` among `n` trials, elementwise; neither count need be whole.

    The lower limit p has P(more successes | p) + P(as many | p) / 2 = (1 - level) / 2; the upper one mirrors it.
    """
    rate, n, level = np.broadcast_arrays(*(np.asarray(value, float) for value in (rate, n, level)))
    low, mirrored = _lower(np.stack([rate, 1 - rate]), np.stack([n, n]), (1 - level) / 2)
    return low, 1 - mirrored


def _lower(rate: Floats, n: Floats, tail: Floats) -> Floats:
    """The lower limit: the regula falsi with Illinois' halving, in log p, where the tail's logarithm is nearly a line.

    A limit below 1e-12 is 0.
    """
    hits, misses = np.clip(rate * n, 1e-9, n), np.maximum((1 - rate) * n, 0.0)

    def excess(log_p: Floats) -> Floats:
        p = np.exp(log_p)
        more = np.where(misses > 0, special.beta_tails(hits + 1, np.maximum(misses, 1e-9), p, 1 - p)[0], 0.0)
        return np.log(np.maximum(more + special.binomial_mass(hits, n, p) / 2, 1e-300)) - np.log(tail)

    low, high = np.full_like(rate, math.log(LEAST)), np.log(np.clip(rate, 2 * LEAST, 1 - 1e-15))
    below, above = excess(low), excess(high)
    none = (below >= 0) | (rate < 2 * LEAST)
    side = np.zeros(rate.shape, int)
    for _ in range(60):
        step = np.where(none, 0.5, above / np.where(none, 1.0, above - below))
        middle = high - (high - low) * step
        value = np.where(none, 0.0, excess(middle))
        down = value < 0
        above = np.where(down, np.where(side < 0, above / 2, above), value)
        below = np.where(down, value, np.where(side > 0, below / 2, below))
        side = np.where(down, -1, 1)
        low, high = np.where(down, middle, low), np.where(down, high, middle)
        if (np.abs(value) < 1e-9).all():
            break
    return np.where(none, 0.0, np.minimum(np.exp(middle), rate))


LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class LabeledSide:
    """A rate from labels of which some are open. estimates: without the open ones first; then, where there are any,
    with them as held, and as broken.   looks: at how many numbers of labels labeling may have stopped."""

    estimates: tuple[LabeledEstimate, ...]
    looks: int = 1

    @property
    def rate(self) -> float:
        return self.estimates[0].rate

    def limits(self, level: npt.ArrayLike = 0.95) -> tuple[Floats, Floats]:
        """The outermost limits at these levels, which hold at every look."""
        level = 1 - (1 - np.asarray(level, float)) / self.looks
        ends = [part.limits(level) for part in self.estimates]
        low, high = (np.stack(side) for side in zip(*ends, strict=True))
        return np.minimum(low.min(axis=0), self.rate), np.maximum(high.max(axis=0), self.rate)

    def at(self, level: float = 0.95) -> LabeledRate:
        """The rate with its limits at one level."""
        low, high = self.limits(level)
        first = self.estimates[0]
        return LabeledRate(self.rate, float(low), float(high), first.effective, first.labeled, first.unlabeled)


# --- which cases to label ----------------------------------------------------------------------------------------

SENSITIVITY, SPECIFICITY = 0.8, 0.9
"""Of a judge of which nothing is known yet. They decide how many cases of each stratum are drawn, and no figure."""


def expected(share: float) -> tuple[float, float, float]:
    """Of a judge that calls this share a success: the rate behind it, and what of its successes and of its failures is
    one, each in (0, 1), if it has the sensitivity and specificity above."""
    rate = min(0.98, max(0.02, (share + SPECIFICITY - 1) / (SENSITIVITY + SPECIFICITY - 1)))
    called = rate * SENSITIVITY + (1 - rate) * (1 - SPECIFICITY)
    return rate, rate * SENSITIVITY / called, rate * (1 - SENSITIVITY) / (1 - called)


PRIOR = 4.0
"""Labels that `believed` counts for what is expected of a judge, in each stratum."""


def believed(share: float, hits: Sequence[int], labels: Sequence[int]) -> tuple[float, float]:
    """As the last two of `expected`, after so many labels of each stratum, `hits` of them successes. share: of cases
    that the judge called success. They decide how many cases of each are drawn next, and no figure.
    """
    first, second = (
        (hit + PRIOR * rate) / (n + PRIOR) for hit, n, rate in zip(hits, labels, expected(share)[1:], strict=True)
    )
    return first, second


def allocation(
    successes: int,
    failures: int,
    labels: int,
    rates: tuple[float, float] | None = None,
    least: tuple[int, int] = (0, 0),
) -> tuple[int, int]:
    """How many of the cases that a judge called success and failure to label: those for which the variance of
    `estimate` is least, but at least a quarter of the labels in each while there are cases. Neyman's share (1934, J.
    Royal Statistical Society 97:558) but for what `SMOOTH` adds, which asks for more of the larger stratum.

    rates: of successes in each, as `believed` (default: as `expected`).   least: labeled already, and kept.
    """
    labels = min(labels, successes + failures)
    if not successes or not failures:
        return (labels, 0) if successes else (0, labels)
    rates = rates or expected(successes / (successes + failures))[1:]
    floor = -(-labels // 4)
    first, second = (max(kept, min(floor, part)) for kept, part in zip(least, (successes, failures), strict=True))
    labels = max(labels, sum(least))
    low, high = max(least[0], labels - failures), min(successes, labels - least[1])
    low, high = max(low, min(first, high)), min(high, max(labels - second, low))
    if low >= high:
        return low, labels - low
    got = np.arange(low, high + 1, dtype=float)
    variance = sum(
        _variance(size, size, n, rate, n)
        for size, n, rate in zip((successes, failures), (got, labels - got), rates, strict=True)
    )
    taken = int(got[np.argmin(variance)])
    return taken, labels - taken


def labels_for(successes: int, failures: int, width: float, level: float = 0.95) -> int | None:
    """The fewest labels for which the interval is expected to have at most this width, in (0, 1); None where all labels
    would not do, since the cases are too few."""
    cases = successes + failures
    if not cases:
        return None
    _, right, missed = expected(successes / cases)

    def expected_width(labels: int) -> float:
        taken = allocation(successes, failures, labels)
        sizes, rates = np.array([successes, failures], float), np.array([right, missed])
        got = np.array(taken, float)
        rate, effective = estimate(sizes / cases, sizes, got, got, rates, cases)
        low, high = mid_p(rate, effective, level)
        return float(high - low)

    if expected_width(cases) > width:
        return None
    low, high = 0, cases
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if middle and expected_width(middle) <= width else (middle, high)
    return high


def looks(cases: int) -> list[int]:
    """The numbers of labels at which labeling may stop because its interval is narrow enough: 30, 60, 120, ..., all.

    Every look's interval has the level of `level_at_looks`, so that one of them holding what is true less often than
    promised is bounded whatever the rule that stops (Bonferroni over the looks).
    """
    numbers, at = [], FIRST_LOOK
    while at < cases:
        numbers.append(at)
        at *= 2
    return [*numbers, cases] if cases else []


def level_at_looks(cases: int, level: float = 0.95) -> float:
    """The level of the interval at each of `looks`; the last one, of all cases, has no sampling error of labels."""
    return 1 - (1 - level) / max(1, len(looks(cases)))
