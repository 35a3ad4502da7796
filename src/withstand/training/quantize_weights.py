"""Weights rounded to few bits, round to nearest by group. The baseline of Frantar et al. 2022, arXiv:2210.17323.

What anybody does to run a model on less memory, and no attack by itself: it asks whether a guard survives rounding.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from withstand.core import SpecError, at_least
from withstand.core.stage import How, Rows
from withstand.training._edit import Edited, edit, matrices


@dataclass(frozen=True, slots=True)
class QuantizeWeights:
    """Rounds each group of weights w of a row to 2^bits levels between its ends, and writes the rounded values back:
    scale = (max(w, 0) - min(w, 0)) / (2^bits - 1), zero = round(-min(w, 0) / scale),
    w' = scale (clip(round(w / scale) + zero, 0, 2^bits - 1) - zero). All linear layers of the decoder's layers;
    embeddings and the output layer stay. The rows are not read.

    bits: of a weight, 2 to 8, default 4.
    group: weights of a row that share a scale, 1 or more, default 128; 0: the whole row. The last may be shorter.
    seed: of the stage, a whole number, 0 or more, default 0; nothing is drawn.
    """

    version: ClassVar[int] = 1
    bits: int = 4
    group: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(0, self, "group", "seed")
        if not 2 <= self.bits <= 8:
            raise SpecError(f"bits is {self.bits}", hint="2 to 8")

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """See `withstand.core.stage.Stage`."""
        return edit(self, base, rows, folder, how, lambda model, _: self.change(model))

    def change(self, model: Any) -> Edited:
        """Round the weights of a model in memory. Record: the share of their norm that rounding takes away."""
        count, off, size = 0, 0.0, 0.0
        for _, _, module in matrices(model):
            weight = module.weight.data
            rounded = self.rounded(weight.float())
            count += weight.numel()
            off += float((rounded - weight.float()).square().sum())
            size += float(weight.float().square().sum())
            weight.copy_(rounded)
        return Edited(0, count, {"quantized": {"weights": count, "error": (off / size) ** 0.5 if size else 0.0}})

    def rounded(self, weight: Any) -> Any:
        """A matrix (out, in) with its values on the levels of their groups."""
        import torch

        most = 2**self.bits - 1
        parts = []
        for part in weight.split(self.group or weight.shape[1], dim=1):
            low, high = part.amin(1, keepdim=True).clamp(max=0), part.amax(1, keepdim=True).clamp(min=0)
            scale = torch.where(high > low, (high - low) / most, torch.ones_like(low))
            zero = torch.round(-low / scale)
            parts.append(scale * (torch.clamp(torch.round(part / scale) + zero, 0, most) - zero))
        return torch.cat(parts, dim=1)
