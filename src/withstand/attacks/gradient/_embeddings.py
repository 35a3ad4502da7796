"""One search of the embedding attack under way: the embeddings, and the best of them so far."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from withstand.core import AskError, Behavior, Json, WhiteBox, from_json
from withstand.engine.engine import engine_of
from withstand.engine.pieces import Held
from withstand.engine.text import make_prompt


class Embeddings:
    """`attack` is an `EmbeddingAttack`. free: the embeddings, Float["length hidden"]; lowest_at: of the lowest loss.

    step: losses computed; the first is that of the embeddings at the start. size: tokens of the prompt with them.
    """

    best = (math.inf, "")  # there is no text

    def __init__(self, attack: Any, model: WhiteBox, part: Json, held: Held | None) -> None:
        self.attack, self.model, self.part = attack, model, part
        self.engine, self.loaded = engine_of(model, attack.dtype), model.load(attack.dtype)
        behavior = from_json(Behavior, part["behavior"])
        self.prompt, marks = make_prompt(model, behavior, " ".join("!" * attack.length))
        self.size = len(self.prompt.head) + attack.length + len(self.prompt.tail)
        if self.loaded.window and self.size + part["max_tokens"] > self.loaded.window:
            raise AskError(
                f"a prompt of {self.size} tokens and {part['max_tokens']} to come pass the window of "
                f"{self.loaded.window}",
                hint="fewer max_tokens, or a model with a longer window",
            )
        if held:
            self.step, self.first, self.lowest = held.state
            self.free, self.lowest_at = (held.tensors[name].to(self.engine.device) for name in ("free", "lowest"))
            return
        # where a mark is not one token, the first so many tokens of the marks
        self.free = self.lowest_at = self.embedded(marks[: attack.length]).float()
        self.step, self.first, self.lowest = 0, math.inf, math.inf

    @torch.no_grad()
    def embedded(self, ids: Sequence[int]) -> Tensor:
        at = torch.tensor(ids, dtype=torch.long, device=self.engine.device)
        vectors: Tensor = self.engine.model.get_input_embeddings()(at)
        return vectors

    @property
    def done(self) -> bool:
        return self.step > self.attack.steps or self.lowest < self.attack.stop_loss

    def held(self) -> Held:
        return Held([self.step, self.first, self.lowest], {"free": self.free, "lowest": self.lowest_at})

    def result(self) -> Json:
        answer: Json = self.attack.answer(self)
        return answer
