"""One behavior's prompt with free tokens in it, as attacks on relaxed slots read and score it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from withstand.attacks.gradient._soft import Fields, finite
from withstand.core import Behavior, Flow, Json, SpecError, TestCase, WhiteBox, from_json, rng, user
from withstand.engine.engine import Engine
from withstand.engine.objective import Objective
from withstand.engine.terms import guard_of, guarded
from withstand.engine.text import Prompt, allowed, make_prompt, texts


def suffixes(behavior: Behavior, model: WhiteBox, best: Sequence[tuple[float, str]]) -> Flow[None]:
    """The texts of a search as test cases; a single one is a candidate scored by its loss, and by what a guard says."""
    chats = [user(text) for _, text in best]
    losses = yield from guarded(guard_of(model), [loss for loss, _ in best], chats, {}, len(chats) == 1)
    for loss, chat in zip(losses, chats, strict=True):
        yield TestCase(behavior.id, chat, score=-loss if len(chats) == 1 else None)


@dataclass
class Free:
    """One behavior's prompt with `length` free tokens in it. `read`: the loss of every text that was scored, without
    what a guard said that was asked."""

    attack: Fields
    model: WhiteBox
    objective: Objective
    prompt: Prompt
    engine: Engine
    ids: Tensor
    table: Tensor
    read: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, attack: Fields, model: WhiteBox, part: Json) -> "Free":
        # any init gives the same head and tail; this one has about as many tokens, so that the window is checked
        prompt, _ = make_prompt(
            model, from_json(Behavior, part["behavior"]), " ".join("!" * attack.length), attack.placement
        )
        objective = Objective.of(model, attack.dtype, asked=part.get("asked"))
        engine = objective.engine
        table = engine.embeddings()
        [ids] = allowed(model.load(attack.dtype).tokenizer, len(table), attack.ascii_only).nonzero()
        if not len(ids):
            raise SpecError("this tokenizer has no token of printable ASCII", hint="use ascii_only=false")
        at = torch.from_numpy(ids).to(table.device)
        return cls(attack, model, objective, prompt, engine, at, table[at].float())

    def generator(self, *seed: Any) -> torch.Generator:
        """Random numbers of the device that depend on `seed` and the behavior alone."""
        number = rng(*seed, self.prompt.behavior.id).getrandbits(63)
        return torch.Generator(self.engine.device).manual_seed(number)

    def scored(self, slot: Sequence[int], below: float = math.inf) -> tuple[float, str]:
        """The text that a user sends for a slot, and its loss; it may be inexact where it is not `below`.

        The text is rendered and read anew, so that the loss is of the tokens that the model will see, whether or not
        the slot's own survive.
        """
        [text] = texts(self.objective.tokenizer, self.prompt, [slot])
        sent = self.prompt.chat(text)[0].text
        if sent not in self.read:
            self.read[sent] = finite(self.objective.read(self.prompt, slot, below=below)[1])
        return self.read[sent] + self.objective.of_guard(sent), sent

    def stopped(self, pairs: Sequence[tuple[float, str]]) -> bool:
        """Whether every text is below the loss at which the search stops, and no guard is still to be asked."""
        heard = guard_of(self.model) is None or all(text in self.objective.asked for _, text in pairs)
        return heard and bool(pairs) and all(loss < self.attack.stop_loss for loss, _ in pairs)

    def again(self, pairs: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
        """Texts as they were held between pieces of work, with what the guard said since."""
        self.read |= {text: loss for loss, text in pairs}
        return [(loss + self.objective.of_guard(text), text) for loss, text in pairs]

    def held(self, pairs: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
        """The opposite of `again`."""
        return [(self.read.get(text, loss), text) for loss, text in pairs]

    def tried(self, pairs: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
        """The texts about which a guard is to be asked."""
        return [pair for pair in self.held(pairs) if pair[1]] if guard_of(self.model) else []
