"""Tactics: a writer model rewrites the request with several tactics at once, drawn anew for each test case.
WildTeaming, Jiang et al. 2024, arXiv:2406.18510.

The paper mines thousands of tactics from chat logs, and prunes what came out by classifiers for low risk and off topic.
Here are about twenty, generic and in our words, and only what the attacker refused or misformed is thrown away.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from withstand.attacks.llm._attacker import DRAFTS, check_writer, final_cases
from withstand.attacks.llm._objects import field_in
from withstand.attacks.llm._texts import data_of, shown_context, text_of
from withstand.core import Behavior, Chat, Flow, Json, Model, Target, UpperBounds, at_least, filled, rng, user, within
from withstand.core.prompts import OWN, Prompts

PROMPT = Prompts.single(text_of("tactics.txt"), "request", "tactics")
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
    prompt: own text with {request}, {tactics} and {context}; default "": ours.
    seed: any whole number, default 0; draws the tactics, and the attacker's answers anew.
    """

    version: ClassVar[int] = 2
    needs: ClassVar[frozenset[str]] = frozenset()
    informed: ClassVar[bool] = True
    attacker: Model
    n: int = 8
    k: int = 3
    tries: int = 3
    attacker_tokens: int = 1024
    temperature: float = 1.0
    seed: int = 0
    prompt: str = field(default="", metadata=OWN)

    def __post_init__(self) -> None:
        at_least(1, self, "n")
        within(1, len(all_tactics()), self, "k")
        check_writer(self)
        PROMPT.texts(self.prompt)

    def most(self) -> UpperBounds:
        return UpperBounds(cases=self.n, asks={"attacker": self.n * self.tries})

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        chats = [
            question(
                PROMPT.texts(self.prompt)["prompt"],
                behavior,
                rng(self.seed, behavior.id, i).sample(all_tactics(), self.k),
            )
            for i in range(self.n)
        ]
        yield from final_cases(self, behavior, chats, partial(field_in, "prompt"), opening=OPENING)

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"attacker": DRAFTS}


def question(prompt: str, behavior: Behavior, tactics: list[tuple[str, str]]) -> Chat:
    """What the attacker is asked."""
    lines = "\n".join(f"- {name}: {definition}" for name, definition in tactics)
    return user(filled(prompt, tactics=lines, request=behavior.text, context=shown_context(behavior)))


def all_tactics() -> tuple[tuple[str, str], ...]:
    """Name and definition of every tactic."""
    return tuple((row["name"], row["definition"]) for row in data_of("tactics.json"))
