"""Losses of target strings after whole chats, for attacks that search by loss and without gradients. Ours."""

from collections.abc import Sequence

from withstand.core import Chat, SpecError, WhiteBox
from withstand.engine.engine import engine_of
from withstand.engine.packed import Row, Trunk
from withstand.engine.text import target_ids

BEYOND = 1e6
"""The loss of a chat that the window does not hold: worse than any, and still a number that JSON knows."""


def target_losses(model: WhiteBox, chats: Sequence[Chat], target_string: str, dtype: str = "") -> list[float]:
    """Mean nats per token of the target string as the answer to each chat (HarmBench, arXiv:2402.04249, section B.1).

    Each chat is rendered whole, as it is sent; nothing is padded, and what all of them begin with is computed once. A
    chat that with its answer is longer than the model's window has the loss `BEYOND`. `dtype`: "" is the model's own.
    Raises `SpecError` for an empty target string, and where the window holds none of the chats.
    """
    if not target_string:
        raise SpecError(
            "the behavior has no target string whose loss could be read",
            hint="give the suite a target_string column, or use an attack that needs no loss",
        )
    loaded, engine = (model.load(dtype) if dtype else model.load()), engine_of(model, dtype)
    prompts: list[list[int]] = []
    targets: list[tuple[int, ...]] = []
    for chat in chats:
        text = model.render(chat)
        prompts.append(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])
        targets.append(target_ids(loaded.tokenizer, text, prompts[-1], model.closing(text) + target_string))
    lengths = [len(prompt) + len(target) for prompt, target in zip(prompts, targets, strict=True)]
    fits = [i for i, length in enumerate(lengths) if not loaded.window or length <= loaded.window]
    losses = [BEYOND] * len(chats)
    if not fits:
        if chats:
            raise SpecError(
                f"a prompt with its target string has {min(lengths)} tokens, the window {loaded.window}",
                hint="use shorter texts, or a model with a longer window",
            )
        return losses
    shared = _shared([prompts[i] for i in fits])
    trunk = engine.path.grow(engine.model, Trunk(), 0, prompts[fits[0]][:shared])
    fits.sort(key=lambda i: -lengths[i])  # rows of a pack about equally long
    rows = [Row(trunk, shared, [*prompts[i][shared:], *targets[i][:-1]], len(targets[i])) for i in fits]
    for i, loss in zip(fits, engine.scored(rows, [targets[i] for i in fits]).tolist(), strict=True):
        losses[i] = loss
    return losses


def _shared(prompts: Sequence[list[int]]) -> int:
    """How many tokens all begin with, leaving each one at least of its own."""
    low, high = min(prompts), max(prompts)  # of lists in order, what the first and the last share all share
    equal = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return min(equal, min(map(len, prompts)) - 1)
