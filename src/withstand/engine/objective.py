"""What attacks by weights lower: the target string's loss, of a text as the model reads it behind a defense, and what
the defense's guards add to it. Ours; without a defense it is the engine's loss and nothing else.

A randomized defense is attacked in expectation: a loss is the mean over draws, each a row of one pack. Where a defense
changes the slot's own characters no gradient passes: it is that of the prompt as it was written.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor

from withstand.core import WhiteBox
from withstand.engine.engine import Engine, Loss, Slot, by_answer, engine_of, weighted
from withstand.engine.likelihood import whole_losses
from withstand.engine.terms import BATCH, Term, guard_of, penalties, penalty, slope, terms_of
from withstand.engine.text import DRAWS, FIRST_DRAW, Prompt, as_sent, readings, texts

SURE = 16
"""Draws over which the loss of a text is a mean once it is chosen: other draws than those that it was chosen by."""
LAST = range(FIRST_DRAW - SURE, FIRST_DRAW)
"""The draws in which every text that is sent is scored, so that the scores of a search compare."""


def draws(turn: int) -> tuple[range, range]:
    """The draws in which all candidates of a turn are scored, and those in which the best of them are."""
    first = FIRST_DRAW + turn * (DRAWS + SURE)
    return range(first, first + DRAWS), range(first + DRAWS, first + DRAWS + SURE)


@dataclass(frozen=True)
class Objective:
    """`asked`: what a guard that must be asked said of texts (`terms.guarded`); all else is equal for one model."""

    model: WhiteBox
    engine: Engine
    tokenizer: Any
    window: int = 0
    terms: tuple[Term, ...] = ()
    asked: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, model: WhiteBox, dtype: str = "", memory: float = 0, asked: Mapping[str, float] | None = None
    ) -> "Objective":
        loaded = model.load(dtype)
        engine = engine_of(model, dtype, memory)
        return cls(model, engine, loaded.tokenizer, loaded.window, terms_of(model), asked or {})

    def losses(
        self,
        work: Sequence[tuple[Prompt, Slot, Sequence[Slot]]],
        loss: Loss = "ce",
        tokens: int | None = None,
        drawn: Sequence[int] = draws(0)[0],
    ) -> list[Tensor]:
        """As `Engine.losses`, of what the model reads behind its defense; without what guards add."""
        plain = [job for job in work if not job[0].drawn]
        given = iter(self.engine.losses(plain, loss, tokens) if plain else [])
        return [self._drawn(job[0], job[2], loss, tokens, drawn) if job[0].drawn else next(given) for job in work]

    def _drawn(
        self, prompt: Prompt, slots: Sequence[Slot], loss: Loss, tokens: int | None, drawn: Sequence[int]
    ) -> Tensor:
        if loss == "reinforce":
            parts = [self._drawn(part, slots, "nll", tokens, drawn) for part in by_answer(prompt)]
            return weighted([prompt], parts)[0]
        chats = [prompt.chat(text) for text in texts(self.tokenizer, prompt, slots)]
        read = [text for chat in chats for text in readings(self.model, chat, drawn)]
        whole = self.tokenizer(read, add_special_tokens=False)["input_ids"] if read else []
        losses = whole_losses(self.engine, [(ids, prompt.target[:tokens]) for ids in whole], loss, self.window)
        return torch.tensor(losses).view(len(slots), -1).mean(1) if slots else torch.empty(0)

    def penalties(self, prompt: Prompt, slots: Sequence[Slot]) -> Tensor:
        """What guards add to each slot's loss, Float[Tensor, "slots"] in nats; 0 where its text passes."""
        if not (self.terms or self.asked):
            return torch.zeros(len(slots))
        chats = [prompt.chat(text) for text in texts(self.tokenizer, prompt, slots)]
        added = penalties(self.terms, chats)
        return torch.tensor([more + self.of_guard(chat[0].text) for more, chat in zip(added, chats, strict=True)])

    def settled(
        self, prompts: Sequence[Prompt], slots: Sequence[Slot], losses: Tensor, count: int = 1, below: float = math.inf
    ) -> Tensor:
        """The losses with what guards add, of the `count` lowest by that sum; inf for slots that cannot be among them
        or are not below `below`. Of several prompts the losses are means, and so is what is added.

        Guards add and never take away, so the slots are shown to them in the order of their loss, until the next one's
        loss alone is too high.
        """
        if not (self.terms or self.asked) or losses.isnan().any():
            return losses
        order, low, size = losses.argsort().tolist(), 0, max(count, BATCH)
        totals = torch.full_like(losses, math.inf)
        while low < len(order):
            bar = below if low < count else min(below, float(totals.kthvalue(count).values))
            batch = [place for place in order[low : low + size] if losses[place] < bar]
            if not batch:
                break
            added = [self.penalties(prompt, [slots[place] for place in batch]) for prompt in prompts]
            totals[batch] = losses[batch] + torch.stack(added).mean(0)
            low, size = low + size, 2 * size
        return totals

    def gradients(self, work: Sequence[tuple[Prompt, Slot]], loss: Loss = "ce") -> list[tuple[Tensor, float]]:
        """As `Engine.gradients`, with the loss of what the model reads; without what guards add."""
        pairs = self.engine.gradients(work, loss)
        return [
            (gradient, float(self.losses([(prompt, slot, [slot])], loss)[0]) if prompt.drawn else value)
            for (prompt, slot), (gradient, value) in zip(work, pairs, strict=True)
        ]

    def by_token(self, prompt: Prompt, slot: Slot, gradient: Tensor) -> Tensor:
        """The gradient of the whole objective by one-hot tokens, Float[Tensor, "slot vocabulary"], of that of the
        target's loss by embeddings."""
        return self.steered([prompt], slot, self.engine.by_token(gradient))

    def steered(self, prompts: Sequence[Prompt], slot: Slot, gradient: Tensor) -> Tensor:
        """A gradient by tokens, and that of what guards add to the slot in each of the prompts."""
        for prompt, term in product(prompts, self.terms):
            rise = slope(*term.suspicions([prompt.chat(text) for text in texts(self.tokenizer, prompt, [slot])]))
            if rise and (more := term.gradient(self.engine, prompt, slot)) is not None:
                gradient = gradient + rise * more.to(gradient)
        return gradient

    def read(self, prompt: Prompt, slot: Slot, loss: Loss = "ce", below: float = math.inf) -> tuple[str, float]:
        """What a user sends for a slot, and its objective without what was `asked`, of the text read anew.

        Behind a randomized defense it is the mean over the draws `LAST`; over a few first where it may be not `below`.
        """
        if prompt.drawn:
            text = prompt.chat(texts(self.tokenizer, prompt, [slot])[0])[0].text
            value = float(self.losses([(prompt, slot, [slot])], loss)[0]) if below < math.inf else -math.inf
            if value < below:
                value = float(self.losses([(prompt, slot, [slot])], loss, drawn=LAST)[0])
        else:
            text, ids = as_sent(self.model, self.tokenizer, prompt, slot)
            value = self.engine.loss_of(ids, prompt, loss)
        bare = Objective(self.model, self.engine, self.tokenizer, self.window, self.terms)
        return text, value + float(bare.penalties(prompt, [slot]))

    def may_end(self, prompt: Prompt, slot: Slot) -> bool:
        """Whether a search may end by its loss here: a guard that must be asked has said what it finds of the text."""
        if guard_of(self.model) is None:
            return True
        return prompt.chat(texts(self.tokenizer, prompt, [slot])[0])[0].text in self.asked

    def of_guard(self, text: str) -> float:
        """Nats for what the guard said of a text that is sent."""
        return penalty(self.asked.get(text, 0.0))
