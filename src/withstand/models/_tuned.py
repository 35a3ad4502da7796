"""Does a tuned model belong to its base? Tokenizer, template, adapter, shapes and weights, before anything is asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from withstand.core import AskError, Message, SpecError, bounded, user
from withstand.models._device import headers
from withstand.models._folder import resolve

CHATS = (
    user("What is 2 + 2?"),
    (Message("system", "Be brief."), *user("Name a color.")),
    (*user("Name a color."), Message("assistant", "Blue."), *user("Another?")),
)
"""Chats that a base and what was tuned from it have to render alike."""
TEXT = "Fold the paper, then bake 12 rye loaves: \u00e9t\u00e9, \u4f60\u597d!\n\tEnd."
NEAR = 0.5
"""Least cosine between a matrix of a model and that of its base. A fine-tuning leaves it above 0.9; two models of one
shape that were trained apart have about 0."""
MATRICES = 4


def check_tuned(base: Any, tuned: Any) -> list[str]:
    """Notes on what could not be compared. Both are `hf` targets.

    Raises `SpecError` where `tuned` cannot have been trained from `base`, or would be asked in another way.
    """
    notes = []
    if tuned.adapter:
        notes += check_named(base.id, resolve(tuned.adapter, ""))
    ours, theirs = headers(base.folder()), headers(tuned.folder())
    unread = not ours or not theirs or tuned._quantized(tuned.folder()) or base._quantized(base.folder())
    if not unread:
        check_shapes(base.id, tuned.id, ours, theirs)
    check_tokenizer(base, tuned)
    check_template(base, tuned)
    if base.folder() == tuned.folder():
        return notes
    if unread:
        return [
            *notes,
            "the weights of base and tuned model were not compared: one of them is quantized or no safetensors",
        ]
    check_near(base, tuned, ours)
    return notes


def check_adapter(folder: Path, name: str, adapter: Path) -> None:
    """Raise `SpecError` for an adapter of layers that the model in `folder` has not, or has in another shape."""
    weights = headers(folder)
    sides = {}
    for matrix, tensor in headers(adapter).items():
        for part, side in ((".lora_A.weight", 1), (".lora_B.weight", 0)):
            if matrix.endswith(part):
                sides[matrix.removeprefix("base_model.model.").removesuffix(part), side] = tensor["shape"][side]
    if not any(f"{layer}.weight" in weights for layer, _ in sides):
        return  # some models name their layers otherwise in their files
    for (layer, _), size in sides.items():
        own = weights.get(f"{layer}.weight", {}).get("shape")
        if own is None or (len(own) == 2 and size not in own):
            there = f"is {' x '.join(map(str, own))}" if own else "does not exist"
            raise SpecError(
                f"the adapter {adapter.name} is of another base than {name}: its {layer} has a side of {size}, and "
                f"there it {there}",
                hint="adapter_config.json names the base that it was trained on",
            )


def check_named(base: str, adapter: Path) -> list[str]:
    """Raise `SpecError` where an adapter names another base of the hub; a note where a name is that of a folder."""
    path = adapter / "adapter_config.json"
    try:
        config = bounded.parse_json(str(path), bounded.read_text(path))
    except OSError as error:
        raise SpecError(
            f"{adapter.name} holds no adapter_config.json", hint="is it the folder of an adapter?"
        ) from error
    named = str(config.get("base_model_name_or_path") or "")
    if not named or named.lower() == base.lower() or Path(named).name == Path(base).name:
        return []
    hub = [
        name.count("/") == 1 and not Path(name).exists() and not name.startswith((".", "/")) for name in (named, base)
    ]
    if all(hub):
        raise SpecError(
            f"the adapter {adapter.name} was trained on {named}, and the base is {base}",
            hint=f"give hf:{named} as the base, also where both are names of the same weights",
        )
    return [f"the adapter names {Path(named).name} as its base; whether that is {Path(base).name} cannot be seen"]


def check_tokenizer(base: Any, tuned: Any) -> None:
    """Raise `SpecError` where the two cut a text into other tokens; tokens that were added are no difference."""
    ours, theirs = (model.load().tokenizer for model in (base, tuned))
    numbers = theirs.get_vocab()
    for token, number in sorted(ours.get_vocab().items(), key=lambda pair: pair[1]):
        if numbers.get(token) != number:
            where = f"number {numbers[token]}" if token in numbers else "none"
            raise SpecError(
                f"the tuned model has another tokenizer than its base: {token!r} is token {number} of the base, and "
                f"{where} of the tuned model",
                hint="name the base that it was trained from, or copy that base's tokenizer files into its folder",
            )
    if ours(TEXT)["input_ids"] != theirs(TEXT)["input_ids"]:
        raise SpecError(
            "the tokenizers of base and tuned model have one vocabulary and cut texts differently",
            hint="name the base that it was trained from, or copy that base's tokenizer files into its folder",
        )


def check_template(base: Any, tuned: Any) -> None:
    """Raise `SpecError` where the two render a chat differently: before and after would be asked differently."""
    for chat in CHATS:
        texts = []
        for model in (base, tuned):
            try:
                texts.append(model.render(chat))
            except AskError:
                texts.append("")
        if texts[0] != texts[1]:
            same = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
            ours, theirs = (repr(text[max(0, same - 20) : same + 30]) for text in texts)
            raise SpecError(
                f"the tuned model has another chat template than its base: {theirs} stands where the base has {ours}",
                hint="give both one template: template=FILE; and one system, thinking and date",
            )


def check_shapes(base: str, tuned: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Raise `SpecError` where a matrix of the base is not in the tuned model or of another shape. Vocabularies grow."""
    for name, tensor in ours.items():
        if len(tensor["shape"]) != 2 or of_words(name):
            continue
        shape = theirs.get(name, {}).get("shape")
        if shape != tensor["shape"]:
            own = f"is {' x '.join(map(str, shape))}" if shape else "is missing"
            raise SpecError(
                f"{tuned} was not trained from {base}: {name} {own}, and the base's is "
                f"{' x '.join(map(str, tensor['shape']))}",
                hint="name the base that it was trained from",
            )


def of_words(name: str) -> bool:
    """Whether a matrix has a row for each token, so that new tokens change its shape."""
    return any(part in name for part in ("embed", "lm_head", "wte"))


def check_near(base: Any, tuned: Any, ours: Mapping[str, Any]) -> None:
    """Raise `SpecError` where matrices of the two are not alike: the tuned model was trained from other weights."""
    import torch

    names = [name for name, tensor in ours.items() if len(tensor["shape"]) == 2 and not of_words(name)]
    for name in names[:: max(1, len(names) // MATRICES)][:MATRICES]:
        before, after = (_tensor(model.folder(), name).flatten().float() for model in (base, tuned))
        cosine = float(torch.nn.functional.cosine_similarity(before, after, dim=0))
        if cosine < NEAR:
            raise SpecError(
                f"{tuned.id} was not trained from {base.id}: their {name} have a cosine of {cosine:.2f}",
                hint="name the base that it was trained from, with its revision",
            )


def _tensor(folder: Path, name: str) -> Any:
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            if name in tensors.keys():  # noqa: SIM118, it is no mapping
                return tensors.get_tensor(name)
    raise SpecError(f"{folder.name} holds no {name}")
