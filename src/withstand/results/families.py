"""The families of a run: each behavior as the parent's attack sends it, beside its variants by every other attack; or
the behaviors of a cluster beside the one whose id names it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from withstand.core import Json, SpecError
from withstand.core.text import series
from withstand.results.cells import Interval, plain
from withstand.results.family_cells import FamilyCell, Yield, arm_warnings, cells_in, cells_of, pair_warnings, yields_of
from withstand.runner.budget import DRAFTS
from withstand.runner.clusters import name_of
from withstand.stats import families as stats
from withstand.stats.families import Family, Flips, Share, Wrong
from withstand.store.store import RunRow, Store

DIRECT = "direct"
"""The attack that sends a behavior as it is: the parent in a report."""


@dataclass(frozen=True, slots=True)
class FamilyRow:
    """One arm beside the parents, on one suite, target and defense. "wrong" is what its cell counts as a hit, or, where
    right answers are counted, as none.

    parent_rate, variant_rate: wrong, means over the `matched` parents, in [0, 1]; difference: variants minus parents
    with its 95% interval, p by sign flips of families and p_corrected by Holm over all rows of the same parent.
    p_rows: rows treated as independent.   yields: by category, all of them first.   warnings: of what was left out.
    twin: the suite of the benign half, "" for none and for that half itself.
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
    twin: str = ""


@dataclass(frozen=True, slots=True)
class Halves:
    """One arm on both halves of a suite: what was right, means over the matched parents, in [0, 1].

    harmful: not broken; benign: not refused; each of the parents, then of their variants. balanced: the mean of both
    halves: 0.5 is one answer to everything, however consistent. None where a half has no family.
    """

    suite: str
    twin: str
    target: str
    defense: str
    arm: str
    harmful: tuple[float | None, float | None]
    benign: tuple[float | None, float | None]
    balanced: tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class ArmsRow:
    """Two arms on the parents that both have: pooled rates of wrong variants in [0, 1], the difference of the means
    over parents (B minus A) with its 95% interval, p by sign flips of families, p_corrected by Holm over all such rows.
    left_a, left_b: parents that one arm alone has.   warnings: of how differently the arms were sampled."""

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
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Families:
    """All arms of a run beside one parent attack, each two arms beside each other, and each arm on both halves of a
    suite; or all attacks, if the families are clusters, and then `parent` is "" and there are no pairs.

    left_out: attacks that are no arms, since they do not say how many variants they make and others do.
    why_none: why a report has no family, "" where it has some.
    """

    run: str
    parent: str
    rows: tuple[FamilyRow, ...]
    arms: tuple[ArmsRow, ...]
    halves: tuple[Halves, ...] = ()
    left_out: tuple[str, ...] = ()
    why_none: str = ""

    @property
    def warnings(self) -> list[str]:
        """Of all rows and pairs, each with its suite, once."""
        texts = [f"{row.suite}: {text}" for row in self.rows for text in row.warnings]
        texts += [f"{pair.suite}: {text}" for pair in self.arms for text in pair.warnings]
        if self.left_out:
            texts.append(f"no families of {series(self.left_out)}, for which no number of variants is stated")
        if self.why_none:
            texts.append(f"no families of variants: {self.why_none}")
        return [*dict.fromkeys(texts)]

    def to_json(self) -> Json:
        return plain(self)


By: TypeAlias = Literal["attack", "cluster"]
Arms: TypeAlias = dict[str, dict[str, Family]]
"""Label of an attack -> key of a behavior -> its family."""


def families(store: Store, run: RunRow, parent: str = DIRECT, by: By = "attack") -> Families:
    """The families of a run in the store, see `of_cells`. Raises `SpecError` too where the run has no variant."""
    computed = of_cells(run.name, cells_of(store, run), parent, by)
    if not computed.rows:
        hint = "run it with one that makes them, --attack paraphrase, or name the parent of those that it has: --parent"
        raise SpecError(f"no attack of {run.name} makes variants beside {parent}", hint=hint)
    return computed


def in_report(store: Store, run: RunRow) -> Families | None:
    """What a report shows of a run some of whose attacks make variants; None for another run."""
    if not any("variants" in cell for cell in run.plan["cells"]):
        return None
    return _reported(run.name, cells_of(store, run))


def of_cases(summary: Json, rows: Mapping[int, Sequence[Json]]) -> Json:
    """The families of a bundle as JSON, by its summary and the rows of each cell; {} for a run without variants. What
    writers lost is in no row, and is taken from the summary."""
    cells = cells_in(summary, rows)
    if not any(cell.asked for cell in cells):
        return {}
    computed = _reported(summary["run"]["name"], cells).to_json()
    for own, row in zip(computed["rows"], (summary.get("families") or {}).get("rows", ()), strict=False):
        for part, entry in zip(own["yields"], row["yields"], strict=False):
            part |= {name: entry[name] for name in DRAFTS}
    return computed


def _reported(run: str, cells: Sequence[FamilyCell]) -> Families:
    """The families beside `direct`; where they cannot be computed none, with the reason in `why_none`."""
    try:
        return of_cells(run, cells)
    except SpecError as error:
        return Families(run, DIRECT, (), (), why_none=f"{error}; {error.hint}")


def of_cells(run: str, cells: Sequence[FamilyCell], parent: str = DIRECT, by: By = "attack") -> Families:
    """Each attack that makes variants as an arm beside the cells of `parent`, an attack of one case per behavior; where
    none says that it makes any, each other attack.

    by: "cluster": in each cell, the behaviors of a cluster beside the one whose id names it; `parent` does not count.
    The rows are one family for Holm's correction, the pairs of arms another. Raises `SpecError` where the run has no
    such attack or no such cluster, a parent has several cases, or a variant's parent is not there.
    """
    rows: list[FamilyRow] = []
    pairs: list[ArmsRow] = []
    left_out: dict[str, None] = {}
    if by == "cluster":
        bare = [replace(cell, asked=0) for cell in cells]
        rows = [_row(cell, cell, arm) for cell in bare if (arm := _clusters(cell))]
        if not rows:
            raise SpecError(
                "no behavior of the run is in a cluster", hint="give the suite a column: csv:cluster=COLUMN"
            )
    counted = any(cell.asked for cell in cells if cell.attack != parent)
    for base, others in _groups(cells, parent) if by == "attack" else ():
        arms: Arms = {}
        for cell in others:
            if counted and not cell.asked:
                left_out[cell.attack] = None
                continue
            arms[cell.attack] = _families(base, cell)
            rows.append(_row(base, cell, arms[cell.attack]))
        pairs += _pairs(base, arms, {row.arm: row.yields[0] for row in rows[len(rows) - len(arms) :]})
    corrected = stats.declared({str(at): row.p for at, row in enumerate(rows)})
    between = stats.declared({str(at): row.p for at, row in enumerate(pairs)})
    return Families(
        run,
        parent if by == "attack" else "",
        tuple(replace(row, p_corrected=corrected[str(at)]) for at, row in enumerate(rows)),
        tuple(replace(row, p_corrected=between[str(at)]) for at, row in enumerate(pairs)),
        tuple(_halves(rows)),
        tuple(left_out),
    )


def _halves(rows: Sequence[FamilyRow]) -> Iterator[Halves]:
    twins = {(row.suite, row.target, row.defense, row.arm): row for row in rows if row.measures == "over-refusal"}
    for row in rows:
        twin = twins.get((row.twin, row.target, row.defense, row.arm))
        if twin is not None:
            halves = [(_right(half.parent_rate), _right(half.variant_rate)) for half in (row, twin)]
            both = [None if a is None or b is None else (a + b) / 2 for a, b in zip(*halves, strict=True)]
            yield Halves(
                row.suite, row.twin, row.target, row.defense, row.arm, halves[0], halves[1], (both[0], both[1])
            )


def _right(wrong: float | None) -> float | None:
    return None if wrong is None else 1 - wrong


def _groups(cells: Sequence[FamilyCell], parent: str) -> Iterator[tuple[FamilyCell, list[FamilyCell]]]:
    """The parents' cell of each suite, target, defense and judge, and the other cells there."""
    groups: dict[tuple[str, ...], list[FamilyCell]] = {}
    for cell in cells:
        groups.setdefault((cell.suite, cell.target, cell.defense, cell.judge, cell.measures), []).append(cell)
    attacks = list(dict.fromkeys(cell.attack for cell in cells))
    if parent not in attacks:
        raise SpecError(f"no attack of the run is {parent!r}", hint=f"name its parent: {', '.join(attacks)}")
    for group in groups.values():
        base = next((cell for cell in group if cell.attack == parent), None)
        others = [cell for cell in group if cell.attack != parent]
        if base is None and others and others[0].measures == "harm":
            raise SpecError(f"{others[0].suite} has no cell of {parent!r}", hint="run the parent on each suite")
        if base is not None and others:
            yield base, others


def _families(base: FamilyCell, cell: FamilyCell) -> dict[str, Family]:
    parents = {key: _parent(base, key) for key in base.behaviors}
    variants = [(key, wrong) for key in cell.behaviors for wrong in cell.verdicts(key)]
    clusters = {key: behavior.cluster for key, behavior in base.behaviors.items()}
    try:
        return stats.gather(parents, variants, clusters)
    except ValueError as error:
        raise SpecError(f"{cell.attack}: {error}", hint="run parent and variants on the same behaviors") from error


def _clusters(cell: FamilyCell) -> dict[str, Family]:
    """Key of a parent -> its family, of the clusters of a cell that have a variant."""
    names = {name_of(behavior.id): key for key, behavior in cell.behaviors.items()}
    variants: dict[str, list[Wrong]] = {}
    for key, behavior in cell.behaviors.items():
        if behavior.cluster and behavior.cluster != name_of(behavior.id):
            if behavior.cluster not in names:
                raise SpecError(
                    f"{behavior.id} is in the cluster {behavior.cluster!r}, and no behavior has that id",
                    hint="run the parent too: the cluster of a variant is the id of its parent",
                )
            variants.setdefault(names[behavior.cluster], []).extend(cell.verdicts(key))
    return {key: Family(_parent(cell, key), tuple(verdicts)) for key, verdicts in sorted(variants.items())}


def _parent(cell: FamilyCell, key: str) -> Wrong:
    """The verdict on its one case."""
    behavior = cell.behaviors[key]
    if behavior.cases > 1:
        raise SpecError(
            f"{cell.attack} has {behavior.cases} cases of {behavior.id}, and a parent has one",
            hint="run it with samples = 1, or name an attack that sends one case",
        )
    return cell.verdicts(key)[0] if behavior.cases else None


def _row(base: FamilyCell, cell: FamilyCell, arm: Mapping[str, Family]) -> FamilyRow:
    seen = stats.figures([*arm.values()])
    yields = tuple(yields_of(base, cell, arm))
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
        warnings=tuple(arm_warnings(cell, yields, seen.k)),
        twin=cell.twin,
    )


def _pairs(base: FamilyCell, arms: Arms, yields: Mapping[str, Yield]) -> Iterator[ArmsRow]:
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
                warnings=tuple(pair_warnings(a, b, both, yields)),
            )
