"""Cells counted by another statistic than the mean: one outcome a behavior, for comparisons and plans."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from withstand.core import SpecError
from withstand.core.text import series
from withstand.results.compare import Side
from withstand.results.graded import BehaviorResult, Graded, Where, by_target
from withstand.runner.transfer import bare_label
from withstand.stats.statistic import Statistic

Cases: TypeAlias = Sequence[str]
"""Outcomes of the cases that count for one behavior."""


def counted_by(side: Side, statistic: Statistic, k: int | None = None) -> Side:
    """The cells of a side with one outcome a behavior: broken if any of the cases that count broke it.

    at_k: of each cell the first k draws of a behavior (None: all), which are as good as any k; with fewer it is
    unscored.   any_attack: of all attacks on a target together. Benign cells stay as they are.
    Raises `SpecError` for what cannot be compared in this way.
    """
    if statistic == "mean":
        return side
    if statistic == "all_of_k":
        raise SpecError("all_of_k is 1 - at_k", hint="--statistic at_k gives the same difference with the other sign")
    if k is not None and (statistic != "at_k" or any(cell.until_success for cell in side.cells)):
        what = "a search that stops at its first success" if statistic == "at_k" else statistic
        raise SpecError(f"{what} has no number of draws k", hint="leave --k out")
    benign = tuple(cell for cell in side.cells if cell.benign)
    harmful = [cell for cell in side.cells if not cell.benign]
    if statistic == "at_k":
        return replace(side, cells=(*(_of_draws(cell, k) for cell in harmful), *benign))
    return replace(side, cells=(*map(of_attacks, by_target(harmful)), *benign))


def check_draws(sides: tuple[Side, Side], statistic: Statistic, k: int | None) -> None:
    """Raise `SpecError` where the sides, before they are counted, made other numbers of draws: what is drawn more often
    breaks more often."""
    if statistic == "mean" or k is not None:
        return
    first, second = ({cell.samples for cell in side.cells if not cell.benign} for side in sides)
    if first != second:
        a, b = (series([str(n) for n in sorted(numbers)]) for numbers in (first, second))
        raise SpecError(
            f"{statistic} is of as many draws on both sides, and A has samples {a}, B {b}",
            hint="--statistic at_k --k 1 takes one draw of each, and --statistic mean the rate of a draw",
        )


def check_attacks(sides: tuple[Side, Side]) -> None:
    """Raise `SpecError` where two sides, before they are counted by `any_attack`, faced other attacks."""
    sets = [{bare_label(cell.attack) for cell in side.cells if not cell.benign} for side in sides]
    if alone := sorted(sets[0] ^ sets[1]):
        raise SpecError(
            f"any_attack is of one set of attacks, and only one side faced {series(alone)}",
            hint="run the same attacks on both, or compare attack by attack with --statistic mean",
        )


def _of_draws(cell: Graded, k: int | None) -> Graded:
    def counts(behavior: BehaviorResult) -> Cases:
        drawn = [outcome for _, outcome in sorted(behavior.outcomes.items())]
        return drawn if k is None else [*drawn[:k], *["unscored"] * (k - len(drawn))]

    return _reduced(cell, {key: counts(behavior) for key, behavior in cell.behaviors.items()}, cell.behaviors)


def of_attacks(cells: Sequence[Graded]) -> Graded:
    """The cells of several attacks on one target as one. A behavior that some attack did not come to is unscored."""
    behaviors = {key: behavior for cell in reversed(cells) for key, behavior in cell.behaviors.items()}
    absent = BehaviorResult("", outcomes={(0, 0): "error"})
    cases = {
        key: [outcome for cell in cells for outcome in cell.behaviors.get(key, absent).outcomes.values()]
        for key in behaviors
    }
    label = cells[0].attack if len(cells) == 1 else f"any of {len(cells)} attacks"
    knows = "adaptive" if any(cell.knows == "adaptive" for cell in cells) else cells[0].knows
    reduced = _reduced(cells[0], cases, behaviors)
    return replace(reduced, attack=label, watched=any(cell.watched for cell in cells), knows=knows)


def _reduced(cell: Graded, cases: Mapping[str, Cases], behaviors: Mapping[str, BehaviorResult]) -> Graded:
    at: Where = (0, 0)
    reduced = {
        key: replace(behaviors[key], outcomes={at: _any_of(outcomes)} if outcomes else {}, frozen="", sent="")
        for key, outcomes in cases.items()
    }
    return replace(cell, behaviors=reduced, watch=None, samples=1)


def _any_of(outcomes: Cases) -> str:
    """Unscored where any has no verdict, also where another broke it; else broken by one, or held.

    If only held behaviors were left out for a missing verdict, the side with more of these would seem less safe, and
    what is compared with it safer.
    """
    if {"unscored", "error"} & {*outcomes}:
        return "unscored"
    return "success" if "success" in outcomes else "failure"
