"""A rate watched at planned looks until it lies below or above a limit: exact group-sequential tests of a binomial.

A share of the error is spent at each look, little at first (O'Brien and Fleming 1979, Biometrics 35:549; spending:
Lan and DeMets 1983, Biometrika 70:659). All chances are summed over the binomial, look by look, so that no error is
above its nominal value. Limits of the rate afterward order the outcomes by stage (Armitage 1958, Biometrics 14:1;
binomial: Jennison and Turnbull 1983, Technometrics 25:49). Pure functions.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal, TypeAlias

import numpy as np

from withstand.stats.rates import Floats
from withstand.stats.sequential import confidence_sequence
from withstand.stats.special import binomial_pmf

FIRST = 10
"""Behaviors of the first look; the next look comes after half as many again, 10 at least."""

MOST = 20_000
"""Behaviors that a watch can plan for: its boundaries take time with their square."""

LEVEL = 0.95
"""Each of the two answers is wrong with a chance of at most (1 - LEVEL) / 2."""

_HALVINGS = 36
_ROUNDING = 1e-9
"""Sums of shares such as 1/3 + 1/3 + 1/3 are whole within this."""


Paths: TypeAlias = tuple[Sequence[float], Sequence[float]]
"""Of each behavior, in the order asked, its share of successes: what is unknown counted as none, and as all."""


def paths(hits: Sequence[int], unknown: Sequence[int], wanted: Sequence[int]) -> Paths:
    """The paths of counts, one per behavior. A behavior of which no case is wanted, since none was made, is unknown."""
    counts = list(zip(hits, unknown, wanted, strict=True))
    return [h / n if n else 0.0 for h, _, n in counts], [(h + u) / n if n else 1.0 for h, u, n in counts]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a watched cell stands: the look (from 0), the sum of its behaviors' rates there, and the answer.

    "": neither below nor above at any look so far.
    """

    look: int
    total: float
    answer: Literal["below", "above", ""]


@dataclass(frozen=True, slots=True)
class Watch:
    """A cell of `behaviors` (1 or more), asked in random order until its rate lies below or above `limit`, in (0, 1).

    The unit is the behavior: one of several cases counts by its rate. The sum of rates in [0, 1] strays less from its
    mean than a count of coins of the same mean does, for which the boundaries are exact; it is rounded away from the
    answer besides (`bench/watched.py` has the error).
    """

    limit: float
    behaviors: int

    def __post_init__(self) -> None:
        if not 0 < self.limit < 1 or not 1 <= self.behaviors <= MOST:
            raise ValueError(f"limit {self.limit} must lie in (0, 1), and behaviors {self.behaviors} in 1 to {MOST:,}")

    @property
    def looks(self) -> tuple[int, ...]:
        """How many behaviors have been asked at each look; the last look is at all of them."""
        ends = [0]
        while ends[-1] < self.behaviors:
            ends.append(min(next_look(ends[-1]), self.behaviors))
        return tuple(ends[1:])

    @property
    def bounds(self) -> tuple[tuple[int, int], ...]:
        """Of each look: "below" at this many successes or fewer (-1: never), "above" at this many or more."""
        return _bounds(self.limit, self.looks)

    def outcome(self, rates: Sequence[float]) -> Outcome:
        """The first answer along the behaviors' rates, in the order in which they were asked.

        Behaviors after the last full look do not count. Raises `ValueError` for more behaviors than are planned.
        """
        if len(rates) > self.behaviors or any(not 0 <= rate <= 1 for rate in rates):
            raise ValueError(f"rates must lie in [0, 1], of at most {self.behaviors} behaviors")
        last = Outcome(-1, 0.0, "")
        for look, (n, (low, high)) in enumerate(zip(self.looks, self.bounds, strict=True)):
            if n > len(rates):
                break
            total = math.fsum(rates[:n])
            answer: Literal["below", "above", ""] = (
                "below" if _up(total) <= low else "above" if _down(total) >= high else ""
            )
            last = Outcome(look, total, answer)
            if answer:
                break
        return last

    def answer(self, rates: Paths) -> Literal["below", "above", ""]:
        """What the watched cell is, with all that is unknown counted against the answer."""
        low, high = (self.outcome(path).answer for path in rates)
        return "above" if low == "above" else "below" if high == "below" else ""

    def over(self, rates: Paths) -> bool:
        """Whether nothing is left to ask: there is an answer, or all behaviors were asked."""
        return all(self.ended(self.outcome(path)) for path in rates)

    def interval(self, rates: Paths, level: float = LEVEL) -> tuple[float, float]:
        """Limits of the rate, the lower one with what is unknown counted as none, the other as all.

        At LEVEL the upper one is at most `limit` just where the answer is "below", unless the rate of all that was
        asked, which the limits hold too, went beyond it. While the watch is not over, its looks are not what was
        planned: then a confidence sequence.
        """
        if not self.over(rates):
            return confidence_sequence(rates[0], level)[0], confidence_sequence(rates[1], level)[1]
        low, high = map(self.outcome, rates)
        least, most = (math.fsum(path) / len(path) for path in rates)
        return min(self.lower(low, level), least), max(self.upper(high, level), most)

    def ended(self, outcome: Outcome) -> bool:
        """Whether there is an answer, or no look is left."""
        return bool(outcome.answer) or outcome.look == len(self.looks) - 1

    def upper(self, outcome: Outcome, level: float = LEVEL) -> float:
        """The highest rate that an ended outcome leaves, with a chance of error of (1 - level) / 2."""
        if not self.ended(outcome):
            raise ValueError("a watch that has not ended has no limits")
        n = self.looks[outcome.look]
        return self._limit(outcome, _up(outcome.total), level, "below") if outcome.total < n - _ROUNDING else 1.0

    def lower(self, outcome: Outcome, level: float = LEVEL) -> float:
        """The lowest rate that an ended outcome leaves, with a chance of error of (1 - level) / 2."""
        if not self.ended(outcome):
            raise ValueError("a watch that has not ended has no limits")
        return self._limit(outcome, _down(outcome.total), level, "above") if outcome.total > _ROUNDING else 0.0

    def _limit(self, outcome: Outcome, total: int, level: float, side: Literal["below", "above"]) -> float:
        """Where the chance of this outcome, or of one further to the `side`, is (1 - level) / 2."""
        seen = outcome.total / self.looks[outcome.look]
        outside, inside = (1.0, seen) if side == "below" else (0.0, seen)
        for _ in range(_HALVINGS):
            middle = (outside + inside) / 2
            if self._tail(middle, outcome, total, side) <= (1 - level) / 2:
                outside = middle
            else:
                inside = middle
        return outside

    def _tail(self, rate: float, outcome: Outcome, total: int, side: Literal["below", "above"]) -> float:
        """The chance of an outcome at least as far to the `side`: first what ends earlier on it, last on the other."""
        near = beyond = 0.0  # ended earlier on this side, and on the other
        for look, (asked, below, above) in enumerate(_walk(rate, self.looks, self.bounds)):
            own, opposite = (below, above) if side == "below" else (above, below)
            if look == outcome.look:
                at = asked[: total + 1].sum() if side == "below" else asked[max(total, 0) :].sum()
                if outcome.answer in ("", side):
                    return near + float(at)
                return 1 - beyond - float(asked.sum() - at)
            near, beyond = near + own, beyond + opposite
        raise AssertionError("the outcome lies at a look that is planned")

    def chances(self, rate: float) -> tuple[float, float, float]:
        """If `rate` is true: the chance of "below", that of "above", and how many behaviors are asked on average."""
        low = high = expected = 0.0
        going, last = 1.0, 0
        for n, (_, below, above) in zip(self.looks, _walk(rate, self.looks, self.bounds), strict=True):
            expected += going * (n - last)
            low, high, going, last = low + below, high + above, going - below - above, n
        return low, high, expected


def next_look(asked: int) -> int:
    """How many behaviors will have been asked at the look after the one at `asked` (0: none yet)."""
    return asked + max(FIRST, asked // 2)


def _up(total: float) -> int:
    return math.ceil(total - _ROUNDING)


def _down(total: float) -> int:
    return math.floor(total + _ROUNDING)


def spent(share: float, error: float) -> float:
    """How much of the one-sided `error` may be spent once a `share` in (0, 1] of the behaviors was asked."""
    normal = NormalDist()
    return min(error, 2 * normal.cdf(normal.inv_cdf(error / 2) / math.sqrt(share)))


@lru_cache(maxsize=256)
def _bounds(limit: float, looks: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    mirrored = _below(1 - limit, looks)
    return tuple((low, n - held) for n, low, held in zip(looks, _below(limit, looks), mirrored, strict=True))


def _below(limit: float, looks: tuple[int, ...]) -> list[int]:
    """Of each look the most successes that mean "below"; -1: none does. Stops "above" are not subtracted.

    The early looks spend as much of their allowance as leaves the last look the bound of a single test: what is watched
    is then decided no less often than what is not.
    """
    error = (1 - LEVEL) / 2
    single = int(np.searchsorted(binomial_pmf(np.arange(looks[-1] + 1), looks[-1], limit).cumsum(), error, "right")) - 1
    for tenths in range(10, -1, -1):
        bounds, used = [], 0.0
        going, last = np.ones(1), 0
        for n in looks:
            going = np.convolve(going, binomial_pmf(np.arange(n - last + 1), n - last, limit))
            last = n
            allowed = error if n == looks[-1] else tenths / 10 * spent(n / looks[-1], error)
            tail = going.cumsum()
            low = int(np.searchsorted(tail, allowed - used, side="right")) - 1
            used += float(tail[low]) if low >= 0 else 0.0
            bounds.append(low)
            going = _between(going, low, n + 1)
        if bounds[-1] >= single:
            break
    return bounds


def _between(going: Floats, low: int, high: int) -> Floats:
    left = going.copy()
    left[: low + 1] = 0.0
    left[high:] = 0.0
    return left


def _walk(
    rate: float, looks: Sequence[int], bounds: Sequence[tuple[int, int]]
) -> Iterator[tuple[Floats, float, float]]:
    """Of each look: the chance to get there and count 0, 1, ... successes, and of these "below" and "above"."""
    going, last = np.ones(1), 0
    for n, (low, high) in zip(looks, bounds, strict=True):
        going = np.convolve(going, binomial_pmf(np.arange(n - last + 1), n - last, rate))
        last = n
        yield going, float(going[: low + 1].sum()), float(going[high:].sum())
        going = _between(going, low, high)
