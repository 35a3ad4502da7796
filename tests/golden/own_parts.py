"""A user's own components with a `version`, for the golden store: attacks, models, a function."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from withstand.core import (
    Behavior,
    Chat,
    Completion,
    Flow,
    Json,
    Model,
    Most,
    Sampling,
    Target,
    TestCase,
    Work,
    Worked,
    ask,
    digest,
    to_json,
    user,
)


@dataclass(frozen=True)
class Together:
    """A joint attack: each step asks once and gives each behavior a candidate."""

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset()
    surrogates: tuple[Model, ...] = ()
    steps: int = 2
    seed: int = 0

    def most(self) -> Most:
        return Most(cases=1, asks={"target": self.steps})

    def run_together(self, behaviors: Sequence[Behavior], target: Target) -> Flow[None]:
        model = self.surrogates[0] if self.surrogates else target
        for step in range(self.steps):
            [answer] = yield from ask(model, [user(f"{step}: {' '.join(b.id for b in behaviors)}")], Sampling())
            for behavior in behaviors:
                yield TestCase(behavior.id, user(f"{behavior.text} {step}"), score=float(len(answer.text) * step))


@dataclass(frozen=True)
class Weights:
    """A model with a number for its weights."""

    version: ClassVar[int] = 1
    place: ClassVar[str] = "weights"
    gives: ClassVar[frozenset[str]] = frozenset({"system", "turns", "weights"})
    hosts: ClassVar[tuple[str, ...]] = ()
    number: int = 7
    width: int = field(default=4, metadata={"key": False})
    lanes: int = field(default=1, metadata={"key": False})

    def identity(self) -> Json:
        return {"weights": digest(self.number)}

    def check(self) -> None:
        pass

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        return [Completion(chat, f"Sure: {digest([self.number, to_json(chat)])[:6]}") for chat in chats]


@dataclass(frozen=True)
class Climbing:
    """Adds a word in every piece of work, from the state that the last one left."""

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"weights"})
    steps: int = 3
    seed: int = 0

    def most(self) -> Most:
        return Most(cases=1)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        state: Any = ""
        for step in range(self.steps):
            answer: Worked = yield Work(target.model, self.advance, {"behavior": to_json(behavior), "state": state})
            state = answer.value
            yield TestCase(behavior.id, user(f"{behavior.text}{state}"), score=float(step))

    def advance(self, model: Any, parts: Sequence[Json]) -> list[Json]:
        return [f"{part['state']} {digest([model.number, self.seed, part])[:4]}" for part in parts]


@dataclass(frozen=True)
class Stumbling:
    """Asks once; of a behavior whose text holds `on` it makes an error instead of a test case."""

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset()
    on: str = "rye"
    seed: int = 0

    def most(self) -> Most:
        return Most(cases=1, asks={"target": 1})

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        yield from ask(target, [user(behavior.text)])
        if self.on in behavior.text:
            raise RuntimeError(f"stumbled over {self.on}")
        yield TestCase(behavior.id, user(behavior.text))


@dataclass(frozen=True)
class Letters(Weights):
    """An encoder that counts letters."""

    gives: ClassVar[frozenset[str]] = frozenset({"vectors"})

    def encode(self, texts: Sequence[str]) -> tuple[Any, list[int]]:
        import numpy as np

        counts = np.array([[1 + text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts])
        return counts / np.linalg.norm(counts, axis=1, keepdims=True), [0] * len(texts)


def answer(messages: list[dict[str, str]]) -> str:
    """The target `function:own_parts:answer`."""
    return f"Sure, here is how: {messages[-1]['content'][:40]}"
