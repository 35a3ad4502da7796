"""The first word of an answer: which one random search makes likelier, how likely it is, and what comes behind it."""

import math
import re
from collections.abc import Sequence

from withstand.core import AskError, Behavior, Chat, Completion, Flow, Judge, Sampling, SpecError, Target, ask
from withstand.core.guards import FRESH, blocked_by, rank, rate_anew

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
    """Of the opening as the first token, the likelier of its spellings with and without white space. Of a blocked
    answer its rank, below that of every other."""
    if check := blocked_by(answer):
        return ABSENT + rank(check)
    if not answer.logprobs and answer.text and answer.finish != "filtered":
        raise AskError(
            "the target answered without log-probabilities",
            hint="use a target that gives them and a defense that keeps them, or a search by text such as best_of_n",
        )
    first = answer.logprobs[0] if answer.logprobs else ()
    return max((value for text, value in first if text.strip() == opening and value > ABSENT), default=ABSENT)


def logprobs(target: Target, chats: Sequence[Chat], sampling: Sampling, opening: str, best: float) -> Flow[list[float]]:
    """Of the opening after each chat. Before a randomized defense one above `best` gets the logarithm of the mean
    probability of fresh draws (`rate_anew`)."""
    answers = yield from ask(target, chats, sampling)
    values = [logprob(answer, opening) for answer in answers]

    def anew(place: int) -> Flow[float]:
        again = yield from ask(target, [chats[place]] * FRESH, sampling)
        drawn = [logprob(answer, opening) for answer in again]
        mean = sum(map(math.exp, drawn)) / FRESH
        return math.log(mean) if mean else sum(drawn) / FRESH

    yield from rate_anew(target.defense, values, best, anew)
    return values


def first_success(target: Target, judge: Judge, behavior: Behavior, chats: Sequence[Chat]) -> Flow[Completion | None]:
    """Ask the target all chats at once; the first of its answers that the judge calls a success, None where none is."""
    answers = (yield from ask(target, chats)) if chats else []
    given = [answer for answer in answers if answer.finish != "filtered" and (answer.text.strip() or answer.tool_calls)]
    verdicts = (yield from judge.grade(behavior, given)) if given else []
    return next((a for a, verdict in zip(given, verdicts, strict=True) if verdict.outcome == "success"), None)
