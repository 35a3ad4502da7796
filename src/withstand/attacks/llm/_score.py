"""A judge as the guide of a search: candidates sent, their answers judged, the verdicts as numbers."""

from collections.abc import Sequence

from withstand.core import Behavior, Chat, Completion, Flow, Judge, Target, TestCase, ask

NOTHING = -1.0
"""The score of a candidate whose answer was empty or filtered, or that the judge could not score: below all others."""


def judged(judge: Judge, behavior: Behavior, target: Target, chats: Sequence[Chat]) -> Flow[tuple[list[float], bool]]:
    """The score of each chat, and whether any was a success; gives each as a candidate.

    A score is in [0, 1], of a judge that gives none 1 for success and 0 else; or it is `NOTHING`.
    """
    answers = yield from ask(target, chats)
    told = [i for i, answer in enumerate(answers) if says_something(answer)]
    scores, won = [NOTHING] * len(chats), False
    verdicts = (yield from judge.grade(behavior, [answers[i] for i in told])) if told else []
    for i, verdict in zip(told, verdicts, strict=True):
        success = verdict.outcome == "success"
        won = won or success
        if verdict.outcome != "unscored":
            scores[i] = float(success) if verdict.score is None else verdict.score
    for chat, score in zip(chats, scores, strict=True):
        yield TestCase(behavior.id, chat, score=score)
    return scores, won


def says_something(answer: Completion) -> bool:
    return answer.finish != "filtered" and bool(answer.text.strip() or answer.tool_calls)
