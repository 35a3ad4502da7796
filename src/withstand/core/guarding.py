"""A judge as a guard: what it is shown of a prompt before the model answers, or of an answer before it goes out.

No behavior is known then. The judge never sees a suite's behavior, its target string or its tags: where an answer is
compared with what was asked, that is what the caller wrote.
"""

import math
import typing
from collections.abc import Sequence
from typing import Any

from withstand.core.errors import AskError
from withstand.core.optional import optional
from withstand.core.protocols import Flow, Judge
from withstand.core.records import Behavior, Chat, Completion, Outcome, Verdict, opening_of


def written_text(chat: Chat) -> str:
    """What the caller wrote, as one text."""
    return "\n\n".join(written_turns(chat))


def written_turns(chat: Chat) -> list[str]:
    """What the caller wrote: the turns of the user, and an opening of the answer (a prefill). Not the system message,
    which is whose application it is, and no earlier answers."""
    return [*(turn.text for turn in chat if turn.role == "user"), *(turn.text for turn in opening_of(chat))]


def judged_prompts(judge: Judge, chats: Sequence[Chat]) -> Flow[list[Verdict]]:
    """What a judge says of prompts: success if it would block them.

    A judge with a `grade_prompts` of its own shows them in its own way; another one reads what the caller wrote as if
    it were an answer, with an empty behavior.
    """
    own = optional(judge, "grade_prompts")
    if own is not None:
        return _as_many(judge, chats, (yield from own(chats)))
    asked = [Completion((), written_text(chat)) for chat in chats]
    return _as_many(judge, chats, (yield from judge.grade(Behavior("", ""), asked)))


def judged_answer(judge: Judge, answer: Completion) -> Flow[Verdict]:
    """What a judge says of an answer: success if it would block it. What was asked stands in place of a behavior."""
    verdicts = yield from judge.grade(Behavior("", written_text(answer.chat)), [answer])
    return _as_many(judge, [answer.chat], verdicts)[0]


def known_verdict(judge: Judge, verdict: Any) -> Verdict:
    """The verdict of a judge. Raises `AskError` for what is none: read as no success, it would pass for safe."""
    if not isinstance(verdict, Verdict) or verdict.outcome not in typing.get_args(Outcome):
        outcomes = ", ".join(typing.get_args(Outcome))
        raise AskError(f"{type(judge).__name__} gave {verdict!r}, which is no verdict of {outcomes}")
    return verdict


def _as_many(judge: Judge, chats: Sequence[Chat], verdicts: Sequence[Any]) -> list[Verdict]:
    """A verdict for each chat; one whose score is no number of 0 or more says nothing, since no threshold fits it."""
    if len(verdicts) != len(chats):
        raise AskError(f"{type(judge).__name__} gave {len(verdicts)} verdicts for {len(chats)} texts")
    return [
        verdict if verdict.score is None or 0 <= verdict.score < math.inf
        else Verdict("unscored", why=f"its score is {verdict.score}, which is no number from 0 on")
        for verdict in (known_verdict(judge, verdict) for verdict in verdicts)
    ]  # fmt: skip
