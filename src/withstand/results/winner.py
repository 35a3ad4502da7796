"""The strongest attack of a run, and what it did on behaviors that had no part in choosing it."""

from collections.abc import Sequence
from dataclasses import dataclass

from withstand.core import SpecError
from withstand.results.cells import CellResult, Interval


@dataclass(frozen=True, slots=True)
class Figure:
    """One rate of an attack: `run`, behaviors asked, the ASR in [0, 1] or None, and its 95% interval."""

    run: str
    behaviors: int
    asr: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """An attack that was the highest of `rivals` on its target, as the run showed it and on held-out behaviors.

    chosen: with the interval that holds for all rivals at once.   new: with that of one rate that nobody chose.
    """

    attack: str
    target: str
    defense: str
    rivals: int
    chosen: Figure
    new: Figure
    note: str


def strongest(cells: Sequence[CellResult], run: str) -> CellResult:
    """The cell with the highest ASR; of equal ones that with the higher upper limit. Raises `SpecError` without any."""
    rated = [cell for cell in cells if not cell.benign and cell.asr is not None]
    if not rated:
        raise SpecError(f"{run} has no attack success rate: nothing to confirm", hint="`withstand status` says why")
    return max(rated, key=lambda cell: (cell.asr or 0.0, cell.asr_interval or (0.0, 0.0)))


def confirmed(
    cells: Sequence[CellResult], best: CellResult, run: str, new: CellResult, new_run: str, note: str
) -> Confirmation:
    """Both figures of an attack, side by side. cells: of the run in which it was the strongest."""
    faced = (best.suite, best.target, best.defense)
    rivals = [cell for cell in cells if not cell.benign and (cell.suite, cell.target, cell.defense) == faced]
    return Confirmation(
        best.printed("attack"),
        best.printed("target"),
        "" if best.defense == "none" else best.printed("defense"),
        len(rivals),
        Figure(run, _asked(best), best.asr, best.asr_interval_all or best.asr_interval),
        Figure(new_run, _asked(new), new.asr, new.asr_interval),
        note,
    )


def _asked(cell: CellResult) -> int:
    return sum(part.behaviors for part in cell.by_category)
