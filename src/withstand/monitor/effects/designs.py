"""Three designs, each from sums of an outcome to an effect, and what weakens it."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from withstand.core import Json
from withstand.core.text import clock, count, percent, series
from withstand.monitor.effects.mitigation import Mitigation
from withstand.monitor.effects.outcomes import Cells, Jump, Outcome, cells, jumps, stretch
from withstand.monitor.traffic import Traffic
from withstand.redteam.dates import DAY, HOUR, WEEK, day_of
from withstand.stats.effect import Effect
from withstand.stats.experiments import NEVER, Arm, Panel, arm, arms_differ, forbidden_share, staged
from withstand.stats.regression import interrupted, two_way
from withstand.stats.special import Floats

SIDE = 8
"""Periods that a series needs before and after the date."""
RELATED = 0.6
"""Correlation of neighboring periods from which on intervals are too short."""
UNITS = 10
"""Units with an outcome that an arm needs."""
EVENTS = 5
"""Hits, and misses, without which a rate says nothing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The effect on an outcome. effect: None where it is unknown, and `why` says why.

    reference, treated: means of the outcome without and with the mitigation.   basis: what it rests on, in words.
    warnings: what weakens it.   details: further figures.
    """

    outcome: Outcome
    effect: Effect | None = None
    why: str = ""
    reference: float | None = None
    treated: float | None = None
    basis: str = ""
    warnings: tuple[str, ...] = ()
    details: dict[str, Json] = field(default_factory=dict)


def measure(traffic: Traffic, mitigation: Mitigation, outcome: Outcome, population: bool = True) -> Finding:
    """The effect of a mitigation on an outcome, by its design. population False: on everybody else."""
    span = traffic.span()
    if span is None:
        return Finding(outcome, why="there is no traffic")
    if not span[0] <= mitigation.since <= span[1]:
        return Finding(outcome, why="the mitigation lies outside of the traffic at hand")
    changes = jumps(traffic, outcome, DAY)
    if mitigation.design == "before-after":
        finding = _before_after(traffic, mitigation, outcome, span, changes, population)
    elif mitigation.design == "randomized":
        finding = _randomized(traffic, mitigation, outcome, span, changes)
    else:
        finding = _staged(traffic, mitigation, outcome, span, changes)
    [(deleted,)] = traffic.rows("SELECT count(*) FROM past_account WHERE first < ?", [span[0]])
    if not deleted:
        return finding
    lost = f"exchanges before {day_of(span[0])} are deleted (retention), and are not in it"
    return replace(finding, why=f"{finding.why}; {lost}" if finding.why else "", warnings=(*finding.warnings, lost))


def untreated(traffic: Traffic, mitigation: Mitigation, outcome: Outcome) -> Finding:
    """Of the units that are never treated: a series of days before and after the first date."""
    mitigation = replace(mitigation, period=DAY)
    span = traffic.span()
    assert span is not None
    changes = jumps(traffic, outcome, DAY)
    window, bounds = stretch(mitigation.since, mitigation.period, span, changes)
    own = cells(traffic, outcome, mitigation, window, by_unit=True)
    keep = np.isnan(own.start)
    return _series(_together(own, keep), mitigation, outcome, bounds)


# --- one date --------------------------------------------------------------------------------------------------------


def _before_after(
    traffic: Traffic, mitigation: Mitigation, outcome: Outcome, span: tuple[float, float], changes: list[Jump],
    population: bool,
) -> Finding:  # fmt: skip
    window, bounds = stretch(mitigation.since, mitigation.period, span, changes)
    if window[0] == window[1] and bounds:
        why = (
            f"{series([jump.text for jump in bounds])} within a period of the mitigation: the two cannot be told apart"
        )
        return Finding(outcome, why=why)
    return _series(cells(traffic, outcome, mitigation, window, by_unit=False, population=population), mitigation,
                   outcome, bounds)  # fmt: skip


def _together(own: Cells, keep: Any) -> Cells:
    """All kept units as one."""
    periods, back = np.unique(own.period[keep], return_inverse=True)
    sums, outcomes = (np.bincount(back, values[keep]).astype(float) for values in (own.sums, own.outcomes))
    empty: Floats = np.full(len(periods), np.nan)
    return Cells(np.full(len(periods), ""), periods, sums, outcomes, empty)


def _series(own: Cells, mitigation: Mitigation, outcome: Outcome, bounds: list[Jump]) -> Finding:
    after = own.period >= 0
    sides = int((~after).sum()), int(after.sum())
    name = {HOUR: "hour", DAY: "day", WEEK: "week"}.get(mitigation.period, clock(mitigation.period))
    if min(sides) < SIDE:
        before, later = (count(side, name) for side in sides)
        near = f", with no change of a labeler in them ({series([jump.text for jump in bounds])})" if bounds else ""
        hint = ": --labeler can name one that did not change" if bounds and not outcome.labeler else ""
        return Finding(
            outcome, why=f"{before} before and {later} after hold data{near}; {SIDE} of each are needed{hint}"
        )
    if few := _few(outcome, own.sums.sum(), own.outcomes.sum()):
        return Finding(outcome, why=few)
    weekly = mitigation.period == DAY and min(sides) >= 14
    season = (own.period + int(mitigation.since // DAY)) % 7 if weekly else None
    result = interrupted(own.sums / own.outcomes, own.outcomes, own.period, season)
    warnings = []
    if bounds:
        changed = series([jump.text for jump in bounds])
        warnings.append(f"only periods between changes of a labeler are used: {changed}")
    if mitigation.period == DAY and not weekly:
        warnings.append("under two weeks before or after: days of the week are not taken out")
    if result.related >= RELATED:
        warnings.append(
            f"neighboring periods resemble each other (correlation {result.related:.1f}): intervals that should hold "
            "the truth in 95% held it in 86 to 94% of simulations"
        )
    warnings.append("one date and no control: whatever else changed then is in the effect")
    treated = float(own.sums[after].sum() / own.outcomes[after].sum())
    details = {
        "at_once": _effect(result.level), "per_period": _effect(result.slope), "newey_west_error": result.newey_west,
        "related": result.related, "season": result.season, "periods_before": sides[0], "periods_after": sides[1],
    }  # fmt: skip
    basis = f"{count(sides[0], name)} before and {count(sides[1], name)} after, against the line of before"
    return Finding(
        outcome, result.average, "", treated - result.average.difference, treated, basis, tuple(warnings), details
    )


# --- arms ------------------------------------------------------------------------------------------------------------


def _randomized(
    traffic: Traffic, mitigation: Mitigation, outcome: Outcome, span: tuple[float, float], changes: list[Jump]
) -> Finding:
    late = [start for start in mitigation.starts.values() if start is not None]
    after = _arms(
        cells(traffic, outcome, mitigation, (max([mitigation.since, *late]), span[1] + 1), by_unit=True), outcome
    )
    if isinstance(after, str):
        return Finding(outcome, why=after)
    treated, control = after
    effect = arms_differ(treated, control)
    warnings = [f"a labeler changed, for both arms: {jump.text}" for jump in changes if jump.ts > mitigation.since]
    before = _arms(cells(traffic, outcome, mitigation, (span[0], mitigation.since), by_unit=True), outcome)
    details: dict[str, Json] = {"treated_units": treated.units, "control_units": control.units}
    if not isinstance(before, str):
        difference = arms_differ(*before)
        details["before"] = _effect(difference)
        if difference.p < 0.01:
            warnings.append(f"the arms differed before: p = {difference.p:.2g}; were units assigned at random?")
    basis = f"{treated.units:,} treated and {control.units:,} untreated units, errors between units"
    return Finding(outcome, effect, "", control.rate, treated.rate, basis, tuple(warnings), details)


def _arms(own: Cells, outcome: Outcome) -> tuple[Arm, Arm] | str:
    """The treated and the untreated arm, or why there are none."""
    names, back = np.unique(own.unit.astype(str), return_inverse=True)
    sums, outcomes = (np.bincount(back, values).astype(float) for values in (own.sums, own.outcomes))
    treated = np.zeros(len(names), bool)
    treated[back[~np.isnan(own.start)]] = True
    sizes = int(treated.sum()), int((~treated).sum())
    if min(sizes) < UNITS:
        return f"{sizes[0]:,} treated and {sizes[1]:,} untreated units have data; {UNITS} of each are needed"
    if few := _few(outcome, sums.sum(), outcomes.sum()):
        return few
    first, second = (arm(sums[side], outcomes[side], outcome.binary) for side in (treated, ~treated))
    return first, second


# --- staged ----------------------------------------------------------------------------------------------------------


def _staged(
    traffic: Traffic, mitigation: Mitigation, outcome: Outcome, span: tuple[float, float], changes: list[Jump]
) -> Finding:
    window, _ = stretch(mitigation.since, mitigation.period, span, [])
    own = cells(traffic, outcome, mitigation, window, by_unit=True)
    panel = _panel(own, mitigation)
    treated = panel.first < NEVER
    if not len(own.unit) or few_units(treated):
        counts = f"{int(treated.sum()):,} units that are treated and {int((~treated).sum()):,} that never are"
        return Finding(outcome, why=f"{counts} have data; two of the first are needed, and two to compare with")
    if few := _few(outcome, own.sums.sum(), own.outcomes.sum()):
        return Finding(outcome, why=few)
    try:
        result = staged(panel)
    except ValueError as error:
        return Finding(outcome, why=str(error))
    warnings = [f"a labeler changed, for all units: {jump.text}" for jump in changes]
    details: dict[str, Json] = {
        "group_times": [[cell.group, cell.period, cell.effect, cell.treated, cell.controls] for cell in result.cells],
        "skipped": result.skipped,
    }
    if result.before:
        details["before"] = _effect(result.before)
        if result.before.error and result.before.p < 0.05:
            warnings.append(f"groups were on different ways before they were treated: p = {result.before.p:.2g}")
    else:
        warnings.append("no period before the last one before treatment: nothing shows that trends were alike")
    _regression(panel, details, warnings)
    after = panel.period >= panel.first[panel.unit]
    mean = float(panel.sums[after].sum() / panel.outcomes[after].sum())
    groups = len({*panel.first[treated].tolist()})
    basis = f"{int(treated.sum()):,} units treated at {count(groups, 'date')}, against units not yet or never treated"
    return Finding(outcome, result.average, "", mean - result.average.difference, mean, basis, tuple(warnings), details)


def few_units(treated: Any) -> bool:
    """Whether a staged design has too few units: two treated ones, and two more."""
    return int(treated.sum()) < 2 or len(treated) < 4


def _panel(own: Cells, mitigation: Mitigation) -> Panel:
    """Periods from 0; a unit is treated from the period in which its date lies."""
    names, unit = np.unique(own.unit.astype(str), return_inverse=True)
    origin = int(own.period.min()) if len(own.period) else 0
    first = np.full(len(names), NEVER, np.int64)
    dated = ~np.isnan(own.start)
    first[unit[dated]] = np.maximum(
        0, np.floor((own.start[dated] - mitigation.since) / mitigation.period).astype(np.int64) - origin
    )
    return Panel(unit, own.period - origin, own.sums, own.outcomes, first)


def _regression(panel: Panel, details: dict[str, Json], warnings: list[str]) -> None:
    """The regression with means of units and periods, which is shown beside the group-time effects, not trusted."""
    treated = (panel.period >= panel.first[panel.unit]).astype(float)
    groups, sizes = np.unique(panel.first, return_counts=True)
    forbidden = forbidden_share(dict(zip(groups.tolist(), sizes.tolist(), strict=True)), int(panel.period.max()) + 1)
    try:
        details["two_way"] = _effect(
            two_way(panel.sums / panel.outcomes, treated, panel.unit, panel.period, panel.outcomes)
        )
    except ValueError:
        details["two_way"] = None
    details["forbidden_share"] = forbidden
    if forbidden > 0:
        warnings.append(
            "units were treated at different dates: a regression with means of units and periods would take "
            f"{percent(forbidden)} of its weight from comparisons with units treated before (Goodman-Bacon): not used"
        )


def _few(outcome: Outcome, hits: float, total: float) -> str:
    """Why an outcome says nothing; "" where it does."""
    if not total:
        return "no exchange has this outcome"
    if outcome.binary and min(hits, total - hits) < EVENTS:
        return (
            f"{hits:,.0f} of {total:,.0f} exchanges are {outcome.title}; {EVENTS} are needed, and as many that are not"
        )
    return ""


def _effect(effect: Effect) -> Json:
    return {"difference": effect.difference, "interval": list(effect.limits()), "p": effect.p}
