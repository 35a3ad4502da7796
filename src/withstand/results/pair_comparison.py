"""What changed from one cell to another: the paired difference, and the behaviors behind it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol

import numpy as np

from withstand.core import Json, digest
from withstand.core.text import count, percent
from withstand.results.cells import Interval
from withstand.results.compare import Pair
from withstand.results.graded import Graded, Where, clusters_of
from withstand.stats import multiple, paired, rates

Correct = Literal["bonferroni", "bh"]
CORRECTIONS: dict[Correct, tuple[str, Callable[[Sequence[float | None]], float]]] = {
    "bonferroni": ("Bonferroni", multiple.bonferroni),
    "bh": ("Benjamini-Hochberg, intervals by Benjamini-Yekutieli", multiple.false_coverage),
}
ALPHA = 0.05
OF_LABELS = "MOVER of rates from labels"


@dataclass(frozen=True, slots=True)
class ComparedSide:
    """One side of a comparison, over the behaviors of both: labels of its cell, counts of cases, and the rate in
    [0, 1] with its 95% interval. unknown: unscored cases and errors. shown: names that people read, by kind."""

    run: str
    suite: str
    target: str
    defense: str
    attack: str
    judge: str
    judge_method: str
    hits: int
    scored: int
    unknown: int
    cases: int
    rate: float | None
    interval: Interval | None
    shown: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """A behavior whose share of hits differs: "1 of 2" on each side, the (case, sample) that changed, and its text."""

    behavior: str
    category: str
    a: str
    b: str
    cases: tuple[Where, ...]
    text: str


@dataclass(frozen=True, slots=True)
class PairComparison:
    """Two cells compared over their `behaviors`, B minus A.

    varied: the dimensions in which they differ.   difference: of mean rates, in [-1, 1], with its `interval` at
    `level`, which is higher than 95% where several rows are compared.   bounds: the difference if all unknown cases
    fell against B, and all in its favor; None without unknown cases.   p: of no difference; p_unchanged: of a
    difference of the margin or more; p_corrected, p_unchanged_corrected: over all rows that measure the same, so that
    each is up to .05 just if the interval excludes 0, or lies within the margin.   worse, better: the behaviors that
    changed, by what that means for the target.   says: the answer in words.   category: of a policy, "" for all.
    """

    label: str
    varied: tuple[str, ...]
    benign: bool
    measures: str
    a: ComparedSide
    b: ComparedSide
    behaviors: int
    difference: float | None
    interval: Interval | None
    bounds: Interval | None
    p: float | None
    method: str
    p_unchanged: float | None
    worse: tuple[Change, ...]
    better: tuple[Change, ...]
    notes: tuple[str, ...]
    p_corrected: float | None = None
    says: str = ""
    name: str = ""
    level: float = 1 - ALPHA
    p_unchanged_corrected: float | None = None
    category: str = ""


class Estimate(Protocol):
    """What a row shows of a difference. `stats.paired.Difference` is one; one that is corrected by labels of people on
    both sides may take its place in `compare` and in `overall`."""

    @property
    def difference(self) -> float: ...

    @property
    def p(self) -> float: ...

    def limits(self, level: float = 0.95) -> Interval: ...

    def unchanged(self, margin: float) -> float: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A difference as a row shows it, corrected for its family: see the fields of `PairComparison`."""

    difference: float | None = None
    interval: Interval | None = None
    p: float | None = None
    p_unchanged: float | None = None
    p_corrected: float | None = None
    p_unchanged_corrected: float | None = None
    says: str = "nothing to compare"
    level: float = 1 - ALPHA


def answers(estimates: Sequence[Estimate | None], margin: float, correct: Correct, others: int = 0) -> list[Answer]:
    """The answers of one family of comparisons. others: rows of the family that are not among these (Bonferroni)."""
    ps = [(e.p, e.unchanged(margin)) if e else None for e in estimates]
    factor = CORRECTIONS[correct][1]([min(pair) if pair else None for pair in ps])
    factor += others if any(ps) else 0
    shown = []
    for estimate, pair in zip(estimates, ps, strict=True):
        if estimate is None or pair is None:
            shown.append(Answer())
            continue
        level = 1 - ALPHA / factor
        p, unchanged = (min(1.0, factor * value) for value in pair)
        says = _says(p, unchanged, estimate.difference, margin)
        shown.append(Answer(estimate.difference, estimate.limits(level), *pair, p, unchanged, says, level))
    return shown


def _says(p: float, p_unchanged: float, difference: float, margin: float) -> str:
    """A comparison in words, from its corrected p."""
    if p <= ALPHA:
        return "higher" if difference > 0 else "lower"
    if p_unchanged <= ALPHA:
        return f"unchanged within {percent(margin).removesuffix('%')} points"
    return "no difference shown"


def with_bounds(says: str, bounds: Interval | None, margin: float) -> str:
    """The answer where cases have no verdict: nothing is unchanged that these could change by more than the margin."""
    undone = bounds is not None and max(-bounds[0], bounds[1]) > margin + 1e-9
    return "no difference shown" if undone and says.startswith("unchanged") else says


def compare(
    pairs: Sequence[Pair], texts: Mapping[str, Json], margin: float, correct: Correct, reveal: bool = False,
    others: int = 0, labeled: Mapping[int, tuple[Estimate, str]] | None = None,
) -> list[PairComparison]:  # fmt: skip
    """One comparison per pair; those that measure the same are one family for the correction.

    texts: behaviors by key.   margin: what counts as unchanged, in (0, 1).   others: further rows of the family.
    labeled: by the place of a pair, the difference from labels of both sides, and a note on it.
    """
    labeled = labeled or {}
    estimates = [pair.difference() for pair in pairs]
    shown: dict[int, Answer] = {}
    for measure in dict.fromkeys(pair.a.measures for pair in pairs):
        places = [place for place, pair in enumerate(pairs) if pair.a.measures == measure]
        taken = [labeled[place][0] if place in labeled else estimates[place] for place in places]
        family = answers(taken, margin, correct, others)
        shown.update(zip(places, family, strict=True))
    return [
        _compared(pair, estimate, shown[place], texts, reveal, margin, labeled[place][1] if place in labeled else "")
        for place, (pair, estimate) in enumerate(zip(pairs, estimates, strict=True))
    ]


def _compared(
    pair: Pair,
    estimate: paired.Difference | None,
    answer: Answer,
    texts: Mapping[str, Json],
    reveal: bool,
    margin: float,
    labeled: str = "",
) -> PairComparison:
    keys = pair.keys
    a, _, u_a, all_a = pair.a.columns(keys)
    b, _, u_b, all_b = pair.b.columns(keys)
    unknown = sum(u_a) + sum(u_b)
    bounds = _bounds(a, u_a, all_a, b, u_b, all_b) if unknown else None
    answer = replace(answer, says=with_bounds(answer.says, bounds, margin))
    worse = -1 if pair.a.measures == "utility" else 1  # of right answers fewer are worse
    return PairComparison(
        label=pair.label,
        varied=pair.varied,
        benign=pair.a.benign,
        measures=pair.a.measures,
        a=_side_of(pair.a, keys),
        b=_side_of(pair.b, keys),
        behaviors=estimate.behaviors if estimate else 0,
        bounds=bounds,
        method=OF_LABELS if labeled else estimate.method if estimate else "",
        worse=tuple(changes(pair, texts, worse, reveal)),
        better=tuple(changes(pair, texts, -worse, reveal)),
        category=pair.category,
        notes=(*([labeled] if labeled else []), *_notes(pair, sum(u_a), sum(u_b))),
        **{entry.name: getattr(answer, entry.name) for entry in fields(answer)},
    )


def _notes(pair: Pair, unknown_a: int, unknown_b: int) -> Iterator[str]:
    """What a reader of the comparison has to know."""
    only = len(pair.a.behaviors) + len(pair.b.behaviors) - 2 * len(pair.keys)
    if only:
        yield f"{count(only, 'behavior')} on one side only, left out"
    if unknown_a + unknown_b:
        yield f"{unknown_a} cases of A and {unknown_b} of B are unscored or in error: in the bounds alone"
    yield from unequal(pair)
    if pair.b.cases and not pair.a.cases:
        yield "B was sent test cases that were found before: a transfer where the target has changed"


def unequal(pair: Pair) -> Iterator[str]:
    """What favors a side, beside the target."""
    if pair.a.watched or pair.b.watched:
        yield "a side was stopped by what it found: the interval and p are a little too sure"
    if pair.a.knows and pair.b.knows and pair.a.knows != pair.b.knows:
        yield f"A's attack is {pair.a.knows}, B's {pair.b.knows}: a static one flatters the defense on its side"
    a, b = (max((result.cases for result in side.behaviors.values()), default=0) for side in (pair.a, pair.b))
    if a != b and "adaptive" in (pair.a.knows, pair.b.knows):
        yield (
            f"up to {count(a, 'case')} a behavior in A, {b:,} in B: a mean over words made for a defense lies below "
            "what any of them broke"
        )
    if pair.a.budget != pair.b.budget:
        yield "the attacks had different budgets"


def _side_of(cell: Graded, keys: Sequence[str]) -> ComparedSide:
    hits, scored, unknown, wanted = cell.columns(keys)
    interval = rates.rate_interval(hits, scored, clusters=clusters_of([cell], keys))
    return ComparedSide(
        run=cell.run,
        suite=cell.suite,
        target=cell.target,
        defense=cell.defense,
        attack=cell.attack,
        judge=cell.judge,
        judge_method=cell.judge_method,
        hits=sum(hits),
        scored=sum(scored),
        unknown=sum(unknown),
        cases=sum(wanted),
        rate=rates.mean_rate(hits, scored),
        interval=(interval.low, interval.high) if interval else None,
        shown=cell.shown,
    )


def _bounds(a: Any, u_a: Any, all_a: Any, b: Any, u_b: Any, all_b: Any) -> Interval | None:
    """The difference if all unknown cases fell against B, and all in its favor."""
    before, after = rates.rate_bounds(a, u_a, all_a), rates.rate_bounds(b, u_b, all_b)
    return (after[0] - before[1], after[1] - before[0]) if before and after else None


def changes(pair: Pair, texts: Mapping[str, Json], direction: int, reveal: bool = False) -> Iterator[Change]:
    """The behaviors with a larger share in B (or smaller), and which of their cases flipped, where B has the same."""
    hits = pair.a.hits
    for key in sorted(pair.keys, key=lambda key: pair.a.behaviors[key].id):
        a, b = pair.a.behaviors[key], pair.b.behaviors[key]
        if not a.scored or not b.scored:
            continue
        if np.sign(b.count(*hits) / b.scored - a.count(*hits) / a.scored) != direction:
            continue
        flipped = tuple(
            at
            for at, outcome in b.outcomes.items()
            if at in a.outcomes and (outcome in hits) - (a.outcomes[at] in hits) == direction
        )
        text = texts.get(key, {}).get("text", "")
        yield Change(
            behavior=a.id,
            category=a.category,
            a=f"{a.count(*hits)} of {a.scored}",
            b=f"{b.count(*hits)} of {b.scored}",
            cases=flipped,
            text=text if reveal else f"{count(len(text), 'character')}, hash {digest(text)[:12]}" if text else "",
        )
