"""Shares and areas that figures on advice are made of, with intervals by scenario."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeAlias

from withstand.core.outcomes import HITS, SCORED
from withstand.results.advice_records import Asked, Share
from withstand.results.graded import BehaviorResult, Graded, Where
from withstand.stats import rates, roc


def is_right(outcome: str, cell: Graded) -> bool | None:
    """Whether advice was called what it is; None where that is unknown, as where a filter spoke on unsafe advice."""
    if outcome == "filtered" and not cell.benign:
        return None
    return outcome not in HITS[cell.measures] if outcome in SCORED else None


Reading: TypeAlias = Callable[[Graded, str, Where, str], bool | None]
"""What is counted of a case: its cell, the behavior's key, the numbers of test case and sample, its outcome."""


def share(cells: Sequence[Graded], reading: Reading) -> Share:
    """The mean over behaviors of what is counted, with an interval by scenario."""
    hits, scored, clusters = [], [], []
    for cell in cells:
        for key, behavior in cell.behaviors.items():
            read = [reading(cell, key, at, outcome) for at, outcome in behavior.outcomes.items()]
            hits.append(sum(value is True for value in read))
            scored.append(sum(value is not None for value in read))
            clusters.append(behavior.cluster)
    rate, spread = rates.mean_rate(hits, scored), rates.rate_interval(hits, scored, clusters=clusters)
    return Share(sum(n > 0 for n in scored), rate, (spread.low, spread.high) if spread else None)


def by_scenario(*cells: Graded) -> dict[str, list[tuple[Graded, BehaviorResult]]]:
    scenarios: dict[str, list[tuple[Graded, BehaviorResult]]] = defaultdict(list)
    for cell in cells:
        for behavior in cell.behaviors.values():
            scenarios[behavior.cluster or behavior.id].append((cell, behavior))
    return scenarios


def of_scenarios(hits: Sequence[bool]) -> Share:
    return Share(len(hits), sum(hits) / len(hits) if hits else None, rates.wilson(sum(hits), len(hits)))


Scores: TypeAlias = tuple[list[float], list[str]]
"""Of some cases, and their clusters."""


def of_scores(high: Scores, low: Scores) -> Share:
    area = roc.auroc(high[0], low[0], high[1], low[1])
    return Share(len(high[0]) + len(low[0]), *area) if area else Share(0, None, None)


def scores_of(entry: Asked, wanted: Callable[[int], bool]) -> Scores:
    """The scores of the cases with such numbers, and their clusters."""
    places = [
        (entry.scores[key, at], behavior.cluster or behavior.id)
        for key, behavior in entry.cell.behaviors.items()
        for at in behavior.outcomes
        if (key, at) in entry.scores and wanted(at[0])
    ]
    return [score for score, _ in places], [cluster for _, cluster in places]
