"""A gate over its builds: what each of them was on its own, and by the evidence of all builds up to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from withstand.results.decide import Decided, decide
from withstand.results.graded import graded
from withstand.results.history import Counts, counts_of, with_history
from withstand.results.limits import Limits
from withstand.results.reviewed import reviewed
from withstand.store.store import RunRow, Store


@dataclass(frozen=True, slots=True)
class Build:
    """A run as one of many. alone: by its own rows; decided: by the evidence of all builds up to it. Their lines are
    of the same cells in the same order."""

    run: RunRow
    alone: Decided
    decided: Decided


def course(store: Store, builds: Sequence[RunRow], limits: Limits) -> Iterator[Build]:
    """Builds, oldest first, by the limits of one gate; `withstand gate --history` prints the last.

    No baseline is read, so that a limit on what became worse is left out. Raises `SpecError` where a run must not be
    gated or the limits have no history, `StoreError` where a mark is wrong.
    """
    limits = replace(limits, worse=None)
    past: list[Counts] = []
    for run in builds:
        alone = decide(store, run, limits)
        lines = with_history(past, limits, alone.lines, reviewed(store, run, graded(store, run)))
        yield Build(run, alone, replace(alone, lines=tuple(lines)))
        past.append(counts_of(store, run, limits))
