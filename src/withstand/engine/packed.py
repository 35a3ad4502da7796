"""Packed forward passes: many short tails over few long beginnings, laid end to end in one sequence. Ours.

A *row* is a tail of tokens that goes on from position `start` of a *trunk*, the kept keys and values of a beginning.
The rows of a pack lie one after another without padding; only attention knows where one ends. It is an attention
function registered with transformers' `AttentionInterface`, so that every architecture that uses that interface works
without code of its own: its masks follow from positions, its sliding window and soft cap are what the layer passes.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

NAME = "withstand_packed"


@dataclass(eq=False)
class Trunk:
    """A beginning: the keys and values of its `length` tokens `ids`, per layer (key-value heads, length, dimension)."""

    length: int = 0
    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Row:
    """`ids` at the positions from `start` on, after the first `start` tokens of `trunk`.

    Logits are read at the last `read` of them. `embeds` (tokens, hidden size) stands in for the ids where one wants the
    gradient by the embeddings.
    """

    trunk: Trunk
    start: int
    ids: Sequence[int]
    read: int = 0
    embeds: Tensor | None = None


class _Group:
    """Rows of one trunk that stand side by side in a pack, padded to a rectangle for attention alone."""

    def __init__(self, rows: Sequence[Row], low: int, device: torch.device) -> None:
        self.trunk, self.low = rows[0].trunk, low
        lengths = torch.tensor([len(row.ids) for row in rows], device=device)
        starts = torch.tensor([row.start for row in rows], device=device)
        self.high = low + int(lengths.sum())
        self.width = int(lengths.max())
        column = torch.arange(self.width, device=device)
        self.valid = column[None, :] < lengths[:, None]  # (rows, width)
        first = lengths.cumsum(0) - lengths
        self.index = torch.where(self.valid, first[:, None] + column, 0)
        self.full = bool(self.valid.all())
        self.reach = max(row.start for row in rows)
        self.starts = starts
        self.positions = starts[:, None] + column  # of each query
        self.masks: dict[int | None, Tensor] = {}

    def mask(self, window: int | None) -> Tensor:
        """What a query may not see, (rows, width, trunk + width): the trunk beyond the row's part, later tokens."""
        if window not in self.masks:
            device = self.positions.device
            trunk = torch.arange(self.reach, device=device).expand(len(self.starts), 1, self.reach)
            seen_trunk = (trunk < self.starts[:, None, None]).expand(-1, self.width, -1)
            own = self.positions[:, None, :]
            distance = self.positions[:, :, None] - torch.cat([trunk.expand(-1, 1, -1), own], -1)
            seen = torch.cat([seen_trunk, self.valid[:, None, :].expand(-1, self.width, -1)], -1) & (distance >= 0)
            if window is not None:
                seen &= distance < window
            hidden = ~seen
            hidden[:, :, self.reach :].diagonal(dim1=1, dim2=2).fill_(False)  # padding sees itself: no row is empty
            self.masks[window] = hidden
        return self.masks[window]


class _Pack:
    """How the rows of one forward pass lie. `keep`: the keys and values of each layer are wanted."""

    def __init__(self, rows: Sequence[Row], device: torch.device, keep: bool) -> None:
        self.groups: list[_Group] = []
        low = 0
        for _, same in groupby(rows, key=lambda row: id(row.trunk)):
            self.groups.append(_Group(list(same), low, device))
            low = self.groups[-1].high
        self.kept: dict[int, tuple[Tensor, Tensor]] | None = {} if keep else None


_now = threading.local()


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Any,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of a pack: queries (1, heads, tokens, dimension) to keys and values with as many heads or fewer.

    `s_aux`: an attention sink per head, as gpt-oss has them.
    """
    pack: _Pack = _now.pack
    if pack.kept is not None:
        pack.kept[module.layer_idx] = (key[0].detach(), value[0].detach())
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    outputs = [_attend_group(module, group, query[0], key[0], value[0], scale, sliding_window, softcap, s_aux)
               for group in pack.groups]  # fmt: skip
    return (outputs[0] if len(outputs) == 1 else torch.cat(outputs))[None], None


def _attend_group(
    module: Any, group: _Group, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None,
    softcap: float | None, sinks: Tensor | None,
) -> Tensor:  # fmt: skip
    heads, kv, size = query.shape[0], key.shape[0], query.shape[-1]
    repeat, rows, width = heads // kv, len(group.starts), group.width
    query, key, value = (tensor[:, group.low : group.high][:, group.index] for tensor in (query, key, value))
    # (kv, rows, repeat, width, size): the heads that share keys side by side
    query = query.view(kv, repeat, rows, width, size).transpose(1, 2).reshape(kv, rows, repeat * width, size)
    scores = query @ key.transpose(-1, -2)
    if group.reach:
        trunk_key, trunk_value = (tensor[:, : group.reach] for tensor in group.trunk.layers[module.layer_idx])
        shared = query.reshape(kv, -1, size) @ trunk_key.transpose(-1, -2)
        scores = torch.cat([shared.view(kv, rows, repeat * width, group.reach), scores], -1)
    scores = scores * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.view(kv, rows, repeat, width, -1).masked_fill(group.mask(window)[:, None], float("-inf"))
    if sinks is not None:
        scores = torch.cat([scores, sinks.view(kv, 1, repeat, 1, 1).expand(*scores.shape[:-1], 1)], -1)
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype).view(kv, rows, repeat * width, -1)
    if sinks is not None:
        weights = weights[..., :-1]
    output = weights[..., group.reach :] @ value
    if group.reach:
        shared = weights[..., : group.reach].reshape(kv, -1, group.reach) @ trunk_value
        output = output + shared.view_as(output)
    output = output.view(kv, rows, repeat, width, size).permute(1, 3, 0, 2, 4).reshape(rows, width, heads, size)
    return output.flatten(0, 1) if group.full else output[group.valid]


AttentionInterface.register(NAME, attend)


@contextmanager
def _packed(model: Any, pack: _Pack) -> Iterator[None]:
    before = model.config._attn_implementation
    _now.pack = pack
    try:
        model.set_attn_implementation(NAME)
        yield
    finally:
        model.set_attn_implementation(before)
        del _now.pack


def forward(model: Any, rows: Sequence[Row]) -> Tensor:
    """Logits (all that is read, vocabulary) of the rows in order; rows of one trunk must stand side by side."""
    return _forward(model, rows, keep=False)[0]


def _forward(model: Any, rows: Sequence[Row], keep: bool) -> tuple[Tensor, _Pack]:
    device = model.device
    pack = _Pack(rows, device, keep)
    positions: list[int] = []
    read: list[int] = []
    low = 0
    for row in rows:
        positions += range(row.start, row.start + len(row.ids))
        low += len(row.ids)
        read += range(low - row.read, low)
    inputs: dict[str, Any] = {}
    if any(row.embeds is not None for row in rows):
        inputs["inputs_embeds"] = torch.cat([row.embeds for row in rows if row.embeds is not None])[None]
    else:
        inputs["input_ids"] = torch.tensor([[token for row in rows for token in row.ids]], device=device)
    with _packed(model, pack):
        output = model(
            **inputs,
            position_ids=torch.tensor([positions], device=device),
            use_cache=False,
            logits_to_keep=torch.tensor(read or [low - 1], device=device),
        )
    logits: Tensor = output.logits[0]
    return (logits if read else logits[:0]), pack


@torch.no_grad()
def grow(model: Any, trunk: Trunk, start: int, ids: Sequence[int]) -> Trunk:
    """A trunk of the first `start` tokens of `trunk` and `ids` after them."""
    return grow_each(model, [Row(trunk, start, ids)])[0]


@torch.no_grad()
def grow_each(model: Any, rows: Sequence[Row]) -> list[Trunk]:
    """The trunk that each row ends, all in one pass; rows of one trunk must stand side by side."""
    grown = {place: row.trunk for place, row in enumerate(rows) if not row.ids}
    longer = [(place, row) for place, row in enumerate(rows) if row.ids]
    if not longer:
        return [row.trunk for row in rows]
    _, pack = _forward(model, [row for _, row in longer], keep=True)
    assert pack.kept is not None
    low = 0
    for place, row in longer:
        layers = {}
        for layer, kept in pack.kept.items():
            new = [tensor[:, low : low + len(row.ids)] for tensor in kept]
            if row.start:
                new = [
                    torch.cat([old[:, : row.start], tail], 1)
                    for old, tail in zip(row.trunk.layers[layer], new, strict=True)
                ]
            layers[layer] = (new[0], new[1])
        grown[place] = Trunk(row.start + len(row.ids), layers, (*row.trunk.ids[: row.start], *row.ids))
        low += len(row.ids)
    return [grown[place] for place in range(len(rows))]
