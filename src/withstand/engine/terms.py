"""What a defense adds to the loss of an attack by weights where it would block the text. Ours.

A defense gives terms in its own unit, how suspicious a text is; the engine makes nats of them. The addition is 0 where
the text passes, so that the search then follows the target string alone, and more than any target string's loss where
it is blocked, so that a text that passes always beats one that does not.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from withstand.core import WithstandError
from withstand.engine.text import Prompt

BLOCKED = 100.0
"""Nats that any blocked text costs: above the mean cross-entropy of any token that a model can hold for likely."""
DOUBLING = 10.0
"""Nats more for each doubling of the suspicion above 1, so that blocked texts are led to where one passes."""


class Term(Protocol):
    """How suspicious one part of a defense finds a text, 0 or more: it is blocked from 1 on (score over threshold).

    `engine`: the `Engine` of the model that the attack works on. What the user sends for a slot is
    `prompt.chat(texts(tokenizer, prompt, [slot])[0])`.
    """

    def suspicions(self, engine: Any, prompt: Prompt, slots: Sequence[Sequence[int]]) -> Tensor:
        """Of each slot's text, Float[Tensor, "slots"]."""

    def gradient(self, engine: Any, prompt: Prompt, slot: Sequence[int]) -> Tensor | None:
        """Of the slot's suspicion by its one-hot tokens, Float[Tensor, "slot vocabulary"]; None where there is none, so
        that the term ranks candidates alone. By tokens, since one may also be what is predicted."""


def penalty(suspicion: float) -> float:
    """Nats for a suspicion: 0 below 1. Raises `WithstandError` for one that is no number or below 0."""
    if not suspicion >= 0:
        raise WithstandError(
            f"a defense finds a text {suspicion} suspicious, and its suspicion starts at 0",
            hint="its scan, suspicion or terms must give a score over a threshold",
        )
    return 0.0 if suspicion < 1 else BLOCKED + DOUBLING * min(math.log2(suspicion), 1000.0)


def slope(suspicion: float) -> float:
    """Nats per unit of suspicion: the derivative of `penalty`."""
    return 0.0 if suspicion < 1 else DOUBLING / (math.log(2) * suspicion)
