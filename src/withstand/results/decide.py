"""May this run pass? `withstand gate` puts the limits, the run and its baseline together here."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from withstand.core import SpecError
from withstand.results import gate
from withstand.results.compare import Pair
from withstand.results.counts import iso
from withstand.results.gate import Limits, Line
from withstand.results.graded import Graded, graded
from withstand.results.names import plan_names, renamed
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

    def shown(self) -> "Decided":
        """The same with the names that people read in its lines and notes."""
        lines = tuple(replace(line, cell=renamed(line.cell, self.names)) for line in self.lines)
        return replace(self, lines=lines, notes=tuple(renamed(note, self.names) for note in self.notes))


def check_limits(limits: Limits, baseline: str | None, freezes: bool, reports: bool) -> None:
    """Raise `SpecError` where there is nothing to gate.

    `freezes`: the run's baseline is written. `reports`: a gate report is written or printed.
    """
    if limits == Limits() and (not freezes or baseline or reports):
        raise SpecError(
            "no limit is given: nothing to gate", hint="--max-asr, --max-worse, --max-over-refusal or --max-errors"
        )
    if limits.worse is not None and not baseline:
        raise SpecError(
            "--max-worse, but no baseline",
            hint="--baseline RUN, or FILE from `withstand gate RUN --write-baseline FILE`",
        )


def decide(
    store: Store, row: RunRow, limits: Limits, baseline: str | None = None, allow: Collection[str] = (),
    freeze: bool = False,
) -> Decided:  # fmt: skip
    """Set a run against its limits, and against a baseline (a file, or a run of the store) where one is given.

    freeze: also make the text of the run's own baseline file. Raises `SpecError` where the run must not be gated.
    """
    cells = graded(store, row)
    gate.check_pinned(cells)
    pairs: list[Pair] = []
    absent: list[Graded] = []
    notes: list[str] = []
    label = ""
    if baseline:
        before = gate.side_of(store, baseline)
        pairs, absent, notes = gate.paired_with(before, cells, [*allow])
        notes += gate.same_cases(store, pairs)
        label = before.label
    lines = gate.lines(cells, limits, pairs, absent)
    frozen = gate.baseline_of(store, row, iso(row.created)) if freeze else ""
    return Decided(row.name, tuple(lines), tuple(notes), label, frozen, plan_names(row.plan))
