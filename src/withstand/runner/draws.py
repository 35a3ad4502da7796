"""How many draws grade a checkpoint of a search: as many as the run says, or as much compute as the search had.

Beyer et al. 2025, arXiv:2507.04446: where one greedy answer withstands a suffix, one of many sampled answers may not.
Steps and draws then compete for the same compute. Which split is the best depends on the model and is not known before;
"auto" gives each of them half. With twice the compute that does at least as many steps and draws as any other split.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from withstand.core import AskError, Completion, SpecError, Spent, Target

Draws: TypeAlias = int | Literal["auto"]

STOPPED = "each attack stopped at its first success"
"""The note on a cell in which no draw follows a success."""

MOST = 64
"""Draws of one checkpoint at most where they are "auto"."""

_WAY = "set draws to a number"


@dataclass
class Split:
    """The draws of one search so far. number: how many; flops: their floating-point operations, None: not known."""

    draws: Draws
    number: int = 0
    flops: float | None = 0.0

    def due(self, here: int, new: bool, spent: Spent) -> int:
        """How many more draws a checkpoint gets now that it had `here` of them.

        new: it is the best so far, else the best is drawn again. spent: by the search and its draws. A number is that
        many of each new best. "auto": at least one of each new best, then of the best as many as keep the operations of
        all draws at or below those of the search. Raises `AskError` where they are not known.
        """
        if self.draws != "auto":
            return (self.draws if new else 0) - here
        least = 1 if new and not here else 0
        if not self.number:
            return least
        if spent.flops is None or not self.flops:
            raise AskError("draws is auto, and the operations of this search or of its draws are not known", hint=_WAY)
        left = spent.flops - 2 * self.flops  # of the search, less those of the draws
        return max(least, min(int(left / (self.flops / self.number)), MOST - here))

    def add(self, drawn: list[Completion]) -> None:
        self.number += len(drawn)
        for completion in drawn:
            counted = self.flops is not None and completion.flops is not None
            self.flops = (self.flops or 0.0) + (completion.flops or 0.0) if counted else None


def check_draws(draws: Draws, graded: bool, label: str, target: Target) -> None:
    """Raise `SpecError` for draws that would be one answer again and again, or that nothing grades or bounds.

    graded: whether a judge ends the searches. label: of the target.
    """
    if draws == 1:
        return
    if not graded:
        raise SpecError(f"draws is {draws}, and nothing grades the draws", hint="add until_success = true")
    if target.sampling.temperature == 0:
        raise SpecError(
            f"draws is {draws} at temperature 0, where every draw of {label} is the same answer",
            hint="set a temperature, such as --temperature 1",
        )
    if draws == "auto" and "weights" not in target.model.gives:
        raise SpecError(f"draws is auto, and the operations of {label} are not known", hint=f"{_WAY}, such as 30")


def most_of(draws: Draws) -> int:
    """The most draws of one checkpoint."""
    return MOST if draws == "auto" else draws


def note_of(draws: Draws) -> str:
    """What a reader of a rate must know of the draws behind it. Keys of runs hold it: it must never change."""
    if draws == "auto":
        return "its draws took as many operations as its steps, and its rate is at_k of all of them"
    return f"{draws} draws graded each new best candidate, and its rate is at_k of all of them"
