"""May this run pass? `withstand gate` puts the limits, the run and its baseline together here."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from withstand.core import SpecError, StoreError
from withstand.core.taxonomy import Grouping
from withstand.core.text import unique
from withstand.results import baselines, broken, gate, gate_policy
from withstand.results.by_policy import assigned, by_category
from withstand.results.cells import defended
from withstand.results.compare import Pair
from withstand.results.counts import iso, read_counts
from withstand.results.gate import Decision, Line
from withstand.results.graded import Graded, by_target, flattered, graded, several_ways
from withstand.results.history import builds_of, counts_of, with_history
from withstand.results.labeled_pairs import labeled_pairs, unlike_styles
from withstand.results.limits import Limits, limits_of
from withstand.results.names import plan_names, renamed
from withstand.results.one_answer import FEW, LEAST, let_nothing_through, one_answer
from withstand.results.others import check_own, others_of
from withstand.results.own_labels import own_labels, with_own
from withstand.results.pair_comparison import unequal
from withstand.results.reviewed import changed, overruled, reviewed
from withstand.results.warnings import judged_by_its_guard, marked, without_calls
from withstand.store.store import RunRow, Store


@dataclass(frozen=True, slots=True)
class Decided:
    """A gated run: its lines, notes, the label of the baseline ("" for none), the text of its own baseline file, and
    label -> name of the components that people read by another name."""

    run: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    baseline: str
    frozen: str
    names: Mapping[str, str]

    @property
    def overall(self) -> Decision:
        """FAIL if any line fails, else UNDECIDED if any is open, else PASS."""
        return gate.overall(self.lines)

    def shown(self) -> "Decided":
        """The same with the names that people read in its lines and notes."""
        lines = tuple(
            replace(
                line,
                cell=renamed(line.cell, self.names),
                why=renamed(line.why, self.names),
                attacks={self.names.get(label, label): n for label, n in line.attacks.items()},
            )
            for line in self.lines
        )
        return replace(self, lines=lines, notes=tuple(renamed(note, self.names) for note in self.notes))


def decide(
    store: Store, row: RunRow, limits: Limits, baseline: str | None = None, allow: Collection[str] = (),
    freeze: bool = False, history: str = "", policy: Grouping | None = None,
) -> Decided:  # fmt: skip
    """Set a run against its limits, and against a baseline (a file, or a run of the store) where one is given.

    history: start of the names of the builds that this run is one of.
    policy: whose categories have limits of their own; without it those are UNDECIDED.
    freeze: also make the text of the run's own baseline file. The marks of all rows that name the user are checked.
    Raises `SpecError` where the run must not be gated, `StoreError` where a mark is wrong.
    """
    builds = builds_of(store, row, history) if history else [row]
    for run in [*builds, *baselines.runs_of(store, baseline)]:
        check_own(store, run)
    cells = graded(store, row)
    baselines.check_pinned(cells)
    pairs: list[Pair] = []
    absent: list[Graded] = []
    notes: list[str] = []
    label = ""
    if baseline:
        before = baselines.side_of(store, baseline)
        pairs, absent, notes = baselines.paired_with(before, cells, [*allow])
        notes += baselines.same_cases(store, pairs)
        label = before.label
    labeled, calibrations = reviewed(store, row, cells), store.calibrations({cell.judge_key for cell in cells})
    if own := own_labels(store, row):
        calibrations = with_own(row, own, read_counts(store, row).behaviors, calibrations)
    notes += overruled(cells, labeled)
    notes += [f"{pair.label}: {note}" for pair in pairs if not pair.b.benign for note in unequal(pair)]
    of_pairs = labeled_pairs(store, pairs, people=True)
    notes += unlike_styles(pairs, of_pairs) if limits.worse is not None else ()
    counted = [*broken.lines(labeled, limits)]
    alike = one_answer(store, row, FEW if any(line.rate == 0 for line in counted) else LEAST)
    guarded, silent = judged_by_its_guard(row), let_nothing_through(store, row)
    uncalled = without_calls(store, row)
    of_policy: list[Line] = []
    if limits.categories or limits.every:
        own_policy = assigned(store, row, policy) if policy else None
        split = by_category(pairs, own_policy) if own_policy else []
        of_policy = gate_policy.lines(
            gate_policy.Measured(
                labeled, own_policy, split, labeled_pairs(store, split, people=True), calibrations, frozenset(alike),
                frozenset(uncalled), {} if limits.allow_static else flattered(cells),
            ),
            limits,
        )  # fmt: skip
        notes += gate_policy.notes(own_policy, limits) if own_policy else ()
    lines = gate.lines(labeled, limits, pairs, absent, calibrations, of_pairs, [*of_policy, *counted])
    notes += changed_estimator(labeled, limits, lines)
    lines = [*_held_back(lines, cells, limits, alike, guarded, silent, marked(row))]
    if history:
        past = [counts_of(store, run, limits) for run in builds[:-1]]
        lines = list(with_history(past, limits, lines, labeled))
    notes += [*limits.notes, *alike.values(), *guarded.values(), *silent.values(), *uncalled.values()]
    frozen = baselines.baseline_of(store, row, iso(row.created)) if freeze else ""
    notes += _beside(store, row, baseline)
    notes += [f"{defended(*of)} may pass by static attacks alone" for of in flattered(cells) if limits.allow_static]
    return Decided(row.name, tuple(lines), tuple(notes), label, frozen, plan_names(row.plan))


def _beside(store: Store, row: RunRow, baseline: str | None) -> Iterator[str]:
    """What its models are marked as, its sets left out, its suites say of themselves, and people and other writers
    did."""
    yield from marked(row).values()
    yield from unique(sentence for entry in row.plan.get("sets", ()) for sentence in entry["left_out"])
    yield from unique(note for suite in row.plan["suites"] for note in suite.get("notes", ()))
    yield from filter(None, [changed(store.labels(row.key)), others_of(store, row).in_words()])
    for run in baselines.runs_of(store, baseline):
        yield from (f"of the baseline {words}" for words in [others_of(store, run).in_words()] if words)


MARKED = "its training marked it as no model to ship, see the note"
SPREAD = (
    "a mean over the cases of an attack that knows the defense lies below what any of them broke. Run --statistic "
    "any_attack"
)


def _held_back(
    lines: Iterable[Line],
    cells: Sequence[Graded],
    limits: Limits,
    alike: Collection[tuple[str, str]],
    guarded: Collection[tuple[str, str]],
    silent: Collection[tuple[str, str]],
    tampered: Collection[str],
) -> Iterator[Line]:
    """The lines of a gate. Those of targets with one answer, as `one_answer` names them, pass by nothing, nor do those
    of targets whose training marked them, or of harmful prompts whose judge guards the target, whose defense was
    silent, as `let_nothing_through` names it, or, unless the limits allow it, whose defense no attack knew."""
    names = gate.names_of(cells)
    groups = by_target(cells)
    harmful = [part for group in groups for part in gate.parts_of(group, limits)]
    benign = [[cell] for cell in cells if cell.benign]
    static = {} if limits.allow_static else flattered(cells)
    every = [*harmful, *groups, *([cell] for group in groups for cell in group)]
    theirs = {
        gate.part_name(part, names): why
        for parts, places in (
            ([*every, *benign], {(c.target, c.defense): MARKED for c in cells if c.target in tampered}),
            (every, static),
            (harmful, dict.fromkeys(guarded, "its judge also blocks its answers, see the note")),
            (harmful, dict.fromkeys(silent, "its defense let no answer through, see the note")),
            ([*harmful, *benign], dict.fromkeys(alike, "it gave one answer to everything, see the note")),
        )
        for part in parts
        if (why := places.get((part[0].target, part[0].defense)))
    }
    alone = limits.counted == "mean" or limits.k is not None
    spread = {gate.part_name(part, names) for part in harmful if alone and any(map(several_ways, part))}
    for line in lines:
        if line.cell in spread and line.gate == limits.gate and line.verdict == "PASS":
            line = replace(line, verdict="UNDECIDED", firm=True, more=None, why=SPREAD)
        if line.cell in theirs and line.verdict != "FAIL" and not line.firm and line.gate != "max-errors":
            line = replace(line, verdict="UNDECIDED", firm=True, more=None, why=theirs[line.cell])
        yield line


def of_spec(store: Store, row: RunRow) -> Decided | None:
    """What the limits in the run's spec say of it; None where there are none.

    A report reads no baseline, so that a limit on what became worse is open. A run that must not be gated, as one whose
    rows somebody changed, has a note alone.
    """
    limits = limits_of(row.plan.get("gate", {}), {})
    if limits.empty:
        return None
    rates = replace(limits, worse=None)
    try:
        if rates.empty:
            decided = Decided(row.name, (), (), "", "", plan_names(row.plan))
        else:
            rates.check(None, False, True)
            decided = decide(store, row, rates)
        if limits.worse is None:
            return decided
        why = f"a report does not read the baseline: `withstand gate {row.name}` does"
        return replace(decided, lines=(*decided.lines, gate.nothing("max-worse", "each attack", limits.worse, why)))
    except (SpecError, StoreError) as error:
        return Decided(row.name, (), (f"{error}: {error.hint}",), "", "", plan_names(row.plan))


def changed_estimator(cells: Sequence[Graded], limits: Limits, lines: Sequence[Line]) -> Iterator[str]:
    """A note where a gate that does not say what it estimates is decided otherwise than before release 0.1."""
    if limits.asr is None or limits.statistic is not None:
        return
    old_limits = Limits(
        asr=limits.asr, statistic="mean", attacks=limits.attacks, attacks_on=limits.attacks_on, changed=limits.changed
    )
    before = gate.lines(cells, old_limits, [], [])
    now = [line for line in lines if line.gate == limits.gate]
    if (old := gate.overall(before)) != (new := gate.overall(now)):
        yield (
            f"max-asr is {new}, and {old} by the estimator of earlier versions, the mean over draws of each attack. "
            "Now a behavior counts as broken if any attack broke it (any_attack). `--statistic mean` keeps the old one"
        )
