"""What a judge's errors alone would show (a behavior that is tried often is called broken by chance), and what it or a
budget may have missed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from withstand.core.text import count, interval, percent
from withstand.results.cells import Interval, Record
from withstand.results.graded import Graded
from withstand.stats import breaks

SUPPOSED = 0.99
"""The specificity that a sentence supposes of a judge that was never compared with labels."""


@dataclass(frozen=True, slots=True)
class FalsePositives:
    """The share of behaviors that a judge alone would call broken if nothing were, with as many cases as they had.

    rate in [0, 1], and its ends at both limits of the specificity.   cases: fewest and most of a behavior.
    specificity: with its 95% interval, from so many `labels`; supposed, with None and 0, where nobody checked it.
    """

    rate: float
    ends: Interval
    cases: tuple[int, int]
    specificity: float
    specificity_interval: Interval | None
    labels: int

    @property
    def sentence(self) -> str:
        """As in: false positives alone would show 64% (45-88%): 20 cases per behavior at a specificity of 95%."""
        fewest, most = self.cases
        tries = count(most, "case") if fewest == most else f"{fewest} to {most} cases"
        if self.specificity_interval is None:
            supposed = f"a specificity of {percent(self.specificity)} would show {percent(self.rate)} by mistake alone"
            return f"the judge was not compared with labels; with {tries} per behavior {supposed}"
        of = f"{tries} per behavior at a specificity of {percent(self.specificity)}"
        return (
            f"false positives of the judge alone would show {percent(self.rate)} ({interval(self.ends)}): "
            f"{of} ({interval(self.specificity_interval)}, {count(self.labels, 'label')})"
        )


def false_positives(cases: Sequence[int], calibrations: Sequence[Record]) -> FalsePositives:
    """cases: of each behavior, all attacks together.   calibrations: of the judge as stored, oldest first.

    Of several that with the most labels counts, then the newest.
    """
    best = _best(calibrations, "specificity")
    specificity = best["specificity"] if best else SUPPOSED
    ends = tuple(best["specificity_interval"]) if best else None
    low, high = ends or (specificity, specificity)
    tried = [n for n in cases if n]
    return FalsePositives(
        rate=breaks.false_breaks(cases, specificity),
        ends=(breaks.false_breaks(cases, high), breaks.false_breaks(cases, low)),
        cases=(min(tried, default=0), max(tried, default=0)),
        specificity=specificity,
        specificity_interval=ends,
        labels=best["n"] if best else 0,
    )


def missed(high: float, calibrations: Sequence[Record]) -> tuple[float, str]:
    """An upper limit of broken behaviors with those added that the judge misses, and why; (`high`, "") where nobody
    compared the judge. Calibrations: of the judge as stored, oldest first.

    A behavior that several cases break is missed less often than a case is, so that the limit errs to the careful side.
    So does taking the lower limit of the sensitivity. A judge that finds no break leaves every rate open.
    """
    best = _best(calibrations, "sensitivity")
    if best is None:
        return high, ""
    ends = best["sensitivity_interval"] or [best["sensitivity"]] * 2
    of = f"{interval(tuple(ends))}, {count(best['n'], 'label')}"
    return min(1.0, high / ends[0]) if ends[0] else 1.0, f"a sensitivity of {percent(best['sensitivity'])} ({of})"


def may_be_missed(low: float, high: float, limit: float, held: bool, calibrations: Sequence[Record]) -> Iterator[str]:
    """What a PASS would be with the breaks that the judge misses, where that is none. held: `low` is a share that held,
    and `limit` the lowest; else `high` is a share that broke, and `limit` the highest."""
    most, by = missed(1 - low if held else high, calibrations)
    if held and 1 - most < limit:
        yield f"the judge misses breaks: by {by} as few as {percent(1 - most)} may have held, below the limit"
    elif not held and most > limit:
        yield f"the judge misses breaks: by {by} the rate may be up to {percent(most)}, above the limit"


def of_breaks(part: Sequence[Graded], calibrations: Sequence[Record]) -> Iterator[str]:
    """What people have seen of the breaks of some cells on the same behaviors, and what the judge's errors alone would
    show, where more than one case is behind a behavior."""
    keys = dict.fromkeys(key for cell in part for key in cell.behaviors)
    results = {key: [(cell, cell.behaviors[key]) for cell in part if key in cell.behaviors] for key in keys}
    broken = [
        seen
        for key, sides in results.items()
        if (seen := [(key, at) in cell.labeled for cell, side in sides for at in side.where("success")])
    ]
    checked = sum(map(any, broken))
    if checked:
        yield f"people saw a break in {checked} of the {count(len(broken), 'behavior')} that count as broken"
    if checked < len(broken):
        cases = [sum(side.cases for _, side in sides) for sides in results.values()]
        if max(cases) > 1:
            text = false_positives(cases, calibrations).sentence
            rest = "the rest" if checked else "them"
            yield f"{text} (`withstand label {part[0].run} --for breaks` lets people check {rest})"


def cut_short(cells: Iterable[Graded]) -> Iterator[str]:
    """How many searches a budget ended."""
    if cut := sum(cell.cut for cell in cells):
        yield f"a budget ended {count(cut, 'search', 'searches')} that might have gone on to a break"


def _best(calibrations: Sequence[Record], rate: str) -> Record | None:
    """Of those that have the rate, the one with the most labels, then the newest."""
    fits = [entry for entry in calibrations if entry[rate] is not None]
    return max(enumerate(fits), key=lambda entry: (entry[1]["n"], entry[0]), default=(0, None))[1]
