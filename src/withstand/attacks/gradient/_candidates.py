"""Candidate slots of GCG and its kin: single-token swaps drawn from the gradient, that survive as text."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from withstand.core import rng
from withstand.engine.text import Prompt, survives

Positions: TypeAlias = Literal["random", "even", "one"]
ROUNDS = 8
"""Draws at most, until enough candidates are new and survive as text."""


def top_tokens(gradient: Tensor, allowed: Any, topk: int) -> Any:
    """Int["slot topk"]: the allowed tokens of each place with the most negative gradient."""
    forbidden = torch.from_numpy(~allowed).to(gradient.device)
    masked = gradient.masked_fill(forbidden, float("inf"))
    return masked.topk(min(topk, int(allowed.sum())), dim=1, largest=False).indices.cpu().numpy()


def draw_candidates(
    tokenizer: Any,
    prompts: Sequence[Prompt],
    slot: Sequence[int],
    tokens: Any,
    width: int,
    n_replace: int,
    positions: Positions,
    seed: Sequence[Any],
) -> list[list[int]]:
    """Up to `width` different slots, each with `n_replace` tokens of `slot` swapped for one of `tokens` at that place.

    They differ from the slot and survive as text in every one of `prompts`; duplicates and those that do not are drawn
    anew, in at most `ROUNDS` rounds. `seed`: what the draw depends on, such as seed, behavior and step.
    """
    draw = np.random.default_rng(rng(*seed).getrandbits(64))
    length, choices = tokens.shape
    place = int(draw.integers(length))  # of all swaps, where `positions` is "one"
    candidates: dict[tuple[int, ...], None] = {}
    tried = {tuple(slot)}
    for _ in range(ROUNDS):
        lacking = width - len(candidates)
        if not lacking:
            break
        if positions == "one":
            places = np.full((lacking, 1), place)
        elif positions == "even" and n_replace == 1:
            places = (np.arange(lacking) * length // lacking)[:, None]
        else:
            places = draw.random((lacking, length)).argsort(1)[:, :n_replace]
        swaps = tokens[places, draw.integers(choices, size=places.shape)]
        new = []
        for at, to in zip(places.tolist(), swaps.tolist(), strict=True):
            changed = list(slot)
            for i, token in zip(at, to, strict=True):
                changed[i] = token
            same = any(slot[i] == token for i, token in zip(at, to, strict=True))  # a swap for itself is none
            if (key := tuple(changed)) not in tried and not same:
                tried.add(key)
                new.append(key)
        for prompt in prompts:
            new = [key for key, well in zip(new, survives(tokenizer, prompt, new), strict=True) if well]
        candidates |= dict.fromkeys(new)
    return [list(key) for key in candidates]
