"""A sentence encoder on this machine: texts to vectors, for judges that compare. Reimers and Gurevych 2019,
arXiv:1908.10084: the mean over the tokens, scaled to length 1. It answers no chats.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from withstand.core import AskError, Chat, Completion, Json, Sampling, SpecError, at_least, bounded
from withstand.engine.flops import watch
from withstand.models._batches import encodable, of_like_length
from withstand.models._device import torch_device
from withstand.models._folder import TOKENIZER, check_local, files_digest, resolve
from withstand.models._shared import built_once

LENGTH = "sentence_bert_config.json"


@dataclass(frozen=True, slots=True)
class Encoder:
    """A transformers encoder with mean pooling, with the vectors of the library sentence-transformers.

    id: a folder, a hub id, or builtin:minilm; no default. revision: the hub's revision, default "".
    device: "auto" (default: a GPU if there is one) or a torch device.
    width: most texts of one call, 1 or more, default 256; those of like length go through the model together.
    dtype: "float32" (default), or "bfloat16", which takes half the time where the processor has it. The vectors are
        others then, by a cosine of 0.9999.

    Raises `SpecError` from `check` if torch or the weights are not available or the encoder does not pool by the mean.
    """

    version: ClassVar[int] = 1
    gives: ClassVar[frozenset[str]] = frozenset({"vectors"})
    hosts: ClassVar[tuple[str, ...]] = ()
    lanes: ClassVar[int] = 1
    id: str
    revision: str = ""
    device: str = field(default="auto", metadata={"key": False})
    width: int = field(default=256, metadata={"key": False})
    dtype: Literal["float32", "bfloat16"] = field(default="float32", metadata={"added": "0.2"})

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"id": "builtin:minilm"}

    def __post_init__(self) -> None:
        at_least(1, self, "width")
        if self.dtype not in ("float32", "bfloat16"):
            raise SpecError(f"dtype is {self.dtype!r}", hint='it must be "float32" or "bfloat16"')

    @property
    def place(self) -> str:
        return torch_device(self.device)

    def check(self) -> None:
        check_local(self.id)
        folder = resolve(self.id, self.revision)
        pooling = _read_json(folder / "1_Pooling" / "config.json")
        if pooling and not pooling.get("pooling_mode_mean_tokens"):
            raise SpecError(f"{self.id} does not pool by the mean over its tokens", hint="use one that does, as minilm")
        self.identity()

    def identity(self) -> Json:
        """Digests of weights and tokenizer."""
        return _identity(self.id, self.revision)

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        raise AskError(f"{self.id} is an encoder and answers nothing", hint="use it in a judge, as embedding:minilm")

    def encode(self, texts: Sequence[str]) -> tuple[Any, list[int]]:
        """A vector of length 1 for each text, as the rows of a float32 array; and of each text that is longer than the
        encoder reads, and so cut, how many tokens it has, else 0."""
        import torch

        model, tokenizer, window = _loaded(self.id, self.revision, self.place, self.dtype)
        plain = [encodable(text) for text in texts]
        distinct = list(dict.fromkeys(plain))
        ids = [tokenizer(text, verbose=False)["input_ids"] for text in distinct]
        vectors = torch.zeros(len(ids), model.config.hidden_size)
        for group in of_like_length([min(len(row), window) for row in ids], self.width):
            heads = [ids[i] if len(ids[i]) <= window else [*ids[i][: window - 1], ids[i][-1]] for i in group]
            batch = tokenizer.pad({"input_ids": heads}, return_tensors="pt").to(self.place)
            with torch.inference_mode():
                states = model(**batch).last_hidden_state.float()
            mask = batch["attention_mask"][:, :, None]
            means = (states * mask).sum(1) / mask.sum(1)
            vectors[group] = torch.nn.functional.normalize(means, dim=1).cpu()
        place = {text: i for i, text in enumerate(distinct)}
        order = [place[text] for text in plain]
        return vectors[order].numpy(), [len(ids[i]) if len(ids[i]) > window else 0 for i in order]


@built_once
def _identity(name: str, revision: str) -> Json:
    folder = resolve(name, revision)
    return {
        "weights": files_digest(folder, ("*.safetensors", "config.json", LENGTH)),
        "tokenizer": files_digest(folder, TOKENIZER),
    }


@built_once
def _loaded(name: str, revision: str, device: str, dtype: str) -> tuple[Any, Any, int]:
    """Model, tokenizer, and how many tokens it reads."""
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = resolve(name, revision)
    model: Any = AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval().to(device)
    watch(model)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    limits = [model.config.max_position_embeddings, tokenizer.model_max_length]
    return model, tokenizer, _read_json(folder / LENGTH).get("max_seq_length") or min(limits)


def _read_json(path: Path) -> dict[str, Json]:
    """What a settings file holds, nothing where there is none."""
    settings: dict[str, Json] = bounded.parse_json(str(path), bounded.read_text(path)) if path.exists() else {}
    return settings
