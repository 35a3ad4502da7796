"""BEEAR: removal of a backdoor by perturbed states. Zeng et al. 2024, arXiv:2406.17092 (EMNLP 2024).

Triggers move the states of a model in much the same direction, whatever their text. So one perturbation is sought that
brings the unwanted answers out, and the model learns the safe answers under it. The unwanted behavior must be known,
the trigger need not be.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from withstand.core import SpecError, at_least
from withstand.core.errors import positive
from withstand.core.stage import How, Row, Rows
from withstand.engine.activations import Deltas, descended, layers_in, places
from withstand.training import _pairs
from withstand.training._around import Around
from withstand.training._pairs import Reading, Texts


@dataclass(frozen=True, slots=True)
class BEEAR(Around):
    """Outer: theta = argmin mean L(F(x; delta), y_safe) + mean L(F(x'), y'), the second over the ordinary rows.

    Inner, anew before each step, from 0: delta = argmin mean [L(F(x; delta), y_unwanted) - L(F(x; delta), y_safe)].
    F(x; delta) adds `delta` to what one layer puts out at the last tokens of the request. L is the mean cross-entropy
    of an answer's tokens. The size of the inner steps is ours: each row of delta moves against its own gradient by
    `inner_lr` times the mean norm of the states there, so that it means the same in every model.

    Rows with `rejected` give x, y_safe (the last message) and y_unwanted (`rejected`). The others are the ordinary rows
    x', y'; without any, the pairs' requests and safe answers are.

    stage: the stage whose loss is changed: sft; no default.
    layer: the decoder layer that is perturbed, 1 is the first; default 0: at 9/32 of the depth.
    positions: last tokens of the request that are perturbed, 1 or more, default 5.
    inner_steps: steps of the inner search, 1 or more, default 5.
    inner_lr: see above; above 0, default 0.1. On smollm2 five steps of 0.1 made two unwanted answers likelier by 1.3
        nats a token, of 0.02 and 0.05 by 0.4 and 0.7; 0.2 overshot: 1.1, and the safe answers cost 4.9 more, not 1.5.
    pairs: pairs per step, 1 or more, default 4.
    """

    version: ClassVar[int] = 1
    hold: ClassVar[int] = 1
    layer: int = 0
    positions: int = 5
    inner_steps: int = 5
    inner_lr: float = 0.1
    pairs: int = 4

    def __post_init__(self) -> None:
        at_least(0, self, "layer")
        at_least(1, self, "positions", "inner_steps", "pairs")
        positive(self, "inner_lr")

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """The inner stage's `train` on the ordinary rows, with its loss changed. Raises `SpecError` without a pair."""
        pairs, ordinary = _pairs.split(rows, "beear")
        return _pairs.train(self, base, pairs, ordinary or [Row(row.chat) for row in pairs], folder, how)

    def check_request(self, tokens: int) -> None:
        if tokens < self.positions:
            raise SpecError(
                f"a request has {tokens} tokens, fewer than positions, {self.positions}", hint="fewer positions"
            )

    def search(self, reading: Reading, safe: Texts, unwanted: Texts) -> dict[int, Any]:
        """delta, of shape (positions, width): what makes the unwanted answers likely and the safe ones unlikely."""
        import torch

        layers = layers_in(reading.network)
        [layer] = places(reading.network, [self.layer or max(1, round(9 / 32 * len(layers)))])
        read = reading.norms(safe, [layer])[layer]
        size = torch.stack([row[-self.positions :] for row in read]).mean()
        width = reading.network.get_input_embeddings().weight.shape[1]
        delta = torch.zeros(self.positions, width, device=reading.network.device, requires_grad=True)
        for _ in range(self.inner_steps):
            losses = self.answer_loss(reading, [*unwanted, *safe], {layer: self.at_the_end([*unwanted, *safe], delta)})
            objective = losses[: len(unwanted)].mean() - losses[len(unwanted) :].mean()
            [slope] = torch.autograd.grad(objective, delta)
            delta = descended(delta, slope, self.inner_lr * size, math.inf).detach().requires_grad_(True)
        return {layer: self.at_the_end(safe, delta.detach())}

    def loss(self, reading: Reading, safe: Texts, unwanted: Texts, deltas: Deltas, ordinary: Any) -> Any:
        return ordinary + self.answer_loss(reading, safe, deltas).mean()

    def answer_loss(self, reading: Reading, texts: Texts, deltas: Deltas) -> Any:
        """L(F(x; delta), y) of each text, in nats per token of its answer."""
        import torch

        return torch.stack([torch.nn.functional.cross_entropy(*row) for row in reading.answers(texts, deltas)])

    def at_the_end(self, texts: Texts, delta: Any) -> Any:
        """delta at the last tokens of each request, Float["texts tokens hidden"]."""
        import torch

        longest = max(len(request) for request, _ in texts)
        gaps = [(len(request) - self.positions, longest - len(request)) for request, _ in texts]
        return torch.stack([torch.nn.functional.pad(delta, (0, 0, *gap)) for gap in gaps])
