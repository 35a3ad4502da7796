"""How surprising bare texts are to a model, token by token, and what attacks by weights make of it. Needs torch.

A text is read alone, without a chat template, as the perplexity filters of Jain et al. 2023, arXiv:2309.00614, and Alon
and Kamfonas 2023, arXiv:2308.14132, read it. "nats" are -log p of a token given those before it in the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from withstand.core import Chat, WhiteBox
from withstand.core.guarding import written_turns
from withstand.engine.likelihood import Pair, alike, head_of, ids_of, token_nats
from withstand.engine.packed import Row, Trunk
from withstand.engine.text import MARK, Prompt, texts


def text_nats(model: WhiteBox, several: Sequence[str]) -> list[list[float]]:
    """The nats of every token of each text. Where nothing stands before a text, its first token has none.

    What all texts begin with is computed once. A text that the window does not hold is read in parts, each after the
    last token of the part before it.
    """
    loaded = model.load()
    start = head_of(loaded)
    ids = [ids_of(loaded, text) for text in several]
    shared = alike(ids) if len(ids) > 1 else 0
    most = loaded.window or max(map(len, ids), default=0) + len(start) + 1
    if shared and max(map(len, ids)) + len(start) < most:
        head = [*start, *ids[0][:shared]]
        first, *rest = token_nats(model, [_pair(start, ids[0][:shared]), *((head, text[shared:]) for text in ids)])
        return [[*first, *nats] for nats in rest]
    parts = [_parts(start, text, most - max(1, len(start))) for text in ids]
    nats = iter(token_nats(model, [pair for pairs in parts for pair in pairs]))
    return [[value for _ in pairs for value in next(nats)] for pairs in parts]


def _parts(start: list[int], ids: list[int], most: int) -> list[Pair]:
    """The text in parts of at most so many tokens."""
    pairs: list[Pair] = [_pair(start, ids[:most])]
    return pairs + [([ids[i - 1]], ids[i : i + most]) for i in range(most, len(ids), most)]


def _pair(start: list[int], ids: list[int]) -> Pair:
    """A text after what stands before it; after its first token where nothing does."""
    return (start, ids) if start else (ids[:1], ids[1:])


def windows(nats: Sequence[float], window: int) -> list[float]:
    """The mean of each run of `window` tokens, one after another, the last of what is left; of all where it is 0."""
    size = window or len(nats)
    parts = [nats[i : i + size] for i in range(0, len(nats), max(1, size))]
    return [sum(part) / len(part) for part in parts]


@dataclass(frozen=True)
class PerplexityTerm:
    """How suspicious a filter of perplexities finds a text: its windows' means over the threshold.

    From 1 on, where the filter blocks, what all windows lie above it is summed: the highest one alone would not show
    the search a swap that calms another.
    model: whose perplexity it is. threshold: in nats per token. window: tokens, 0 for the whole text. same: it is the
    model under attack, so that there is a gradient; else the term ranks candidates.
    """

    model: WhiteBox
    threshold: float
    window: int
    same: bool

    def suspicions(self, chats: Sequence[Chat]) -> list[float]:
        """Of each chat, the highest of what its caller wrote in it, tokenized anew."""
        turns = [written_turns(chat) for chat in chats]
        nats = iter(text_nats(self.model, [text for texts in turns for text in texts]))
        return [max((self.suspicion(next(nats)) for _ in texts), default=0.0) for texts in turns]

    def suspicion(self, nats: Sequence[float]) -> float:
        """Of a text with these nats, 0 or more."""
        ratios = [mean / self.threshold for mean in windows(nats, self.window)]
        above = [ratio - 1 for ratio in ratios if ratio > 1]
        return 1 + sum(above) if above else max(ratios, default=0.0)

    def gradient(self, engine: Any, prompt: Prompt, slot: Sequence[int]) -> Tensor | None:
        """By one-hot tokens, Float[Tensor, "slot vocabulary"]: what a token does to those after it, by its embedding,
        and how likely it is itself. None for another model, and where the text alone has other tokens there."""
        placed = self._placed(prompt, slot) if self.same else None
        if placed is None:
            return None
        ids, first, start = placed
        embed = engine.model.get_input_embeddings()
        with torch.no_grad():
            embeds = embed(torch.tensor(ids[:-1], device=engine.device))
        inner = slice(first, first + len(slot))
        leaf = embeds[inner].clone().requires_grad_()
        inputs = torch.cat([embeds[: inner.start], leaf, embeds[inner.stop :]])[: len(ids) - 1]
        with torch.enable_grad():
            row = Row(Trunk(), 0, ids[:-1], len(ids) - start, inputs)
            logits = engine.path.forward(engine.model, [row]).float()
            labels = torch.tensor(ids[start:], device=logits.device)
            nats = logits.logsumexp(-1) - logits.gather(-1, labels[:, None])[:, 0]
            share = self._shares(nats.detach().tolist()).to(logits.device)
            [by_embedding] = torch.autograd.grad((nats * share).sum(), [leaf])
        pad = len(slot) - len(by_embedding)  # the last token of a text is read after and never read on
        by_embedding = torch.cat([by_embedding, by_embedding.new_zeros(pad, by_embedding.shape[-1])])
        gradient: Tensor = engine.by_token(by_embedding.float())
        for place in range(max(first, start), first + len(slot)):
            i = place - start
            gradient[place - first] += share[i] * (logits[i].logsumexp(-1) - logits[i]).detach()
        return gradient

    def _shares(self, nats: Sequence[float]) -> Tensor:
        """What each token's nats count in the suspicion: one over its window's length and the threshold, 0 in a window
        that passes."""
        size = self.window or len(nats)
        return torch.tensor([
            1 / len(nats[i : i + size]) / self.threshold if mean > self.threshold else 0.0
            for i, mean in zip(range(0, len(nats), size), windows(nats, self.window), strict=True)
            for _ in nats[i : i + size]
        ])  # fmt: skip

    def _placed(self, prompt: Prompt, slot: Sequence[int]) -> tuple[list[int], int, int] | None:
        """The tokens of the bare text, the place of the slot's first one, and of the first token with nats.

        None where the slot has other tokens there, and where the window does not hold the text.
        """
        loaded = self.model.load()
        [text] = texts(loaded.tokenizer, prompt, [slot])
        before = prompt.chat(prompt.lead + MARK + prompt.trail)[0].text.partition(MARK)[0]
        sent = prompt.chat(text)[0].text
        encoded = loaded.tokenizer(sent, add_special_tokens=False, return_offsets_mapping=True)
        ids, start = encoded["input_ids"], head_of(loaded)
        low = len(before) - len(prompt.lead) if before.endswith(prompt.lead) else len(before)
        place = next((i for i, (_, end) in enumerate(encoded["offset_mapping"]) if end > low), len(ids))
        if ids[place : place + len(slot)] != list(slot) or (loaded.window and len(ids) + len(start) > loaded.window):
            return None
        return [*start, *ids], len(start) + place, max(1, len(start))
