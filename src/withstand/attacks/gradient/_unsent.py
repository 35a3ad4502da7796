"""What attacks share whose result no text carries: one search under way, and the answer that it ends with."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from withstand.attacks.gradient._soft import finite
from withstand.core import (
    AskError,
    Behavior,
    Completion,
    Flow,
    Json,
    Target,
    TestCase,
    WhiteBox,
    from_json,
    to_json,
    user,
)
from withstand.core.notice import tell_step
from withstand.engine.engine import engine_of
from withstand.engine.pieces import Held, pieces, work_to_result
from withstand.engine.text import Prompt


class Search:
    """free: by name the tensors that are optimized; lowest_at: those of the lowest loss.

    step: losses computed; the first is that of the tensors at the start. size: tokens of the prompt with them.
    """

    best = (math.inf, "")  # there is no text
    prompt: Prompt
    size: int

    def __init__(self, attack: Any, model: WhiteBox, part: Json, held: Held | None) -> None:
        self.attack, self.model, self.part = attack, model, part
        self.engine, self.loaded = engine_of(model, attack.dtype), model.load(attack.dtype)
        self.free = self.lowest_at = self.start(from_json(Behavior, part["behavior"]))
        self.step, self.first, self.lowest = 0, math.inf, math.inf
        if self.loaded.window and self.size + part["max_tokens"] > self.loaded.window:
            raise AskError(
                f"a prompt of {self.size} tokens and {part['max_tokens']} to come pass the window of "
                f"{self.loaded.window}",
                hint="fewer max_tokens, or a model with a longer window",
            )
        if held:
            self.step, self.first, self.lowest = held.state
            tensors = {name: tensor.to(self.engine.device) for name, tensor in held.tensors.items()}
            self.lowest_at = {name: tensors[_lowest(name)] for name in self.free}
            self.free = {name: tensors[name] for name in self.free}

    def start(self, behavior: Behavior) -> dict[str, Tensor]:
        """Sets `prompt` and `size`; the tensors at the start, whose names begin with "free"."""
        raise NotImplementedError

    def loss(self, free: dict[str, Tensor]) -> Tensor:
        """The target string's, in nats per token, differentiable by the tensors."""
        raise NotImplementedError

    def embeds(self) -> Tensor:
        """What the answer goes on from, Float["tokens hidden"]."""
        raise NotImplementedError

    def answering(self) -> AbstractContextManager[None]:
        """The context in which it is answered."""
        return nullcontext()

    @torch.no_grad()
    def embedded(self, ids: Sequence[int]) -> Tensor:
        at = torch.tensor(ids, dtype=torch.long, device=self.engine.device)
        vectors: Tensor = self.engine.model.get_input_embeddings()(at)
        return vectors

    def slopes(self) -> dict[str, Tensor]:
        """The gradients of the loss, which is kept where it is the lowest; none after the last step."""
        free = {name: tensor.detach().requires_grad_() for name, tensor in self.free.items()}
        loss = self.loss(free)
        if (value := finite(loss.item())) < self.lowest:
            self.lowest, self.lowest_at = value, {name: tensor.detach() for name, tensor in free.items()}
        self.first = self.first if self.step else value
        tell_step(self.prompt.behavior.id, self.step, self.attack.steps, self.lowest)
        self.step += 1
        if self.done:
            return {}
        return dict(zip(free, torch.autograd.grad(loss, list(free.values())), strict=True))

    @property
    def done(self) -> bool:
        return self.step > self.attack.steps or self.lowest < self.attack.stop_loss

    def held(self) -> Held:
        lowest = {_lowest(name): tensor for name, tensor in self.lowest_at.items()}
        return Held([self.step, self.first, self.lowest], {**self.free, **lowest})

    def result(self) -> Json:
        """The losses, and the fields of the model's answer at the lowest."""
        with self.answering():
            ids, ended = greedy(self.loaded, self.embeds(), self.part["max_tokens"])
        answer = self.model.read((), ids, self.part["stop"], self.prompt.after)
        names = ("text", "reasoning", "reasoning_tokens", "answer_tokens")
        completion: dict[str, Json] = {name: getattr(answer, name) for name in names}
        completion |= {"finish": "stop" if ended else "length", "prompt_tokens": self.size}
        return {"first": self.first, "loss": self.lowest, "completion": completion}


def answered(attack: Any, behavior: Behavior, target: Target, mark: str) -> Flow[None]:
    """The flow of such an attack: its `advance` to the end, and one test case that carries its completion. The chat is
    the behavior and `mark`, which says what no text can: sending it does not repeat the attack."""
    sampling = target.sampling
    part = {"behavior": to_json(behavior), "max_tokens": sampling.max_tokens, "stop": list(sampling.stop)}
    answer = yield from work_to_result(target.weights(attack), attack.advance, part)
    chat = user(behavior.prompt(f"{behavior.text} [{mark}]"))
    yield TestCase(behavior.id, chat, completion=Completion(chat, **answer["completion"]))


def advanced(search: type[Search], attack: Any, model: WhiteBox, parts: Sequence[Json]) -> list[Json]:
    """`every` steps of a search for each part; at the end the two losses, and the fields of the completion."""
    return pieces(parts, lambda part, held: search(attack, model, part, held), attack.step, attack.every)


def _lowest(name: str) -> str:
    return name.replace("free", "lowest")


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
