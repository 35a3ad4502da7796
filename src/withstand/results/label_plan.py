"""How many labels a wanted width takes, and the look that labeling has come to: `withstand label --width`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from withstand.core.text import count
from withstand.results.cells import defended
from withstand.results.counts import BehaviorCounts, read_counts
from withstand.results.own_labels import JUDGED, OwnLabel, own_estimate, own_labels
from withstand.stats import labeled
from withstand.store.store import RunRow, Store


@dataclass(frozen=True, slots=True)
class CellPlan:
    """How far a harmful cell has come to a wanted width.

    index: in the plan.   name: for people.   cases: those that may be labeled.   labeled: how many are.
    wanted: how many the next look takes, of what the judge called success and of what it called failure, with those
    that are labeled; these alone where labeling may stop.   expected: the labels that the width is expected to take in
    all, None where all would not do.   width: of the interval now, in [0, 1]; None without a label.   reached: the
    width is.
    """

    index: int
    name: str
    cases: int
    labeled: int
    wanted: tuple[int, int]
    expected: int | None
    width: float | None
    reached: bool

    @property
    def looks(self) -> int:
        """How often labeling may stop."""
        return len(labeled.looks(self.cases))

    def in_words(self, width: float) -> str:
        """Where the cell stands on its way to this width, in (0, 1)."""
        labels = count(self.labeled, "label")
        now = "no label yet" if self.width is None else f"{_points(self.width)} wide after {labels}"
        if self.reached:
            return f"{now}; narrow enough"
        if self.expected is None:
            return (
                f"{now}; its {count(self.cases, 'case')} are too few for {_points(width)}: all of them narrow it most"
            )
        if self.expected <= self.labeled:
            return f"{now}; it takes more than expected: the next look is at {sum(self.wanted)}"
        more = count(self.expected - self.labeled, "more label")
        return f"{now}; about {more} would give {_points(width)}; the next look is at {sum(self.wanted)}"


def _points(width: float) -> str:
    return f"{100 * width:.3g} points"


def label_plan(
    store: Store, run: RunRow, width: float, counts: Sequence[Mapping[int, BehaviorCounts]] | None = None
) -> list[CellPlan]:
    """The plan of each harmful cell that a judge scored. width: of every cell's interval, in (0, 1).   counts: of the
    cells, where they are known.

    The labels of a cell are counted at `stats.labeled.looks` alone, and its interval has the level of
    `stats.labeled.level_at_looks`, so that stopping at the first look that is narrow enough does not make it wrong.
    """
    own, counts = own_labels(store, run), read_counts(store, run).behaviors if counts is None else counts
    plans = []
    for index, cell in enumerate(run.plan["cells"]):
        if cell["benign"] or "waits" in cell:
            continue
        behaviors = counts[index]
        sizes = [sum(b.counts[name] for b in behaviors.values() for name in JUDGED[judged]) for judged in (True, False)]
        cases, labels = sum(sizes), own.get(index, [])
        if not cases:
            continue
        estimate = own_estimate(labels, behaviors, looks=len(labeled.looks(cases)))
        now = None if estimate is None else estimate.high - estimate.low
        drawn = [[label for label in labels if label.outcome in JUDGED[judged]] for judged in (True, False)]
        # what somebody left to others counts as given: in the interval it is open, and nobody is asked for it again
        given = [[label for label in part if label.skipped or not label.missing] for part in drawn]
        labels_given = sum(not label.missing for part in drawn for label in part)
        wanted, reached = _look(sizes, drawn, given, now is not None and now <= width)
        expected = labeled.labels_for(sizes[0], sizes[1], width, labeled.level_at_looks(cases))
        target = defended(cell["target"], "" if cell["defense"] == "none" else cell["defense"])
        name = f"{cell['attack']} on {target}"
        plans.append(CellPlan(index, name, cases, labels_given, wanted, expected, now, reached))
    return plans


def _look(
    sizes: Sequence[int], drawn: Sequence[Sequence[OwnLabel]], given: Sequence[Sequence[OwnLabel]], narrow: bool
) -> tuple[tuple[int, int], bool]:
    """How many of each stratum to label up to the next look, and whether the width is reached: at a look that is
    complete, never between two. The labels so far say of which stratum more narrow the interval."""
    have = len(given[0]) + len(given[1])
    least = len(drawn[0]), len(drawn[1])
    if have == sum(least) and ((have in labeled.looks(sum(sizes)) and narrow) or have == sum(sizes)):
        return least, narrow
    look = next(look for look in labeled.looks(sum(sizes)) if look > have or look == sum(sizes))
    decided = [[label.broken for label in part if label.broken is not None] for part in given]
    share = sizes[0] / sum(sizes)
    rates = labeled.believed(share, [sum(part) for part in decided], [len(part) for part in decided])
    return labeled.allocation(sizes[0], sizes[1], look, rates, least), False
