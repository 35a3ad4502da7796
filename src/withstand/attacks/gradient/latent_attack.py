"""Latent attack: perturb the hidden states of the behavior's own prompt. No text produces them, so this is an upper
bound on white-box attacks. It is the adversary of latent adversarial training: Casper et al. 2024, arXiv:2403.05030;
Sheshadri et al. 2024, arXiv:2407.15549, section 3.

Where we leave the authors' code: lengths are relative to the states' own norms, each token moves against its own
gradient, only the target string's loss is lowered, and the states of the lowest loss are used, not the last.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from withstand.attacks.gradient._soft import check_soft
from withstand.attacks.gradient._unsent import Search, advanced, answered
from withstand.core import Behavior, Flow, Json, SpecError, Target, UpperBounds, WhiteBox
from withstand.engine.activations import descended, norms, perturbed, places
from withstand.engine.engine import reduced
from withstand.engine.text import whole_prompt


@dataclass(frozen=True, slots=True)
class LatentAttack:
    """An upper bound, not a text: one test case that carries its completion, the model's greedy answer to the states.

    Projected gradient descent on what is added to the residual stream at each token of the prompt, at several layers at
    once; tokens of the answer are not perturbed. The chat of the test case is the behavior and "[perturbed states]";
    sending it does not repeat the attack. The prompt is as the defense words it; its guards, the repetition penalty and
    the temperature of the run are not applied. The answer is drawn in the last piece of work.

    layers: decoder layers whose output is perturbed, 1 is the first, 0 what the first one reads. Default: 0 and, by
        depth, 9, 17, 25 and 31 of 32 (Sheshadri et al.).
    epsilon: bound of a token's perturbation at each layer, as share of the median norm of the prompt's states there;
        above 0, default 0.2 (ours; the paper's is 6.0 in the units of Llama-2-7B). On smollm2-kitchen 0.05 was enough
        for recipes to begin; at 0.5 the answers repeated themselves.
    steps: 1 or more, default 50 (ours).
    lr: what a token moves by in a step, as share of the same norm; above 0, default 0.02 (ours).
    stop_loss: stop below this loss, in nats per target token, 0 or more; default 0: never.
    dtype: of losses and answer, "" (default): the target's own. The perturbations are float32 always.
    every: steps in one piece of work, 1 or more, default 50; a killed run resumes at the last piece.
    seed: any whole number, default 0; nothing is drawn.
    """

    version: ClassVar[int] = 1
    parts: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"weights", "gradients"})
    upper_bound: ClassVar[bool] = True
    layers: tuple[int, ...] = ()
    epsilon: float = 0.2
    steps: int = 50
    lr: float = 0.02
    stop_loss: float = 0.0
    dtype: Literal["", "float32", "bfloat16"] = ""
    every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        check_soft(self, "steps every", "stop_loss", "epsilon lr")
        if any(layer < 0 for layer in self.layers):
            raise SpecError(f"layers holds {min(self.layers)}", hint="0 is what the first layer reads, 1 the first")

    def most(self) -> UpperBounds:
        return UpperBounds(cases=1, drawn=True)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        return answered(self, behavior, target, "perturbed states")

    def advance(self, model: WhiteBox, parts: Sequence[Json]) -> list[Json]:
        return advanced(States, self, model, parts)

    def step(self, live: Sequence["States"]) -> None:
        [search] = live
        for name, slope in search.slopes().items():
            size = search.sizes[name]
            search.free[name] = descended(search.free[name].detach(), slope, self.lr * size, self.epsilon * size)


class States(Search):
    """delta at each layer, Float["1 tokens hidden"]. sizes: the median norm of the states there."""

    def start(self, behavior: Behavior) -> dict[str, Tensor]:
        self.prompt = whole_prompt(self.model, behavior)
        self.size = len(self.prompt.head)
        model, ids = self.loaded.model, torch.tensor([self.prompt.head], device=self.engine.device)
        read = norms(model, places(model, self.attack.layers), lambda: model(input_ids=ids, use_cache=False))
        self.names = {layer: f"free at {layer}" for layer in read}
        self.sizes = {self.names[layer]: float(row.median()) for layer, row in read.items()}
        shape = (1, self.size, model.get_input_embeddings().weight.shape[1])
        return {name: torch.zeros(shape, device=ids.device) for name in self.sizes}

    def loss(self, free: dict[str, Tensor]) -> Tensor:
        target = self.prompt.target
        embeds = self.embedded([*self.prompt.head, *target[:-1]])[None].requires_grad_()  # operations count by that
        with self.under(free), torch.enable_grad():
            logits = self.loaded.model(inputs_embeds=embeds, use_cache=False).logits[0, -len(target) :]
        return reduced(logits, [target], "ce")[0]

    def embeds(self) -> Tensor:
        return self.embedded(self.prompt.head)

    def answering(self) -> AbstractContextManager[None]:
        return self.under(self.lowest_at)

    def under(self, free: dict[str, Tensor]) -> AbstractContextManager[None]:
        return perturbed(self.loaded.model, {layer: free[name] for layer, name in self.names.items()})
