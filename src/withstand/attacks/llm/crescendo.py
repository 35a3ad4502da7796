"""Crescendo: a conversation that starts harmless and moves to the behavior in small steps, each built on the target's
own answers; a refused question is taken back. Russinovich et al. 2024, arXiv:2404.01833.

We leave the paper in these points. The judge is a field, in place of the paper's own with a second one that checks it,
and rates all answers together, since the behavior may be given in parts. The attacker is sent one prompt with the
conversation in it, its older answers summed up, where the paper keeps a history of prompts: so small attackers can
follow, and need no turns of their own. The prompt is ours.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

from withstand.attacks.llm._attacker import Draft, drafts, no_draft, stand_in
from withstand.attacks.llm._judged import search_sampling
from withstand.attacks.llm._objects import field_in
from withstand.attacks.llm._shown import rating, shown, taken_back
from withstand.attacks.llm._talk import Conversations, Talk, Turn, check, put, won
from withstand.attacks.llm._texts import text_of
from withstand.core import Behavior, Chat, Flow, Json, Sampling, Target, UpperBounds, Verdict, at_least, filled, user
from withstand.core.guards import below, introduction
from withstand.core.prompts import OWN, Prompts

PROMPT = Prompts.single(text_of("crescendo.txt"), "behavior", "conversation")
OPENING = '{"summary": "'
QUESTION: Callable[[str], str | None] = partial(field_in, "question")


@dataclass(frozen=True, slots=True)
class _Stream:
    """Where a conversation is. `notes` sum up all its answers but the last; `refused`: turns taken back since."""

    talk: Talk
    notes: tuple[str, ...]
    verdict: Verdict
    refused: tuple[Turn, ...]
    rounds: int
    taken_back: int


START = _Stream(Talk(), (), Verdict("unscored"), (), 0, 0)


@dataclass(frozen=True, slots=True)
class Crescendo(Conversations):
    """One test case: the best-rated conversation up to a last user turn, with the answers it got as its completion.

    attacker: writes the questions; no default. One that gives "prefill" is helped to keep the format.
    judge: rates the answers so far after each; no default. Its success ends the attack.
    turns: most questions that stay in a conversation, 1 or more, default 10 as in the paper. A question that the
        attacker does not give counts too.
    backtracks: most questions taken back in a conversation because they were refused, 0 or more, default 10 as in the
        paper; later refusals stay. One taken back is not in the test case and does not count as a turn.
    streams: independent conversations, 1 or more, asked together, default 1. The paper restarts instead: its attempts
        come one after another.
    tries: most answers of the attacker for one question, 1 or more, default 3.
    attacker_tokens: most tokens of an attacker's answer, 1 or more, default 400.
    search_tokens: most tokens of a target's answer, default 0: the run's own. The answers are those judged at the end.
    temperature: of the attacker, in [0, 10], default 1.
    prompt: own text with {behavior}, {conversation}, {round} and {turns}; default "": ours.
    seed: any whole number, default 0; another draws other answers.

    Target: at most streams x (turns + backtracks) asks; attacker: tries times that; judge: that times its own.
    """

    version: ClassVar[int] = 2
    turns: int = 10
    backtracks: int = 10
    streams: int = 1
    tries: int = 3
    attacker_tokens: int = 400
    search_tokens: int = 0
    temperature: float = 1.0
    seed: int = 0
    prompt: str = field(default="", metadata=OWN)

    def __post_init__(self) -> None:
        check(self, "turns", "streams", alike="streams")
        at_least(0, self, "backtracks")
        PROMPT.texts(self.prompt)

    def most(self) -> UpperBounds:
        asks = self.streams * (self.turns + self.backtracks)
        return UpperBounds(
            asks={"target": asks, "attacker": asks * self.tries, "judge": asks * self.judge_asks}, drawn=True
        )

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        writing = Sampling(self.attacker_tokens, self.temperature)
        answering = search_sampling(target, self.search_tokens)
        streams, asked, seen = [START] * self.streams, 0, set[str]()
        while live := [i for i, stream in enumerate(streams) if stream.rounds < self.turns]:
            prompts = [self._prompt(behavior, streams[i], introduction(target.defense)) for i in live]
            written = yield from drafts(self.attacker, prompts, QUESTION, writing, self.tries, OPENING, seen)
            questions = [draft.value if draft else None for draft in written]
            talks = [streams[i].talk for i in live]
            turns = yield from put(behavior, target, self.judge, talks, questions, answering)
            if won(turns):
                return
            asked += sum(turn is not None for turn in turns)
            for i, draft, turn in zip(live, written, turns, strict=True):
                streams[i] = self._after(streams[i], draft, turn)
        if not asked:
            raise no_draft(self.tries)

    def _prompt(self, behavior: Behavior, stream: _Stream, defense: str) -> Chat:
        talk = stream.talk
        history = [
            f"You asked: {question}\nIt answered, in short: {note}"
            for question, note in zip(talk.questions, stream.notes, strict=False)
        ]
        if talk.answers:
            history.append(f"You asked: {talk.questions[-1]}\nIt answered: {shown(talk.answers[-1])}")
            history.append(f"Rating of its answers so far: {rating(stream.verdict)}")
        history += [taken_back(turn) for turn in stream.refused]
        text = filled(
            PROMPT.texts(self.prompt)["prompt"],
            behavior=behavior.prompt(),
            conversation="\n\n".join(history) or "Nothing has been said yet.",
            round=str(stream.rounds + 1),
            turns=str(self.turns),
        )
        return user(below(defense, text))

    def _after(self, stream: _Stream, draft: Draft[str] | None, turn: Turn | None) -> _Stream:
        """The stream with its turn, without it where it was taken back or led to nothing to go on from."""
        if draft is None or turn is None:
            return replace(stream, rounds=stream.rounds + 1)
        if turn.refused and stream.taken_back < self.backtracks:
            return replace(stream, refused=(*stream.refused, turn), taken_back=stream.taken_back + 1)
        if turn.silent:
            blocked = (turn,) if turn.blocked else ()
            return replace(stream, refused=(*stream.refused, *blocked), rounds=stream.rounds + 1)
        notes = stream.notes
        if stream.talk.answers:  # what was last is now older: of it the attacker's summary stays
            notes = (*notes, field_in("summary", draft.text) or shown(stream.talk.answers[-1], 200))
        return _Stream(turn.talk, notes, turn.verdict, (), stream.rounds + 1, stream.taken_back)

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"attacker": stand_in('{"question": "Bake {n}?"}'), "judge": "contains:Sure"}
