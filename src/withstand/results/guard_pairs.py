"""Two guards on the same texts: which ranks them better, and which catches more where each operates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from withstand.results.guard_figures import Ends, GuardResult, Mask, Scored
from withstand.stats import paired, roc


@dataclass(frozen=True, slots=True)
class GuardDifference:
    """Guard `b` minus guard `a` on the same texts: areas by DeLong's test, and what each catches and falsely blocks
    where it operates, by McNemar's test with Tango's interval; each with its limits and p. None where one has none."""

    a: str
    b: str
    area: tuple[float, Ends, float] | None
    caught: tuple[float, Ends, float] | None
    alarms: tuple[float, Ends, float] | None
    method: str
    caught_alone: tuple[int, int]


def difference_of(a: Scored, b: Scored, results: tuple[GuardResult, GuardResult], pairs: int = 1) -> GuardDifference:
    """Two guards on the same texts, each where it operates. pairs: of guards that are compared, for Bonferroni's
    correction of p and limits."""
    level, area = 1 - 0.05 / pairs, None
    if not (a.labels or b.labels):
        ranked = roc.placed(a.high, a.low), roc.placed(b.high, b.low)
        difference, ends, p = roc.area_difference(*ranked, a.of_high, a.of_low, level)
        area = difference, ends, min(1.0, pairs * p)
    caught = alarms = None
    method, alone = "", (0, 0)
    places = [_place(result) for result in results]
    if places[0] is not None and places[1] is not None:
        (caught_a, alarms_a), (caught_b, alarms_b) = a.blocked(places[0]), b.blocked(places[1])
        caught, method = _paired(caught_a, caught_b, a.of_high, pairs)
        alarms, _ = _paired(alarms_a, alarms_b, a.of_low, pairs)
        alone = int((caught_a & ~caught_b).sum()), int((caught_b & ~caught_a).sum())
    return GuardDifference(results[0].guard, results[1].guard, area, caught, alarms, method, alone)


def _place(result: GuardResult) -> float | None:
    if result.at is None:
        return None
    return 1.0 if result.at.threshold is None else result.at.threshold


def _paired(a: Mask, b: Mask, clusters: Sequence[str], pairs: int) -> tuple[tuple[float, Ends, float], str]:
    rates_a, rates_b = a.astype(float), b.astype(float)
    difference = paired.difference_of_rates(
        rates_a, rates_b, np.abs(rates_b - rates_a), np.ones(len(a)), clusters=list(clusters)
    )
    assert difference is not None
    ends, p = difference.limits(1 - 0.05 / pairs), min(1.0, pairs * difference.p)
    return (difference.difference, ends, p), difference.method
