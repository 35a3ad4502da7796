"""Effects of a treatment of units that each have many outcomes: accounts in two arms, and a staged roll-out.

Pure functions. The unit of randomness is the unit that is treated, never the request: requests of an account resemble
each other, and a test on requests finds effects of nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from withstand.stats.effect import Effect
from withstand.stats.special import Floats

Ints = npt.NDArray[np.int64]
NEVER = 1 << 40
"""The first treated period of a unit that is never treated."""


@dataclass(frozen=True, slots=True)
class Arm:
    """The mean outcome of an arm. units: with an outcome.   df: of the variance between units, by Satterthwaite: few
    large units are worth few, however many small ones there are."""

    rate: float
    variance: float
    df: float
    units: int
    outcomes: int


def arm(sums: Floats, outcomes: Floats, binary: bool) -> Arm:
    """Of each unit's sum of outcomes and their number; units without one are left out. Raises `ValueError` without two.

    The variance is that of a ratio of totals with the factor G / (G - 1), as of cluster-robust least squares on the
    outcomes. binary: outcomes are 0 or 1; then it is no smaller than that of independent ones with one hit and one miss
    added, for an arm without a hit does not know that there will be none.
    """
    sums, n = sums[outcomes > 0], outcomes[outcomes > 0]
    if len(n) < 2:
        raise ValueError("an arm needs two units with outcomes")
    total = float(n.sum())
    rate = float(sums.sum()) / total
    variance = len(n) / (len(n) - 1) * float(np.square(sums - rate * n).sum()) / total**2
    if binary:
        smooth = (float(sums.sum()) + 1) / (total + 2)
        variance = max(variance, smooth * (1 - smooth) / total)
    df = max(1.0, float(np.square(n).sum() ** 2 / np.power(n, 4).sum()) - 1)
    return Arm(rate, variance, df, len(n), int(total))


def arms_differ(treated: Arm, control: Arm) -> Effect:
    """The difference of the arms' means, with the degrees of freedom of Welch."""
    both = treated.variance + control.variance
    parts = treated.variance**2 / treated.df + control.variance**2 / control.df
    df = both**2 / parts if parts > 0 else 1.0
    return Effect(treated.rate - control.rate, math.sqrt(both), df)


# --- staged ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Panel:
    """Outcomes of units by period. unit: from 0.   period: from 0.   sums of `outcomes` each, of one row.

    first: of each unit the period from which on it is treated, `NEVER` for never.
    """

    unit: Ints
    period: Ints
    sums: Floats
    outcomes: Floats
    first: Ints


@dataclass(frozen=True, slots=True)
class GroupTime:
    """The effect on units first treated in period `group`, in `period`; before `group` it is what trends differ by.

    treated, controls: units that have outcomes in it and in the period before the group's treatment.
    """

    group: int
    period: int
    effect: float
    treated: int
    controls: int


@dataclass(frozen=True, slots=True)
class Staged:
    """average: of the group-time effects, weighted by treated units.   before: the same of periods before treatment,
    None where there are none: if it is there, groups were on other ways already.   cells: all that could be computed.

    skipped: group-times without two treated units or two controls.
    """

    average: Effect
    before: Effect | None
    cells: tuple[GroupTime, ...]
    skipped: int


def staged(panel: Panel) -> Staged:
    """Group-time effects against units that are not treated yet, or never.

    Callaway and Sant'Anna 2021, J. Econometrics 225:200, without covariates: each compares the change since the last
    period before treatment, so that no treated unit ever is a control. A unit's change weighs as much as its outcomes
    of both periods say (n m / (n + m)). Errors are those of the sum of each unit's influences. Raises `ValueError`
    without any.
    """
    rates, sizes = _table(panel)
    number = len(panel.first)
    total = {True: np.zeros(number), False: np.zeros(number)}
    sums, weights = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}
    cells, skipped = [], 0
    for group in sorted({*panel.first.tolist()} - {NEVER}):
        for period in range(rates.shape[1]):
            if group < 1 or period == group - 1:
                continue
            cell = _group_time(rates, sizes, panel.first, group, period)
            if cell is None:
                skipped += 1
                continue
            effect, influence, treated, controls = cell
            after = period >= group
            total[after] += treated * influence
            sums[after] += treated * effect
            weights[after] += treated
            cells.append(GroupTime(group, period, effect, treated, controls))
    if not weights[True]:
        raise ValueError("no group of units has two treated and two untreated ones with outcomes before and after")
    size = sizes.sum(axis=1)
    effects = {
        after: Effect(sums[after] / weights[after], *_error(total[after] / weights[after], size, panel.first < NEVER))
        for after in (True, False) if weights[after]
    }  # fmt: skip
    return Staged(effects[True], effects.get(False), tuple(cells), skipped)


def _table(panel: Panel) -> tuple[Floats, Floats]:
    """Rates and numbers of outcomes by unit and period; a rate without an outcome is 0 and has no weight."""
    shape = len(panel.first), int(panel.period.max()) + 1
    sums, sizes = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (panel.unit, panel.period), panel.sums)
    np.add.at(sizes, (panel.unit, panel.period), panel.outcomes)
    return sums / np.maximum(sizes, 1), sizes


def _group_time(
    rates: Floats, sizes: Floats, first: Ints, group: int, period: int
) -> tuple[float, Floats, int, int] | None:
    """The effect, each unit's influence on it, and how many units are treated and controls."""
    base = group - 1
    change = rates[:, period] - rates[:, base]
    both = sizes[:, period] + sizes[:, base]
    weight = sizes[:, period] * sizes[:, base] / np.maximum(both, 1)
    influence, effect, counts = np.zeros(len(first)), 0.0, []
    for sign, inside in ((1, first == group), (-1, first > max(period, group))):
        own = np.where(inside, weight, 0.0)
        count = int(np.count_nonzero(own))
        if count < 2:
            return None
        mean = float(own @ change / own.sum())
        effect += sign * mean
        influence += sign * own * (change - mean) / own.sum() * math.sqrt(count / (count - 1))
        counts.append(count)
    return effect, influence, counts[0], counts[1]


def _error(influence: Floats, sizes: Floats, treated: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """The standard error, and the degrees of freedom of Welch over units that are ever treated and the others."""
    sides = [
        (float(np.square(influence[side]).sum()), _freedom(sizes[side])) for side in (treated, ~treated) if side.any()
    ]
    variance = sum(part for part, _ in sides)
    spread = sum(part**2 / df for part, df in sides)
    return math.sqrt(variance), variance**2 / spread if spread else 1.0


def _freedom(sizes: Floats) -> float:
    sizes = sizes[sizes > 0]
    return max(1.0, float(np.square(sizes).sum() ** 2 / np.power(sizes, 4).sum()) - 1)


def forbidden_share(units: Mapping[int, int], periods: int) -> float:
    """The weight that a regression with means of units and periods puts on comparisons with units treated before.

    units: first treated period -> how many.   Goodman-Bacon 2021, J. Econometrics 225:254, theorem 1, of a panel
    without gaps: where effects grow or fade, these comparisons take the early units' own effect for the trend, and
    turn signs. 0 with one date.
    """
    total = sum(units.values())
    share = {group: number / total for group, number in units.items()}
    treated = {group: max(0, periods - group) / periods for group in units}
    weights = {True: 0.0, False: 0.0}
    groups: Sequence[int] = sorted(units)
    for at, early in enumerate(groups):
        for late in groups[at + 1 :]:
            pair, d, e = share[early] * share[late], treated[early], treated[late]
            # the early unit's change against the late one before it is treated, then the late one's against the early
            weights[False] += pair * (d - e) * (1 - d)
            weights[True] += pair * e * (d - e)
    everything = weights[True] + weights[False]
    return weights[True] / everything if everything else 0.0
