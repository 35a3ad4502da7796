"""Which way of computing logits serves a model: packed where that is right, else batched. Ours.

No list of architectures: a few tokens are computed each way and compared with a plain forward pass.
"""

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from withstand.engine import packed
from withstand.engine.batched import Batched
from withstand.engine.packed import Row, Trunk


class Path(Protocol):
    """`packed`, or a `Batched`."""

    def forward(self, model: Any, rows: Sequence[Row]) -> Tensor: ...

    def grow(self, model: Any, trunk: Trunk, start: int, ids: Sequence[int]) -> Trunk: ...

    def grow_each(self, model: Any, rows: Sequence[Row]) -> list[Trunk]: ...


def path_of(model: Any) -> Path:
    """The fastest path whose logits are those of a plain forward pass; a warning where it is not the packed one."""
    if not (packed_off := mismatch(model, packed)):
        return packed
    cached = Batched(cached=True)
    cached_off = mismatch(model, cached)
    slow = f"full passes, slow, since its cache cannot be lent either ({cached_off})" if cached_off else "batches"
    warnings.warn(f"{type(model).__name__} cannot be packed ({packed_off}): using {slow}", stacklevel=2)
    return Batched(cached=False) if cached_off else cached


@torch.no_grad()
def mismatch(model: Any, path: Path) -> str:
    """Why a path does not serve a model, "" if it does.

    Two rows from different places of one trunk, given as embeddings, against a plain pass. Logits may differ by 1e-3
    of the largest, in lower precision than float32 by 5e-2.
    """
    embed = model.get_input_embeddings()
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(embed.weight.shape[0], (2, 8), generator=draw)
    ids[1, :3] = ids[0, :3]
    trunk, first, second = ids[0, :5].tolist(), ids[0, 5:].tolist(), ids[1, 3:].tolist()
    ids = ids.to(model.device)
    try:
        grown = path.grow(model, path.grow(model, Trunk(), 0, trunk[:3]), 3, trunk[3:])
        rows = [Row(grown, 5, first, 3, embed(ids[0, 5:])), Row(grown, 3, second, 3, embed(ids[1, 3:]))]
        logits = path.forward(model, rows).float()
    except Exception as error:  # noqa: BLE001 - whatever a foreign architecture raises: this path is not for it
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
    plain = model(input_ids=ids, use_cache=False).logits[:, -3:].float().flatten(0, 1)
    largest, off = float(plain.abs().max()), float((logits - plain).abs().max())
    if off <= largest * (1e-3 if model.dtype.itemsize >= 4 else 5e-2):
        return ""
    return f"logits are off by {off:.2g} where the largest is {largest:.2g}"
