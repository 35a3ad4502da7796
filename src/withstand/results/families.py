"""The families of a run: each behavior as the parent's attack sends it, beside its variants by every other attack; or
the behaviors of a cluster beside the one whose id names it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from withstand.core import Json, SpecError
from withstand.core.outcomes import is_hit
from withstand.core.text import count, percent, series
from withstand.results.cells import Interval, plain
from withstand.results.graded import BehaviorResult, Graded, graded
from withstand.runner.clusters import name_of
from withstand.stats import families as stats
from withstand.stats.families import Family, Flips, Share, Wrong
from withstand.store.store import RunRow, Store

GAP = 0.10
"""Yields that differ by more, and arms that lose more of their parents, are warned of."""
ALL = ""
"""The name of the row over all categories."""


@dataclass(frozen=True, slots=True)
class Yield:
    """What an arm has of the parents of one category ("": of all). parents: behaviors asked.   asked: variants, if each
    parent had as many as the one with most.   variants: test cases.   scored: those with a verdict.   kept: parents
    with a scored variant."""

    category: str
    parents: int
    kept: int
    asked: int
    variants: int
    scored: int

    @property
    def rate(self) -> float:
        """scored / asked, in [0, 1]; 0 where nothing was asked."""
        return self.scored / self.asked if self.asked else 0.0


@dataclass(frozen=True, slots=True)
class FamilyRow:
    """One arm beside the parents, on one suite, target and defense. "wrong" is what its cell counts as a hit, or, where
    right answers are counted, as none.

    parent_rate, variant_rate: wrong, means over the `matched` parents, in [0, 1]; difference: variants minus parents
    with its 95% interval, p by sign flips of families and p_corrected by Holm over all rows of the same parent.
    p_rows: rows treated as independent.   yields: by category, all of them first.   warnings: of what was left out.
    """

    suite: str
    target: str
    defense: str
    arm: str
    measures: str
    parents: int
    matched: int
    k: tuple[int, int]
    parent_rate: float | None
    variant_rate: float | None
    difference: float | None
    interval: Interval | None
    p: float | None
    p_corrected: float | None
    p_rows: float | None
    consistent: Share
    any_of_k: Share
    all_of_k: Share
    right_to_wrong: Flips
    wrong_to_right: Flips
    yields: tuple[Yield, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ArmsRow:
    """Two arms on the parents that both have: pooled rates of wrong variants in [0, 1], the difference of the means
    over parents (B minus A) with its 95% interval, p by sign flips of families, p_corrected by Holm over all such rows.
    left_a, left_b: parents that one arm alone has."""

    suite: str
    target: str
    defense: str
    a: str
    b: str
    parents: int
    left_a: int
    left_b: int
    rate_a: float | None
    rate_b: float | None
    difference: float | None
    interval: Interval | None
    p: float | None
    p_corrected: float | None


@dataclass(frozen=True, slots=True)
class Families:
    """All arms of a run beside one parent attack, and each two arms beside each other; or all attacks, if the families
    are clusters, and then `parent` is "" and there are no pairs."""

    run: str
    parent: str
    rows: tuple[FamilyRow, ...]
    arms: tuple[ArmsRow, ...]

    def to_json(self) -> Json:
        return plain(self)


By: TypeAlias = Literal["attack", "cluster"]
Arms: TypeAlias = dict[str, dict[str, Family]]
"""Label of an attack -> key of a behavior -> its family."""


def families(store: Store, run: RunRow, parent: str = "direct", by: By = "attack") -> Families:
    """Each other attack of the run as an arm beside the cells of `parent`, an attack of one case per behavior.

    by: "cluster": in each cell, the behaviors of a cluster beside the one whose id names it; `parent` does not count.
    The rows are one family for Holm's correction, the pairs of arms another. Raises `SpecError` where the run has no
    such attack or no such cluster, a parent has several cases, or a variant's parent is not there.
    """
    rows: list[FamilyRow] = []
    pairs: list[ArmsRow] = []
    cells = graded(store, run)
    if by == "cluster":
        rows = [_row(cell, cell, arm) for cell in cells if (arm := _clusters(cell))]
        if not rows:
            raise SpecError(
                "no behavior of the run is in a cluster", hint="give the suite a column: csv:cluster=COLUMN"
            )
    for base, others in _groups(cells, parent) if by == "attack" else ():
        arms: Arms = {}
        for cell in others:
            arms[cell.attack] = _families(base, cell)
            rows.append(_row(base, cell, arms[cell.attack]))
        pairs += _pairs(base, arms)
    corrected = stats.declared({str(at): row.p for at, row in enumerate(rows)})
    between = stats.declared({str(at): row.p for at, row in enumerate(pairs)})
    return Families(
        run.name,
        parent if by == "attack" else "",
        tuple(replace(row, p_corrected=corrected[str(at)]) for at, row in enumerate(rows)),
        tuple(replace(row, p_corrected=between[str(at)]) for at, row in enumerate(pairs)),
    )


def _groups(cells: Sequence[Graded], parent: str) -> Iterator[tuple[Graded, list[Graded]]]:
    """The parents' cell of each suite, target, defense and judge, and the other cells there."""
    groups: dict[tuple[str, ...], list[Graded]] = {}
    for cell in cells:
        groups.setdefault((cell.suite, cell.target, cell.defense, cell.judge_key, cell.measures), []).append(cell)
    attacks = list(dict.fromkeys(cell.attack for cell in cells))
    if parent not in attacks:
        raise SpecError(f"no attack of the run is {parent!r}", hint=f"name its parent: {', '.join(attacks)}")
    for group in groups.values():
        base = next((cell for cell in group if cell.attack == parent), None)
        others = [cell for cell in group if cell.attack != parent]
        if base is None and others and not others[0].benign:
            raise SpecError(f"{others[0].suite} has no cell of {parent!r}", hint="run the parent on each suite")
        if base is not None and others:
            yield base, others


def _families(base: Graded, cell: Graded) -> dict[str, Family]:
    parents = {key: _parent(base, behavior) for key, behavior in base.behaviors.items()}
    variants = [(key, wrong) for key, behavior in cell.behaviors.items() for wrong in _verdicts(cell, behavior)]
    clusters = {key: behavior.cluster for key, behavior in base.behaviors.items()}
    try:
        return stats.gather(parents, variants, clusters)
    except ValueError as error:
        raise SpecError(f"{cell.attack}: {error}", hint="run parent and variants on the same behaviors") from error


def _clusters(cell: Graded) -> dict[str, Family]:
    """Key of a parent -> its family, of the clusters of a cell that have a variant."""
    names = {name_of(behavior.id): key for key, behavior in cell.behaviors.items()}
    variants: dict[str, list[Wrong]] = {}
    for behavior in cell.behaviors.values():
        if behavior.cluster and behavior.cluster != name_of(behavior.id):
            if behavior.cluster not in names:
                raise SpecError(
                    f"{behavior.id} is in the cluster {behavior.cluster!r}, and no behavior has that id",
                    hint="run the parent too: the cluster of a variant is the id of its parent",
                )
            variants.setdefault(names[behavior.cluster], []).extend(_verdicts(cell, behavior))
    return {
        key: Family(_parent(cell, cell.behaviors[key]), tuple(verdicts)) for key, verdicts in sorted(variants.items())
    }


def _parent(cell: Graded, behavior: BehaviorResult) -> Wrong:
    """The verdict on its one case."""
    if behavior.cases > 1:
        raise SpecError(
            f"{cell.attack} has {behavior.cases} cases of {behavior.id}, and a parent has one",
            hint="run it with samples = 1, or name an attack that sends one case",
        )
    return _verdicts(cell, behavior)[0]


def _verdicts(cell: Graded, behavior: BehaviorResult) -> list[Wrong]:
    hits = [is_hit(outcome, cell.measures) for outcome in behavior.outcomes.values()]
    return [None if hit is None else hit is not cell.utility for hit in hits]


def _row(base: Graded, cell: Graded, arm: Mapping[str, Family]) -> FamilyRow:
    seen = stats.figures([*arm.values()])
    yields = tuple(_yields(base, arm))
    change = seen.difference
    return FamilyRow(
        suite=cell.suite,
        target=cell.target,
        defense=cell.defense,
        arm=cell.attack,
        measures=cell.measures,
        parents=seen.parents,
        matched=seen.matched,
        k=seen.k,
        parent_rate=change.rate_a if change else None,
        variant_rate=change.rate_b if change else None,
        difference=change.difference if change else None,
        interval=change.limits() if change else None,
        p=seen.p,
        p_corrected=None,
        p_rows=seen.p_rows,
        consistent=seen.consistent,
        any_of_k=seen.any_of_k,
        all_of_k=seen.all_of_k,
        right_to_wrong=seen.right_to_wrong,
        wrong_to_right=seen.wrong_to_right,
        yields=yields,
        warnings=tuple(_warnings(cell.attack, yields, seen.k)),
    )


def _yields(base: Graded, arm: Mapping[str, Family]) -> Iterator[Yield]:
    most = max((len(family.variants) for family in arm.values()), default=0)
    groups: dict[str, list[Family]] = {ALL: [*arm.values()]}
    for key, family in arm.items():
        if category := base.behaviors[key].category:
            groups.setdefault(category, []).append(family)
    for category, members in sorted(groups.items()):
        yield Yield(
            category=category,
            parents=len(members),
            kept=sum(bool(family.scored) for family in members),
            asked=most * len(members),
            variants=sum(len(family.variants) for family in members),
            scored=sum(len(family.scored) for family in members),
        )


def _warnings(arm: str, yields: Sequence[Yield], k: tuple[int, int]) -> Iterator[str]:
    whole, parts = yields[0], [part for part in yields[1:] if part.parents]
    lost = whole.parents - whole.kept
    if lost > GAP * whole.parents:
        yield (
            f"{arm} has no scored variant of {lost} of {count(whole.parents, 'parent')}: its rates are of the others, "
            "which may be easier or harder"
        )
    if parts and max(part.rate for part in parts) - min(part.rate for part in parts) > GAP:
        low, high = (pick(parts, key=lambda part: part.rate) for pick in (min, max))
        texts = [f"{percent(part.rate)} of {part.category}" for part in (low, high)]
        yield f"{arm} has scored variants of {series(texts)}: compare its categories with care"
    if k[0] != k[1]:
        yield f"{arm} has {k[0]} to {k[1]} variants of a parent: any-of-k and all-of-k are of what there is"


def _pairs(base: Graded, arms: Arms) -> Iterator[ArmsRow]:
    labels = list(arms)
    for place, a in enumerate(labels):
        for b in labels[place + 1 :]:
            both = stats.matched(arms[a], arms[b])
            change = both.difference
            yield ArmsRow(
                suite=base.suite,
                target=base.target,
                defense=base.defense,
                a=a,
                b=b,
                parents=both.parents,
                left_a=both.left_a,
                left_b=both.left_b,
                rate_a=both.wrong_a / both.rows_a if both.rows_a else None,
                rate_b=both.wrong_b / both.rows_b if both.rows_b else None,
                difference=change.difference if change else None,
                interval=change.limits() if change else None,
                p=both.p,
                p_corrected=None,
            )
