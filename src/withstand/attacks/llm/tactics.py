"""Tactics: a writer puts the request anew with several tactics at once, drawn for each test case. WildTeaming, Jiang
et al. 2024, arXiv:2406.18510.

The paper mines thousands of tactics from chat logs, and prunes what came out by classifiers for low risk and off topic.
Here are about twenty, generic and in our words, and only what the attacker refused or misformed is thrown away.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

from withstand.attacks.llm._attacker import drafts, no_draft, read_object
from withstand.attacks.llm._lines import filled, shown_context
from withstand.core import Behavior, Chat, Flow, Model, Most, Sampling, SpecError, Target, TestCase, rng, user

OPENING = '{"prompt":'


@dataclass(frozen=True, slots=True)
class Tactics:
    """Final test cases, each the attacker's text for tactics of its own; the context stands above each.

    attacker: writes them. It sees the context, and gives a JSON object with "prompt".
    n: test cases at most, 1 or more, default 8. Case i has the same tactics for every n.
    k: tactics in each, 1 or more and at most as many as there are (22), default 3.
    tries: asks of the attacker for each case, until it neither refuses nor breaks the format, 1 or more, default 3.
    attacker_tokens: of its answer, 1 or more, default 1024.
    temperature: of the attacker, in [0, 10], default 1.
    seed: any whole number, default 0; draws the tactics, and the attacker's answers anew.
    """

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset()
    attacker: Model
    n: int = 8
    k: int = 3
    tries: int = 3
    attacker_tokens: int = 1024
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n", "k", "tries", "attacker_tokens"):
            if getattr(self, name) < 1:
                raise SpecError(f"{name} is {getattr(self, name)}", hint="it must be 1 or more")
        if self.k > len(known()):
            raise SpecError(f"k is {self.k}, but there are {len(known())} tactics", hint="give a smaller k")
        if not 0 <= self.temperature <= 10:
            raise SpecError(f"temperature is {self.temperature}", hint="it must lie in [0, 10]")

    def most(self) -> Most:
        return Most(cases=self.n, asks={"attacker": self.n * self.tries})

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        chats = [question(behavior, rng(self.seed, behavior.id, i).sample(known(), self.k)) for i in range(self.n)]
        sampling = Sampling(self.attacker_tokens, self.temperature)
        found = yield from drafts(self.attacker, chats, prompt_in, sampling, self.tries, OPENING)
        if not any(found):
            raise no_draft(self.tries)
        for draft in filter(None, found):
            yield TestCase(behavior.id, user(behavior.prompt(draft.value)))


def question(behavior: Behavior, tactics: list[tuple[str, str]]) -> Chat:
    """What the attacker is asked."""
    lines = "\n".join(f"- {name}: {definition}" for name, definition in tactics)
    return user(filled(template(), tactics=lines, request=behavior.text, context=shown_context(behavior)))


def prompt_in(said: str) -> str | None:
    """The new text, None if the answer is not in the format."""
    found = read_object(said, "prompt")
    return found["prompt"] if found else None


@cache
def known() -> tuple[tuple[str, str], ...]:
    """Name and definition of every tactic."""
    rows = json.loads(Path(__file__).with_name("tactics.json").read_text(encoding="utf-8"))
    return tuple((row["name"], row["definition"]) for row in rows)


@cache
def template() -> str:
    """The attacker's instructions."""
    return Path(__file__).with_name("tactics.txt").read_text(encoding="utf-8")
