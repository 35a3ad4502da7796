"""The hidden states of a model: reading those of a final token, and changing those of a layer. Needs torch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
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
    states: list[Floats] = []
    for start in range(0, len(ids), ROWS):
        part = ids[start : start + ROWS]
        inputs, mask = padded(part, loaded.model.device)
        with torch.no_grad():
            out = loaded.model(input_ids=inputs, attention_mask=mask, output_hidden_states=True, use_cache=False)
        rows, last = torch.arange(len(part)), mask.sum(1) - 1
        states.append(np.stack([h[rows, last].float().cpu().numpy() for h in out.hidden_states]).astype(np.float64))
    return np.concatenate(states, axis=1)


def padded(rows: Sequence[Sequence[int]], device: Any) -> tuple[Any, Any]:
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
    return layers_in(model.load().model)


def layers_in(network: Any) -> Any:
    """The same of a network in memory, behind an adapter or not."""
    inner = network.get_base_model() if hasattr(network, "get_base_model") else network
    layers = getattr(inner.get_decoder(), "layers", None)
    if layers is None:
        raise SpecError(
            f"{type(inner).__name__} does not show its layers as .layers", hint="its states cannot be changed"
        )
    return layers


def added(model: WhiteBox, layer: int, vector: Any) -> AbstractContextManager[None]:
    """Add a vector to what a layer (1 is the first) puts into the residual stream, at every position."""
    return changed(layers_of(model)[layer - 1], lambda states: states + vector.to(states))


def ablated(model: WhiteBox, layer: int, unit: Any) -> AbstractContextManager[None]:
    """Take a unit vector's part out of what a layer puts into the residual stream, at every position."""

    def without(states: Any) -> Any:
        direction = unit.to(states)
        return states - (states @ direction).unsqueeze(-1) * direction

    return changed(layers_of(model)[layer - 1], without)


@contextmanager
def changed(layer: Any, change: Callable[[Any], Any]) -> Iterator[None]:
    """`change` is applied to the states that a layer's module puts out, in every forward pass within the context."""

    def hook(_module: Any, _inputs: Any, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
