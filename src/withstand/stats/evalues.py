"""Evidence over many builds: e-values that a rate lies below a limit or above one, and how to use them nightly.

An e-value is 1 or less on average where its null hypothesis holds, so that it is 20 or more in 1 of 20 at most.
Products over builds are e-values too. e-LOND (Xu and Ramdas 2023, arXiv:2311.06412) takes one e-value a build, whatever
the dependence between builds: at most a share of all its discoveries is false on average. Pure functions.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

SHARE = 0.05
"""Of builds that pass, those that should not have, on average at most; and the chance of a false alarm of drift."""

_BELOW = (0.0, 0.125, 0.25, 0.5)
"""Rates, over the limit, that the evidence for "below" bets on, with equal stakes."""

_ABOVE = (1.5, 2.0, 4.0)
"""Rates, over the limit, that the evidence for "above" bets on; at most halfway from the limit to 1."""

ENOUGH = 100
"""Behaviors from which a build can pass on its own evidence; with fewer only a drift is looked for."""

FAR = 100_000
"""Builds to which one looks ahead."""

_TERMS = 100_000


def below(broken: float, n: int, limit: float) -> float:
    """The e-value against a rate of `limit` or more, from `broken` of `n` behaviors; shares of one count as such.

    A mean of likelihood ratios. Each falls with `broken` and is convex in it, so that it also holds for rates that
    differ between behaviors (Hoeffding 1956, Annals of Mathematical Statistics 27:713).
    """
    return _mixture(broken, n, limit, [factor * limit for factor in _BELOW])


def above(broken: float, n: int, limit: float) -> float:
    """The e-value against a rate of `limit` or less."""
    return _mixture(broken, n, limit, [min(factor * limit, (1 + limit) / 2) for factor in _ABOVE])


def _mixture(broken: float, n: int, limit: float, rates: Sequence[float]) -> float:
    if not (0 <= broken <= n and 0 < limit < 1):
        raise ValueError(f"{broken} of {n} behaviors, limit {limit}")
    return math.fsum(_ratio(broken, n - broken, rate, limit) for rate in rates) / len(rates)


def _ratio(broken: float, held: float, rate: float, limit: float) -> float:
    if rate <= 0:
        return 0.0 if broken > 0 else (1 - limit) ** -held
    return math.exp(min(700.0, broken * math.log(rate / limit) + held * math.log((1 - rate) / (1 - limit))))


def needed(build: int, passed: int) -> float:
    """The e-value with which build number `build` (from 1) passes, after `passed` earlier ones did."""
    return _total() * _weight(build) / (SHARE * (passed + 1))


def _weight(build: int) -> float:
    return (build + 1) * math.log(build + 1) ** 2


@cache
def _total() -> float:
    """The sum of 1 / ((t + 1) log^2 (t + 1)) over t from 1; the rest of the series by its integral, from above."""
    return math.fsum(1 / _weight(t) for t in range(1, _TERMS)) + 1 / math.log(_TERMS)


@dataclass(frozen=True, slots=True)
class Build:
    """One build in a row of them: `evidence` its e-value, `wanted` the one with which it passes."""

    evidence: float
    wanted: float

    @property
    def passes(self) -> bool:
        return self.evidence >= self.wanted


def builds(counts: Sequence[tuple[float, int]], limit: float) -> list[Build]:
    """e-LOND over builds in their order, each with the behaviors broken and asked."""
    row: list[Build] = []
    for number, (broken, n) in enumerate(counts, 1):
        row.append(Build(below(broken, n, limit), needed(number, sum(build.passes for build in row))))
    return row


def last_build(n: int, limit: float, build: int, passed: int, most: int = FAR) -> int | None:
    """The last build that can pass with 0 of `n` behaviors broken, if all from `build` on do; None: none can, from
    `build` on. Stops at `most`."""
    best = below(0, n, limit)

    def passes(later: int) -> bool:
        return best >= needed(build + later, passed + later)

    if build > most or not passes(0):
        return None
    # (x / (x - d)) log^2 x, with x = build + later + 1 and d = build - passed, falls and then rises: bisect its rise
    return build + bisect_left(range(1, most - build + 1), True, key=lambda later: not passes(later))


def drift(counts: Sequence[tuple[float, int]], limit: float) -> list[float]:
    """The evidence after each build that the rate has risen above `limit`: the highest product so far.

    20 or more is an alarm, in 1 of 20 sequences at most if no build's rate, on these behaviors, lies above `limit`.
    """
    product, highest, row = 1.0, 1.0, []
    for broken, n in counts:
        # a build without drift may not bring evidence down to nothing: start anew with half of the stake
        product *= 0.5 + 0.5 * above(broken, n, limit)
        highest = max(highest, product)
        row.append(highest)
    return row
