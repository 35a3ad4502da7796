"""Losses and gradients of target strings, for many slots of several prompts at once. Ours; Zou et al. 2023, sec. 2.2.

Candidates of a prompt share everything up to the first token that they change. What is shared is computed once and kept
as a trunk; what differs is packed (`packed`). Where a model's architecture cannot be packed, `batched` does the same
work one prompt at a time, and a warning says so once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor

from withstand.core import WhiteBox
from withstand.core.device import GIB, free_memory
from withstand.engine.packed import Row, Trunk
from withstand.engine.path import Path, path_of
from withstand.engine.text import Prompt

Loss: TypeAlias = Literal["ce", "ce_first", "mellowmax", "cw", "entropy", "nll", "reinforce"]
Slot: TypeAlias = Sequence[int]
T = TypeVar("T")

READ_CPU, READ_GPU = 32, 512
"""Positions whose logits are reduced to losses at once. On two cores 32 took a fifth to a third of the time of 512,
since what is written stays in the cache. On a GPU it has not been measured."""
PACK_CPU, PACK_GPU = 1_024, 16_384
"""Most tokens in one forward pass. On two cores larger packs gain nothing; on a GPU it has not been measured."""
CALM = 32
"""Packs that must fit in memory one after another before a halved pack doubles again."""


@dataclass(eq=False)
class Engine:
    """A loaded model as gradient attacks use it.

    pack: most tokens in one forward pass; fewer if `memory` GiB (0: half of what is free) hold no more. Halved where
    memory ends, doubled again up to its first size after `CALM` packs.
    """

    model: Any
    pack: int
    memory: float = 0
    path: Path = field(init=False)
    trunks: dict[tuple[int, ...], Trunk] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path = path_of(self.model)
        self.asked, self.calm = self.pack, 0
        self.first = self.pack = self._fitting()

    def _limit(self) -> float:
        """Bytes that a forward pass may take now."""
        return self.memory * GIB or (free_memory(str(self.device)) or 4 * GIB) / 2

    def _fitting(self) -> int:
        """Tokens of a pack that memory holds now, at most those asked for."""
        # a token's logits, thrice in float32 where they are reduced, and its hidden states, those of the MLP included
        vocabulary, hidden = self.model.get_input_embeddings().weight.shape
        return max(1, min(self.asked, int(self._limit() / (4 * (3 * vocabulary + 32 * hidden)))))

    @property
    def vocabulary(self) -> int:
        """Tokens that the embedding layer knows."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    def trunk(self, prompt: Prompt) -> Trunk:
        """Of the prompt's head; kept, the latest 64 of them, of half of what a pass may take at most."""
        if prompt.head not in self.trunks:
            while self.trunks and (len(self.trunks) >= 64 or self._held() > self._limit() / 2):
                self.trunks.pop(next(iter(self.trunks)))
            self.trunks[prompt.head] = self.path.grow(self.model, Trunk(), 0, prompt.head)
        return self.trunks[prompt.head]

    def _held(self) -> int:
        """Bytes of the kept trunks."""
        tensors = (tensor for trunk in self.trunks.values() for pair in trunk.layers.values() for tensor in pair)
        return sum(tensor.nbytes for tensor in tensors)

    # --- losses of candidates ------------------------------------------------------------------------------------

    @torch.no_grad()
    def losses(
        self, work: Sequence[tuple[Prompt, Slot, Sequence[Slot]]], loss: Loss = "ce", tokens: int | None = None
    ) -> list[Tensor]:
        """For each (prompt, slot, candidates) the losses of the candidates, Float[Tensor, "candidates"] in nats.

        `slot` is what the candidates were made from: what they share with it is computed once. `tokens`: score the
        first so many tokens of the target string alone.
        """
        if loss == "reinforce":
            split = [(part, slot, candidates) for prompt, slot, candidates in work for part in by_answer(prompt)]
            return weighted([prompt for prompt, *_ in work], self.losses(split, "nll", tokens))
        rows: list[Row] = []
        targets: list[Sequence[int]] = []
        order: list[int] = []
        for prompt, slot, candidates in work:
            head = len(prompt.head)
            target = prompt.target[:tokens]
            trunk = self.path.grow(self.model, self.trunk(prompt), head, list(slot[:-1]))
            # the longest first, so that rows of a pack are about equally long
            changed = [first_change(slot, candidate) for candidate in candidates]
            ranked = sorted(range(len(candidates)), key=changed.__getitem__)
            first = len(order)
            order += [first + place for place in ranked]
            for place in ranked:
                start, candidate = changed[place], candidates[place]
                ids = [*candidate[start:], *prompt.tail, *target[:-1]]
                rows.append(Row(trunk, head + start, ids, read=len(target)))
                targets.append(target)
        losses = torch.empty(len(rows))
        losses[torch.tensor(order, dtype=torch.long)] = self.scored(rows, targets, loss)
        return list(torch.split(losses, [len(candidates) for _, _, candidates in work]))

    @torch.no_grad()
    def scored(self, rows: Sequence[Row], targets: Sequence[Sequence[int]], loss: Loss = "ce") -> Tensor:
        """The losses of rows whose logits are read at their targets, in packs; Float[Tensor, "rows"] in nats."""
        losses = self.in_packs(rows, lambda logits, part: reduced(logits, targets[part], loss).cpu())
        return torch.cat(losses) if losses else torch.empty(0)

    @torch.no_grad()
    def in_packs(self, rows: Sequence[Row], reduce: Callable[[Tensor, slice], T]) -> list[T]:
        """What `reduce` makes of the logits of each pack and of the slice of `rows` in it.

        A pack that does not fit in memory is halved and tried again; one row that does not raises `OutOfMemoryError`.
        """
        if self.first < self.asked and (first := self._fitting()) > self.first:
            self.first = self.pack = first  # memory was short when it was last looked at, and is no more
        results: list[T] = []
        low = 0
        while low < len(rows):
            high, size = low, 0
            while high < len(rows) and (high == low or size + len(rows[high].ids) <= self.pack):
                size += len(rows[high].ids)
                high += 1
            try:
                results.append(reduce(self.path.forward(self.model, rows[low:high]), slice(low, high)))
            except torch.OutOfMemoryError:
                if high - low == 1:
                    raise
                self.pack, self.calm = max(1, size // 2), 0
                continue
            low = high
            self.calm += 1
            if self.calm >= CALM:
                self.pack, self.calm = min(self.first, 2 * self.pack), 0
        return results

    @torch.no_grad()
    def loss_of(self, ids: Slot, prompt: Prompt, loss: Loss = "ce") -> float:
        """The loss of the prompt's target string after the tokens of a whole prompt."""
        if loss == "reinforce":
            losses = [torch.tensor(self.loss_of(ids, part, "nll")) for part in by_answer(prompt)]
            return float(weighted([prompt], losses)[0])
        row = Row(Trunk(), 0, [*ids, *prompt.target[:-1]], len(prompt.target))
        return float(reduced(self.path.forward(self.model, [row]), [prompt.target], loss))

    # --- gradients -----------------------------------------------------------------------------------------------

    def gradients(self, work: Sequence[tuple[Prompt, Slot]], loss: Loss = "ce") -> list[tuple[Tensor, float]]:
        """For each (prompt, slot) the gradient of the loss by the slot's embeddings, and the loss itself.

        Float[Tensor, "slot hidden"]; `by_token` makes the gradient by the one-hot tokens of it.
        """
        if loss == "reinforce":
            prompts = [prompt for prompt, _ in work]
            split = self.gradients([(part, slot) for prompt, slot in work for part in by_answer(prompt)], "nll")
            values = weighted(prompts, [torch.tensor(value) for _, value in split])
            return list(zip(weighted(prompts, [gradient for gradient, _ in split]), map(float, values), strict=True))
        try:
            return self._gradients(work, loss)
        except torch.OutOfMemoryError:
            if len(work) == 1:
                raise
        half = len(work) // 2
        return self.gradients(work[:half], loss) + self.gradients(work[half:], loss)

    def _gradients(self, work: Sequence[tuple[Prompt, Slot]], loss: Loss) -> list[tuple[Tensor, float]]:
        embed = self.model.get_input_embeddings()
        with torch.no_grad():
            slots = [embed(torch.tensor(list(slot), device=self.device)) for _, slot in work]
        leaves = [slot.detach().requires_grad_() for slot in slots]
        losses = self.soft_losses([(prompt, leaf) for (prompt, _), leaf in zip(work, leaves, strict=True)], loss)
        gradients = torch.autograd.grad(losses.sum(), leaves)
        return [(gradient.float(), value) for gradient, value in zip(gradients, losses.detach().tolist(), strict=True)]

    def soft_losses(self, work: Sequence[tuple[Prompt, Tensor]], loss: Loss = "ce") -> Tensor:
        """The losses of slots given as embeddings, Float[Tensor, "slot hidden"] each, differentiable by them."""
        embed = self.model.get_input_embeddings()
        rows, targets = [], []
        for prompt, slot in work:
            rest = [*prompt.tail, *prompt.target[:-1]]
            with torch.no_grad():
                after = embed(torch.tensor(rest, dtype=torch.long, device=self.device))
            embeds = torch.cat([slot.to(after.dtype), after])
            ids = [0] * slot.shape[0] + rest
            rows.append(Row(self.trunk(prompt), len(prompt.head), ids, len(prompt.target), embeds))
            targets.append(prompt.target)
        with torch.enable_grad():
            return reduced(self.path.forward(self.model, rows), targets, loss)

    def by_token(self, gradient: Tensor) -> Tensor:
        """Float[Tensor, "slot vocabulary"]: the gradient by one-hot tokens, of one by embeddings."""
        # in parts: of a large vocabulary in bfloat16 a copy in float32 is gigabytes
        return torch.cat([gradient @ part.T.float() for part in torch.split(self.embeddings(), 1 << 14)], -1)

    def embeddings(self) -> Tensor:
        """Float[Tensor, "vocabulary hidden"]: what the embedding layer makes of each token."""
        embed = self.model.get_input_embeddings()
        if type(embed) is torch.nn.Embedding:
            weight: Tensor = embed.weight.detach()
            return weight
        with torch.no_grad():  # a layer of its own that scales
            scaled: Tensor = embed(torch.arange(embed.weight.shape[0], device=self.device))
        return scaled


def first_change(slot: Slot, candidate: Slot) -> int:
    """The first place where they differ, at most the last place."""
    for i, (old, new) in enumerate(zip(slot, candidate, strict=True)):
        if old != new:
            return i
    return len(slot) - 1


def by_answer(prompt: Prompt) -> list[Prompt]:
    """The prompt with each of its weighted answers as the target string."""
    return [replace(prompt, target=answer, answers=()) for answer, _ in prompt.answers]


def weighted(prompts: Sequence[Prompt], values: Sequence[Tensor]) -> list[Tensor]:
    """For each prompt the weighted sum of the values of its answers, which stand one after another in `values`."""
    rest = iter(values)
    return [torch.stack([weight * next(rest) for _, weight in prompt.answers]).sum(0) for prompt in prompts]


def reduced(logits: Tensor, targets: Sequence[Sequence[int]], loss: Loss) -> Tensor:
    """One loss per row from the logits at its target's positions, Float[Tensor, "positions vocabulary"], in float32.

    ce: mean cross-entropy, nats per target token. ce_first: the same, and the first token's own cross-entropy added: a
    refusal is decided there, and a mean over a long string hides it. mellowmax: the soft maximum of the negated target
    logits over the positions (alpha 1), as nanogcg has it. cw: mean over positions of how far the best
    other logit is above the target's, not below 0 (Carlini and Wagner 2017, arXiv:1608.04644, with kappa 0).
    entropy: how far the entropy at the last position is below that of a uniform draw, in nats: with the first token
    alone as target (`make_prompt`, first_only) no label is read (Beyer et al. 2025, arXiv:2507.04446). nll: the summed
    cross-entropy.
    """
    rows = torch.split(token_losses(logits, targets, loss), [len(target) for target in targets])
    if loss == "mellowmax":
        return torch.stack([row.logsumexp(0) - torch.tensor(float(len(row))).log() for row in rows])
    if loss == "ce_first":
        return torch.stack([row.mean() + row[0] for row in rows])
    if loss in ("entropy", "nll"):
        return torch.stack([row[-1] if loss == "entropy" else row.sum() for row in rows])
    return torch.stack([row.mean() for row in rows])


def token_losses(logits: Tensor, targets: Sequence[Sequence[int]], loss: Loss = "ce") -> Tensor:
    """The loss at each position before it is reduced, see `reduced`: Float[Tensor, "positions"], in float32.

    For "mellowmax" it is the negated logit of the target, for "entropy" the log of the vocabulary less the entropy.
    """
    labels = torch.tensor([token for target in targets for token in target], device=logits.device)
    parts = []
    read = READ_CPU if logits.device.type == "cpu" else READ_GPU
    for part, label in zip(torch.split(logits, read), torch.split(labels, read), strict=True):
        part = part.float()
        aimed = part.gather(-1, label[:, None])[:, 0]
        if loss in ("ce", "ce_first", "nll"):
            parts.append(part.logsumexp(-1) - aimed)
        elif loss == "entropy":
            expected = (torch.softmax(part, -1) * part).sum(-1)
            parts.append(math.log(part.shape[-1]) - part.logsumexp(-1) + expected)
        elif loss == "mellowmax":
            parts.append(-aimed)
        else:
            others = part.scatter(-1, label[:, None], float("-inf")).amax(-1)
            parts.append((others - aimed).clamp(min=0))
    return torch.cat(parts)


def engine_of(model: WhiteBox, dtype: str = "", memory: float = 0) -> Engine:
    """The engine of a model, in its own dtype or in another; made once as long as the model is loaded.

    `memory`: most GiB for one forward pass, 0: half of what is free; the first to ask decides.
    """
    loaded = model.load(dtype) if dtype else model.load()
    if not hasattr(loaded, "engine"):  # kept with what is loaded, so that it goes with it
        loaded.model.requires_grad_(False)
        loaded.engine = Engine(loaded.model, PACK_CPU if loaded.model.device.type == "cpu" else PACK_GPU, memory)
    engine: Engine = loaded.engine
    return engine
