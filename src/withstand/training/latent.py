"""Latent adversarial training, targeted: refusals under perturbed states. Sheshadri et al. 2024, arXiv:2407.15549,
sections 3 and 4.1, after Casper et al. 2024, arXiv:2403.05030 (untargeted).

An attack that the model was never trained on still has to move its states. So the states themselves are attacked, by
projected gradient descent, and the model learns to refuse all the same.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from withstand.core import SpecError, at_least
from withstand.core.errors import positive
from withstand.core.stage import How, Rows
from withstand.engine.activations import Deltas, descended, places
from withstand.training import _losses, _pairs
from withstand.training._around import Around
from withstand.training._pairs import Reading, Texts


@dataclass(frozen=True, slots=True)
class Latent(Around):
    """Outer: theta = argmin clean * SFT + toward * L(F(x; delta), y_safe) + away * A(F(x; delta), y_unwanted).

    Inner, from 0: delta = argmin 0.5 L(F(x; delta), y_unwanted) + 0.5 A(F(x; delta), y_safe), where F(x; delta) adds
    delta to the states of each token of the request at several layers at once, each at most `epsilon` long. L is the
    mean cross-entropy of an answer's tokens and A the mean of -log(1 - p) of them, where tokens with log p < -5 add 0.

    Rows with `rejected` give x, y_safe (the last message) and y_unwanted (`rejected`: a whole answer or the beginning
    of one). The others are the clean rows of SFT, and must be there: without them the model refuses everything.

    Where we leave the paper, whose bound is 6.0 for all layers of Llama-2-7B and whose adversary is AdamW: lengths are
    relative to the median norm of the states of the requests at that layer, since norms differ by model and grow with
    depth (the median: that of the first token is 100 times the others' in smollm2), and each token moves against its
    own gradient. The optimizer is not begun anew for each perturbation. A mean is over an answer's tokens, then over
    the pairs.

    stage: the stage whose loss is changed: sft; no default. The paper trains LoRA of rank 64 at a rate of 2e-5 in 100
        perturbations of 16 pairs.
    layers: decoder layers whose output is perturbed, 1 is the first, 0 what the first one reads. Default: 0 and, by
        depth, 9, 17, 25 and 31 of 32 (paper).
    epsilon: bound of a token's perturbation at each layer, see above; above 0, default 0.1 (ours). On smollm2-kitchen
        0.05 was enough for recipes to begin; at 0.5 answers repeated themselves.
    inner_steps: steps of the inner search, 1 or more, default 16 (paper).
    inner_lr: what a token moves by in an inner step, as share of the same norm; above 0, default 0.02 (ours).
    toward, away, clean: weights of the losses, 0 or more, `clean` above 0; defaults 0.5, 0.5 and 2 (authors' code).
    pairs: pairs per step, 1 or more, default 4 (the paper's 16 need a GPU).
    hold: steps that train under one perturbation of the same pairs, 1 or more, default 4 (paper).
    """

    version: ClassVar[int] = 1
    layers: tuple[int, ...] = ()
    epsilon: float = 0.1
    inner_steps: int = 16
    inner_lr: float = 0.02
    toward: float = 0.5
    away: float = 0.5
    clean: float = 2.0
    pairs: int = 4
    hold: int = 4

    def __post_init__(self) -> None:
        at_least(0, self, "toward", "away")
        at_least(1, self, "inner_steps", "pairs", "hold")
        positive(self, "epsilon", "inner_lr", "clean")
        if not self.toward and not self.away:
            raise SpecError("toward and away are 0", hint="one of them must be above 0, else it is sft")

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """See `withstand.core.stage.Stage`. Raises `SpecError` where either kind of row is missing."""
        pairs, clean = _pairs.split(rows, "latent", "the model would learn to refuse everything")
        return _pairs.train(self, base, pairs, clean, folder, how)

    def check_request(self, tokens: int) -> None:
        """Any request can be perturbed."""

    def search(self, reading: Reading, safe: Texts, unwanted: Texts) -> dict[int, Any]:
        """The adversary's perturbations, Float["pairs tokens hidden"] by layer: 0 beyond the end of a request."""
        import torch

        read = reading.norms(safe, places(reading.network, self.layers))
        sizes = {layer: torch.cat(rows).median() for layer, rows in read.items()}
        longest = max(len(request) for request, _ in safe)
        inside = torch.zeros(len(safe), longest, 1, device=reading.network.device)
        for row, (request, _) in zip(inside, safe, strict=True):
            row[: len(request)] = 1
        width = reading.network.get_input_embeddings().weight.shape[1]
        deltas = {layer: torch.zeros(len(safe), longest, width, device=inside.device) for layer in sizes}
        for _ in range(self.inner_steps):
            leaves = {layer: delta.requires_grad_() for layer, delta in deltas.items()}
            likely, unlikely = self.losses(reading, unwanted, safe, leaves)
            slopes = torch.autograd.grad(likely + unlikely, list(leaves.values()))
            deltas = {
                layer: descended(
                    delta.detach(), slope * inside, self.inner_lr * sizes[layer], self.epsilon * sizes[layer]
                )
                for (layer, delta), slope in zip(deltas.items(), slopes, strict=True)
            }
        return deltas

    def loss(self, reading: Reading, safe: Texts, unwanted: Texts, deltas: Deltas, ordinary: Any) -> Any:
        likely, unlikely = self.losses(reading, safe, unwanted, deltas)
        return self.clean * ordinary + self.toward * likely + self.away * unlikely

    def losses(self, reading: Reading, aim: Texts, shun: Texts, deltas: Deltas) -> tuple[Any, Any]:
        """The mean L of the answers to say, and the mean A of those not to say, both under the same perturbations."""
        import torch

        both = {layer: torch.cat([delta, delta]) for layer, delta in deltas.items()}
        rows = reading.answers([*aim, *shun], both)
        likely = [torch.nn.functional.cross_entropy(*row) for row in rows[: len(aim)]]
        unlikely = [_losses.away(*row).mean() for row in rows[len(aim) :]]
        return torch.stack(likely).mean(), torch.stack(unlikely).mean()
