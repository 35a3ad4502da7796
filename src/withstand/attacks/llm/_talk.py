"""What the multi-turn attacks share: a conversation, questions put to it, texts from data files, checks of fields."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from withstand.attacks.llm._attacker import read_object
from withstand.core import (
    Behavior,
    Chat,
    Completion,
    Flow,
    Judge,
    Message,
    Sampling,
    SpecError,
    Target,
    TestCase,
    Verdict,
    ask,
    trajectory,
    user,
)
from withstand.refusal import refusal_in

SHOWN = 2000
"""Characters of an answer that the attacker is shown, of a longer one the head: small attackers have small windows."""

LONGER = 1e-6
"""A turn's worth. Of conversations that the judge rates alike the longer is kept, since it holds the shorter one."""


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation: the questions that stand in it and the target's answers, one to each."""

    questions: tuple[str, ...] = ()
    answers: tuple[Completion, ...] = ()

    def chat(self, behavior: Behavior, question: str) -> Chat:
        """What is sent to ask one more question; the context stands above the first."""
        first, *rest = (*self.questions, question)
        asked = [Message("user", text) for text in (behavior.prompt(first), *rest)]
        answered = [Message("assistant", answer.text) for answer in self.answers]
        return (*chain.from_iterable(zip(asked, answered, strict=False)), asked[-1])


@dataclass(frozen=True, slots=True)
class Turn:
    """One more question: the `talk` with it and its answer in it, and the verdict on all its answers.

    refused: the target gave no answer or refused, or the judge says so. silent: there is no text to go on from.
    """

    talk: Talk
    verdict: Verdict
    refused: bool
    silent: bool


def put(
    behavior: Behavior,
    target: Target,
    judge: Judge,
    talks: Sequence[Talk],
    questions: Sequence[str | None],
    sampling: Sampling,
) -> Flow[list[Turn | None]]:
    """Put each question to its talk, all in one ask, and yield each longer talk as a candidate. None for no question.

    An answer that is empty or stopped by a filter is not shown to the judge: there is nothing to rate.
    """
    asked = [(talk, question) for talk, question in zip(talks, questions, strict=True) if question is not None]
    if not asked:
        return [None] * len(questions)
    chats = [talk.chat(behavior, question) for talk, question in asked]
    answers = yield from ask(target, chats, sampling)
    longer = [
        Talk((*talk.questions, question), (*talk.answers, answer))
        for (talk, question), answer in zip(asked, answers, strict=True)
    ]
    given = [bool(answer.text.strip()) and answer.finish != "filtered" for answer in answers]
    rated = [trajectory(one.answers) for one, there in zip(longer, given, strict=True) if there]
    verdicts = iter((yield from judge.grade(behavior, rated)) if rated else ())
    turns = []
    for chat, one, there in zip(chats, longer, given, strict=True):
        verdict = next(verdicts) if there else Verdict("refused", why="no answer")
        text = one.answers[-1].text
        refused = verdict.outcome != "success" and (verdict.outcome == "refused" or bool(refusal_in(text)))
        score = -2.0 if refused else rank(verdict)
        turns.append(Turn(one, verdict, refused, silent=not text.strip()))
        yield TestCase(behavior.id, chat, score + LONGER * len(one.answers), trajectory(one.answers))
    following = iter(turns)
    return [None if question is None else next(following) for question in questions]


def rank(verdict: Verdict) -> float:
    """The score of a candidate. Below all that was rated is what was not, and below that (-2) what was refused."""
    if verdict.outcome == "unscored":
        return -1.0
    return float(verdict.outcome == "success") if verdict.score is None else verdict.score


def rating(verdict: Verdict) -> str:
    """A verdict as the attacker reads it."""
    return "unknown" if verdict.outcome == "unscored" else f"{round(10 * max(0.0, rank(verdict)))} of 10"


def won(turns: Sequence[Turn | None]) -> bool:
    """Does the judge say success of one of them?"""
    return any(turn is not None and turn.verdict.outcome == "success" for turn in turns)


@cache
def data(name: str) -> str:
    """The text of a file beside this one."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def filled(template: str, **parts: str) -> Chat:
    """`template` with its gaps filled in one pass: braces in what is put in are never read as gaps."""
    return user(re.sub(r"\{(\w+)\}", lambda match: parts[match[1]], template.strip()))


def member(name: str, text: str) -> str | None:
    """The text called `name` of the first JSON object in `text` that has one."""
    found = read_object(text, name)
    return found[name] if found else None


def search(target: Target, tokens: int) -> Sampling:
    """The target's own sampling, with answers of at most `tokens` unless that is 0."""
    return replace(target.sampling, max_tokens=tokens) if tokens else target.sampling


def check(attack: Any, *counts: str) -> None:
    """Raise `SpecError` unless the fields named, tries and attacker_tokens are 1 or more and the rest in range."""
    for name in (*counts, "tries", "attacker_tokens"):
        if getattr(attack, name) < 1:
            raise SpecError(f"{name} is {getattr(attack, name)}", hint="it must be 1 or more")
    if attack.search_tokens < 0:
        raise SpecError(f"search_tokens is {attack.search_tokens}", hint="it must be 0 (the run's own) or more")
    if not 0 <= attack.temperature <= 10:
        raise SpecError(f"temperature is {attack.temperature}", hint="it must lie in [0, 10]")
