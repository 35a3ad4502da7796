"""Embedding attack: optimize free embeddings after the behavior. No text produces them, so this is an upper bound on
white-box attacks. Schwinn et al. 2024, arXiv:2402.09063, section 3.

Where we leave the authors' code: the embeddings stand inside the chat template (their code sends bare text); those of
the lowest loss are used, not the last; the search ends by loss (`stop_loss`), not when the target string is what
the model would say.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from withstand.attacks.gradient._soft import check_soft
from withstand.attacks.gradient._unsent import Search, advanced, answered
from withstand.core import Behavior, Flow, Json, Target, UpperBounds, WhiteBox
from withstand.engine.text import make_prompt


@dataclass(frozen=True, slots=True)
class EmbeddingAttack:
    """An upper bound, not a text: one test case that carries its completion, the model's greedy answer after them.

    The chat of the test case is the behavior and a marker, such as "[20 optimized embeddings]"; sending it does not
    repeat the attack. The embeddings stand in the prompt as the defense words it; its guards, the repetition penalty
    and the temperature of the run are not applied. The answer is drawn in the last piece of work.

    length: free embeddings, 1 or more, default 20 (authors), those of exclamation marks at first (authors).
    steps: of signed gradient descent, 1 or more, default 100 (authors).
    lr: what each number of an embedding changes by in a step, above 0, default 0.001 (paper; the code says 0.01).
    stop_loss: stop below this loss, in nats per target token, 0 or more; default 0: never.
    dtype: of losses and answer, "" (default): the target's own. The embeddings are float32 always.
    every: steps in one piece of work, 1 or more, default 50; a killed run resumes at the last piece.
    seed: any whole number, default 0; nothing is drawn.
    """

    version: ClassVar[int] = 1
    parts: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"weights", "gradients"})
    upper_bound: ClassVar[bool] = True
    length: int = 20
    steps: int = 100
    lr: float = 0.001
    stop_loss: float = 0.0
    dtype: Literal["", "float32", "bfloat16"] = ""
    every: int = field(default=50, metadata={"added": "0.2"})
    seed: int = 0

    def __post_init__(self) -> None:
        check_soft(self, "length steps every", "stop_loss", "lr")

    def most(self) -> UpperBounds:
        return UpperBounds(cases=1, drawn=True)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        return answered(self, behavior, target, f"{self.length} optimized embeddings")

    def advance(self, model: WhiteBox, parts: Sequence[Json]) -> list[Json]:
        return advanced(Embeddings, self, model, parts)

    def step(self, live: Sequence["Embeddings"]) -> None:
        [search] = live
        for name, slope in search.slopes().items():
            search.free[name] = search.free[name].detach() - self.lr * slope.sign()


class Embeddings(Search):
    """Free embeddings in the slot of the behavior's prompt, Float["length hidden"]."""

    def start(self, behavior: Behavior) -> dict[str, Tensor]:
        length = self.attack.length
        self.prompt, marks = make_prompt(self.model, behavior, " ".join("!" * length))
        self.size = len(self.prompt.head) + length + len(self.prompt.tail)
        # where a mark is not one token, the first so many tokens of the marks
        return {"free": self.embedded(marks[:length]).float()}

    def loss(self, free: dict[str, Tensor]) -> Tensor:
        return self.engine.soft_losses([(self.prompt, free["free"])])[0]

    def embeds(self) -> Tensor:
        head, tail = self.embedded(self.prompt.head), self.embedded(self.prompt.tail)
        return torch.cat([head, self.lowest_at["free"].to(head.dtype), tail])
