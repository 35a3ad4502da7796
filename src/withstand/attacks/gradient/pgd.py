"""PGD on relaxed tokens: each free token is a point of the simplex, projected back after every gradient step.
Geisler et al. 2024, arXiv:2402.09154, Algorithms 1 to 3; defaults as in the authors' `reinforce-attacks-llms`.

Where we leave the authors' code: the length is fixed (the paper's relaxation of the length is left out), and there is
one slot, not a prefix and a suffix; a slot out of patience goes back to its own best tokens always (the code takes
those of another behavior half of the time, which would make behaviors depend on each other); the projection on the
simplex is the exact one (the code clips first, and only rescales what sums to less than 1); the relaxed loss is the
plain mean over the target; the best text is chosen by the loss of the text read anew.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from withstand.attacks.gradient._soft import Free, check_soft, cosine, finite, to_entropy, to_simplex
from withstand.core import Behavior, Flow, Json, SpecError, Target, TestCase, UpperBounds, WhiteBox, to_json, user, work
from withstand.core.notice import tell_step


@dataclass(frozen=True, slots=True)
class PGD:
    """One optimized suffix per behavior, of a fixed length; its score is minus the loss of its text.

    All steps are one piece of work, since the state (length x vocabulary) is too large to keep: a killed run starts
    the behavior at hand again, with the same numbers. Random numbers are those of the target's kind of device.

    length: tokens, 1 or more, default 20 (the authors: 25 before and 25 after the behavior).
    steps: 1 or more, default 5000 (authors). lr: of Adam, above 0, default 0.11 (authors).
    warm: steps at `lr`, 0 or more, default 100; then it goes to lr_end (above 0, default 0.325: it rises) along a
        cosine, again in every `period` (1 or more, default 60) steps (authors).
    clip: most L2 norm of a token's gradient, above 0, default 20 (authors).
    entropy: strength of the entropy projection, in [0, 1], default 0.4 (authors): 0 none, 1 forces single tokens.
    anneal: steps in which it grows from 0, 0 or more, default 250 (authors). It follows the learning rate (authors).
    gap: relaxation gap below which it weakens, in [0, 1), default 0.1 (authors); 0 never. The gap is how much lower
        the relaxed loss is than the discrete one, relative to that.
    patience: steps without a better text until the best tokens are taken again, 0 or more, default 100 (authors);
        0 never.
    stop_loss: stop when the text has a loss below this, in nats per target token, 0 or more; default 0: never.
    placement: suffix (default) or prefix of the behavior's text. ascii_only: tokens of printable ASCII alone, default
        true (authors). dtype: of the losses, "" (default): the target's own. The relaxed tokens are float32 always.
    together: most behaviors in one forward pass, 1 or more, default 8. seed: any whole number, default 0; split by
        behavior.
    """

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"weights", "gradients"})
    length: int = 20
    steps: int = 5000
    lr: float = 0.11
    warm: int = 100
    lr_end: float = 0.325
    period: int = 60
    clip: float = 20.0
    entropy: float = 0.4
    anneal: int = 250
    gap: float = 0.1
    patience: int = 100
    stop_loss: float = 0.0
    placement: Literal["suffix", "prefix"] = "suffix"
    ascii_only: bool = True
    dtype: Literal["", "float32", "bfloat16"] = ""
    together: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        check_soft(self, "length steps period together", "warm anneal patience stop_loss", "lr lr_end clip")
        if not (0 <= self.entropy <= 1 and 0 <= self.gap < 1):
            raise SpecError(f"entropy is {self.entropy}, gap {self.gap}", hint="entropy lies in [0, 1], gap in [0, 1)")

    def most(self) -> UpperBounds:
        return UpperBounds(cases=1)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        loss, text = yield from work(target.weights(self), self.advance, {"behavior": to_json(behavior)})
        yield TestCase(behavior.id, user(text), score=-loss)

    @property
    def parts(self) -> int:
        return self.together

    def advance(self, model: WhiteBox, parts: Sequence[Json]) -> list[Json]:
        """All steps for each part, `together` of them at once: the best loss and text."""
        done: list[_Relaxed] = []
        for i in range(0, len(parts), self.together):
            pack = [_Relaxed(self, Free.of(self, model, part["behavior"])) for part in parts[i : i + self.together]]
            for step in range(self.steps):
                if not (live := [slot for slot in pack if not slot.best[0] < self.stop_loss]):
                    break
                soft = [(slot.free.prompt, slot.x @ slot.free.table) for slot in live]
                losses = live[0].free.engine.soft_losses(soft)
                gradients = torch.autograd.grad(losses.sum(), [slot.x for slot in live])
                for slot, loss, gradient in zip(live, losses.detach().tolist(), gradients, strict=True):
                    slot.take(step, finite(loss), gradient)
            done += pack
        return [slot.best for slot in done]

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        share = (step - self.warm) % self.period / self.period
        return self.lr if step < self.warm else cosine(self.lr, self.lr_end, share)

    def strength(self, step: int, gap: float) -> float:
        """Of the entropy projection: annealed, weakened where relaxed and discrete loss agree, as the learning rate."""
        share = min(step / self.anneal, 1.0) if self.anneal else 1.0
        close = min(max(gap, 0.0), 1.0)
        if close < self.gap:  # the authors' s-curve from 0 to 1
            close = close / (1 - self.gap)
            share *= 1 / (1 + (1 / close - 1) ** 2) if close else 0.0
        return self.entropy * share * self.rate(step + 1) / max(self.lr, self.lr_end)


class _Relaxed:
    """One slot under way. `x`: Float["length allowed"], each row on the simplex; `best`: loss and text."""

    def __init__(self, attack: PGD, free: Free) -> None:
        self.attack, self.free = attack, free
        draw = free.generator(attack.seed)
        x = torch.rand((attack.length, len(free.ids)), generator=draw, device=draw.device)
        self.best, self.tokens, self.since, self.discrete = (math.inf, ""), x.argmax(-1), 0, math.nan
        self.restart(x / x.sum(-1, keepdim=True))

    def restart(self, x: Tensor) -> None:
        self.x = x.requires_grad_()
        self.adam = torch.optim.Adam([self.x], lr=self.attack.lr)

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
        projected = self.free.scored(self.free.ids[tokens].tolist())
        self.discrete = projected[0]
        tell_step(self.free.prompt.behavior.id, step + 1, attack.steps, min(self.best[0], self.discrete))
        if projected[0] < self.best[0]:
            self.best, self.tokens, self.since = projected, tokens, step
        elif attack.patience and step - self.since >= attack.patience:
            self.since = step
            self.restart(torch.nn.functional.one_hot(self.tokens, self.x.shape[1]).float())
