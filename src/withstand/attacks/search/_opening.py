"""The first word of an answer: which one random search makes likelier, how likely it is, and what comes behind it."""

import re
from collections.abc import Sequence

from withstand.core import AskError, Behavior, Chat, Completion, Flow, Judge, SpecError, Target, ask

TOP = 20  # what APIs give at most
ABSENT = -1e4  # in place of minus infinity, which JSON does not know: below whatever is among the top


def word_of(opening: str, behavior: Behavior) -> str:
    """The token to make likely: the given one, else the first word of the target string; `SpecError` for neither."""
    word = re.search(r"\w+|\S", opening or behavior.target_string)
    if word is None:
        raise SpecError(
            f"behavior {behavior.id} has no target string whose first word could be made likely",
            hint='give one for all behaviors, such as opening = "Sure"',
        )
    return opening.strip() or word[0]


def logprob(answer: Completion, opening: str) -> float:
    """Of the opening as the first token, the likelier of its spellings with and without white space."""
    if not answer.logprobs and answer.text and answer.finish != "filtered":
        raise AskError(
            "the target answered without log-probabilities",
            hint="use a target that gives them and a defense that keeps them, or a search by text such as best_of_n",
        )
    first = answer.logprobs[0] if answer.logprobs else ()
    return max((value for text, value in first if text.strip() == opening and value > ABSENT), default=ABSENT)


def first_success(target: Target, judge: Judge, behavior: Behavior, chats: Sequence[Chat]) -> Flow[Completion | None]:
    """Ask the target all chats at once; the first of its answers that the judge calls a success, None where none is."""
    answers = (yield from ask(target, chats)) if chats else []
    given = [answer for answer in answers if answer.finish != "filtered" and (answer.text.strip() or answer.tool_calls)]
    verdicts = (yield from judge.grade(behavior, given)) if given else []
    return next((a for a, verdict in zip(given, verdicts, strict=True) if verdict.outcome == "success"), None)
