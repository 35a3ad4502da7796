"""A judge as the guide of a search: answers judged, the verdicts as numbers."""

from collections.abc import Sequence
from dataclasses import replace

from withstand.core import Behavior, Chat, Completion, Flow, Judge, Sampling, Target, TestCase, Verdict, ask

UNSCORED = -1.0
"""The score of a candidate whose answer the judge could not score: below that of all others."""


def tested(
    target: Target, judge: Judge, behavior: Behavior, chats: Sequence[Chat]
) -> Flow[list[tuple[Completion, Verdict]]]:
    """Ask the target all chats at once and have its answers judged; gives each chat as a candidate."""
    answers = yield from ask(target, chats)
    verdicts = yield from graded(judge, behavior, answers)
    for chat, verdict in zip(chats, verdicts, strict=True):
        yield TestCase(behavior.id, chat, score=score_of(verdict))
    return list(zip(answers, verdicts, strict=True))


def search_sampling(target: Target, tokens: int) -> Sampling:
    """The target's own sampling, with answers of at most `tokens` unless that is 0."""
    return replace(target.sampling, max_tokens=tokens) if tokens else target.sampling


def graded(
    judge: Judge, behavior: Behavior, answers: Sequence[Completion], shown: Sequence[Completion] = ()
) -> Flow[list[Verdict]]:
    """The verdicts. Where a filter spoke or nothing was said it is a refusal, whatever a judge of texts would say.

    shown: what the judge reads in the place of each answer; default: the answer.
    """
    given = [a.finish != "filtered" and bool(a.text.strip() or a.tool_calls) for a in answers]
    read = [answer for answer, is_given in zip(shown or answers, given, strict=True) if is_given]
    verdicts = iter((yield from judge.grade(behavior, read)) if read else ())
    return [next(verdicts) if is_given else Verdict("refused", 0.0, "no answer") for is_given in given]


def score_of(verdict: Verdict) -> float:
    """In [0, 1]; of a judge that gives no score 1 for success, else 0. `UNSCORED` where it could not say."""
    if verdict.outcome == "unscored":
        return UNSCORED
    return float(verdict.outcome == "success") if verdict.score is None else verdict.score


def succeeded(results: Sequence[tuple[Completion, Verdict]]) -> bool:
    """Does the judge say success of one of them?"""
    return any(verdict.outcome == "success" for _, verdict in results)
