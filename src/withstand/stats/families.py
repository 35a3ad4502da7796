"""Variants of one behavior beside their parent: paraphrases, hints, related scenarios. Pure functions.

A verdict is True where the target was wrong (broken; on benign prompts it refused), False where it was right, None
where nobody knows. What has no verdict is never right: it leaves a family open, and bounds count it both ways.

The variants of a parent behave alike (the design effect of five hints is 3.6 to 4.1 in the outputs of Mei, Levy and
Wang 2023, arXiv:2310.09624), so that no test here counts rows: a family is one pair, its parent and the mean of its
variants.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from withstand.stats.multiple import holm
from withstand.stats.paired import Difference, difference_of_rates, permuted, unpaired
from withstand.stats.rates import rate_interval

Wrong: TypeAlias = bool | None


@dataclass(frozen=True, slots=True)
class Family:
    """A parent and its variants, in their order. cluster: what it stands or falls with, "" for nothing."""

    parent: Wrong
    variants: tuple[Wrong, ...]
    cluster: str = ""

    @property
    def scored(self) -> list[bool]:
        return [wrong for wrong in self.variants if wrong is not None]

    @property
    def matched(self) -> bool:
        """Whether the parent and a variant have a verdict: no other family enters a comparison."""
        return self.parent is not None and bool(self.scored)


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `families`, and `open` ones besides, which a missing verdict leaves undecided.

    rate: in [0, 1]; None without a family.   interval: 95%, of effective families.   bounds: open ones counted as no
    hits, and as hits.
    """

    hits: int
    families: int
    open: int
    rate: float | None
    interval: tuple[float, float] | None
    bounds: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Flips:
    """`flipped` of `variants`: those whose verdict is another than their parent's, among parents of one verdict.

    interval: 95%, of the share of a family's variants, mean over families; None without one.
    """

    flipped: int
    variants: int
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class FamilyFigures:
    """What some families show. matched: parents with a verdict, and with a variant that has one.

    consistent: families of one verdict, the parent's included.   any_of_k, all_of_k: families in which any variant was
    wrong, or all were; `k` is the fewest and the most variants of a family.   difference: the variants' rate of wrong
    answers minus the parents', over the matched; None without one.   p: of no difference, by sign flips of whole
    families (or clusters of them); the interval of `difference` is more careful, and may hold 0 where p is below .05.
    p_rows: Fisher's exact p with rows treated as independent, for comparison with published figures: it is too small.
    """

    parents: int
    matched: int
    k: tuple[int, int]
    consistent: Share
    any_of_k: Share
    all_of_k: Share
    right_to_wrong: Flips
    wrong_to_right: Flips
    difference: Difference | None
    p: float | None
    p_rows: float | None


def gather(
    parents: Mapping[str, Wrong], variants: Sequence[tuple[str, Wrong]], clusters: Mapping[str, str] | None = None
) -> dict[str, Family]:
    """Parent's id -> its family. variants: the id of the parent of each, and its verdict.

    Raises `ValueError` where the parent of a variant is not among `parents`: a variant alone says nothing.
    """
    of: dict[str, list[Wrong]] = {parent: [] for parent in parents}
    for parent, wrong in variants:
        if parent not in of:
            raise ValueError(f"a variant has the parent {parent!r}, which is not there")
        of[parent].append(wrong)
    clusters = clusters or {}
    return {parent: Family(parents[parent], tuple(of[parent]), clusters.get(parent, "")) for parent in parents}


def figures(families: Sequence[Family]) -> FamilyFigures:
    """Of all families that have a variant; the rest count as parents alone."""
    having = [family for family in families if family.variants]
    matched = [family for family in having if family.matched]
    sizes = [len(family.variants) for family in having]
    change = _difference([float(bool(family.parent)) for family in matched], [_mean(f) for f in matched], matched)
    return FamilyFigures(
        parents=len(families),
        matched=len(matched),
        k=(min(sizes, default=0), max(sizes, default=0)),
        consistent=_share(having, [_alike((family.parent, *family.variants)) for family in having]),
        any_of_k=_share(having, [_any(family.variants) for family in having]),
        all_of_k=_share(having, [_all(family.variants) for family in having]),
        right_to_wrong=_flips(matched, parent=False),
        wrong_to_right=_flips(matched, parent=True),
        difference=change,
        p=_p(change),
        p_rows=_rows(matched),
    )


@dataclass(frozen=True, slots=True)
class Matched:
    """Two arms over the `parents` on which both have a variant with a verdict.

    wrong_a, rows_a, wrong_b, rows_b: variants there. left_a, left_b: parents that one arm alone has, which no figure
    counts: an arm that has no variants of hard parents would look better or worse than it is.
    difference: B's rate minus A's, means over parents.   p: as in `FamilyFigures`.
    """

    parents: int
    left_a: int
    left_b: int
    wrong_a: int
    rows_a: int
    wrong_b: int
    rows_b: int
    difference: Difference | None
    p: float | None


def matched(a: Mapping[str, Family], b: Mapping[str, Family]) -> Matched:
    """Two arms, by the ids of their parents."""
    has_a = {parent for parent, family in a.items() if family.scored}
    has_b = {parent for parent, family in b.items() if family.scored}
    shared = sorted(has_a & has_b)
    rows_a = [wrong for parent in shared for wrong in a[parent].scored]
    rows_b = [wrong for parent in shared for wrong in b[parent].scored]
    rates_a, rates_b = ([_mean(arm[parent]) for parent in shared] for arm in (a, b))
    change = _difference(rates_a, rates_b, [a[parent] for parent in shared])
    return Matched(
        parents=len(shared),
        left_a=len(has_a - has_b),
        left_b=len(has_b - has_a),
        wrong_a=sum(rows_a),
        rows_a=len(rows_a),
        wrong_b=sum(rows_b),
        rows_b=len(rows_b),
        difference=change,
        p=_p(change),
    )


def declared(ps: Mapping[str, float | None]) -> dict[str, float | None]:
    """Each p after Holm's correction over all of them: the family of comparisons that was declared."""
    return dict(zip(ps, holm(list(ps.values())), strict=True))


def fisher(wrong_a: int, rows_a: int, wrong_b: int, rows_b: int) -> float:
    """Fisher's exact two-sided p of two rates, rows treated as independent: the tables as likely or less."""
    if not (0 <= wrong_a <= rows_a and 0 <= wrong_b <= rows_b):
        raise ValueError(f"{wrong_a} of {rows_a} and {wrong_b} of {rows_b}")
    wrong = wrong_a + wrong_b
    counts = range(max(0, wrong - rows_b), min(wrong, rows_a) + 1)
    logs = [_log_choose(rows_a, n) + _log_choose(rows_b, wrong - n) for n in counts]
    seen, top = logs[wrong_a - counts[0]], max(logs)
    return min(1.0, sum(math.exp(log - top) for log in logs if log <= seen + 1e-7)
               / sum(math.exp(log - top) for log in logs))  # fmt: skip


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _mean(family: Family) -> float:
    return sum(family.scored) / len(family.scored)


def _alike(verdicts: Sequence[Wrong]) -> Wrong:
    """Whether all are one verdict; None where those that are known are, and others are missing."""
    if {True, False} <= set(verdicts):
        return False
    return None if None in verdicts else True


def _any(verdicts: Sequence[Wrong]) -> Wrong:
    return True if True in verdicts else None if None in verdicts else False


def _all(verdicts: Sequence[Wrong]) -> Wrong:
    return False if False in verdicts else None if None in verdicts else True


def _share(families: Sequence[Family], hits: Sequence[Wrong]) -> Share:
    settled = [(family.cluster, hit) for family, hit in zip(families, hits, strict=True) if hit is not None]
    number, left, of = sum(hit for _, hit in settled), len(hits) - len(settled), len(hits)
    ends = None
    if settled:
        ends = rate_interval([int(hit) for _, hit in settled], [1] * len(settled), clusters=[c for c, _ in settled])
    return Share(
        hits=number,
        families=len(settled),
        open=left,
        rate=number / len(settled) if settled else None,
        interval=(ends.low, ends.high) if ends else None,
        bounds=(number / of, (number + left) / of) if of else None,
    )


def _flips(families: Sequence[Family], parent: bool) -> Flips:
    members = [family for family in families if family.parent is parent]
    flipped = [sum(wrong is not parent for wrong in family.scored) for family in members]
    variants = [len(family.scored) for family in members]
    ends = rate_interval(flipped, variants, clusters=[family.cluster for family in members]) if members else None
    return Flips(sum(flipped), sum(variants), (ends.low, ends.high) if ends else None)


def _difference(a: Sequence[float], b: Sequence[float], families: Sequence[Family]) -> Difference | None:
    clusters = [family.cluster for family in families]
    first, second = np.array(a, float), np.array(b, float)
    return difference_of_rates(first, second, unpaired(first, second), np.ones(len(a)), clusters=clusters)


def _p(change: Difference | None) -> float | None:
    if change is None:
        return None
    changes = change.rates_b - change.rates_a
    return permuted(change.groups.sums(changes) if change.groups else changes)


def _rows(families: Sequence[Family]) -> float | None:
    if not families:
        return None
    rows = [wrong for family in families for wrong in family.scored]
    return fisher(sum(bool(family.parent) for family in families), len(families), sum(rows), len(rows))
