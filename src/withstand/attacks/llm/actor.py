"""ActorAttack: conversations that start with people and things related to the behavior and lead to it step by step. Ren
et al. 2024, arXiv:2410.10700.

We leave the paper and its code in these points. All actors are named in one answer, and their conversations are asked
together, so that a success ends all; the code has one after another. All answers of a conversation are judged together
after each turn; the code rates each answer by itself. The last question of a chain asks for the whole, where the code
has a further turn that asks to format it. What the target does not know is not told apart. The prompts are ours.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from withstand.attacks.llm._attacker import drafts, no_draft, stand_in
from withstand.attacks.llm._judged import search_sampling
from withstand.attacks.llm._objects import field_in, mended
from withstand.attacks.llm._talk import Conversations, Talk, check, put, won
from withstand.attacks.llm._texts import parts_of
from withstand.core import Behavior, Flow, Json, Sampling, Target, UpperBounds, filled, user
from withstand.core.prompts import OWN, Prompts
from withstand.core.refusal import refusal_in

PROMPT = Prompts(
    parts_of("actor.txt"), {"actors": ("behavior",), "questions": ("behavior", "actor"), "milder": ("question",)}
)
QUESTION: Callable[[str], str | None] = partial(field_in, "question")
MARK = r"(?:\d{1,2}[.):]|[-*\u2022])"
"""What stands before an item of a list."""
BLANKS = re.compile(r"[\s*_#]*")
ITEM = re.compile(rf"[\s*_#]*(?:{MARK}[\s*_]+)+(.+)$", re.MULTILINE)
"""A mark may stand twice: the opening's, and the one with which the attacker begins anew."""


@dataclass(frozen=True, slots=True)
class Actor(Conversations):
    """One test case: the best-rated conversation up to a last user turn, with the answers it got as its completion.

    attacker: names actors and writes questions; no default. One that gives "prefill" is helped to keep the format.
    judge: rates the answers of each conversation after each turn; no default. Its success ends the attack.
    actors: conversations, one per actor, 1 or more, default 3 as in the authors' code; fewer if it names fewer.
    turns: most questions of a conversation, 1 or more, default 5; fewer if the attacker writes fewer. A refused
        one is rewritten and asked again once, then skipped; it is not in the test case.
    tries: most answers of the attacker for one list or question, 1 or more, default 3.
    attacker_tokens: most tokens of an attacker's answer, 1 or more, default 600.
    search_tokens: most tokens of a target's answer, default 0: the run's own. The answers are those judged at the end.
    temperature: of the attacker, in [0, 10], default 1.
    prompt: own texts, "## actors" with {behavior} and {actors}, "## questions" with {behavior}, {actor} and {turns},
        "## milder" with {question} and {actor}; default "": ours.
    seed: any whole number, default 0; another draws other answers.

    Target: at most 2 x actors x turns asks; judge: that times its own; attacker: at most
    tries x (1 + actors + actors x turns).
    """

    version: ClassVar[int] = 1
    actors: int = 3
    turns: int = 5
    tries: int = 3
    attacker_tokens: int = 600
    search_tokens: int = 0
    temperature: float = 1.0
    seed: int = 0
    prompt: str = field(default="", metadata=OWN)

    def __post_init__(self) -> None:
        check(self, "actors", "turns")
        PROMPT.texts(self.prompt)

    def most(self) -> UpperBounds:
        questions = self.actors * self.turns
        asks = {
            "target": 2 * questions,
            "attacker": self.tries * (1 + self.actors + questions),
            "judge": 2 * questions * self.judge_asks,
        }
        return UpperBounds(asks=asks, drawn=True)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        parts = PROMPT.texts(self.prompt)
        writing = Sampling(self.attacker_tokens, self.temperature)
        answering = search_sampling(target, self.search_tokens)
        topic, number = behavior.prompt(), str(self.turns)

        prompt = user(filled(parts["actors"], behavior=topic, actors=str(self.actors)))
        [named] = yield from drafts(self.attacker, [prompt], items, writing, self.tries, "1. ")
        if named is None:
            raise no_draft(self.tries)
        chosen = named.value[: self.actors]
        prompts = [user(filled(parts["questions"], behavior=topic, turns=number, actor=who)) for who in chosen]
        plans = yield from drafts(self.attacker, prompts, items, writing, self.tries, "1. ")
        played = [(who, plan.value[: self.turns]) for who, plan in zip(chosen, plans, strict=True) if plan]
        if not played:
            raise no_draft(self.tries)

        talks = [Talk()] * len(played)
        for step in range(max(len(questions) for _, questions in played)):
            asked = [questions[step] if step < len(questions) else None for _, questions in played]
            for attempt in (1, 2):
                turns = yield from put(behavior, target, self.judge, talks, asked, answering)
                if won(turns):
                    return
                talks = [turn.talk if turn and not turn.refused else talks[i] for i, turn in enumerate(turns)]
                lost = [i for i, turn in enumerate(turns) if turn and turn.refused]
                if attempt == 2 or not lost:
                    break
                prompts = [user(filled(parts["milder"], actor=played[i][0], question=asked[i] or "")) for i in lost]
                again = yield from drafts(self.attacker, prompts, QUESTION, writing, self.tries, '{"question": "')
                asked = [None] * len(played)
                for i, draft in zip(lost, again, strict=True):
                    asked[i] = draft.value if draft else None

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"attacker": stand_in("1. miller {n}"), "judge": "contains:Sure"}


def items(text: str) -> tuple[str, ...] | None:
    """The different texts of a JSON list or of a list with a number or bullet a line; None where there are none."""
    start = re.search(r"\[\s*\"", text)  # else a bracket of prose would be read as a list
    if start:
        read = mended(text[start.start() :])
        names = [item for item in read if isinstance(item, str)] if isinstance(read, list) else []
    else:
        names = list(marked(text))
    kept = [item.strip().strip("*_").strip() for item in names]
    return tuple(dict.fromkeys(item for item in kept if item and not refusal_in(item))) or None


def marked(text: str) -> Iterator[str]:
    """The lines behind a number or bullet. What stands before a mark is read once, however many lines it has."""
    place = 0
    while place < len(text):
        if match := ITEM.match(text, place):
            yield match[1]
            end = match.end()
        else:
            end = BLANKS.match(text, place).end()  # type: ignore[union-attr]  # it matches the empty text too
        place = text.find("\n", end) + 1 or len(text)
