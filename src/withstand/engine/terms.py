"""What a defense adds to the loss of an attack by weights: how far a text is from passing it. Ours.

A term is 0 where the defense lets the text pass, so that the search then follows the target string alone.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from withstand.engine.text import Prompt


class Term(Protocol):
    """One defense's part of the loss. `engine`: the `Engine` of the model that the attack works on."""

    def losses(self, engine: Any, prompt: Prompt, slots: Sequence[Sequence[int]]) -> Tensor:
        """Of each slot, Float[Tensor, "slots"] in nats: 0 where its text passes."""

    def gradient(self, engine: Any, prompt: Prompt, slot: Sequence[int]) -> Tensor | None:
        """Of the slot's term by its one-hot tokens, Float[Tensor, "slot vocabulary"]; None where there is none, so that
        the term ranks candidates alone. By tokens, since one may also be what is predicted."""
