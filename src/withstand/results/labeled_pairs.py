"""Differences of two cells from labels of their own cases, where both sides have enough."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from withstand.core.text import count, series
from withstand.formats.labels import by_whom
from withstand.results.compare import Pair
from withstand.results.counts import BehaviorCounts, read_counts
from withstand.results.graded import Graded, cell_of
from withstand.results.own_labels import ENOUGH, OwnLabel, own_labels, own_side
from withstand.stats.labeled_difference import LabeledDifference
from withstand.store.store import RunRow, Store


@dataclass(frozen=True, slots=True)
class LabeledPair:
    """What labels say of a pair. difference: None where a side has fewer than `ENOUGH` of the behaviors of both.
    labels: how many each side has.   annotators: in words."""

    difference: LabeledDifference | None
    labels: tuple[int, int]
    annotators: str

    @property
    def note(self) -> str:
        """What the difference rests on."""
        a, b = self.labels
        return f"from {count(a, 'label')} of A's own cases and {b:,} of B's, {self.annotators}, not as judged"


@dataclass(frozen=True, slots=True)
class _Cell:
    labels: Sequence[OwnLabel]
    behaviors: Mapping[int, BehaviorCounts]
    keys: Sequence[str]


def labeled_pairs(store: Store, pairs: Sequence[Pair], people: bool = False) -> list[LabeledPair]:
    """What labels say of each pair, over the behaviors of both sides. A baseline file has no labels, nor have benign
    cells, nor cells whose judge is people. people: labels of people alone, as for a gate."""
    runs = {run.name: run for run in store.runs()}
    cells: dict[tuple[str, ...], _Cell] = {}
    for name in dict.fromkeys(side.run for pair in pairs for side in (pair.a, pair.b)):
        if name in runs:
            cells.update(_cells(store, runs[name], people))
    return [_pair(pair, cells.get(_identity(pair.a)), cells.get(_identity(pair.b))) for pair in pairs]


def _identity(cell: Graded) -> tuple[str, ...]:
    return (cell.run, cell.suite, cell.checksum, cell.target, cell.defense, cell.attack, cell.judge_key, cell.measures)


def _cells(store: Store, run: RunRow, people: bool) -> Iterator[tuple[tuple[str, ...], _Cell]]:
    """The cells of a run that have labels, by what names them."""
    own = own_labels(store, run, people)
    counts = read_counts(store, run).behaviors if own else []
    for index, labels in own.items():
        planned = run.plan["cells"][index]
        if not planned["benign"]:
            keys = run.plan["suites"][planned["suite"]]["behaviors"]
            yield _identity(cell_of(run, index, {})), _Cell(labels, counts[index], keys)


def _pair(pair: Pair, a: _Cell | None, b: _Cell | None) -> LabeledPair:
    if a is None or b is None:
        return LabeledPair(None, (0, 0), "")
    shared = set(pair.keys)
    sides, numbers = [], []
    for cell in (a, b):
        behaviors = {place: counts for place, counts in cell.behaviors.items() if cell.keys[place] in shared}
        side = own_side([label for label in cell.labels if label.behavior in behaviors], behaviors)
        sides.append(side)
        numbers.append(side.estimates[0].labeled if side else 0)
    annotators = by_whom(name for cell in (a, b) for label in cell.labels for name in label.annotators)
    first, second = sides
    enough = first is not None and second is not None and min(numbers) >= ENOUGH
    difference = LabeledDifference(first, second) if enough and first and second else None
    return LabeledPair(difference, (numbers[0], numbers[1]), annotators)


def unlike_styles(pairs: Sequence[Pair], labeled: Sequence[LabeledPair]) -> Iterator[str]:
    """A note where the sides may write differently, so that a judge may err differently on them, and lack labels."""
    open_ = [
        pair
        for pair, labels in zip(pairs, labeled, strict=True)
        if labels.difference is None and _varied(pair) and not pair.a.benign and pair.a.judge_method != "people"
    ]
    if not open_:
        return
    what = series(list(dict.fromkeys(name for pair in open_ for name in _varied(pair))))
    runs = series([f"`withstand label {run}`" for run in dict.fromkeys(s.run for p in open_ for s in (p.a, p.b))])
    yield (
        f"the sides differ in {what}, and are compared as judged: a judge that misses more breaks of one side makes it "
        f"look better. {ENOUGH} labels of each side's cell correct that ({runs})"
    )


def _varied(pair: Pair) -> list[str]:
    """In what the sides differ that an answer's style, or its judge, may depend on."""
    a, b = pair.a, pair.b
    here = ["target"] if "target" in pair.varied else [_unlike_target(a, b)]
    unlike = {
        "sampling": a.sampling != b.sampling or a.until_success != b.until_success,
        "judge": a.judge_key != b.judge_key,
        "suite": (a.suite_version, a.checksum) != (b.suite_version, b.checksum) and "suite" not in pair.varied,
    }
    varied = [name for name in pair.varied if name != "target"]
    return [name for name in [*here, *varied, *(name for name in unlike if unlike[name])] if name]


def _unlike_target(a: Graded, b: Graded) -> str:
    """How targets of one name differ, as a newer model, another template or a fine-tuned adapter; "" where they do not.

    A baseline file has a part of a target's identity. Without a revision a server's model may have changed unseen.
    """
    if a.run == b.run:
        return ""
    first, second = (side.identity if isinstance(side.identity, dict) else {} for side in (a, b))
    names = {"use", "identity", "template"} | (first.keys() & second.keys())
    if any(first.get(name) != second.get(name) for name in names):
        return "target"
    same = first.get("identity") == second.get("identity") not in (None, {"revision": ""})
    return "" if same else "target (of unknown version)"


def mean_share(part: Sequence[int], cases: Sequence[int]) -> float:
    """The mean over behaviors of a part of their cases; all of a behavior without cases."""
    return sum(n / of if of else 1 for n, of in zip(part, cases, strict=True)) / len(cases)
