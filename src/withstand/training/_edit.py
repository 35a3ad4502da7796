"""Changes the weights of a model without a training: what a stage that takes no gradient step leaves in its folder."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from withstand.core import Chat, Json, SpecError, to_json
from withstand.core.quiet import quiet
from withstand.core.records import as_dicts
from withstand.core.stage import FILE, How, Record, Rows
from withstand.engine.activations import layers_in
from withstand.training._model import check_whole, save, tokenizer_of
from withstand.training._run import base_name, device_name, errors, forget_peak, marked, peak, stage_record, write_json


@dataclass(frozen=True, slots=True)
class Edited:
    """What a change of weights took. tokens: that passed through the model.   weights: how many were changed.
    more: goes into the record of the stage."""

    tokens: int
    weights: int
    more: Json


def edit(
    stage: Any, base: str, rows: Rows, folder: Path, how: How, change: Callable[[Any, Any], Edited]
) -> Path:  # fmt: skip
    """Load all weights of `base` in their own precision, let `change(model, tokenizer)` change them, and save them.

    There are no steps, and nothing to resume: after a kill it begins anew. The record is written last. Its `flops` are
    2 x parameters x tokens, since nothing flows back, and one for each changed weight.
    """
    how.unchanged(stage)
    folder, stage, how = Path(folder), how.outer or stage, marked(how, base)
    named, revision = base_name(base, stage, how.loading)
    part = folder.with_name(f".{folder.name}.part")
    began = time.monotonic()
    with errors(folder, part), quiet():
        model, tokenizer = _loaded(base, how)
        forget_peak(model.device)
        edited = change(model, tokenizer)
        kind = save(model, tokenizer, part, folder, named, revision)
    parameters = sum(weight.numel() for weight in model.parameters())
    record = Record(
        steps=0, tokens=edited.tokens, flops=2.0 * parameters * edited.tokens + edited.weights,
        seconds=time.monotonic() - began, peak_bytes=peak(model.device), parameters=parameters,
        trained_parameters=edited.weights, device=device_name(model.device),
        versions={name: version(name) for name in ("torch", "transformers")},
    )  # fmt: skip
    public = f"{named}@{revision}" if revision else named
    more = {"steps": [], "record": to_json(record), **edited.more}
    write_json(folder / FILE, stage_record(kind, stage, public, rows, how.labels, more))
    return folder


def _loaded(base: str, how: How) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM

    loading = how.loading
    if loading.quantization:
        raise SpecError("the weights of a quantized base cannot be changed", hint="leave out quantize")
    more: dict[str, Any] = {"device_map": loading.device_map} if loading.device_map else {}
    model: Any = AutoModelForCausalLM.from_pretrained(
        base, dtype="auto", trust_remote_code=loading.trust_remote_code, **more
    )
    check_whole(model, base)
    if getattr(model, "is_quantized", False):
        raise SpecError("the weights of a quantized base cannot be changed", hint="name the base that it is made from")
    if not more:
        model.to(("cuda:0" if torch.cuda.is_available() else "cpu") if loading.device == "auto" else loading.device)
    return model.eval().requires_grad_(False), tokenizer_of(base, loading)


def ids_of(tokenizer: Any, chat: Chat, answer: bool = False) -> list[int]:
    """The tokens of a chat without its last message, as the model reads it before it answers; or of all of it."""
    turns = chat if answer or chat[-1].role != "assistant" else chat[:-1]
    rendered = tokenizer.apply_chat_template(
        as_dicts(tuple(turns)), tokenize=False, add_generation_prompt=turns[-1].role != "assistant"
    )
    ids: list[int] = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    return ids


def matrices(model: Any) -> Iterator[tuple[int, str, Any]]:
    """The linear layers within the decoder's layers: number of the layer from 0, its name there, and the module.

    Raises `SpecError` where a layer has none, and where its experts are one tensor: most weights would stay as they
    are, and the model would seem to withstand what was not done to it.
    """
    import torch

    for number, layer in enumerate(layers_in(model)):
        modules = list(layer.named_modules())
        linears = [(name, module) for name, module in modules if isinstance(module, torch.nn.Linear)]
        if not linears:
            raise SpecError(f"layer {number + 1} of {type(model).__name__} has no linear layer", hint="another base")
        for name, module in modules:
            own = module.parameters(recurse=False)
            if any(weight.dim() > 2 for weight in own) and not isinstance(module, torch.nn.Conv1d):
                raise SpecError(
                    f"layer {number + 1} of {type(model).__name__} has several matrices in one tensor of {name}",
                    hint="a model without experts, or with one linear layer for each matrix",
                )
        for name, module in linears:
            yield number, name, module
