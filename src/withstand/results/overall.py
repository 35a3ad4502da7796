"""Was B broken less often than A, over all that both met? One paired difference over all rows of a comparison."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeAlias

import numpy as np

from withstand.core.outcomes import HITS
from withstand.core.text import count
from withstand.results.cells import Interval
from withstand.results.compare import Pair
from withstand.results.graded import Graded, clusters_of
from withstand.results.pair_comparison import Answer, Correct, Estimate, answers, with_bounds
from withstand.results.reduced import of_attacks
from withstand.stats import paired
from withstand.stats.statistic import Statistic


@dataclass(frozen=True, slots=True)
class Counted:
    """Cases of one side that count, of those with a verdict, and the mean over behaviors of their rates, in [0, 1]."""

    hits: int
    scored: int
    rate: float | None


@dataclass(frozen=True, slots=True)
class Overall:
    """B minus A over the `behaviors` of both and the `rows` of cells in which both met them.

    measures: "harm", "over-refusal" or "utility".   statistic: "mean" of the rows, or "any_attack", whether any of them
    broke a behavior.   side: the label of B.   a, b: what they show in the rows in which both have a scored case of a
    behavior.   difference, interval, level, bounds, p and what follows: as in `PairComparison`, except that the family
    are the sides that are compared with A.   worse, better: how many behaviors changed, by what that means for the
    target.   name: what the figure is over, and of which B where there are several.
    """

    measures: str
    statistic: Statistic
    side: str
    rows: tuple[str, ...]
    behaviors: int
    a: Counted
    b: Counted
    difference: float | None
    interval: Interval | None
    level: float
    bounds: Interval | None
    p: float | None
    p_corrected: float | None
    p_unchanged: float | None
    p_unchanged_corrected: float | None
    method: str
    worse: int
    better: int
    says: str
    name: str


def overall(
    sides: Mapping[str, Sequence[Pair]], margin: float, correct: Correct, labeled: Mapping[int, Estimate] | None = None
) -> list[Overall]:
    """For each measure, and each side B by its label: all its pairs as one, and whether any attack broke a behavior.

    labeled: by the id of a pair, its difference from labels of both sides; it stands where a side has that pair alone.

    Behaviors are the independent units, so that attacks that break the same ones are no more evidence than one is.
    """
    rows: list[Overall] = []
    for measure in HITS:
        groups = {
            side: some for side, pairs in sides.items() if (some := [p for p in pairs if p.a.measures == measure])
        }
        rows += _family("mean", groups, margin, correct, labeled or {})
        attacked = {side: pairs for side, pairs in groups.items() if measure == "harm" and _have_a_worst_case(pairs)}
        rows += _family("any_attack", attacked, margin, correct)
    return rows


def _family(
    statistic: Statistic,
    groups: Mapping[str, Sequence[Pair]],
    margin: float,
    correct: Correct,
    labeled: Mapping[int, Estimate] | None = None,
) -> Iterator[Overall]:
    counted = [pairs if statistic == "mean" else _by_any(pairs) for pairs in groups.values()]
    met = [_met(pairs) for pairs in counted]
    estimates = [
        _estimate(behaviors, clusters_of([cell for pair in pairs for cell in (pair.a, pair.b)], behaviors))
        for behaviors, pairs in zip(met, counted, strict=True)
    ]
    alone = [(labeled or {}).get(id(pairs[0])) if len(pairs) == 1 else None for pairs in groups.values()]
    family = answers([of_labels or judged for of_labels, judged in zip(alone, estimates, strict=True)], margin, correct)
    for at, (side, pairs) in enumerate(groups.items()):
        name = _name(statistic, side if len(groups) > 1 else "", pairs)
        bounds = _bounds(counted[at])
        answer = replace(family[at], says=with_bounds(family[at].says, bounds, margin))
        yield _row(name, statistic, side, pairs, met[at], estimates[at], bounds, answer)


def _name(statistic: Statistic, side: str, pairs: Sequence[Pair]) -> str:
    """What a figure is over. side: the label of B where several are compared with A, else ""."""
    measure = pairs[0].a.measures
    if measure != "harm":
        return f"{measure} ({side})" if side else measure
    if statistic == "any_attack":
        over = f"any of {count(max(map(len, _attacked(pairs))), 'attack')}"
    elif len(pairs) > 1:
        over = f"mean of {count(len(pairs), 'row')}"
    else:
        return side or pairs[0].label
    return f"{side}, {over}" if side else over


Met: TypeAlias = Mapping[str, Sequence[tuple[int, int, int, int]]]
"""Hits and scored cases of A and of B, by behavior: one for each pair in which both have a scored case."""


def _met(pairs: Sequence[Pair]) -> Met:
    met: dict[str, list[tuple[int, int, int, int]]] = defaultdict(list)
    for pair in pairs:
        a, n_a, *_ = pair.a.columns(pair.keys)
        b, n_b, *_ = pair.b.columns(pair.keys)
        for key, *counts in zip(pair.keys, a, n_a, b, n_b, strict=True):
            hits_a, scored_a, hits_b, scored_b = counts
            if scored_a and scored_b:
                met[key].append((hits_a, scored_a, hits_b, scored_b))
    return met


def _attacked(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """The pairs by what was attacked: those of one list differ in the attack alone."""
    groups: dict[tuple[str, ...], list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.a.suite, pair.a.target, pair.a.defense, pair.b.target, pair.b.defense].append(pair)
    return list(groups.values())


def _have_a_worst_case(pairs: Sequence[Pair]) -> bool:
    """Whether several attacks met the same on both sides, with equal chances to break it."""
    same = all(pair.a.samples == pair.b.samples and "attack" not in pair.varied for pair in pairs)
    return same and any(len(group) > 1 for group in _attacked(pairs))


def _by_any(pairs: Sequence[Pair]) -> list[Pair]:
    """For each target one pair, of one case per behavior: whether any case of any attack broke it."""
    together = []
    for group in _attacked(pairs):
        keys = {key for pair in group for key in pair.keys}
        a, b = (
            of_attacks([_among(cell, keys) for cell in cells])
            for cells in zip(*((pair.a, pair.b) for pair in group), strict=True)
        )
        together.append(replace(group[0], a=a, b=b))
    return together


def _among(cell: Graded, keys: Collection[str]) -> Graded:
    """The cell with these behaviors alone."""
    return replace(cell, behaviors={key: result for key, result in cell.behaviors.items() if key in keys})


def _estimate(met: Met, clusters: Sequence[str]) -> paired.Difference | None:
    """The paired difference of the behaviors' means over the pairs."""
    rates = [[(a / n_a, b / n_b, max(1 / n_a, 1 / n_b)) for a, n_a, b, n_b in counts] for counts in met.values()]
    means = np.array([np.mean(some, axis=0) / (1, 1, len(some)) for some in rates]).reshape(-1, 3)
    return paired.difference_of_rates(means[:, 0], means[:, 1], means[:, 2], clusters)


def _row(
    name: str, statistic: Statistic, side: str, pairs: Sequence[Pair], met: Met, estimate: paired.Difference | None,
    bounds: Interval | None, answer: Answer,
) -> Overall:  # fmt: skip
    measure = pairs[0].a.measures
    up, down = (estimate.worse, estimate.better) if estimate else (0, 0)
    a, n_a, b, n_b = (sum(counts[at] for some in met.values() for counts in some) for at in range(4))
    return Overall(
        measures=measure,
        statistic=statistic,
        side=side,
        rows=tuple(pair.label for pair in pairs),
        behaviors=estimate.behaviors if estimate else 0,
        a=Counted(a, n_a, estimate.rate_a if estimate else None),
        b=Counted(b, n_b, estimate.rate_b if estimate else None),
        bounds=bounds,
        method=estimate.method if estimate else "",
        worse=down if measure == "utility" else up,  # of right answers fewer are worse
        better=up if measure == "utility" else down,
        name=name,
        **{entry.name: getattr(answer, entry.name) for entry in fields(answer)},
    )


def _bounds(pairs: Sequence[Pair]) -> Interval | None:
    """The difference if all unknown cases fell against B, and all in its favor; None without unknown cases."""
    ends: dict[str, list[tuple[float, float]]] = defaultdict(list)
    some = False
    for pair in pairs:
        a, _, u_a, all_a = pair.a.columns(pair.keys)
        b, _, u_b, all_b = pair.b.columns(pair.keys)
        some = some or any(u_a) or any(u_b)
        for key, ka, ua, na, kb, ub, nb in zip(pair.keys, a, u_a, all_a, b, u_b, all_b, strict=True):
            if na and nb:
                ends[key].append((kb / nb - (ka + ua) / na, (kb + ub) / nb - ka / na))
    if not some or not ends:
        return None
    low, high = np.mean([np.mean(values, axis=0) for values in ends.values()], axis=0)
    return float(low), float(high)
