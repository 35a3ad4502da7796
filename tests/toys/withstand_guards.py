"""Defenses of the tests' own, found as `withstand_guards:Class`; tests put this folder on the path."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar, Literal

from withstand.core import Chat, Completion, Flow, GuardCheck, Model, Sampling, ask


@dataclass(frozen=True)
class Bouncer:
    """Blocks a prompt, or an answer, in which `pattern` is found `limit` times or more."""

    version: ClassVar[int] = 1
    asks: ClassVar[int] = 1
    pattern: str = "[A-Z]"
    limit: int = 1
    stage: Literal["before", "after"] = "before"
    scored: bool = True
    bypasses: tuple[str, ...] = ()

    def suspicious(self, text: str) -> float:
        return len(re.findall(self.pattern, text)) / self.limit

    def checked(self, answer: Completion, text: str) -> Completion:
        suspicion = self.suspicious(text)
        check = GuardCheck("bouncer", self.stage, suspicion if self.scored else None, blocked=suspicion >= 1)
        kept = replace(answer, text="", finish="filtered", logprobs=()) if check.blocked else answer
        return replace(kept, checks=(check,))

    def answer(self, model: Model, chats: Sequence[Chat], sampling: Sampling) -> Flow[list[Completion]]:
        texts = [next(turn.text for turn in reversed(chat) if turn.role == "user") for chat in chats]
        if self.stage == "after":
            answers = yield from ask(model, chats, sampling)
            return [self.checked(answer, answer.text) for answer in answers]
        going = [chat for chat, text in zip(chats, texts, strict=True) if self.suspicious(text) < 1]
        came = iter((yield from ask(model, going, sampling)) if going else ())
        return [
            self.checked(next(came) if self.suspicious(text) < 1 else Completion(chat, ""), text)
            for chat, text in zip(chats, texts, strict=True)
        ]


@dataclass(frozen=True)
class Coin:
    """Lets a prompt through with a probability, and blanks it else."""

    version: ClassVar[int] = 1
    asks: ClassVar[int] = 1
    randomized: ClassVar[bool] = True
    passes: float = 0.5
    seed: int = 0

    def answer(self, model: Model, chats: Sequence[Chat], sampling: Sampling) -> Flow[list[Completion]]:
        passing = Random(self.seed).random() < self.passes
        blank = [tuple(replace(turn, text="Hello") for turn in chat) for chat in chats]
        return (yield from ask(model, chats if passing else blank, sampling))
