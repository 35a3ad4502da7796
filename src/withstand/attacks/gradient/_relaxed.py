"""One slot of PGD under way: a point of the simplex for each token, its optimizer, and the best text so far."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from withstand.attacks.gradient._free import Free
from withstand.attacks.gradient._soft import to_entropy, to_simplex
from withstand.core import Json
from withstand.core.notice import tell_step
from withstand.engine.pieces import Held, adam_on, moments
from withstand.engine.terms import BLOCKED


class Relaxed:
    """`attack` has the fields of `PGD`. `x`: Float["length allowed"], each row on the simplex; `lowest`: loss and text.

    step: those taken. since: the step of the last better text. discrete: the loss of the last text that passes.
    """

    def __init__(self, attack: Any, free: Free, held: Held | None = None) -> None:
        self.attack, self.free = attack, free
        if held:
            best, tokens, self.step, self.since, self.discrete = held.state
            [self.lowest], self.tokens = free.again([best]), torch.tensor(tokens, device=free.table.device)
            self.restart(held.tensors["x"].to(free.table.device), held.tensors)
            return
        draw = free.generator(attack.seed)
        x = torch.rand((attack.length, len(free.ids)), generator=draw, device=draw.device)
        self.lowest, self.tokens, self.step, self.since, self.discrete = (math.inf, ""), x.argmax(-1), 0, 0, math.nan
        self.restart(x / x.sum(-1, keepdim=True))

    def restart(self, x: Tensor, kept: Mapping[str, Tensor] | None = None) -> None:
        self.x = x.requires_grad_()
        self.adam = adam_on(self.x, self.attack.lr, kept or {})

    @property
    def done(self) -> bool:
        return self.step >= self.attack.steps or self.free.stopped([self.lowest])

    @property
    def best(self) -> tuple[float, str]:
        [best] = self.free.held([self.lowest])
        return best

    def held(self) -> Held:
        state = [self.best, self.tokens.tolist(), self.step, self.since, self.discrete]
        return Held(state, {"x": self.x, **moments(self.adam, self.x)})

    def result(self) -> Json:
        return self.best

    def take(self, step: int, loss: float, gradient: Tensor) -> None:
        """A step down the gradient, the projections, and the text of the most probable tokens."""
        attack = self.attack
        self.x.grad = gradient * (attack.clip / gradient.norm(dim=-1, keepdim=True).clamp(min=1e-12)).clamp(max=1)
        self.adam.param_groups[0]["lr"] = attack.rate(step)
        self.adam.step()
        gap = 1.0 if math.isnan(self.discrete) else 1 - loss / max(self.discrete, 1e-12)  # both before this step
        with torch.no_grad():
            self.x.copy_(to_entropy(to_simplex(self.x), attack.strength(step, gap)))
        tokens = self.x.argmax(-1)
        projected = self.free.scored(self.free.ids[tokens].tolist(), self.lowest[0])
        if projected[0] < BLOCKED:
            self.discrete = projected[0]
        self.step = step + 1
        tell_step(self.free.prompt.behavior.id, self.step, attack.steps, min(self.lowest[0], self.discrete))
        if projected[0] < self.lowest[0]:
            self.lowest, self.tokens, self.since = projected, tokens, step
        elif attack.patience and step - self.since >= attack.patience:
            self.since = step
            self.restart(torch.nn.functional.one_hot(self.tokens, self.x.shape[1]).float())
