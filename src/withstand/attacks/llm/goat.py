"""GOAT: an attacker model talks with the target. At each turn it writes what it observes and thinks, then picks a
technique from a list. Pavlova et al. 2024, arXiv:2410.01606.

We leave the paper in these points. Without `history` the attacker is sent one prompt with the conversation in it, where
the paper keeps a history: its earlier observations and thoughts are not in it. The paper's algorithm talks for a fixed
number of turns; here the answers so far are judged after each, and a success ends it. Prompts, definitions and examples
of the techniques are ours.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from withstand.attacks.llm._attacker import Draft, drafts, no_draft, stand_in
from withstand.attacks.llm._judged import search_sampling
from withstand.attacks.llm._objects import field_in
from withstand.attacks.llm._shown import rating, shown
from withstand.attacks.llm._talk import Conversations, Talk, Turn, check, put, won
from withstand.attacks.llm._texts import data_of, text_of
from withstand.core import Behavior, Chat, Flow, Json, Message, Sampling, SpecError, Target, UpperBounds, filled, user
from withstand.core.guards import below, introduction
from withstand.core.prompts import OWN, Prompts

TECHNIQUES: tuple[str, ...] = tuple(data_of("goat_techniques.json"))
PROMPT = Prompts.single(text_of("goat.txt"), "behavior", "conversation")
HISTORY = Prompts.single(text_of("goat-history.txt"), "behavior")
OPENING = '{"observation": "'
REPLY: Callable[[str], str | None] = partial(field_in, "reply")


@dataclass(frozen=True, slots=True)
class GOAT(Conversations):
    """One test case: the best-rated conversation up to a last user turn, with the answers it got as its completion.

    attacker: writes the user's messages; no default. One that gives "prefill" is helped to keep the format.
    judge: rates the answers so far after each; no default. Its success ends the attack.
    turns: most messages to the target, 1 or more, default 5 as in the paper. Refused ones stay in the conversation, one
        with an empty answer does not. A message that the attacker does not give counts too.
    techniques: names out of `goat_techniques.json` that the attacker is shown, at least one, default all seven.
    tries: most answers of the attacker for one message, 1 or more, default 3.
    attacker_tokens: most tokens of an attacker's answer, 1 or more, default 800.
    search_tokens: most tokens of a target's answer, default 0: the run's own. The answers are those judged at the end.
    temperature: of the attacker, in [0, 10], default 1.
    prompt: own text with {behavior}, {techniques}, {conversation}, {round} and {turns}; default "": ours. With
        `history` the system prompt, with {behavior}, {techniques} and {turns}.
    seed: any whole number, default 0; another draws other answers.
    history: the attacker reads one system prompt, then each answer as a message, behind its own messages with their
        observations and thoughts, as in the paper, default false. `planned` is this for a model that reasons
        (Hagendorff et al. 2025, arXiv:2508.04039): what it thinks is kept with the run, and sent to nobody.

    Target: at most turns asks; attacker: tries times that; judge: that times its own.
    """

    version: ClassVar[int] = 2
    turns: int = 5
    techniques: tuple[str, ...] = TECHNIQUES
    tries: int = 3
    attacker_tokens: int = 800
    search_tokens: int = 0
    temperature: float = 1.0
    seed: int = 0
    prompt: str = field(default="", metadata=OWN)
    history: bool = field(default=False, metadata={"added": "0.2"})

    def __post_init__(self) -> None:
        check(self, "turns")
        (HISTORY if self.history else PROMPT).texts(self.prompt)
        if not self.techniques or not {*self.techniques} <= {*TECHNIQUES}:
            raise SpecError(f"techniques are {list(self.techniques)}", hint=f"name some of {', '.join(TECHNIQUES)}")

    def most(self) -> UpperBounds:
        asks = {"target": self.turns, "attacker": self.turns * self.tries, "judge": self.turns * self.judge_asks}
        return UpperBounds(asks=asks, drawn=True)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        writing = Sampling(self.attacker_tokens, self.temperature)
        answering = search_sampling(target, self.search_tokens)
        talk, asked, seen, own, defense = Talk(), 0, set[str](), user(self._next(0)), introduction(target.defense)
        lost: tuple[Turn, ...] = ()
        for step in range(self.turns):
            prompt = self._prompt(behavior, talk, lost, step, defense)
            if self.history:
                prompt = self._head(behavior, own, defense)
            [draft] = yield from drafts(self.attacker, [prompt], REPLY, writing, self.tries, OPENING, seen)
            reply = draft.value if draft else None
            [turn] = yield from put(behavior, target, self.judge, [talk], [reply], answering)
            if won([turn]):
                return
            asked += turn is not None
            if draft and turn:
                own = (*own, *self._exchange(draft, turn, step))
            if turn and not turn.silent:
                talk, lost = turn.talk, ()
            elif turn and turn.blocked:
                lost = (*lost, turn)
        if not asked:
            raise no_draft(self.tries)

    def _prompt(self, behavior: Behavior, talk: Talk, lost: Sequence[Turn], step: int, defense: str) -> Chat:
        """lost: the turns since that were blocked."""
        exchanges = talk.exchanges() + [turn.talk.exchanges()[-1] for turn in lost]
        history = [f"User: {question}\nModel: {shown(answer)}" for question, answer in exchanges]
        text = filled(
            PROMPT.texts(self.prompt)["prompt"],
            behavior=behavior.prompt(),
            techniques=self._listed(),
            conversation="\n\n".join(history) or "Nothing has been said yet.",
            round=str(step + 1),
            turns=str(self.turns),
        )
        return user(below(defense, text))

    def _listed(self) -> str:
        entries = {name: data_of("goat_techniques.json")[name] for name in self.techniques}
        return "\n".join(f"- {name}: {entry['what']}\n  Example: {entry['example']}" for name, entry in entries.items())

    def _head(self, behavior: Behavior, own: Chat, defense: str) -> Chat:
        """The system prompt, and the attacker's conversation: for a model without a system prompt its first message."""
        parts = {"behavior": behavior.prompt(), "techniques": self._listed(), "turns": str(self.turns)}
        system = below(defense, filled(HISTORY.texts(self.prompt)["prompt"], **parts))
        if "system" in self.attacker.gives:
            return (Message("system", system), *own)
        return (Message("user", f"{system}\n\n{own[0].text}"), *own[1:])

    def _exchange(self, draft: Draft[str], turn: Turn, step: int) -> Chat:
        """What the attacker wrote, without thinking, and what came of it."""
        names = ("observation", "thought", "technique", "reply")
        anew = draft.text.removeprefix(OPENING)  # an object that was opened anew behind the opening
        text = anew if field_in("reply", anew) else draft.text
        wrote = {name: value for name in names if (value := field_in(name, text))}
        came = f"The model answered:\n{shown(turn.talk.answers[-1]).strip() or 'nothing'}"
        feedback = f"{came}\n\nRating of its answers so far: {rating(turn.verdict)}\n\n{self._next(step + 1)}"
        return (Message("assistant", json.dumps(wrote, ensure_ascii=False)), *user(feedback))

    def _next(self, step: int) -> str:
        return f"Write message {step + 1} of {self.turns}."

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"attacker": stand_in('{"reply": "Bake {n}?"}'), "judge": "contains:Sure"}
