"""The device of a local model: which precision is fast on it, and what of its memory weights and rows take."""

import json
import math
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from withstand.core import digest
from withstand.core.cache import cache_dir


def torch_device(name: str) -> str:
    """The device that a field names; for "auto" a GPU if there is one. One device has one name: "cuda" is "cuda:0"."""
    import torch

    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    return "cuda:0" if name == "cuda" else name


def fastest_dtype(device: str) -> Literal["float32", "bfloat16", "float16"]:
    """The faster of float32 and bfloat16 for a layer of 32 rows on this machine; measured once and kept in the cache.

    On CPUs of one kind bfloat16 may be several times faster or slower, so it is measured. A GPU takes bfloat16, or
    float16 where it only emulates bfloat16 (before Ampere: V100, T4).
    """
    import torch

    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    key = digest([platform.node(), platform.processor(), torch.__version__, torch.get_num_threads()])[:16]
    memory = cache_dir("dtype", key)
    try:
        kept = memory.read_text().strip()
    except OSError:
        kept = ""
    if kept in ("float32", "bfloat16"):
        return kept  # type: ignore[return-value]
    seconds = {name: _matmul_seconds(getattr(torch, name)) for name in ("float32", "bfloat16")}
    fastest: Literal["float32", "bfloat16"] = (
        "bfloat16" if seconds["bfloat16"] < 0.8 * seconds["float32"] else "float32"
    )
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(fastest)
    except OSError:
        pass  # measured again next time
    return fastest


def _matmul_seconds(dtype: Any) -> float:
    import torch

    rows, weights = torch.randn(32, 1024, dtype=dtype), torch.randn(2048, 1024, dtype=dtype)
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        torch.nn.functional.linear(rows, weights)
        best = min(best, time.perf_counter() - start)
    return best


def headers(folder: Path) -> dict[str, Mapping[str, Any]]:
    """What the safetensors of a folder say of every tensor: its `shape` and `data_offsets`. Nothing else is read."""
    tensors: dict[str, Mapping[str, Any]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            tensors |= json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    tensors.pop("__metadata__", None)
    return tensors


def weight_bytes(folder: Path, dtype: float | None, matrix: float | None = None, vocabulary: int = 0) -> float:
    """Bytes of the weights in a folder's safetensors, by their headers alone.

    dtype: bytes of a number, None: as it is stored. matrix: of one in a matrix, if that differs; not in those with a
    row for each of `vocabulary` tokens, which are not quantized. Without safetensors: the size of the other files.
    """
    total = 0.0
    for tensor in headers(folder).values():
        shape = tensor["shape"]
        packed = matrix is not None and len(shape) > 1 and shape[0] != vocabulary
        size = matrix if packed else dtype
        stored = tensor["data_offsets"][1] - tensor["data_offsets"][0]
        total += stored if size is None else math.prod(shape) * size
    return total or sum(file.stat().st_size for file in folder.glob("*.bin"))


def row_bytes(config: Any, itemsize: int, length: int) -> int:
    """Bytes of the keys and values of one row of so many tokens."""
    config = config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * itemsize * length)
