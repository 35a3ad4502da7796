"""A transformers sequence classifier on this machine, as a model for the judge `scorer`: the scores of a text by label.
Ours. It answers no chats.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any, ClassVar, Literal

from withstand.core import Chat, Completion, Json, Sampling, SpecError, at_least, did_you_mean, dumps
from withstand.engine.flops import watch
from withstand.models._batches import encodable, of_like_length
from withstand.models._chat import refuse_images
from withstand.models._device import torch_device
from withstand.models._folder import TOKENIZER, check_local, files_digest, resolve
from withstand.models._shared import built_once

Function = Literal["", "sigmoid", "softmax", "none"]
FUNCTIONS: Mapping[str, Function] = {
    "multi_label_classification": "sigmoid",
    "single_label_classification": "softmax",
}
"""What `problem_type` in a model's configuration says of its outputs."""
OVERLAP = 4
"""A text longer than the classifier reads is read in windows that share one in so many tokens."""
UNNAMED = re.compile(r"LABEL_\d+")


@dataclass(frozen=True, slots=True)
class Classifier:
    """Rates the text of the last message, and ignores all earlier messages.

    The answer is JSON text: "scores" of the labels that count, and where they exclude each other "score", their sum. A
    text longer than the classifier reads is read in overlapping windows, and the highest score of each stands.

    id: a folder or a hub id; no default. revision: the hub's revision, default "".
    labels: names of the outputs in their order, for a classifier that names them LABEL_0, LABEL_1; default its own.
    counts: the labels that count, those of what is to be found; default all where each output is a yes or no of its
        own. Labels that exclude each other have no default: one of them says that nothing was found.
    function: from outputs to scores: "sigmoid", "softmax" or "none" (they are scores already). Default "": what the
        configuration says, sigmoid for one output. An error where it does not say.
    device: "auto" (default: a GPU if there is one) or a torch device.
    width: most texts of one call, 1 or more, default 64.
    dtype: "float32" (default) or "bfloat16".

    Raises `SpecError` from `check` where torch, the weights, a classification head or the names of labels are lacking.
    """

    version: ClassVar[int] = 1
    gives: ClassVar[frozenset[str]] = frozenset()
    hosts: ClassVar[tuple[str, ...]] = ()
    lanes: ClassVar[int] = 1
    id: str
    revision: str = ""
    labels: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    function: Function = ""
    device: str = field(default="auto", metadata={"key": False})
    width: int = field(default=64, metadata={"key": False})
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        at_least(1, self, "width")
        if self.dtype not in ("float32", "bfloat16"):
            raise SpecError(f"dtype is {self.dtype!r}", hint='it must be "float32" or "bfloat16"')
        if self.function not in ("", "sigmoid", "softmax", "none"):
            raise SpecError(f"function is {self.function!r}", hint='it must be "sigmoid", "softmax" or "none"')
        for name in ("labels", "counts"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise SpecError(f"{name} has a name twice", hint="name each label once")

    @property
    def place(self) -> str:
        return torch_device(self.device)

    def check(self) -> None:
        check_local(self.id)
        self._outputs()
        self.identity()

    def identity(self) -> Json:
        """Digests of weights and tokenizer."""
        return _identity(self.id, self.revision)

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        for chat in chats:
            refuse_images(self.id, chat[-1:])
        rows = self._scores([encodable(chat[-1].text) for chat in chats])
        return [Completion(chat, dumps(self._answer(row))) for chat, row in zip(chats, rows, strict=True)]

    def _answer(self, row: Sequence[float]) -> dict[str, Json]:
        names, counts, function = self._outputs()
        scores = {name: _written(row[names.index(name)]) for name in counts}
        return {"scores": scores} | ({"score": _written(row[-1])} if function == "softmax" else {})

    def _outputs(self) -> tuple[tuple[str, ...], tuple[str, ...], Function]:
        """The names of the outputs, those that count, and the function. Raises `SpecError` where they are not known."""
        own, problem = _described(self.id, self.revision)
        names = self.labels or own
        if len(names) != len(own):
            raise SpecError(f"labels has {len(names)} names; {self.id} has {len(own)} outputs", hint="name each output")
        if unnamed := [name for name in names if UNNAMED.fullmatch(name)]:
            hint = 'see the model\'s card, and write labels=["..."] in the order of its outputs'
            raise SpecError(f"{self.id} does not say what {', '.join(unnamed)} mean", hint=hint)
        function = self.function or FUNCTIONS.get(problem, "" if problem or len(names) > 1 else "sigmoid")
        if not function:
            problem_type = f"has the problem type {problem!r}" if problem else "says no problem type"
            hint = (
                "function=softmax if one label excludes the others, sigmoid if each is a yes or no of its own, none if "
            )
            hint += "they are scores from 0 to 1 already"
            raise SpecError(f"{self.id} {problem_type}, so its outputs may be read in two ways", hint=hint)
        if function == "softmax" and not self.counts:
            hint = f'name those of what is to be found: counts=["..."] of {", ".join(names)}'
            raise SpecError(f"the labels of {self.id} exclude each other, and counts is not given", hint=hint)
        for name in self.counts:
            if name not in names:
                raise SpecError(f"{self.id} has no label {name!r}", hint=did_you_mean(name, names, ", ".join(names)))
        if function == "softmax" and len(self.counts) == len(names):
            raise SpecError("counts has all labels, whose sum is always 1", hint="leave out those of nothing found")
        return names, self.counts or names, function

    def _scores(self, texts: Sequence[str]) -> list[list[float]]:
        """Of each text the score of each output, and last the sum of those that count; of its windows the highest."""
        import torch

        model, tokenizer, window = _loaded(self.id, self.revision, self.place, self.dtype)
        names, counts, function = self._outputs()
        places, windows = [], []
        for place, text in enumerate(texts):
            options = {"truncation": True, "max_length": window, "stride": window // OVERLAP}
            parts = tokenizer([text], return_overflowing_tokens=True, padding=False, verbose=False, **options)
            windows += parts["input_ids"]
            places += [place] * len(parts["input_ids"])
        rows = torch.full((len(texts), len(names) + 1), -inf)
        for group in of_like_length([len(row) for row in windows], self.width):
            batch = tokenizer.pad({"input_ids": [windows[i] for i in group]}, return_tensors="pt").to(self.place)
            with torch.inference_mode():
                outputs = model(**batch).logits.float().cpu()
            scores = outputs.sigmoid() if function == "sigmoid" else outputs
            scores = outputs.softmax(-1) if function == "softmax" else scores
            total = scores[:, [names.index(name) for name in counts]].sum(-1, keepdim=True)
            for i, row in zip(group, torch.cat([scores, total], -1), strict=True):
                rows[places[i]] = torch.maximum(rows[places[i]], row)
        listed: list[list[float]] = rows.tolist()
        return listed


def _written(score: float) -> Json:
    """A score to six digits; as text where it is not finite, which JSON cannot hold."""
    return round(score, 6) if isfinite(score) else str(score)


@built_once
def _identity(name: str, revision: str) -> Json:
    folder = resolve(name, revision)
    return {
        "weights": files_digest(folder, ("*.safetensors", "config.json")),
        "tokenizer": files_digest(folder, TOKENIZER),
    }


@built_once
def _described(name: str, revision: str) -> tuple[tuple[str, ...], str]:
    """The names of a classifier's outputs, and its problem type ("" where it says none)."""
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(resolve(name, revision))
    if not any("ForSequenceClassification" in kind for kind in config.architectures or ()):
        kind = ", ".join(config.architectures or ()) or "no architecture"
        hint = "a model without that head would be given a random one; name one that was trained to classify texts"
        raise SpecError(f"{name} is no sequence classifier ({kind})", hint=hint)
    return tuple(config.id2label[place] for place in sorted(config.id2label)), config.problem_type or ""


@built_once
def _loaded(name: str, revision: str, device: str, dtype: str) -> tuple[Any, Any, int]:
    """Model, tokenizer, and how many tokens it reads."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = resolve(name, revision)
    model: Any
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=getattr(torch, dtype), output_loading_info=True
    )
    if lacking := sorted(loading["missing_keys"]):
        hint = "transformers fills them at random, so that its scores would mean nothing; fetch the model again"
        raise SpecError(f"the weights of {name} lack {', '.join(lacking[:3])}", hint=hint)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    if not tokenizer.is_fast:  # another kind leaves out what is behind the first window, and says nothing
        hint = "save it as tokenizer.json first: transformers' convert_slow_tokenizer"
        raise SpecError(f"{name} has a slow tokenizer, which cuts long texts", hint=hint)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    tokenizer.padding_side = "right"
    model = model.eval().to(device)
    watch(model)
    return model, tokenizer, _window(model, tokenizer)


def _window(model: Any, tokenizer: Any) -> int:
    """The tokens that a model reads at once. RoBERTa's positions begin behind that of padding."""
    limits = [tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None) or inf, 4_096]
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            limits.append(module.num_embeddings - module.padding_idx - 1)
    return int(min(limits))
