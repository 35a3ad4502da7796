"""Forward passes one prompt at a time, for architectures that cannot be packed (see `packed`). Ours.

The same work as `packed` with the means of any causal model: rows of one trunk that end at the same position need no
padding if all of them begin where the longest does. With `cached`, what lies before is computed once and its cache is
lent to every row; without, for models whose state is no cache of keys and values, each row is computed whole.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from withstand.engine.packed import Row, Trunk


@dataclass(frozen=True)
class Batched:
    """`cached`: whether the model goes on from an ordinary cache of keys and values."""

    cached: bool

    def forward(self, model: Any, rows: Sequence[Row]) -> Tensor:
        """Logits (all that is read, vocabulary) of the rows in order."""
        logits: list[Tensor] = []
        for _, same in groupby(rows, key=lambda row: (id(row.trunk), row.start + len(row.ids))):
            logits += self._batch(model, list(same))
        return torch.cat(logits)

    def _batch(self, model: Any, rows: Sequence[Row]) -> list[Tensor]:
        trunk = rows[0].trunk
        start = min(row.start for row in rows) if self.cached else 0
        ids = torch.tensor([[*trunk.ids[start : row.start], *row.ids] for row in rows], device=model.device)
        inputs: dict[str, Any] = {"input_ids": ids}
        if rows[0].embeds is not None:
            between = model.get_input_embeddings()(ids)  # of what lies between the start and the row; the rest is given
            whole = [
                torch.cat([embeds[: row.start - start], row.embeds.to(embeds.dtype)])
                for embeds, row in zip(between, rows, strict=True)
                if row.embeds is not None
            ]
            inputs = {"inputs_embeds": torch.stack(whole)}
        cache: dict[str, Any] = {"use_cache": False}
        if start:
            cache = {"use_cache": True, cache_word(model): _lent(trunk, start, len(rows))}
        reads = max(row.read for row in rows)
        output = model(**inputs, **cache, **_last(model, reads)).logits[:, -reads:]
        return [logits[reads - row.read :] for logits, row in zip(output, rows, strict=True)]

    @torch.no_grad()
    def grow(self, model: Any, trunk: Trunk, start: int, ids: Sequence[int]) -> Trunk:
        """A trunk of the first `start` tokens of `trunk` and `ids` after them."""
        whole = (*trunk.ids[:start], *ids)
        if not ids or not self.cached:
            return Trunk(len(whole), dict(trunk.layers), whole) if ids else trunk
        cache = _lent(trunk, start, 1)
        new = torch.tensor([list(ids)], device=model.device)
        model(input_ids=new, use_cache=True, **{cache_word(model): cache}, **_last(model, 1))
        layers = {i: (layer.keys[0], layer.values[0]) for i, layer in enumerate(cache.layers)}
        return Trunk(len(whole), layers, whole)

    def grow_each(self, model: Any, rows: Sequence[Row]) -> list[Trunk]:
        """The trunk that each row ends, one after another."""
        return [self.grow(model, row.trunk, row.start, row.ids) for row in rows]


def _lent(trunk: Trunk, start: int, rows: int) -> DynamicCache:
    """The cache of the trunk's first `start` tokens for so many rows; it keeps all positions, local layers' too."""
    if not start:
        return DynamicCache()
    return DynamicCache(
        tuple(tensor[None, :, :start].expand(rows, -1, -1, -1) for tensor in trunk.layers[i])
        for i in range(len(trunk.layers))
    )


def cache_word(model: Any) -> str:
    """What this model's forward calls the cache of keys and values: transformers renamed it within version 5."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def _last(model: Any, reads: int) -> dict[str, int]:
    """Logits of the last positions alone, where the model can leave out the others."""
    return {"logits_to_keep": reads} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
