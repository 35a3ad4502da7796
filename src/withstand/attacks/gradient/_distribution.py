"""One search of GBDA under way: a distribution over the tokens of every case, its optimizer, and the best texts."""

import math
from typing import Any

import torch

from withstand.attacks.gradient._free import Free
from withstand.core import Json
from withstand.engine.pieces import Held, adam_on, moments


class Distribution:
    """`attack` has the fields of `GBDA`. theta: log-coefficients, Float["n length allowed"].

    draws: the random numbers of every case; texts: its lowest loss and that text.
    """

    def __init__(self, attack: Any, free: Free, held: Held | None) -> None:
        self.attack, self.free, self.step = attack, free, 0
        self.texts = [(math.inf, "")] * attack.n
        self.draws = [free.generator(attack.seed, i) for i in range(attack.n)]
        if held and held.state[2] != free.table.device.type:  # its random numbers do not exist here
            held = None
        if held:
            self.step, texts, _ = held.state
            self.texts = free.again(texts) or self.texts
            theta = held.tensors["theta"].to(free.table.device)
            for draw, state in zip(self.draws, held.tensors["draws"], strict=True):
                draw.set_state(state.clone())  # on a view of a row torch crashes
        else:
            shape = (attack.length, len(free.ids))
            theta = torch.stack([attack.spread * torch.randn(shape, generator=g, device=g.device) for g in self.draws])
        self.theta = theta.requires_grad_()
        self.adam = adam_on(self.theta, attack.lr, held.tensors if held else {})

    @property
    def done(self) -> bool:
        return self.step >= self.attack.steps or self.free.stopped(self.texts)

    @property
    def best(self) -> tuple[float, str]:
        """Of one case, whose text is a candidate; of more, none is better than the others."""
        texts = self.free.held(self.texts)
        return texts[0] if self.attack.n == 1 else (min(texts)[0], "")

    @property
    def tried(self) -> list[tuple[float, str]]:
        return self.free.tried(self.texts)

    def held(self) -> Held:
        texts = self.free.held(self.texts) if self.texts[0][1] else []
        draws = torch.stack([draw.get_state() for draw in self.draws])
        state = [self.step, texts, self.theta.device.type]
        return Held(state, {"theta": self.theta, "draws": draws, **moments(self.adam, self.theta)})

    def result(self) -> Json:
        return self.free.held(self.texts)
