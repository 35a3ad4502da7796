"""One search of PEZ under way: the vectors of every case, their optimizer, and the best texts."""

import math
from typing import Any

import torch

from withstand.attacks.gradient._free import Free
from withstand.attacks.gradient._soft import unpacked
from withstand.core import Json
from withstand.engine.pieces import ADAM, Held, adam_on, moments


class Projected:
    """`attack` has the fields of `PEZ`. vectors: before their projection, Float["n length hidden"].

    texts: the lowest loss of every case and that text; none before the first step.
    """

    def __init__(self, attack: Any, free: Free, held: Held | None) -> None:
        self.attack, self.free, self.step = attack, free, 0
        self.texts: list[tuple[float, str]] = []
        if held:
            self.step, texts = held.state
            self.texts = free.again(texts)
            self.vectors = held.tensors["vectors"].to(free.table.device)
        else:
            draws = [free.generator(attack.seed, i) for i in range(attack.n)]
            picks = [torch.randint(len(free.ids), (attack.length,), generator=g, device=g.device) for g in draws]
            self.vectors = free.table[torch.stack(picks)]
        self.adam = adam_on(self.vectors, attack.lr, held.tensors if held else {})

    @property
    def stopped(self) -> bool:
        """Whether every case is below the loss at which the search stops."""
        return self.free.stopped(self.texts)

    @property
    def done(self) -> bool:
        return self.step >= self.attack.steps or self.stopped

    @property
    def best(self) -> tuple[float, str]:
        """Of one case, whose text is a candidate; of more, none is better than the others."""
        return self.free.held(self.texts)[0] if self.attack.n == 1 and self.texts else (math.inf, "")

    @property
    def tried(self) -> list[tuple[float, str]]:
        return self.free.tried(self.texts)

    def held(self) -> Held:
        return Held(
            [self.step, self.free.held(self.texts)], {"vectors": self.vectors, **moments(self.adam, self.vectors)}
        )

    def result(self) -> Json:
        return self.free.held(self.texts)


def of_before(attack: Any, state: Json) -> Held | None:
    """What a piece of work of 0.1 kept in its answer; None without one."""
    if state is None:
        return None
    names = {"vectors": "vectors", f"{ADAM}exp_avg": "mean", f"{ADAM}exp_avg_sq": "square"}
    tensors = {name: unpacked(state[old], attack.n, attack.length, -1) for name, old in names.items()}
    return Held([state["step"], state["best"]], {**tensors, f"{ADAM}step": torch.tensor(float(state["step"]))})
