"""What families of variants are made of: the cells of a run or of a bundle, how many variants were asked for and what
became of them, and what a reader must know where that differs."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sql

from withstand.core import Json
from withstand.core.outcomes import is_hit
from withstand.core.text import count, percent, series
from withstand.results.graded import BehaviorResult, graded
from withstand.runner.budget import DRAFTS
from withstand.runner.draws import STOPPED
from withstand.stats.families import Family, Matched, Wrong
from withstand.store.store import RunRow, Store
from withstand.store.tables import CASES, row, want

GAP = 0.10
"""Yields that differ by more, and arms that lose more of their parents, are warned of."""
ALL = ""
"""The name of the row over all categories."""


@dataclass(frozen=True, slots=True)
class FamilyCell:
    """A cell by what families need of it. behaviors: by the digest of their content.

    asked: variants of each behavior that were asked for; 0: the attack makes none, or does not say.
    drafts: of each behavior whose test cases are there, what was lost as they were written, by the names of `DRAFTS`.
    twin: the suite of the benign half, as in `suite`; "" for none.   stopped: it ended at its first success.
    """

    suite: str
    target: str
    defense: str
    attack: str
    judge: str
    measures: str
    behaviors: Mapping[str, BehaviorResult]
    asked: int = 0
    drafts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    twin: str = ""
    stopped: bool = False

    def verdicts(self, key: str) -> list[Wrong]:
        """Of each case of a behavior whether the target was wrong. Variants that were asked for and could not be made
        at all, as after a failed ask, have no verdict: they are no test cases, and leave their family open."""
        if self.asked and key not in self.drafts:
            return [None] * self.asked
        hits = [is_hit(outcome, self.measures) for outcome in self.behaviors[key].outcomes.values()]
        return [None if hit is None else hit is not (self.measures == "utility") for hit in hits]


def cells_of(store: Store, run: RunRow) -> list[FamilyCell]:
    """The cells of a run in the store, in the plan's order."""
    suites = run.plan["suites"]
    names = [_suite_name(suite["name"], suite["split"]) for suite in suites]
    drafts = _drafts(store, run)
    return [
        FamilyCell(
            cell.suite, cell.target, cell.defense, cell.attack, cell.judge_key, cell.measures, cell.behaviors,
            asked=planned.get("variants", 0),
            drafts=drafts.get(index, {}),
            twin="" if cell.benign or (twin := suites[planned["suite"]].get("twin")) is None else names[twin],
            stopped=STOPPED in planned["notes"] and not cell.benign,
        )
        for index, (cell, planned) in enumerate(zip(graded(store, run), run.plan["cells"], strict=True))
    ]  # fmt: skip


def cells_in(summary: Json, rows: Mapping[int, Sequence[Json]]) -> list[FamilyCell]:
    """The cells of a bundle, by its summary and the rows of each cell. What writers lost is in no row."""
    suites = summary["provenance"]["suites"]
    names = [_suite_name(suite["name"], suite["split"]) for suite in suites]
    places = {name: suite.get("twin") for name, suite in zip(names, suites, strict=True)}
    cells = []
    for cell in summary["cells"]:
        behaviors: dict[str, list[Json]] = {}
        for entry in rows.get(cell["index"], ()):
            behaviors.setdefault(entry["key"], []).append(entry)
        results = {
            key: BehaviorResult(
                of[0]["behavior"],
                of[0]["category"],
                outcomes={(entry["case"], entry["sample"]): entry["outcome"] for entry in of},
                cluster=of[0].get("cluster", ""),
            )
            for key, of in behaviors.items()
        }
        written = [key for key, of in behaviors.items() if of[0]["prompt"] or of[0]["outcome"] != "error"]
        name = _suite_name(cell["suite"], cell["split"])
        cells.append(
            FamilyCell(
                name, cell["target"], cell["defense"], cell["attack"], cell["judge"], cell["measures"], results,
                asked=cell.get("variants", 0),
                drafts={key: {} for key in written},
                twin="" if cell["benign"] or (twin := places.get(name)) is None else names[twin],
                stopped=STOPPED in cell["notes"] and not cell["benign"],
            )
        )  # fmt: skip
    return cells


def _suite_name(name: str, split: str) -> str:
    return f"{name} ({split})" if split else name


def _drafts(store: Store, run: RunRow) -> dict[int, dict[str, dict[str, int]]]:
    """Of each cell and behavior whose test cases are there: what was lost as they were written."""
    w, r = want.c, row.c
    entries = store.select(
        sql.select(w.cell, w.behavior, *(r[name] for name in DRAFTS))
        .select_from(want.join(row, r.key == w.key))
        .where(w.run == run.key, w.stage == CASES)
    )
    drafts: dict[int, dict[str, dict[str, int]]] = {}
    for cell, place, *counts in entries:
        key = run.plan["suites"][run.plan["cells"][cell]["suite"]]["behaviors"][place]
        drafts.setdefault(cell, {})[key] = {name: lost or 0 for name, lost in zip(DRAFTS, counts, strict=True)}
    return drafts


@dataclass(frozen=True, slots=True)
class Yield:
    """What became of the variants that an arm was asked for, of the parents of one category ("": of all).

    parents: behaviors asked.   kept: those with a scored variant.   failed: those of which no variant was made at all:
    an ask failed, or the writer gave nothing that could be used.
    asked: variants, so many of each parent; of an attack that does not say, as many as it made of the parent with most.
    refused, long: answers of a writer.   malformed: its answers, or lines of them, in another form.   changed: variants
    with another meaning.   repeated: those that were there already.   variants: test cases.   scored: with a verdict.
    What was lost was asked for anew while there were tries, so that the columns need not add up; of the failed nothing
    is in them.
    """

    category: str
    parents: int
    kept: int
    failed: int
    asked: int
    refused: int
    malformed: int
    long: int
    changed: int
    repeated: int
    variants: int
    scored: int

    @property
    def rate(self) -> float:
        """scored / asked, in [0, 1]; 0 where nothing was asked."""
        return self.scored / self.asked if self.asked else 0.0


def yields_of(base: FamilyCell, cell: FamilyCell, arm: Mapping[str, Family]) -> Iterator[Yield]:
    """Of all parents, then of each category, in the order of their names."""
    number = cell.asked or max((len(family.variants) for family in arm.values()), default=0)
    groups: dict[str, list[str]] = {ALL: [*arm]}
    for key in arm:
        if category := base.behaviors[key].category:
            groups.setdefault(category, []).append(key)
    for category, keys in sorted(groups.items()):
        lost: Counter[str] = Counter()
        for key in keys:
            lost.update(cell.drafts.get(key, {}))
        families = [arm[key] for key in keys]
        failed = sum(key not in cell.drafts for key in keys) if cell.asked else 0
        yield Yield(
            category=category,
            parents=len(keys),
            kept=sum(bool(family.scored) for family in families),
            failed=failed,
            asked=number * len(keys),
            **{name: lost[name] for name in DRAFTS},
            variants=sum(len(family.variants) for family in families) - cell.asked * failed,
            scored=sum(len(family.scored) for family in families),
        )


def arm_warnings(cell: FamilyCell, yields: Sequence[Yield], k: tuple[int, int]) -> Iterator[str]:
    """What was left out of an arm, and what that may change."""
    arm, whole, parts = cell.attack, yields[0], [part for part in yields[1:] if part.parents]
    lost = whole.parents - whole.kept
    if whole.failed:
        yield (
            f"{arm} made no variant of {whole.failed} of {count(whole.parents, 'parent')}: `withstand status` says why,"
            " and their families stay open"
        )
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
    if cell.stopped:
        yield f"{arm} stopped at its first success: of a broken parent the later variants were not sent"


def pair_warnings(a: str, b: str, both: Matched, yields: Mapping[str, Yield]) -> Iterator[str]:
    """Where two arms were sampled so differently that one may have the easier variants."""
    rates = [yields[arm].rate for arm in (a, b)]
    if abs(rates[0] - rates[1]) > GAP:
        yield (
            f"{a} has scored variants of {percent(rates[0])} of what was asked for, {b} of {percent(rates[1])}: only"
            f" the {count(both.parents, 'parent')} that both have are compared"
        )
