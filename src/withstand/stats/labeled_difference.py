"""Differences of two rates that are from labels, and their means: pure functions."""

import abc
import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from withstand.stats.labeled import LabeledSide
from withstand.stats.special import Floats

_Z = np.linspace(0.05, 6, 80)
_LEVELS = np.array([2 * NormalDist().cdf(z) - 1 for z in _Z])


class _Differing(abc.ABC):
    """What follows from a difference and its limits at every level. p: the level at which they leave 0."""

    __slots__ = ()

    @property
    @abc.abstractmethod
    def difference(self) -> float: ...

    @abc.abstractmethod
    def levels(self, level: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Both limits at these levels, which may be several."""

    def limits(self, level: float = 0.95) -> tuple[float, float]:
        """Both limits, in [-1, 1]."""
        low, high = self.levels(level)
        return float(low), float(high)

    @property
    def p(self) -> float:
        """Of no difference, two-sided."""
        return self._p(0.0, 0.0)

    def unchanged(self, margin: float) -> float:
        """Of a difference of the margin or more: up to .05 just if the 95% interval lies within the margin."""
        inside = -margin < self.difference < margin
        return max(self._p(margin, margin), self._p(-margin, -margin)) if inside else 1.0

    def _p(self, low: float, high: float) -> float:
        """Two-sided, of a true difference in [low, high], by interpolation over levels."""
        lows, highs = self.levels(_LEVELS)
        away = self.difference > high, self.difference < low
        if not any(away):
            return 1.0
        reach = lows - high if away[0] else low - highs
        z = float(np.interp(0.0, -reach, _Z)) if (reach < 0).any() else float(_Z[-1])
        return 2 * NormalDist().cdf(-z)


@dataclass(frozen=True, slots=True)
class LabeledDifference(_Differing):
    """B's rate less A's, each from labels of its own cases.

    Limits: MOVER of both rates' limits (Zou and Donner 2008, Statistics in Medicine 27:1693), which is Newcombe's
    square and add. That A and B were asked the same is not used: it would narrow them.
    """

    a: LabeledSide
    b: LabeledSide

    @property
    def difference(self) -> float:
        return self.b.rate - self.a.rate

    def levels(self, level: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Both limits at these levels, which may be several."""
        (low_a, high_a), (low_b, high_b) = self.a.limits(level), self.b.limits(level)
        low = self.difference - np.hypot(self.b.rate - low_b, high_a - self.a.rate)
        high = self.difference + np.hypot(high_b - self.b.rate, self.a.rate - low_a)
        return np.maximum(low, -1.0), np.minimum(high, 1.0)


@dataclass(frozen=True, slots=True)
class MeanDifference(_Differing):
    """The mean of several differences on the same behaviors, one or more.

    Limits: the means of theirs. Attacks may err alike on a behavior, so that nothing is gained by their number.
    """

    parts: tuple[LabeledDifference, ...]

    @property
    def difference(self) -> float:
        return math.fsum(part.difference for part in self.parts) / len(self.parts)

    def levels(self, level: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Both limits at these levels, which may be several."""
        low, high = np.mean([part.levels(level) for part in self.parts], axis=0)
        return low, high
