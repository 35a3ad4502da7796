"""How many labels a wanted width takes, and the look that labeling has come to: `withstand label --width`."""

from collections.abc import Sequence
from dataclasses import dataclass

from withstand.results.counts import read_counts
from withstand.results.own_labels import JUDGED, own_estimate, own_labels
from withstand.stats import labeled
from withstand.store.store import RunRow, Store


@dataclass(frozen=True, slots=True)
class CellPlan:
    """How far a harmful cell has come to a wanted width.

    index: in the plan.   cases: those that may be labeled.   labeled: how many are.   wanted: how many the next look
    takes, what is labeled included; as many as are labeled where labeling may stop.   expected: the labels that the
    width is expected to take in all, None where all would not do.   width: of the interval now, in [0, 1]; None without
    a label.   reached: the width is.
    """

    index: int
    cases: int
    labeled: int
    wanted: int
    expected: int | None
    width: float | None
    reached: bool


def label_plan(store: Store, run: RunRow, width: float) -> list[CellPlan]:
    """The plan of each harmful cell that a judge scored. width: of every cell's interval, in (0, 1).

    The labels of a cell are counted at `stats.labeled.looks` alone, and its interval has the level of
    `stats.labeled.level_at_looks`, so that stopping at the first look that is narrow enough does not make it wrong.
    """
    own, counts = own_labels(store, run), read_counts(store, run).behaviors
    plans = []
    for index, cell in enumerate(run.plan["cells"]):
        if cell["benign"] or "waits" in cell:
            continue
        behaviors = counts[index]
        sizes = [sum(b.counts[name] for b in behaviors.values() for name in JUDGED[judged]) for judged in (True, False)]
        cases, labels = sum(sizes), own.get(index, [])
        if not cases:
            continue
        looks = labeled.looks(cases)
        estimate = own_estimate(labels, behaviors, looks=len(looks))
        now = None if estimate is None else estimate.high - estimate.low
        have = [sum(label.outcome in JUDGED[judged] for label in labels) for judged in (True, False)]
        wanted, reached = _look(looks, sizes, have, now is not None and now <= width)
        expected = labeled.labels_for(sizes[0], sizes[1], width, labeled.level_at_looks(cases))
        plans.append(CellPlan(index, cases, len(labels), wanted, expected, now, reached))
    return plans


def _look(looks: Sequence[int], sizes: Sequence[int], have: Sequence[int], narrow: bool) -> tuple[int, bool]:
    """The look to label up to, and whether the width is reached: at a look that is complete, never between two."""
    complete = 0
    for look in looks:
        if any(labels < part for labels, part in zip(have, labeled.allocation(sizes[0], sizes[1], look), strict=True)):
            return (complete, True) if complete and narrow and sum(have) <= complete else (look, False)
        complete = look
    return complete, narrow
