"""What a run names as its worst on each target, and what that did on behaviors that had no part in choosing it."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from withstand.core import SpecError
from withstand.core.errors import did_you_mean
from withstand.core.text import percent
from withstand.results.cells import CellResult, Interval
from withstand.results.counts import BehaviorCounts, read_counts
from withstand.results.summary import summarize
from withstand.results.worst_case import WorstCase
from withstand.runner.adaptive import static_alone
from withstand.stats.rates import share_interval
from withstand.stats.winners import level_of_each
from withstand.store.store import RunRow, Store

Confirmed: TypeAlias = Literal["mean", "any_attack"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One rate: `run`, behaviors asked, the rate in [0, 1] or None, and its 95% interval."""

    run: str
    behaviors: int
    asr: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Winner:
    """What is confirmed on one target: the cells to ask again, of `rivals` attacks, and their figure in the run."""

    attack: str
    target: str
    defense: str
    rivals: int
    cells: tuple[CellResult, ...]
    chosen: Figure


@dataclass(frozen=True, slots=True)
class Confirmation:
    """An attack that was the highest of `rivals` on its target, or any of them, in the run and on held-out behaviors.

    chosen: with the interval that holds for all rivals at once.   new: with that of a rate that nobody chose; those of
    several that are confirmed in one go hold together.
    """

    attack: str
    target: str
    defense: str
    rivals: int
    chosen: Figure
    new: Figure
    note: str


def winners(
    cells: Sequence[CellResult], worst: Sequence[WorstCase], run: str, statistic: Confirmed = "mean",
    targets: Collection[str] = (),
) -> tuple[list[Winner], list[str]]:  # fmt: skip
    """Of each target and defense the attack with the highest ASR, or all attacks for `any_attack`; and what has none.

    Of equal attacks the one with the higher upper limit. targets: labels or names; none: all. Raises `SpecError` for a
    target that the run lacks, and where nothing is left to confirm.
    """
    groups: dict[tuple[str, str, str], list[CellResult]] = {}
    for cell in cells:
        if not cell.benign:
            groups.setdefault((cell.suite, cell.target, cell.defense), []).append(cell)
    names = {name for group in groups.values() for name in (group[0].target, group[0].printed("target"))}
    for target in targets:
        if target not in names:
            raise SpecError(f"{run} has no target {target}", hint=did_you_mean(target, names, "`withstand status`"))
    chosen, lacking = [], []
    for group in groups.values():
        first = group[0]
        if targets and not {first.target, first.printed("target")} & {*targets}:
            continue
        winner = _of_all(group, worst, run) if statistic == "any_attack" else _strongest(group, run)
        if winner is None:
            lacking.append(f"no attack on {first.printed('target')} has a rate: there is nothing to confirm on it")
        else:
            chosen.append(winner)
    if not chosen:
        raise SpecError(f"{run} has no attack success rate: nothing to confirm", hint="`withstand status` says why")
    return chosen, lacking


def _strongest(group: Sequence[CellResult], run: str) -> Winner | None:
    rated = [cell for cell in group if cell.asr is not None]
    if not rated:
        return None
    best = max(rated, key=lambda cell: (cell.asr or 0.0, cell.asr_interval or (0.0, 0.0)))
    figure = Figure(run, _asked(best), best.asr, best.asr_interval_all or best.asr_interval)
    return Winner(best.printed("attack"), *_faced(best), len(group), (best,), figure)


def _of_all(group: Sequence[CellResult], worst: Sequence[WorstCase], run: str) -> Winner | None:
    case = _worst_of(group[0], worst)
    if case is None:
        return None
    name = group[0].printed("attack") if len(group) == 1 else f"any of {len(group)} attacks"
    figure = Figure(run, case.behaviors, case.rate, case.interval)
    return Winner(name, *_faced(group[0]), len(group), tuple(group), figure)


def _faced(cell: CellResult) -> tuple[str, str]:
    return cell.printed("target"), "" if cell.defense == "none" else cell.printed("defense")


def _worst_of(cell: CellResult, worst: Sequence[WorstCase]) -> WorstCase | None:
    faced = (cell.suite, cell.target, cell.defense)
    return next((case for case in worst if (case.suite, case.target, case.defense) == faced), None)


def confirmed(
    winner: Winner, store: Store, run: RunRow, together: int, note: str, statistic: Confirmed = "mean"
) -> Confirmation:
    """Both figures of a winner, side by side. run: what asked it, and nothing else, on held-out behaviors.

    together: winners that are confirmed in one go. With several, each has exact limits at the level of Sidak.
    """
    result = summarize(store, run)
    cells = [cell for cell in result.cells if not cell.benign]
    behaviors_of = read_counts(store, run).behaviors
    rate: float | None
    ends: Interval | None
    if statistic == "any_attack":
        case = _worst_of(cells[0], result.worst)
        rate, ends, behaviors = (case.rate, case.interval, case.behaviors) if case else (None, None, 0)
        bounds = case.bounds if case else None
    else:
        [cell] = cells
        rate, ends, behaviors, bounds = cell.asr, cell.asr_interval, _asked(cell), cell.asr_bounds
    if together > 1 and rate is not None:
        low, high = _together([behaviors_of[cell.index] for cell in cells], level_of_each(together), statistic)
        ends = min(low, rate), max(high, rate)
    if bounds and bounds[1] - bounds[0] > 1e-9:
        open_ = f"cases without a verdict leave {run.name} between {percent(bounds[0])} and {percent(bounds[1])}"
        note = "; ".join(filter(None, [note, open_]))
    note = "; ".join(filter(None, [note, *_of_defense(cells, statistic)]))
    new = Figure(run.name, behaviors, rate, ends)
    return Confirmation(winner.attack, winner.target, winner.defense, winner.rivals, winner.chosen, new, note)


def _of_defense(cells: Sequence[CellResult], statistic: Confirmed) -> Iterator[str]:
    """What of a defended target's figure flatters the defense."""
    defense = cells[0].printed("defense")
    if cells[0].behind and static_alone((cell.knows, True) for cell in cells):
        yield f"static only: no attack here knows {defense}, so that the rate flatters it"
    elif statistic == "mean" and any(cell.knows and cell.cases > cell.behaviors * cell.samples for cell in cells):
        yield f"the mean over words made for {defense} lies below what any of them broke: --statistic any_attack"


def _together(
    counts: Sequence[Mapping[int, BehaviorCounts]], level: float, statistic: Confirmed
) -> tuple[float, float]:
    """The exact limits of the rate of one cell, or of what any of several broke, by clusters. counts: of each cell."""
    of: dict[int, list[BehaviorCounts]] = defaultdict(list)
    for cell in counts:
        for place, part in cell.items():
            of[place].append(part)
    kept = [parts for parts in of.values() if any(part.scored for part in parts)]
    hits = np.array([sum(part.counts["success"] for part in parts) for parts in kept])
    scored = np.array([sum(part.scored for part in parts) for parts in kept])
    single = statistic == "any_attack"
    shares = (hits > 0).astype(float) if single else hits / scored
    clusters = [parts[0].cluster for parts in kept]
    return share_interval(shares, np.ones(len(kept)) if single else 1 / scored, level, clusters, exact=True)


def _asked(cell: CellResult) -> int:
    return sum(part.behaviors for part in cell.by_category)
