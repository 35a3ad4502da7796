"""ActorAttack: conversations that start with people and things related to the behavior and lead to it step by step. Ren
et al. 2024, arXiv:2410.10700.

We leave the paper and its code in these points. All actors are named in one answer, and their conversations are asked
together, so that a success ends all; the code has one after another. All answers of a conversation are judged together
after each turn; the code rates each answer by itself. The last question of a chain asks for the whole, where the code
has a further turn that asks to format it. What the target does not know is not told apart. The prompts are ours.

`revisions` is of X-Teaming (Rahman et al. 2025, arXiv:2504.13203), whose planner drafts several plans and revises one
by the conversation. Here a plan is an actor with a chain of questions. Its optimizer of single questions by textual
gradients is left out: a refused one is put milder, once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from withstand.attacks.llm._attacker import drafts, no_draft, stand_in
from withstand.attacks.llm._judged import search_sampling
from withstand.attacks.llm._lists import items
from withstand.attacks.llm._objects import field_in
from withstand.attacks.llm._shown import history, refused_question
from withstand.attacks.llm._talk import Conversations, Talk, Turn, check, put, won
from withstand.attacks.llm._texts import parts_of
from withstand.core import Behavior, Chat, Flow, Json, Sampling, Target, UpperBounds, Verdict, at_least, filled, user
from withstand.core.guards import below, introduction
from withstand.core.prompts import OWN, Prompts

PROMPT = Prompts(
    parts_of("actor.txt"),
    {
        "actors": ("behavior",),
        "questions": ("behavior", "actor"),
        "milder": ("question",),
        "revise": ("behavior", "conversation"),
    },
)
QUESTION: Callable[[str], str | None] = partial(field_in, "question")


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
        "## milder" with {question} and {actor}, "## revise" with {behavior}, {actor}, {conversation}, {rating} and
        {turns}; default "": ours.
    seed: any whole number, default 0; another draws other answers.
    revisions: how often the rest of a chain is written anew from the conversation and its rating, where a question was
        refused in its milder form too, or where the chain ended without success; 0 or more, default 0. A new rest has
        at most `turns` questions.

    Target: at most 2 x actors x turns x (1 + revisions) asks; judge: that times its own; attacker: at most
    tries x (1 + actors + actors x revisions + actors x turns x (1 + revisions)).
    """

    version: ClassVar[int] = 2
    actors: int = 3
    turns: int = 5
    tries: int = 3
    attacker_tokens: int = 600
    search_tokens: int = 0
    temperature: float = 1.0
    seed: int = 0
    prompt: str = field(default="", metadata=OWN)
    revisions: int = field(default=0, metadata={"added": "0.2"})

    def __post_init__(self) -> None:
        check(self, "actors", "turns")
        at_least(0, self, "revisions")
        PROMPT.texts(self.prompt)

    def most(self) -> UpperBounds:
        chains = self.actors * (1 + self.revisions)
        questions = chains * self.turns
        asks = {
            "target": 2 * questions,
            "attacker": self.tries * (1 + chains + questions),
            "judge": 2 * questions * self.judge_asks,
        }
        return UpperBounds(asks=asks, drawn=True)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        writing = Sampling(self.attacker_tokens, self.temperature)
        answering = search_sampling(target, self.search_tokens)
        asking = partial(self._asking, behavior, introduction(target.defense))

        prompts = [asking("actors", actors=str(self.actors))]
        [named] = yield from drafts(self.attacker, prompts, items, writing, self.tries, "1. ", parts=True)
        if named is None:
            raise no_draft(self.tries)
        chosen = named.value[: self.actors]
        prompts = [asking("questions", actor=who) for who in chosen]
        plans = yield from drafts(self.attacker, prompts, items, writing, self.tries, "1. ", parts=True)
        actors = [who for who, plan in zip(chosen, plans, strict=True) if plan]
        rest = [list(plan.value[: self.turns]) for plan in plans if plan]
        if not actors:
            raise no_draft(self.tries)

        talks, verdicts = [Talk()] * len(actors), [Verdict("unscored")] * len(actors)
        revised = [0] * len(actors)
        while any(rest):
            asked = [questions.pop(0) if questions else None for questions in rest]
            refused: dict[int, Turn] = {}
            for attempt in (1, 2):
                turns = yield from put(behavior, target, self.judge, talks, asked, answering)
                if won(turns):
                    return
                talks = [turn.talk if turn and not turn.refused else talks[i] for i, turn in enumerate(turns)]
                verdicts = [turn.verdict if turn else verdicts[i] for i, turn in enumerate(turns)]
                if attempt == 2:  # a question that nobody put milder is refused as it was
                    refused = {i: turns[i] or turn for i, turn in refused.items() if getattr(turns[i], "refused", True)}
                    break
                refused = {i: turn for i, turn in enumerate(turns) if turn and turn.refused}
                if not refused:
                    break
                prompts = [
                    asking("milder", actor=actors[i], question=refused_question(turn)) for i, turn in refused.items()
                ]
                again = yield from drafts(self.attacker, prompts, QUESTION, writing, self.tries, '{"question": "')
                asked = [None] * len(actors)
                for i, draft in zip(refused, again, strict=True):
                    asked[i] = draft.value if draft else None
            stuck = [i for i, left in enumerate(rest) if (i in refused or not left) and revised[i] < self.revisions]
            histories = [history(talks[i], refused.get(i), verdicts[i]) for i in stuck]
            prompts = [asking("revise", actor=actors[i], **so_far) for i, so_far in zip(stuck, histories, strict=True)]
            new = yield from drafts(self.attacker, prompts, items, writing, self.tries, "1. ", parts=True)
            for i, lines in zip(stuck, new, strict=True):
                revised[i] += 1
                rest[i] = list(lines.value[: self.turns]) if lines else rest[i]

    def _asking(self, behavior: Behavior, defense: str, name: str, **gaps: str) -> Chat:
        """A prompt of ours or the user's own, below what is said of the defense."""
        gaps |= {"behavior": behavior.prompt(), "turns": str(self.turns)}
        return user(below(defense, filled(PROMPT.texts(self.prompt)[name], **gaps)))

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"attacker": stand_in("1. miller {n}"), "judge": "contains:Sure"}
