"""Figures over the prompts of a measure: by half and group, over k, by category of the scorer, and of swapped terms."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from withstand.core.continuation import HALVES, Half
from withstand.core.identities import Identities, slices_of
from withstand.results.slices import masks_of
from withstand.results.toxicity_draws import PromptDraws, counts_of
from withstand.results.toxicity_records import (
    Change,
    CurvePoint,
    Figure,
    GroupKind,
    PromptGroup,
    ScorerCategory,
    SwapPair,
)
from withstand.stats import maximum
from withstand.stats.rates import ks
from withstand.stats.winners import level_of_each

Floats: TypeAlias = npt.NDArray[np.float64]
Scores: TypeAlias = Callable[[PromptDraws], Sequence[float]]

MAXIMUM, PROBABILITY, MEAN = range(3)


@dataclass(frozen=True, slots=True)
class Counting:
    """How draws are counted. k: draws of a maximum.   threshold: a score from which on a draw is toxic.   seed: of the
    resamples.   identities: the terms by which prompts are sliced, None for ours."""

    k: int
    threshold: float
    seed: int
    identities: Identities | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Figures of prompts, one column each. values, low, high: of shape (3, prompts): expected maximum of k, the chance
    that k draws hold a toxic one, mean; the last two with what is open as 0 and as 1.   full: whether k draws have a
    score; elsewhere `values` is not a number."""

    prompts: tuple[PromptDraws, ...]
    values: Floats
    low: Floats
    high: Floats
    full: npt.NDArray[np.bool_]

    @staticmethod
    def of(
        prompts: Sequence[PromptDraws], counting: Counting, k: int | None = None,
        scores: Scores = lambda prompt: prompt.scores,
    ) -> "Table":  # fmt: skip
        """k: in place of that of `counting`.   scores: those of one category of the scorer."""
        size = counting.k if k is None else k
        columns = [_column(prompt, scores(prompt), size, counting.threshold) for prompt in prompts]
        parts = np.array(columns, float).reshape(len(prompts), 3, 3).transpose(1, 2, 0)
        return Table(tuple(prompts), parts[0], parts[1], parts[2], ~np.isnan(parts[0, 0]))

    def among(self, mask: Sequence[bool] | npt.NDArray[np.bool_]) -> "Table":
        """The prompts that a mask keeps."""
        kept = np.asarray(mask, bool)
        prompts = tuple(prompt for prompt, keep in zip(self.prompts, kept, strict=True) if keep)
        return Table(prompts, self.values[:, kept], self.low[:, kept], self.high[:, kept], self.full[kept])

    def figures(self, counting: Counting, level: float = 0.95) -> tuple[Figure, Figure, Figure]:
        """Expected maximum, probability and mean."""
        bounds = list(zip(self.low.mean(axis=1).tolist(), self.high.mean(axis=1).tolist(), strict=True))
        if not self.full.any():
            first, second, third = (Figure(None, None, ends) for ends in bounds)
            return first, second, third
        values = self.values[:, self.full]
        limits = maximum.mean_intervals(values, self.among(self.full).clusters, level, counting.seed)
        first, second, third = map(Figure, values.mean(axis=1).tolist(), limits, bounds)
        return first, second, third

    @property
    def clusters(self) -> list[str]:
        """Of each prompt."""
        return [prompt.cluster for prompt in self.prompts]

    def half(self, half: Half) -> "Table":
        return self.among([prompt.half == half for prompt in self.prompts])


def _column(prompt: PromptDraws, scores: Sequence[float], k: int, threshold: float) -> list[list[float]]:
    """Three figures of a prompt, then what they are at least and at most."""
    toxic = [float(score >= threshold) for score in scores]
    lost = len(prompt.scores) - len(scores)  # scored, but not in this category
    open_ = prompt.open + lost
    ends = [maximum.bounds(scores, open_, k), maximum.bounds(toxic, open_, k), maximum.bounds(scores, open_, 1)]
    values = [np.nan] * 3
    if len(scores) >= k:
        values = [maximum.expected_maximum(draws, size) for draws, size in ((scores, k), (toxic, k), (scores, 1))]
    return [values, [low for low, _ in ends], [high for _, high in ends]]


# --- by half and group -------------------------------------------------------------------------------------------


def groups(table: Table, counting: Counting) -> Iterator[PromptGroup]:
    """The prompts of each half, and by what they have in common; an axis on which all are alike is left out."""
    for half in HALVES:
        whole = table.half(half)
        if not whole.prompts:
            continue
        yield _group(whole, half, "all", "", counting, 0.95)
        masks = masks_of([_slices(prompt, counting.identities) for prompt in whole.prompts])
        for kind in get_args(GroupKind):
            named = masks.get(kind, {})
            for name in sorted(named) if len(named) > 1 else ():
                yield _group(whole.among(named[name]), half, kind, name, counting, level_of_each(len(named)))


def _slices(prompt: PromptDraws, own: Identities | None) -> list[tuple[GroupKind, str]]:
    category: list[tuple[GroupKind, str]] = [("category", prompt.category)] if prompt.category else []
    return [*category, *slices_of(prompt.text, own)]


def _group(table: Table, half: Half, kind: GroupKind, name: str, counting: Counting, level: float) -> PromptGroup:
    own = [prompt for prompt, full in zip(table.prompts, table.full, strict=True) if full]
    clusters = len({prompt.cluster or prompt.key for prompt in own})
    return PromptGroup(
        half, kind, name, len(table.prompts), len(own), clusters, counts_of(table.prompts),
        *table.figures(counting, level),
    )  # fmt: skip


def curve(table: Table, counting: Counting) -> Iterator[CurvePoint]:
    """How the figures of each half grow with k, over the prompts that have all k draws of the last point."""
    for k in ks(counting.k):
        at = Table.of(table.prompts, counting, k)
        at = Table(at.prompts, at.values, at.low, at.high, table.full)
        for half in HALVES:
            whole = at.half(half)
            if whole.prompts:
                top, chance, _ = whole.figures(counting)
                yield CurvePoint(half, k, top, chance)


def categories(table: Table, counting: Counting) -> Iterator[ScorerCategory]:
    """Each category of a scorer that has two or more."""
    names = sorted({name for prompt in table.prompts for draw in prompt.draws for name in draw.scores or ()})
    if len(names) < 2:
        return
    tables = {name: Table.of(table.prompts, counting, scores=_in(name)) for name in names}
    for half in HALVES:
        for name in names:
            whole = tables[name].half(half)
            if whole.prompts:
                figures = whole.figures(counting, level_of_each(len(names)))
                yield ScorerCategory(half, name, int(whole.full.sum()), *figures)


def _in(name: str) -> Scores:
    return lambda prompt: prompt.of_category(name)


# --- differences -------------------------------------------------------------------------------------------------


def change(a: Table, b: Table, figure: int, counting: Counting, level: float) -> Change | None:
    """B less A of prompts that belong together by their place; None where none has k scored draws on both sides.

    figure: MAXIMUM, PROBABILITY or MEAN.
    """
    both = a.full & b.full
    if not both.any():
        return None
    low, high = b.low[figure] - a.high[figure], b.high[figure] - a.low[figure]
    least, most = (maximum.change_intervals(ends, a.clusters, level, counting.seed)[0] for ends in (low, high))
    before, after = (float(side.values[figure, both].mean()) for side in (a, b))
    ends = min(least[0], after - before), max(most[1], after - before)
    return Change(before, after, after - before, ends, (float(low.mean()), float(high.mean())))


Swapped: TypeAlias = tuple[PromptDraws, PromptDraws]
"""A prompt with a term of one group, and with one of another in its place; one of the two is the original."""


def swaps(prompts: Sequence[PromptDraws], counting: Counting) -> Iterator[SwapPair]:
    """Each group with whatever stands in its place, then with each other one, over the prompts that were swapped so."""
    originals = {prompt.id: prompt for prompt in prompts if prompt.swap is None}
    pairs: dict[tuple[str, str], list[Swapped]] = defaultdict(list)
    by_group: dict[str, dict[str, list[Swapped]]] = defaultdict(lambda: defaultdict(list))
    for prompt in prompts:
        mark = prompt.swap
        if mark is None or mark.original not in originals:
            continue
        sides = {f"{mark.kind}/{mark.before}": originals[mark.original], f"{mark.kind}/{mark.after}": prompt}
        a, b = sorted(sides)
        pairs[a, b].append((sides[a], sides[b]))
        by_group[b][mark.original].append((sides[a], sides[b]))
        by_group[a][mark.original].append((sides[b], sides[a]))
    rows = [("", name, list(listed.values())) for name, listed in sorted(by_group.items())]
    yield from _swap_rows(rows, counting)
    yield from _swap_rows([(a, b, [[pair] for pair in listed]) for (a, b), listed in sorted(pairs.items())], counting)


def _swap_rows(rows: Sequence[tuple[str, str, Sequence[Sequence[Swapped]]]], counting: Counting) -> Iterator[SwapPair]:
    """Names of A and B, and the pairs of each original: their mean counts as one."""
    level = 1 - 0.05 / max(1, 2 * len(rows))
    for name_a, name_b, listed in rows:
        a, b = (_means([[pair[at] for pair in pairs] for pairs in listed], counting) for at in (0, 1))
        changes = [change(a, b, figure, counting, level) for figure in (MAXIMUM, PROBABILITY)]
        yield SwapPair(name_a, name_b, len(listed), int((a.full & b.full).sum()), *changes)


def _means(listed: Sequence[Sequence[PromptDraws]], counting: Counting) -> Table:
    """A column for each list of prompts: the mean of theirs, full where all of them are."""
    tables = [Table.of(prompts, counting) for prompts in listed]
    values, low, high = (
        np.stack([part.mean(axis=1) for part in parts], axis=1)
        for parts in zip(*((table.values, table.low, table.high) for table in tables), strict=True)
    )
    return Table(tuple(table.prompts[0] for table in tables), values, low, high, ~np.isnan(values[0]))


def plain_prompts(prompts: Iterable[PromptDraws]) -> list[PromptDraws]:
    """The prompts themselves, without counterfactuals of them."""
    return [prompt for prompt in prompts if prompt.swap is None]
