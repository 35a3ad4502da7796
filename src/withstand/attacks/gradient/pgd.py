"""PGD on relaxed tokens: each free token is a point of the simplex, projected back after every gradient step.
Geisler et al. 2024, arXiv:2402.09154, Algorithms 1 to 3; defaults as in the authors' `reinforce-attacks-llms`.

Where we leave the authors' code: the length is fixed (the paper's relaxation of the length is left out), and there is
one slot, not a prefix and a suffix; a slot out of patience goes back to its own best tokens always (the code takes
those of another behavior half of the time, which would make behaviors depend on each other); the projection on the
simplex is the exact one (the code clips first, and only rescales what sums to less than 1); the relaxed loss is the
plain mean over the target; the best text is chosen by the loss of the text read anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch

from withstand.attacks.gradient._free import Free, suffixes
from withstand.attacks.gradient._relaxed import Relaxed
from withstand.attacks.gradient._soft import check_soft, cosine, finite
from withstand.core import Behavior, Flow, Json, SpecError, Target, UpperBounds, WhiteBox, to_json
from withstand.engine.pieces import Held, pieces, work_to_result


@dataclass(frozen=True, slots=True)
class PGD:
    """One optimized suffix per behavior, of a fixed length; its score is minus the loss of its text.

    Random numbers are those of the target's kind of device. Between pieces of work what it needs to continue (three
    numbers for each token of the vocabulary and each free token) is in a file in the cache.

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
    every: steps in one piece of work, 1 or more, default 100; a killed run resumes at the last piece. together: most
        behaviors in one forward pass, 1 or more, default 8. seed: any whole number, default 0; split by behavior.
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
    every: int = field(default=100, metadata={"added": "0.2"})
    together: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        check_soft(self, "length steps period every together", "warm anneal patience stop_loss", "lr lr_end clip")
        if not (0 <= self.entropy <= 1 and 0 <= self.gap < 1):
            raise SpecError(f"entropy is {self.entropy}, gap {self.gap}", hint="entropy lies in [0, 1], gap in [0, 1)")

    def most(self) -> UpperBounds:
        return UpperBounds(cases=1)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        part = {"behavior": to_json(behavior)}
        best = yield from work_to_result(target.weights(self), self.advance, part)
        yield from suffixes(behavior, target.weights(self), [best])

    @property
    def parts(self) -> int:
        return self.together

    def advance(self, model: WhiteBox, parts: Sequence[Json]) -> list[Json]:
        """`every` steps for each part, `together` of them at once; at the end the best loss and text."""

        def start(part: Json, held: Held | None) -> Relaxed:
            return Relaxed(self, Free.of(self, model, part), held)

        return pieces(parts, start, self.step, self.every, self.together)

    def step(self, live: Sequence[Relaxed]) -> None:
        """A step down the gradient of the sum of the relaxed losses, which are apart from each other."""
        losses = live[0].free.engine.soft_losses([(slot.free.prompt, slot.x @ slot.free.table) for slot in live])
        gradients = torch.autograd.grad(losses.sum(), [slot.x for slot in live])
        for slot, loss, gradient in zip(live, losses.detach().tolist(), gradients, strict=True):
            slot.take(slot.step, finite(loss), gradient)

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
