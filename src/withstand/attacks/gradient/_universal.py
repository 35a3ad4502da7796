"""What one slot is worth to several prompts: for suffixes that several behaviors share."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from withstand.core import Behavior, Flow, Model, TestCase, user
from withstand.engine.objective import Objective
from withstand.engine.terms import guard_of, guarded
from withstand.engine.text import Prompt


def shared(model: Model, order: Sequence[Behavior], state: Any, asked: dict[str, float]) -> Flow[None]:
    """A test case for each behavior after a piece of work of `GCGMulti`. `asked`: see `guarded`.

    More behaviors score higher, then a lower loss: what the slot is chosen by. Last comes what a guard blocks.
    """
    chats = [user(text) for text in state["texts"]]
    blocked = state.get("blocked", [0.0] * len(order))
    added = yield from guarded(guard_of(model), blocked, chats, asked, len(order))
    for behavior, chat, more in zip(order, chats, added, strict=True):
        yield TestCase(behavior.id, chat, score=-more if more else state["active"] + 1 / (1 + state["loss"]))


def whole(objective: Objective, prompts: Sequence[Prompt], slot: Sequence[int]) -> Tensor:
    """Each prompt's loss with what guards add."""
    losses = torch.cat(objective.losses([(prompt, slot, [slot]) for prompt in prompts]))
    return losses + torch.cat([objective.penalties(prompt, [slot]) for prompt in prompts])


def direction(objective: Objective, prompts: Sequence[Prompt], slot: Sequence[int], size: int) -> Tensor:
    """Float["slot vocabulary"]: the behaviors' gradients, of length 1 at each place so that models weigh the same."""
    gradients = objective.engine.gradients([(prompt, slot) for prompt in prompts])
    by_token = objective.engine.by_token(torch.stack([gradient for gradient, _ in gradients]).sum(0))
    by_token = objective.steered(prompts, slot, by_token)[:, :size].cpu()
    unit: Tensor = by_token / by_token.norm(dim=-1, keepdim=True)
    return unit
