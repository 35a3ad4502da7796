"""What a model says inside: hidden states of a final token, log-likelihoods of an answer. Needs torch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.core import Chat, SpecError, WhiteBox

Floats: TypeAlias = npt.NDArray[np.float64]
ROWS = 16
"""Most texts in one forward pass."""


def white_box(model: Any) -> WhiteBox:
    """The model, if its weights are at hand."""
    if "weights" not in model.gives:
        raise SpecError(
            f"{model.place} is text only: probes, likelihoods and steering need weights",
            hint="give a local copy, such as hf:FOLDER or hf:HUB_ID",
        )
    return model  # type: ignore[no-any-return]


def final_states(model: WhiteBox, chats: Sequence[Chat]) -> Floats:
    """The residual stream at the last token of each rendered chat: (layers + 1, chats, width), embeddings first.

    A chat that ends with an assistant message is read up to its last word, as an answer that is not yet ended.
    """
    import torch

    loaded = model.load()
    ids = [loaded.tokenizer(model.render(chat), add_special_tokens=False)["input_ids"] for chat in chats]
    found: list[Floats] = []
    for part in _parts(ids):
        inputs, mask = _padded(part, loaded.model.device)
        with torch.no_grad():
            out = loaded.model(input_ids=inputs, attention_mask=mask, output_hidden_states=True, use_cache=False)
        rows, last = torch.arange(len(part)), mask.sum(1) - 1
        found.append(np.stack([h[rows, last].float().cpu().numpy() for h in out.hidden_states]).astype(np.float64))
    return np.concatenate(found, axis=1)


def answer_tokens(model: WhiteBox, chats: Sequence[Chat], answers: Sequence[str]) -> list[tuple[list[int], list[int]]]:
    """Ids of each chat up to where the answer begins, and of the answer."""
    tokenizer = model.load().tokenizer

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    return [(ids(model.render(chat)), ids(answer)) for chat, answer in zip(chats, answers, strict=True)]


def log_probs(model: WhiteBox, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Any]:
    """For each (prompt, answer) of ids the log-probabilities of the vocabulary at each answer token: (tokens, V)."""
    import torch

    loaded = model.load()
    found: list[Any] = []
    for part in _parts(list(pairs)):
        inputs, mask = _padded([[*prompt, *answer] for prompt, answer in part], loaded.model.device)
        with torch.no_grad():
            logits = loaded.model(input_ids=inputs, attention_mask=mask, use_cache=False).logits
        for row, (prompt, answer) in enumerate(part):
            there = logits[row, len(prompt) - 1 : len(prompt) + len(answer) - 1]
            found.append(torch.log_softmax(there.float(), dim=-1).cpu())
    return found


def surprises(model: WhiteBox, chats: Sequence[Chat], answers: Sequence[str]) -> list[tuple[float, int]]:
    """Of each answer its surprise in nats, over all of its tokens, and how many they are."""
    import torch

    pairs = answer_tokens(model, chats, answers)
    found: list[tuple[float, int]] = []
    for part in _parts(pairs):  # else the tables of all answers, of a whole vocabulary each, lie in memory at once
        whole = [pair for pair in part if pair[1]]
        tables = iter(log_probs(model, whole))
        for _, answer in part:
            said = torch.tensor(answer)[:, None] if answer else None
            found.append((-float(next(tables).gather(1, said).sum()), len(answer)) if answer else (0.0, 0))
    return found


def mean_log_probs(model: WhiteBox, chats: Sequence[Chat], answers: Sequence[str]) -> Floats:
    """Mean log-probability per token of each answer, nats; NaN for an empty one."""
    return np.array([-nats / count if count else np.nan for nats, count in surprises(model, chats, answers)])


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), ROWS):
        yield items[start : start + ROWS]


def _padded(rows: Sequence[Sequence[int]], device: Any) -> tuple[Any, Any]:
    """Rows of ids padded on the right, and their mask."""
    import torch

    longest = max(map(len, rows))
    inputs = torch.zeros((len(rows), longest), dtype=torch.long)
    mask = torch.zeros_like(inputs)
    for number, row in enumerate(rows):
        inputs[number, : len(row)] = torch.tensor(list(row))
        mask[number, : len(row)] = 1
    return inputs.to(device), mask.to(device)


def layers_of(model: WhiteBox) -> Any:
    """The modules of the decoder's layers, in order."""
    inner = model.load().model
    layers = getattr(inner.get_decoder(), "layers", None)
    if layers is None:
        raise SpecError(f"{type(inner).__name__} does not show its layers as .layers", hint="steering cannot be done")
    return layers


@contextmanager
def added(model: WhiteBox, layer: int, vector: Any) -> Iterator[None]:
    """Add a vector to what a layer (1 is the first) puts into the residual stream, at every position."""

    def hook(_module: Any, _inputs: Any, output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        moved = first + vector.to(first)
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    handle = layers_of(model)[layer - 1].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def ablated(model: WhiteBox, layer: int, unit: Any) -> Iterator[None]:
    """Take a unit vector's part out of what a layer puts into the residual stream, at every position."""

    def hook(_module: Any, _inputs: Any, output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        direction = unit.to(first)
        moved = first - (first @ direction).unsqueeze(-1) * direction
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    handle = layers_of(model)[layer - 1].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
