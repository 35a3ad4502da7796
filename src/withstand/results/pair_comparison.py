"""What changed from one cell to another: the paired difference, and the behaviors behind it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from withstand.core import Json, digest
from withstand.core.text import count, percent
from withstand.results.cells import Interval
from withstand.results.compare import Pair
from withstand.results.graded import Graded, Where
from withstand.stats import paired, rates

Correct = Literal["holm", "bh"]
CORRECTIONS: dict[Correct, tuple[str, Callable[[Sequence[float | None]], list[float | None]]]] = {
    "holm": ("Holm", paired.holm),
    "bh": ("Benjamini-Hochberg", paired.benjamini_hochberg),
}
ALPHA = 0.05


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

    varied: the dimensions in which they differ.   difference: of mean rates, in [-1, 1], with its 95% `interval`.
    bounds: the difference if all unknown cases fell against B, and all in its favor; None without unknown cases.
    p: of no difference; p_corrected: over all comparisons; p_unchanged: of a difference beyond the margin.
    worse, better: the behaviors that changed, by what that means for the target.   says: the answer in words.
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

    def corrected(self, p: float | None, margin: float) -> "PairComparison":
        """With p corrected for all comparisons, and the answer that follows. margin: in (0, 1)."""
        return replace(self, p_corrected=p, says=_answer(p, self.difference, self.p_unchanged, margin))


def compare(
    pairs: Sequence[Pair], texts: Mapping[str, Json], margin: float, correct: Correct, reveal: bool = False
) -> list[PairComparison]:
    """One comparison per pair. `texts`: behaviors by key; `margin`: what counts as unchanged, in (0, 1)."""
    rows = [_compared(pair, texts, margin, reveal) for pair in pairs]
    _, correction = CORRECTIONS[correct]
    corrected = correction([row.p for row in rows])
    return [row.corrected(p, margin) for row, p in zip(rows, corrected, strict=True)]


def _compared(pair: Pair, texts: Mapping[str, Json], margin: float, reveal: bool) -> PairComparison:
    keys = pair.keys
    a, n_a, u_a, all_a = pair.a.columns(keys)
    b, n_b, u_b, all_b = pair.b.columns(keys)
    estimate = paired.difference(a, n_a, b, n_b)
    unknown = sum(u_a) + sum(u_b)
    worse = -1 if pair.a.measures == "utility" else 1  # of right answers fewer are worse
    return PairComparison(
        label=pair.label,
        varied=pair.varied,
        benign=pair.a.benign,
        measures=pair.a.measures,
        a=_side_of(pair.a, keys),
        b=_side_of(pair.b, keys),
        behaviors=estimate.behaviors if estimate else 0,
        difference=estimate.difference if estimate else None,
        interval=estimate.limits() if estimate else None,
        bounds=_bounds(a, u_a, all_a, b, u_b, all_b) if unknown else None,
        p=estimate.p if estimate else None,
        method=estimate.method if estimate else "",
        p_unchanged=estimate.unchanged(margin) if estimate else None,
        worse=tuple(changes(pair, texts, worse, reveal)),
        better=tuple(changes(pair, texts, -worse, reveal)),
        notes=tuple(_notes(pair, sum(u_a), sum(u_b))),
    )


def _notes(pair: Pair, unknown_a: int, unknown_b: int) -> Iterator[str]:
    """What a reader of the comparison has to know."""
    only = len(pair.a.behaviors) + len(pair.b.behaviors) - 2 * len(pair.keys)
    if only:
        yield f"{count(only, 'behavior')} on one side only, left out"
    if unknown_a + unknown_b:
        yield f"{unknown_a} cases of A and {unknown_b} of B are unscored or in error: in the bounds alone"
    if pair.a.watched or pair.b.watched:
        yield "a side was stopped by what it found: the interval and p are a little too sure"
    if pair.a.budget != pair.b.budget:
        yield "the attacks had different budgets"
    if pair.b.cases and not pair.a.cases:
        yield "B was sent test cases that were found before: a transfer where the target has changed"


def _side_of(cell: Graded, keys: Sequence[str]) -> ComparedSide:
    hits, scored, unknown, wanted = cell.columns(keys)
    interval = rates.rate_interval(hits, scored)
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


def _answer(p: float | None, difference: float | None, p_unchanged: float | None, margin: float) -> str:
    """A comparison in words, from its corrected p."""
    if p is None or difference is None:
        return "nothing to compare"
    if p <= ALPHA:
        return "higher" if difference > 0 else "lower"
    if p_unchanged is not None and p_unchanged < ALPHA:
        return f"unchanged within {percent(margin).removesuffix('%')} points"
    return "no difference shown"
