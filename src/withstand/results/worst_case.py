"""The worst that a defender faces: on each target, the behaviors that any attack of a run broke."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import sqlalchemy as sql

from withstand.core import Json
from withstand.results.cells import Interval, Record
from withstand.results.counts import BehaviorCounts
from withstand.results.false_positives import FalsePositives, false_positives
from withstand.results.graded import knowledge_of
from withstand.stats import breaks
from withstand.stats.breaks import Attempts, Estimate
from withstand.stats.clusters import Groups
from withstand.stats.group_sequential import Watch
from withstand.store.store import RunRow, Store, chunks
from withstand.store.tables import VERDICTS, row, want

Tried: TypeAlias = Mapping[int, tuple[int, int, int]]
"""Of a cell: place of a behavior in its suite -> cases that broke it, that have no verdict, and all."""


@dataclass(frozen=True, slots=True)
class Review:
    """What people said of a cell: how many cases they `labeled`, and the places of behaviors where they saw a break."""

    broken: frozenset[int] = frozenset()
    labeled: int = 0


NONE = Review()


@dataclass(frozen=True, slots=True)
class WorstCategory:
    """The behaviors of one category, `broken` of them by any attack; the rate in [0, 1] and its interval. All intervals
    of a target's categories together hold with 95% (Sidak), so that the highest may be named."""

    category: str
    behaviors: int
    broken: int
    rate: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class WorstCase:
    """One suite, target and defense under all attacks of a run: a behavior is broken if a case of any attack broke it.

    attacks: label -> behaviors that it broke.   behaviors: with a scored case, `broken` of them.   open: not broken so
    far, with a case without a verdict.   cases: most of a behavior, all attacks together.
    rate, interval (95%), bounds (what is open counted as held, then as broken): in [0, 1].
    checked: broken behaviors of which a person saw a break.   labeled: cases that count as people say.
    false_positives: what the judge alone would show; None where no behavior is broken or each had one case.
    by_category: none where there is one category.   knows: of a defended target, "adaptive" where any attack knew its
    defense, else "static only"; "" without a defense.
    """

    suite: str
    target: str
    defense: str
    judge: str
    attacks: Mapping[str, int]
    behaviors: int
    broken: int
    open: int
    cases: int
    rate: float
    interval: Interval
    bounds: Interval
    checked: int
    labeled: int
    false_positives: FalsePositives | None
    by_category: tuple[WorstCategory, ...]
    knows: str = ""

    @property
    def weakest(self) -> WorstCategory | None:
        """The category that was broken most, None where nothing was or all are alike."""
        if len({part.rate for part in self.by_category}) < 2:
            return None
        return max(self.by_category, key=lambda part: (part.rate, part.behaviors))

    def shown(self, names: Mapping[str, str]) -> "WorstCase":
        """The same with the names that people read. names: label -> name."""
        labels = {kind: getattr(self, kind) for kind in ("suite", "target", "defense", "judge")}
        shown = {kind: names.get(label, label) for kind, label in labels.items()}
        return replace(self, **shown, attacks={names.get(label, label): n for label, n in self.attacks.items()})


def worst_cases(
    plan: Json, tried: Sequence[Tried], reviews: Mapping[int, Review], categories: Sequence[Sequence[str]],
    calibrations: Mapping[str, Sequence[Record]], counts: Sequence[Mapping[int, BehaviorCounts]] = (),
) -> Iterator[WorstCase]:  # fmt: skip
    """In the order of the plan. tried: of each cell.   reviews: what people said, by cell.

    categories: of each suite, by place.   calibrations: of the judges, by their keys.   counts: of each cell, for the
    clusters of its behaviors.
    """
    watched = "stop_when_decided" in plan
    groups: dict[tuple[int, str, str, str], list[int]] = defaultdict(list)
    for index, cell in enumerate(plan["cells"]):
        if not cell["benign"]:
            groups[cell["suite"], cell["target"], cell["defense"], cell["keys"]["judge"]].append(index)
    for (suite, target, defense, judge), cells in groups.items():
        clusters = [{place: seen.cluster for place, seen in counts[index].items()} for index in cells if counts]
        together = Together.of([tried[index] for index in cells], watched, clusters)
        seen = together.estimate()
        if seen is None:
            continue
        ends = seen.interval
        if watched:
            watch = Watch(plan["stop_when_decided"], len(plan["suites"][suite]["behaviors"]))
            looks = watch.interval((seen.least.tolist(), seen.most.tolist()))
            ends = (min(looks[0], ends[0]), max(looks[1], ends[1])) if Groups.of(together.clusters) else looks
        broken, cases = together.broken, together.cases
        alone = false_positives(cases, calibrations.get(judge, ())) if broken and max(cases) > 1 else None
        yield WorstCase(
            suite=plan["suites"][suite]["name"],
            target=target,
            defense=defense,
            judge=plan["cells"][cells[0]]["judge"],
            attacks={
                plan["cells"][index]["attack"]: sum(hits > 0 for hits, _, _ in tried[index].values()) for index in cells
            },
            behaviors=seen.behaviors,
            broken=len(broken),
            open=seen.open,
            cases=seen.k,
            rate=seen.rate,
            interval=ends,
            bounds=seen.bounds,
            checked=sum(any(place in reviews.get(index, NONE).broken for index in cells) for place in broken),
            labeled=sum(reviews.get(index, NONE).labeled for index in cells),
            false_positives=alone,
            by_category=tuple(by_category(together, dict(enumerate(categories[suite])))),
            knows=_knows(
                plan, [index for index in cells if any(n > unknown for _, unknown, n in tried[index].values())]
            ),
        )


def _knows(plan: Json, cells: Sequence[int]) -> str:
    kinds = {knowledge_of(plan, index) for index in cells}
    return "adaptive" if "adaptive" in kinds else "static only" if "static" in kinds else ""


@dataclass(frozen=True, slots=True)
class Together:
    """The attacks on one target: the places of the behaviors, of each attack what it did at them, and clusters."""

    places: Sequence[int]
    attacks: Sequence[Sequence[tuple[int, int, int]]]
    clusters: Sequence[str]

    @staticmethod
    def of(tried: Sequence[Tried], watched: bool, clusters: Sequence[Mapping[int, str]] = ()) -> "Together":
        """A behavior that an attack did not come to is open there. watched: the run stopped by what it found, and only
        the behaviors that all attacks came to count: they are the first in its random order."""
        places = sorted({place for cell in tried for place in cell})
        if watched:
            places = [place for place in places if all(place in cell for cell in tried)]
        of = {place: cluster for cell in clusters for place, cluster in cell.items() if cluster}
        attacks = [[cell.get(place, (0, 1, 1)) for place in places] for cell in tried]
        return Together(places, attacks, [of.get(place, "") for place in places])

    def among(self, places: Collection[int]) -> "Together":
        kept = [at for at, place in enumerate(self.places) if place in places]
        return Together(
            [self.places[at] for at in kept],
            [[attack[at] for at in kept] for attack in self.attacks],
            [self.clusters[at] for at in kept],
        )

    def estimate(self, level: float = 0.95) -> Estimate | None:
        attempts = [Attempts(*([row[part] for row in attack] for part in range(3))) for attack in self.attacks]
        return breaks.estimate("any_attack", attempts, level=level, clusters=self.clusters)

    @property
    def broken(self) -> list[int]:
        return [place for at, place in enumerate(self.places) if any(attack[at][0] for attack in self.attacks)]

    @property
    def cases(self) -> list[int]:
        """Of each behavior, all attacks together."""
        return [sum(attack[at][2] for attack in self.attacks) for at in range(len(self.places))]


def by_category(together: Together, categories: Mapping[int, str]) -> Iterator[WorstCategory]:
    """The categories where there are several, in their alphabet. categories: by place."""
    groups: dict[str, set[int]] = defaultdict(set)
    for place in together.places:
        groups[categories[place]].add(place)
    for category, places in sorted(groups.items()) if len(groups) > 1 else ():
        part = together.among(places)
        if seen := part.estimate(0.95 ** (1 / len(groups))):
            yield WorstCategory(category, seen.behaviors, len(part.broken), seen.rate, seen.interval)


def from_counts(behaviors: Mapping[int, BehaviorCounts]) -> Tried:
    """A cell as its judge has it."""
    return {
        place: (counts.counts["success"], counts.counts["unscored"] + counts.counts["error"], counts.cases)
        for place, counts in behaviors.items()
    }


def reviewed_counts(
    store: Store, run: RunRow, tried: list[Tried], outcomes: Mapping[str, str], ids: Sequence[Sequence[str]]
) -> dict[int, Review]:
    """Count every case in `tried` as people say, and give what they said of each cell.

    outcomes: of the labeled cases, by place.   ids: of the behaviors of each suite.
    """
    spots: dict[int, dict[tuple[int, int, int], str]] = defaultdict(dict)
    numbers = [{name: place for place, name in enumerate(names)} for names in ids]
    for name, outcome in outcomes.items():
        cell, behavior, case, sample = _PLACE.fullmatch(name).groups()  # type: ignore[union-attr] # labeling.place_named
        place = numbers[run.plan["cells"][int(cell)]["suite"]].get(behavior)
        if place is not None and not run.plan["cells"][int(cell)]["benign"]:
            spots[int(cell)][place, int(case), int(sample)] = outcome
    reviews = {}
    for cell, labeled in spots.items():
        counts = {place: [*tried[cell][place]] for place in tried[cell]}
        for spot, judged in _judged(store, run, cell, {place for place, *_ in labeled}):
            if spot in labeled:
                counts[spot[0]][0] += (labeled[spot] == "success") - (judged == "success")
                counts[spot[0]][1] += (labeled[spot] == "unscored") - (judged in (None, "unscored"))
        tried[cell] = {place: (hits, unknown, n) for place, (hits, unknown, n) in counts.items()}
        reviews[cell] = Review(frozenset(place for (place, *_), o in labeled.items() if o == "success"), len(labeled))
    return reviews


_PLACE = re.compile(r"(\d+):(.*):(\d+):(\d+)", re.DOTALL)


def _judged(
    store: Store, run: RunRow, cell: int, places: Collection[int]
) -> Iterator[tuple[tuple[int, int, int], str | None]]:
    """The judge's verdicts on some behaviors of a cell, None where there is none."""
    w = want.c
    for part in chunks(sorted(places), 500):
        for place, number, sample, label in store.select(
            sql.select(w.behavior, w.number, w.sample, row.c.label)
            .select_from(want.outerjoin(row, row.c.key == w.key))
            .where(w.run == run.key, w.stage == VERDICTS, w.cell == cell, w.behavior.in_(part))
        ):
            yield (place, number, sample), label
