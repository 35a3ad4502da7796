"""Embedding attack: optimize free embeddings after the behavior. No text produces them, so this is an upper bound on
white-box attacks. Schwinn et al. 2024, arXiv:2402.09063, section 3.

Where we leave the authors' code: the embeddings stand inside the chat template (their code sends bare text); those of
the lowest loss are used, not the last; the search ends by loss (`stop_loss`), not when the target string is what
the model would say.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from withstand.attacks.gradient._soft import check_soft, finite
from withstand.core import (
    AskError,
    Behavior,
    Completion,
    Flow,
    Json,
    Target,
    TestCase,
    UpperBounds,
    WhiteBox,
    from_json,
    to_json,
    user,
    work,
)
from withstand.core.notice import tell_step
from withstand.engine.engine import engine_of
from withstand.engine.text import make_prompt


@dataclass(frozen=True, slots=True)
class EmbeddingAttack:
    """An upper bound, not a text: one test case that carries its completion, the model's greedy answer after them.

    The chat of the test case is the behavior and a marker, such as "[20 optimized embeddings]"; sending it does not
    repeat the attack. The embeddings go to the model itself: its defense, its repetition penalty and the temperature of
    the run are not applied. All steps and the answer are one piece of work.

    length: free embeddings, 1 or more, default 20 (authors), those of exclamation marks at first (authors).
    steps: of signed gradient descent, 1 or more, default 100 (authors).
    lr: what each number of an embedding changes by in a step, above 0, default 0.001 (paper; the code says 0.01).
    stop_loss: stop below this loss, in nats per target token, 0 or more; default 0: never.
    dtype: of losses and answer, "" (default): the target's own. The embeddings are float32 always.
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
    seed: int = 0

    def __post_init__(self) -> None:
        check_soft(self, "length steps", "stop_loss", "lr")

    def most(self) -> UpperBounds:
        return UpperBounds(cases=1, drawn=True)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        sampling = target.sampling
        part = {"behavior": to_json(behavior), "max_tokens": sampling.max_tokens, "stop": list(sampling.stop)}
        answer = yield from work(target.weights(self), self.advance, part)
        chat = user(behavior.prompt(f"{behavior.text} [{self.length} optimized embeddings]"))
        yield TestCase(behavior.id, chat, completion=Completion(chat, **answer["completion"]))

    def advance(self, model: WhiteBox, parts: Sequence[Json]) -> list[Json]:
        """For each part the first and the lowest loss, and the fields of the completion."""
        return [self.search(model, part) for part in parts]

    def search(self, model: WhiteBox, part: Json) -> Json:
        engine, loaded = engine_of(model, self.dtype), model.load(self.dtype)
        prompt, marks = make_prompt(model, from_json(Behavior, part["behavior"]), " ".join("!" * self.length))
        size = len(prompt.head) + self.length + len(prompt.tail)
        if loaded.window and size + part["max_tokens"] > loaded.window:
            raise AskError(
                f"a prompt of {size} tokens and {part['max_tokens']} to come pass the window of {loaded.window}",
                hint="fewer max_tokens, or a model with a longer window",
            )

        def embedded(ids: Sequence[int]) -> Tensor:
            with torch.no_grad():
                vectors: Tensor = engine.model.get_input_embeddings()(
                    torch.tensor(ids, dtype=torch.long, device=engine.device)
                )
            return vectors

        # where a mark is not one token, the first so many tokens of the marks
        free = embedded(marks[: self.length]).float()
        first, lowest, best = math.inf, math.inf, free
        for step in range(self.steps + 1):
            free = free.detach().requires_grad_()
            [loss] = engine.soft_losses([(prompt, free)])
            if (value := finite(loss.item())) < lowest:
                lowest, best = value, free.detach()
            first = value if not step else first
            tell_step(prompt.behavior.id, step, self.steps, lowest)
            if lowest < self.stop_loss or step == self.steps:
                break
            [gradient] = torch.autograd.grad(loss, [free])
            free = free - self.lr * gradient.sign()
        head, tail = embedded(prompt.head), embedded(prompt.tail)
        ids, ended = greedy(loaded, torch.cat([head, best.to(head.dtype), tail]), part["max_tokens"])
        answer = model.read((), ids, part["stop"], prompt.after)
        names = ("text", "reasoning", "reasoning_tokens", "answer_tokens")
        completion: dict[str, Json] = {name: getattr(answer, name) for name in names}
        completion |= {"finish": "stop" if ended else "length", "prompt_tokens": size}
        return {"first": first, "loss": lowest, "completion": completion}


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
