"""Embedding attack: optimize free embeddings after the behavior. No text produces them, so this is an upper bound on
white-box attacks. Schwinn et al. 2024, arXiv:2402.09063, section 3.

Where we leave the authors' code: the embeddings stand inside the chat template (their code sends bare text); those of
the lowest loss are used, not the last; the search ends by loss (`stop_loss`), not when the target string is what
the model would say.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from withstand.attacks.gradient._embeddings import Embeddings
from withstand.attacks.gradient._soft import check_soft, finite
from withstand.core import Behavior, Completion, Flow, Json, Target, TestCase, UpperBounds, WhiteBox, to_json, user
from withstand.core.notice import tell_step
from withstand.engine.pieces import Held, pieces, work_to_result


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
        sampling = target.sampling
        part = {"behavior": to_json(behavior), "max_tokens": sampling.max_tokens, "stop": list(sampling.stop)}
        answer = yield from work_to_result(target.weights(self), self.advance, part)
        chat = user(behavior.prompt(f"{behavior.text} [{self.length} optimized embeddings]"))
        yield TestCase(behavior.id, chat, completion=Completion(chat, **answer["completion"]))

    def advance(self, model: WhiteBox, parts: Sequence[Json]) -> list[Json]:
        """`every` steps for each part; at the end the first and lowest loss, and the fields of the completion."""

        def start(part: Json, held: Held | None) -> Embeddings:
            return Embeddings(self, model, part, held)

        return pieces(parts, start, self.step, self.every)

    def step(self, live: Sequence[Embeddings]) -> None:
        [search] = live
        free = search.free.detach().requires_grad_()
        [loss] = search.engine.soft_losses([(search.prompt, free)])
        if (value := finite(loss.item())) < search.lowest:
            search.lowest, search.lowest_at = value, free.detach()
        search.first = search.first if search.step else value
        tell_step(search.prompt.behavior.id, search.step, self.steps, search.lowest)
        search.step += 1
        if not search.done:
            [gradient] = torch.autograd.grad(loss, [free])
            search.free = free.detach() - self.lr * gradient.sign()

    def answer(self, search: Embeddings) -> Json:
        """The losses, and the fields of the model's answer to the embeddings of the lowest."""
        head, tail = search.embedded(search.prompt.head), search.embedded(search.prompt.tail)
        embeds = torch.cat([head, search.lowest_at.to(head.dtype), tail])
        ids, ended = greedy(search.loaded, embeds, search.part["max_tokens"])
        answer = search.model.read((), ids, search.part["stop"], search.prompt.after)
        names = ("text", "reasoning", "reasoning_tokens", "answer_tokens")
        completion: dict[str, Json] = {name: getattr(answer, name) for name in names}
        completion |= {"finish": "stop" if ended else "length", "prompt_tokens": search.size}
        return {"first": search.first, "loss": search.lowest, "completion": completion}


@torch.no_grad()
def greedy(loaded: Any, embeds: Tensor, most: int) -> tuple[list[int], bool]:
    """The most probable tokens after `embeds`, at most `most`, and whether the model ended them."""
    from transformers import GenerationConfig

    ends = loaded.ends
    # what is not set here would be taken from the settings in the model's folder
    config = GenerationConfig(
        max_new_tokens=most, min_length=0, do_sample=False, num_beams=1, repetition_penalty=1.0,
        no_repeat_ngram_size=0, eos_token_id=sorted(ends) or None, pad_token_id=min(ends, default=0),
    )  # fmt: skip
    mask = torch.ones(1, len(embeds), dtype=torch.long, device=embeds.device)
    ids = loaded.model.generate(inputs_embeds=embeds[None], attention_mask=mask, generation_config=config)[0].tolist()
    ended = bool(ids) and ids[-1] in ends
    return ids[:-1] if ended else ids, ended
