"""The hidden states of a model: reading those of a final token, changing those of a layer, and perturbing those of a
prompt by gradients. Needs torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.core import Chat, SpecError, WhiteBox

Floats: TypeAlias = npt.NDArray[np.float64]
ROWS = 16
"""Most texts in one forward pass."""

Deltas: TypeAlias = Mapping[int, Any]
"""What is added to the residual stream, by where: after a layer (1 is the first), or with 0 to what the first reads.
Float["texts tokens hidden"] each, for the first tokens of each text."""
PERTURBED = (0, 9 / 32, 17 / 32, 25 / 32, 31 / 32)
"""Where latent adversarial training perturbs, by depth: Sheshadri et al. 2024, arXiv:2407.15549, perturb the embeddings
and what the layers 9, 17, 25 and 31 of 32 put out."""


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


def places(network: Any, layers: Sequence[int] = ()) -> tuple[int, ...]:
    """The layers to perturb; those of `PERTURBED` where none are given. Raises `SpecError` for one beyond the model."""
    count = len(layers_in(network))
    if beyond := [layer for layer in layers if not 0 <= layer < count]:
        raise SpecError(
            f"layer {beyond[0]} of {count} cannot be perturbed",
            hint=f"0 for what the first layer reads, up to {count - 1}: nothing would follow the last layer",
        )
    by_depth = (min(count - 1, round(depth * count)) for depth in PERTURBED)
    return tuple(sorted(set(layers or by_depth)))


@contextmanager
def perturbed(network: Any, deltas: Deltas) -> Iterator[None]:
    """Forward passes within the context read perturbed prompts. A pass over fewer tokens than a delta has, as of an
    answer's tokens one after another, is left as it is: what was added is in the cache of the prompt."""

    def adding(delta: Any) -> Callable[[Any], Any]:
        def add(states: Any) -> Any:
            length = delta.shape[1]
            if states.shape[1] < length:
                return states
            return torch.cat([states[:, :length] + delta.to(states), states[:, length:]], 1)

        return add

    import torch

    with ExitStack() as stack:
        for place, delta in deltas.items():
            stack.enter_context(_stream(network, place, adding(delta)))
        yield


def norms(network: Any, layers: Sequence[int], read: Callable[[], Any]) -> dict[int, Any]:
    """The norms of the states at each place, Float["texts tokens"] in float32, in the one forward pass of `read`."""
    import torch

    seen: dict[int, Any] = {}

    def seeing(layer: int) -> Callable[[Any], Any]:
        def see(states: Any) -> Any:
            seen[layer] = states.float().norm(dim=-1)
            return states

        return see

    with torch.no_grad(), ExitStack() as stack:
        for layer in layers:
            stack.enter_context(_stream(network, layer, seeing(layer)))
        read()
    return seen


def descended(delta: Any, slope: Any, step: Any, radius: Any) -> Any:
    """A step of projected gradient descent: each token moves by `step` against its own gradient, and then back to at
    most `radius` from 0, in the L2 norm. A token without a gradient stays."""
    import torch

    moved = delta - step * torch.nn.functional.normalize(slope, dim=-1)
    return moved * (radius / moved.norm(dim=-1, keepdim=True).clamp(min=1e-12)).clamp(max=1)


@contextmanager
def _stream(network: Any, place: int, change: Callable[[Any], Any]) -> Iterator[None]:
    """As `changed`, of the residual stream after a layer or, with 0, before the first."""
    layers = layers_in(network)
    if place:
        with changed(layers[place - 1], change):
            yield
        return

    def hook(_module: Any, inputs: Any, named: Any) -> Any:
        if inputs:
            return (change(inputs[0]), *inputs[1:]), named
        return inputs, {**named, "hidden_states": change(named["hidden_states"])}

    handle = layers[0].register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
