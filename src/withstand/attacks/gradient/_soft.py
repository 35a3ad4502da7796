"""What attacks on relaxed slots share: their free tokens, what a slot costs as text, schedules and seeds."""

import base64
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from withstand.core import (
    SpecError,
    UpperBounds,
    WithstandError,
    at_least,
)


class Fields(Protocol):
    """What is read of an attack; the meaning of each is told there. Read-only, as its dataclass is frozen."""

    @property
    def length(self) -> int: ...
    @property
    def placement(self) -> Literal["suffix", "prefix"]: ...
    @property
    def ascii_only(self) -> bool: ...
    @property
    def dtype(self) -> Literal["", "float32", "bfloat16"]: ...
    @property
    def stop_loss(self) -> float: ...


def check_soft(attack: Any, counts: str, parts: str, rates: str) -> None:
    """Raise `SpecError` for a field out of its range: counts from 1, parts from 0, rates above 0 and finite."""
    at_least(1, attack, *counts.split())
    at_least(0, attack, *parts.split())
    for name in rates.split():
        if not 0 < getattr(attack, name) < math.inf:
            raise SpecError(f"{name} is {getattr(attack, name)}", hint="it must be above 0")


@dataclass(frozen=True, slots=True)
class Suffixes:
    """An attack whose test cases are `n` texts optimized apart. The attack's docstring describes the fields."""

    needs: ClassVar[frozenset[str]] = frozenset({"weights", "gradients"})
    n: int = 5
    length: int = 20
    steps: int = 500

    def most(self) -> UpperBounds:
        return UpperBounds(cases=self.n)


def finite(loss: float, where: str = "") -> float:
    """The loss, or an error that names the way out; `where` says at which step."""
    if not math.isfinite(loss):
        raise WithstandError(f"the loss is {loss}{where}", hint="try dtype=float32")
    return loss


def packed(tensor: Tensor) -> str:
    """The numbers of a tensor as text, in float32, for the state between pieces of work."""
    return base64.b64encode(tensor.float().cpu().numpy().tobytes()).decode()


def unpacked(text: str, *shape: int) -> Tensor:
    """The tensor of that shape that `packed` wrote, on the CPU."""
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype=np.float32).copy()).view(shape)


def cosine(high: float, low: float, share: float) -> float:
    """From `high` at share 0 to `low` at share 1, along half a cosine."""
    return low + (high - low) * (1 + math.cos(math.pi * share)) / 2


def to_simplex(x: Tensor) -> Tensor:
    """The point of the simplex that is nearest to each row (Duchi et al. 2008)."""
    x = x - x.amax(-1, keepdim=True)  # changes nothing but keeps the sums small
    ranked = x.sort(-1, descending=True).values
    above = ranked.cumsum(-1) - 1
    count = torch.arange(1, x.shape[-1] + 1, device=x.device)
    rho = (ranked > above / count).sum(-1, keepdim=True)  # how many stay above 0
    return (x - above.gather(-1, rho - 1) / rho).clamp(min=0)


def to_entropy(x: Tensor, strength: float) -> Tensor:
    """Rows whose Gini index is above (1 - strength) of the most that their support allows, moved away from its center
    until it is not, and back on the simplex (Geisler et al. 2024,
    arXiv:2402.09154, entropy projection)."""
    support = x > 0
    size = support.sum(-1, keepdim=True)
    center = support / size
    radius = (strength * (size - 1) / size).sqrt()  # about the center, the Gini index is 1 - 1/size - distance squared
    away = x - center
    distance = away.norm(dim=-1, keepdim=True)
    moved = to_simplex(center + away * radius / distance.clamp(min=1e-12))
    return torch.where(distance < radius, moved, x)
