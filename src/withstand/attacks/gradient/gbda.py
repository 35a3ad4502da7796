"""GBDA, gradient-based distributional attack: optimize a distribution over the suffix's tokens with Gumbel-softmax. Guo
et al. 2021, arXiv:2104.13733, section 3; as a jailbreak in HarmBench, arXiv:2402.04249, section B.1.

Where we leave HarmBench's code: the most probable tokens and some drawn ones are read as text and scored, at the end
and every `check` steps, and the best text is returned (its code returns the argmax of the last step, never evaluated);
the distribution is over allowed tokens alone; losses of samples are added up, not averaged, so that a sample is the
same whatever `n` is; random numbers are seeded. The paper's similarity term has no place in a suffix and is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from withstand.attacks.gradient._distribution import Distribution
from withstand.attacks.gradient._free import Free, suffixes
from withstand.attacks.gradient._soft import Suffixes, check_soft, cosine, finite
from withstand.core import Behavior, Flow, Json, Target, WhiteBox, to_json
from withstand.core.notice import tell_step
from withstand.engine.pieces import Held, pieces, work_to_result


@dataclass(frozen=True, slots=True)
class GBDA(Suffixes):
    """`n` optimized suffixes per behavior, each a test case of its own; one alone is a candidate scored by its loss.

    Random numbers are those of the target's kind of device. Between pieces of work what it needs to continue (three
    numbers for each case, free token and token of the vocabulary) is in a file in the cache.

    n: test cases, 1 or more, default 5 (HarmBench). Case i is the same for every n, up to rounding.
    length: free tokens, 1 or more, default 20 (HarmBench).
    steps: 1 or more, default 500 (HarmBench). lr: of Adam, above 0, default 0.2 (HarmBench; the paper has 0.3); falls
        to 0 along a cosine over all steps (HarmBench).
    spread: standard deviation of the first log-coefficients, 0 or more, default 0.2 (HarmBench).
    hot, cold: temperature of the first and the last step, above 0, linear between, default 1 and 0.1 (HarmBench; the
        paper stays at 1).
    fluency: weight of the mean negative log-likelihood of the soft suffix under the target, in nats per token, 0 or
        more; default 0 (HarmBench; the paper has 1). Above 0 it costs one more forward pass a step.
    check: steps between two readings as text, 1 or more, default 100. samples: discrete draws per case and reading,
        0 or more, default 10 (the paper draws 100 at the end, by queries).
    stop_loss: stop at a reading when every case's text has a loss below this, in nats per target token, 0 or more;
        default 0: never.
    placement: suffix (default, HarmBench) or prefix of the behavior's text.
    ascii_only: tokens of printable ASCII alone, default true (HarmBench: any token).
    dtype: of the losses, "" (default): the target's own. The coefficients are float32 always.
    every: steps in one piece of work, 1 or more, default 100; a killed run resumes at the last piece.
    seed: any whole number, default 0; split by behavior and case.
    """

    version: ClassVar[int] = 1
    parts: ClassVar[int] = 1
    lr: float = 0.2
    spread: float = 0.2
    hot: float = 1.0
    cold: float = 0.1
    fluency: float = 0.0
    check: int = 100
    samples: int = 10
    stop_loss: float = 0.0
    placement: Literal["suffix", "prefix"] = "suffix"
    ascii_only: bool = True
    dtype: Literal["", "float32", "bfloat16"] = ""
    every: int = field(default=100, metadata={"added": "0.2"})
    seed: int = 0

    def __post_init__(self) -> None:
        check_soft(self, "n length steps check every", "spread fluency samples stop_loss", "lr hot cold")

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        part = {"behavior": to_json(behavior)}
        best = yield from work_to_result(target.weights(self), self.advance, part)
        yield from suffixes(behavior, target.weights(self), best)

    def advance(self, model: WhiteBox, parts: Sequence[Json]) -> list[Json]:
        """`every` steps for each part; at the end the best loss and text of every case."""

        def start(part: Json, held: Held | None) -> Distribution:
            return Distribution(self, Free.of(self, model, part), held)

        return pieces(parts, start, self.step, self.every)

    def step(self, live: Sequence[Distribution]) -> None:
        [state] = live
        theta, free, step = state.theta, state.free, state.step
        state.adam.param_groups[0]["lr"] = cosine(self.lr, 0, step / self.steps)
        noise = torch.stack([gumbel(theta.shape[1:], g) for g in state.draws])
        soft = softened(theta, noise, self.temperature(step))
        embeds = soft @ free.table
        losses = free.engine.soft_losses([(free.prompt, slot) for slot in embeds])
        if self.fluency:
            losses = losses + self.fluency * unlikely(free, soft, embeds)
        finite(float(losses.detach().sum()))
        [theta.grad] = torch.autograd.grad(losses.sum(), [theta])
        state.adam.step()
        state.step = step + 1
        tell_step(free.prompt.behavior.id, state.step, self.steps, min(state.texts)[0])
        if state.step % self.check == 0 or state.step == self.steps:
            state.texts = [self.look(free, theta[i].detach(), step, i, *state.texts[i]) for i in range(self.n)]

    def temperature(self, step: int) -> float:
        return self.hot + (self.cold - self.hot) * step / max(self.steps - 1, 1)

    def look(self, free: Free, theta: Tensor, step: int, case: int, loss: float, text: str) -> tuple[float, str]:
        """The best text so far, of the one at hand, the most probable tokens and `samples` drawn ones."""
        draw = free.generator(self.seed, case, step)  # its own, so that `check` does not change the search
        slots = [theta.argmax(-1), *((theta + gumbel(theta.shape, draw)).argmax(-1) for _ in range(self.samples))]
        return min([(loss, text), *(free.scored(free.ids[slot].tolist(), loss) for slot in slots)])


def gumbel(shape: Sequence[int], draw: torch.Generator) -> Tensor:
    """Standard Gumbel noise: minus the logarithm of an exponential variable."""
    return -torch.empty(tuple(shape), device=draw.device).exponential_(generator=draw).log()


def softened(theta: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """The soft Gumbel sample of log-coefficients (paper, section 3)."""
    return torch.softmax((theta + noise) / temperature, -1)


def unlikely(free: Free, soft: Tensor, embeds: Tensor) -> Tensor:
    """Float["cases"]: the mean cross-entropy of the soft tokens under the model, each after those before it (paper,
    section 3, fluency)."""
    model, length = free.engine.model, soft.shape[1]
    head = model.get_input_embeddings()(torch.tensor(free.prompt.head, dtype=torch.long, device=free.engine.device))
    inputs = torch.cat([head.expand(len(embeds), -1, -1), embeds.to(head.dtype)], 1)
    logits = model(inputs_embeds=inputs, use_cache=False, logits_to_keep=length + 1).logits[:, :-1]
    likely: Tensor = logits.float().log_softmax(-1)[..., free.ids]
    expected: Tensor = (soft[:, -logits.shape[1] :] * likely).sum(-1)  # with an empty head nothing predicts the first
    return -expected.mean(-1)
