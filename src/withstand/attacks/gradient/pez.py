"""PEZ, hard prompts made easy: optimize continuous embeddings and show the model the tokens nearest to them. Wen et al.
2023, arXiv:2302.03668, Algorithm 1; HarmBench, arXiv:2402.04249, section B.1.

Where we leave HarmBench's code: the projection is that of allowed tokens alone (its code projects on the whole matrix,
special tokens and padded rows too, and then loses them as text); the best text of each sample is returned, by the loss
of the text read anew, not the projection after the last update, unseen; losses of samples are added up, not averaged,
so that a sample is the same whatever `n` is (Adam does not mind the scale); random numbers are seeded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from withstand.attacks.gradient._free import Free, suffixes
from withstand.attacks.gradient._projected import Projected, of_before
from withstand.attacks.gradient._soft import Suffixes, check_soft, cosine, finite
from withstand.core import Behavior, Flow, Json, Target, WhiteBox, to_json
from withstand.core.notice import tell_step
from withstand.engine.pieces import Held, pieces, work_to_result

CHUNK = 8192
"""Rows of the embedding matrix that are compared at once."""


@dataclass(frozen=True, slots=True)
class PEZ(Suffixes):
    """`n` optimized suffixes per behavior, each a test case of its own; one alone is a candidate scored by its loss.

    Between pieces of work what it needs to continue (three vectors for each case and free token) is in a file in the
    cache.

    n: test cases, 1 or more, default 5 (HarmBench). Case i is the same for every n, up to rounding.
    length: free tokens, 1 or more, default 20 (HarmBench).
    steps: 1 or more, default 500 (HarmBench). lr: of Adam, above 0, default 0.01 (HarmBench's configuration; its code
        and the paper differ); no weight decay; falls to 0 along a cosine over all steps (HarmBench).
    stop_loss: stop when every case's text has a loss below this, in nats per target token, 0 or more; default 0: never.
    placement: suffix (default, HarmBench) or prefix of the behavior's text.
    ascii_only: tokens of printable ASCII alone, default true (HarmBench means to, its PEZ does not).
    dtype: of the losses, "" (default): the target's own. The embeddings are float32 always.
    every: steps in one piece of work, 1 or more, default 50; a killed run resumes at the last piece.
    seed: any whole number, default 0; split by behavior and case.
    """

    version: ClassVar[int] = 1
    parts: ClassVar[int] = 1
    lr: float = 0.01
    stop_loss: float = 0.0
    placement: Literal["suffix", "prefix"] = "suffix"
    ascii_only: bool = True
    dtype: Literal["", "float32", "bfloat16"] = ""
    every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        check_soft(self, "n length steps every", "stop_loss", "lr")

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        part = {"behavior": to_json(behavior), "state": None}
        best = yield from work_to_result(target.weights(self), self.advance, part)
        while isinstance(best, dict):  # a piece that 0.1 stored with its tensors: the search goes on from there
            done, part = best["done"], {**part, "state": best}
            best = best["best"] if done else (yield from work_to_result(target.weights(self), self.advance, part))
        yield from suffixes(behavior, target.weights(self), best)

    def advance(self, model: WhiteBox, parts: Sequence[Json]) -> list[Json]:
        """`every` steps for each part; at the end the best loss and text of every case."""

        def start(part: Json, held: Held | None) -> Projected:
            return Projected(self, Free.of(self, model, part), held or of_before(self, part["state"]))

        return pieces(parts, start, self.step, self.every)

    def step(self, live: Sequence[Projected]) -> None:
        [state] = live
        free, vectors = state.free, state.vectors
        state.adam.param_groups[0]["lr"] = cosine(self.lr, 0, state.step / self.steps)
        vectors.grad, state.texts = self.look(free, vectors, state.texts)
        state.adam.step()
        state.step += 1
        tell_step(free.prompt.behavior.id, state.step, self.steps, min(loss for loss, _ in state.texts))
        if state.step == self.steps and not state.stopped:
            _, state.texts = self.look(free, vectors, state.texts)

    def look(
        self, free: Free, vectors: Tensor, best: Sequence[tuple[float, str]]
    ) -> tuple[Tensor, list[tuple[float, str]]]:
        """The gradient at the projection of `vectors`, passed straight through to them, and the best texts so far.

        A text is read where its slot's loss is below that of the best text: else it is hardly better.
        """
        near = nearest(vectors.flatten(0, 1), free.table).view(self.n, self.length)
        slots = free.ids[near].tolist()
        pairs = free.engine.gradients([(free.prompt, slot) for slot in slots])
        kept = list(best) or [free.scored(slot) for slot in slots]
        for i, (slot, (_, loss)) in enumerate(zip(slots, pairs, strict=True)):
            if finite(loss) < kept[i][0] or free.prompt.drawn:
                kept[i] = min(kept[i], free.scored(slot, kept[i][0]))
        return torch.stack([gradient for gradient, _ in pairs]), kept


def nearest(vectors: Tensor, table: Tensor, chunk: int = CHUNK) -> Tensor:
    """Int["vectors"]: the row of `table` (rows, hidden) that is nearest to each vector (vectors, hidden) by the cosine
    of their angle, the first of equals; `chunk` rows are compared at once."""
    unit = normalize(vectors, dim=-1)
    best = torch.full_like(unit[:, 0], -torch.inf)
    place = torch.zeros_like(best, dtype=torch.long)
    for low in range(0, len(table), chunk):
        closeness, at = (unit @ normalize(table[low : low + chunk], dim=-1).T).max(-1)
        place = torch.where(closeness > best, at + low, place)
        best = torch.maximum(best, closeness)
    return place
