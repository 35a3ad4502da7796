"""Two runs, or the parts of one, side by side: `withstand compare`."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from withstand.core import Json
from withstand.core.taxonomy import Grouping
from withstand.results import compare
from withstand.results.by_policy import assigned, by_category
from withstand.results.cells import plain
from withstand.results.compare import Pair
from withstand.results.defended import DefenseResult, between
from withstand.results.labeled_pairs import LabeledPair, labeled_pairs, unlike_styles
from withstand.results.names import names_of, renamed
from withstand.results.others import others_of
from withstand.results.overall import Overall, of_labels, overall
from withstand.results.pair_comparison import CORRECTIONS, Correct, PairComparison
from withstand.results.pair_comparison import compare as compare_pairs
from withstand.results.reduced import check_attacks, check_draws, counted_by
from withstand.results.summary import find_run
from withstand.results.warnings import marked
from withstand.stats.labeled_difference import LabeledDifference
from withstand.stats.statistic import Statistic
from withstand.store.store import Store


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two or more sides compared by a statistic of the harmful cells (k: of so many draws): their labels, the margin in
    (0, 1) within which a rate counts as unchanged, the name of the correction of p, whether texts are in it, the rows,
    notes on what was left out, and for each B one difference over all rows. policy: by whose categories rows of harmful
    cells are split, "" for none. defenses: what each gains of which one side is the target without it."""

    schema: int
    a: str
    b: tuple[str, ...]
    margin: float
    correction: str
    revealed: bool
    rows: tuple[PairComparison, ...]
    notes: tuple[str, ...]
    overall: tuple[Overall, ...] = ()
    statistic: Statistic = "mean"
    k: int | None = None
    policy: str = ""
    defenses: tuple[DefenseResult, ...] = ()

    def to_json(self) -> Json:
        """What `withstand compare --json` prints."""
        return plain(self)

    def shown(self) -> "Comparison":
        """The comparison with the names that people read in its sides, in what tells its rows apart, and in notes."""
        names = {label: name for row in self.rows for side in (row.a, row.b) for label, name in names_of(side).items()}
        return replace(
            self,
            a=renamed(self.a, names),
            b=tuple(renamed(side, names) for side in self.b),
            rows=tuple(
                replace(row, label=renamed(row.label, names), name=renamed(row.name, names)) for row in self.rows
            ),
            notes=tuple(renamed(note, names) for note in self.notes),
            defenses=tuple(result.shown(names) for result in self.defenses),
            overall=tuple(
                replace(
                    row,
                    side=renamed(row.side, names),
                    rows=tuple(renamed(label, names) for label in row.rows),
                    name=renamed(row.name, names),
                )
                for row in self.overall
            ),
        )


def compare_runs(
    store: Store, a: str, b: str, *, by: str = "", margin: float = 0.05, correct: Correct = "bonferroni",
    allow: Collection[str] = (), reveal: bool = False, statistic: Statistic = "mean", k: int | None = None,
    policy: Grouping | None = None,
) -> Comparison:  # fmt: skip
    """The comparison of run A with run B, or of the parts of A that `by` (target, defense, attack) splits it into.

    The rows of all sides that measure the same are one family for the correction. Raises `SpecError` where the sides
    cannot be compared. statistic, k: what is compared of the harmful cells, see `reduced.counted_by`. policy: a row for
    each of its categories, all of one family; what all rows say together is as without it.
    """
    sides = compare.split_by(store, a, by) if by else [(compare.side(store, a), compare.side(store, b))]
    gained = [result for first, second in sides for result in between(first.cells, second.cells)]
    for pair in sides:
        check_draws(pair, statistic, k)
        if statistic == "any_attack":
            check_attacks(pair)
    sides = [(counted_by(first, statistic, k), counted_by(second, statistic, k)) for first, second in sides]
    by_side: dict[str, list[Pair]] = {}
    notes: list[str] = []
    for first, second in sides:
        matches, unmatched = compare.matched(first.cells, second.cells)
        by_side[second.label] = matches
        notes += [*unmatched, *compare.check(matches, allow)]
    notes += [BY[statistic]] if statistic in BY else []
    pairs = [pair for matches in by_side.values() for pair in matches]
    texts = store.behaviors({key for pair in pairs for key in pair.keys})
    labels = labeled_pairs(store, pairs)
    if statistic != "mean":  # the others are of behaviors, and labels of cases
        labels = [LabeledPair(None, (0, 0), "")] * len(pairs)
    notes += unlike_styles(pairs, labels)
    for name in dict.fromkeys(cell.run for first, second in sides for cell in (*first.cells, *second.cells)):
        run = find_run(store, name)
        notes += [f"{name}: {words}" for words in (others_of(store, run).in_words(), *marked(run).values()) if words]
    labeled = {place: (row.difference, row.note) for place, row in enumerate(labels) if row.difference}
    of_pairs = {id(pairs[at]): row[0] for at, row in labeled.items()}
    notes += _not_corrected(by_side, of_pairs)
    if policy:
        pairs, more = _split(store, pairs, policy)
        notes += more
        labels = labeled_pairs(store, pairs) if statistic == "mean" else []
        labeled = {place: (row.difference, row.note) for place, row in enumerate(labels) if row.difference}
    rows = compare_pairs(pairs, texts, margin, correct, reveal, labeled=labeled)
    return Comparison(
        schema=2,
        a=sides[0][0].label,
        b=tuple(second.label for _, second in sides),
        margin=margin,
        correction=CORRECTIONS[correct][0],
        revealed=reveal,
        rows=tuple(replace(row, name=_name(row, len(sides) > 1)) for row in rows),
        notes=tuple(dict.fromkeys(notes)),
        overall=tuple(overall(by_side, margin, correct, of_pairs)),
        statistic=statistic,
        k=k,
        policy=policy.label if policy else "",
        defenses=tuple(gained),
    )


def _split(store: Store, pairs: Sequence[Pair], policy: Grouping) -> tuple[list[Pair], list[str]]:
    """The pairs by the categories of a policy, as B's run has them; benign ones whole. With what is to be known."""
    runs = {run: assigned(store, find_run(store, run), policy) for run in {pair.b.run for pair in pairs}}
    split: list[Pair] = []
    for pair in pairs:
        split += [pair] if pair.a.benign else by_category([pair], runs[pair.b.run])
    notes = [note for run in sorted(runs) for note in runs[run].notes()]
    return split, notes


def _not_corrected(by_side: Mapping[str, Sequence[Pair]], labeled: Mapping[int, LabeledDifference]) -> Iterator[str]:
    """A note where labels correct rows of single attacks, and a row over several is as judged all the same."""
    for matches in by_side.values():
        pairs = [pair for pair in matches if pair.a.measures == "harm"]
        if len(pairs) < 2 or not any(id(pair) in labeled for pair in pairs):
            continue
        if of_labels(pairs, labeled) is None:
            yield "the row over all attacks is as judged: its attacks do not all have labels of the same behaviors"
        yield "what any attack broke is as judged: labels are of single cases"


BY: dict[Statistic, str] = {
    "any_attack": "by any_attack: a behavior counts as broken if any case of any attack broke it",
    "at_k": "by at_k: a behavior counts as broken if any of its first k draws broke it (without k: any draw)",
}
"""Statistic -> the note that says it."""


def _name(row: PairComparison, several: bool) -> str:
    """What tells the row apart. several: sides were compared with the first one."""
    varied = [getattr(row.b, name) for name in row.varied] if several else []
    return " ".join([row.label, *(f"({value})" for value in varied)])
