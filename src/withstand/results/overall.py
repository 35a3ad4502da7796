"""Was B broken less often than A, over all that both met? One paired difference over all rows of a comparison."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from withstand.core.outcomes import HITS
from withstand.core.text import count
from withstand.results.cells import Interval
from withstand.results.compare import BehaviorPair, Pair, columns
from withstand.results.graded import Graded, clusters_of
from withstand.results.pair_comparison import OF_LABELS, Answer, Correct, answers, with_bounds
from withstand.results.reduced import of_attacks
from withstand.stats import paired
from withstand.stats.labeled_difference import LabeledDifference, MeanDifference
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
    sides: Mapping[str, Sequence[Pair]],
    margin: float,
    correct: Correct,
    labeled: Mapping[int, LabeledDifference] | None = None,
) -> list[Overall]:
    """For each measure, and each side B by its label: all its pairs as one, and whether any attack broke a behavior.

    labeled: by the id of a pair, its difference from labels of both sides. Their mean stands where all pairs of a side
    have one, on the same behaviors; a row of `any_attack` stays as judged, since labels are of cases.

    Behaviors are the independent units, so that attacks that break the same ones are no more evidence than one is.
    """
    rows: list[Overall] = []
    for measure in HITS:
        groups = {
            side: as_they_are(some)
            for side, pairs in sides.items()
            if (some := [p for p in pairs if p.a.measures == measure])
        }
        rows += _family("mean", groups, margin, correct, labeled or {})
        attacked = {side: pairs for side, pairs in groups.items() if measure == "harm" and _have_a_worst_case(pairs)}
        rows += _family("any_attack", attacked, margin, correct)
    return rows


def as_they_are(pairs: list[Pair]) -> list[Pair]:
    """Of pairs of benign cells those of requests that were sent as they are, where there are some: variants of them
    have rows of their own."""
    direct = [
        pair for pair in pairs if pair.a.measures == "over-refusal" and pair.a.attack == pair.b.attack == "direct"
    ]
    return direct or pairs


def _family(
    statistic: Statistic,
    groups: Mapping[str, Sequence[Pair]],
    margin: float,
    correct: Correct,
    labeled: Mapping[int, LabeledDifference] | None = None,
) -> Iterator[Overall]:
    counted = [pairs if statistic == "mean" else _by_any(pairs) for pairs in groups.values()]
    estimates = [_estimate(pairs) for pairs in counted]
    corrected = [of_labels(pairs, labeled or {}) for pairs in groups.values()]
    family = answers([right or judged for right, judged in zip(corrected, estimates, strict=True)], margin, correct)
    for at, (side, pairs) in enumerate(groups.items()):
        name = _name(statistic, side if len(groups) > 1 else "", pairs)
        bounds = _bounds(counted[at])
        answer = replace(family[at], says=with_bounds(family[at].says, bounds, margin))
        yield _row(name, statistic, side, pairs, counted[at], estimates[at], bounds, answer, corrected[at] is not None)


def of_labels(pairs: Sequence[Pair], labeled: Mapping[int, LabeledDifference]) -> MeanDifference | None:
    """The mean of the pairs' differences from labels, None unless all have one and are of the same behaviors."""
    parts = [labeled[id(pair)] for pair in pairs if id(pair) in labeled]
    behaviors = {frozenset(pair.rates()) for pair in pairs}
    return MeanDifference(tuple(parts)) if len(parts) == len(pairs) and len(behaviors) == 1 else None


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


def _counts(pairs: Sequence[Pair]) -> Iterator[tuple[int, int, int, int]]:
    """Hits and scored cases of A and of B, for each pair and behavior in which both have a scored case."""
    for pair in pairs:
        sides = [side.columns(pair.keys)[:2] for side in (pair.a, pair.b)]
        for counts in zip(*(column for side in sides for column in side), strict=True):
            if counts[1] and counts[3]:
                yield counts


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


def _estimate(pairs: Sequence[Pair]) -> paired.Difference | None:
    """The paired difference of the behaviors' means over the pairs."""
    rates: dict[str, list[BehaviorPair]] = defaultdict(list)
    for pair in pairs:
        for key, behavior in pair.rates().items():
            rates[key].append(behavior)
    means = (BehaviorPair(*(np.mean(some, axis=0) / (1, 1, 1, len(some)))) for some in rates.values())
    clusters = clusters_of([cell for pair in pairs for cell in (pair.a, pair.b)], rates)
    return paired.difference_of_rates(*columns(means), clusters=clusters)


def _row(
    name: str, statistic: Statistic, side: str, pairs: Sequence[Pair], counted: Sequence[Pair],
    estimate: paired.Difference | None, bounds: Interval | None, answer: Answer, corrected: bool,
) -> Overall:  # fmt: skip
    measure = pairs[0].a.measures
    up, down = (estimate.worse, estimate.better) if estimate else (0, 0)
    a, n_a, b, n_b = (sum(column) for column in zip((0, 0, 0, 0), *_counts(counted), strict=True))
    return Overall(
        measures=measure,
        statistic=statistic,
        side=side,
        rows=tuple(pair.label for pair in pairs),
        behaviors=estimate.behaviors if estimate else 0,
        a=Counted(a, n_a, estimate.rate_a if estimate else None),
        b=Counted(b, n_b, estimate.rate_b if estimate else None),
        bounds=bounds,
        method=OF_LABELS if corrected else estimate.method if estimate else "",
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
