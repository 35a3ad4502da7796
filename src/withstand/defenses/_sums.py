"""What an answer cost behind a defense: of all the asks that it took, so that a report's costs are right."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from withstand.core import Ask, Chat, Completion, Flow, GuardCheck, Work
from withstand.core.records import known_sum

SUMMED = ("prompt_tokens", "answer_tokens", "reasoning_tokens", "cost", "seconds")


def summed(answer: Completion, others: Iterable[Completion]) -> Completion:
    """`answer` with the tokens, dollars, seconds and floating-point operations of the other completions on top.

    Text, finish, log-probabilities and checks stay the answer's own. Operations that one of them does not know are
    unknown. Name each completion once: one that is also `answer` would count twice.
    """
    parts = [answer, *others]
    totals = {name: sum(getattr(part, name) for part in parts) for name in SUMMED}
    return replace(answer, **totals, flops=known_sum(*(part.flops for part in parts)))


def given(
    chat: Chat, answer: Completion | None, checks: Sequence[GuardCheck], used: Iterable[Completion], text: str = ""
) -> Completion:
    """What the caller of a defense gets: the answer with the checks and all that it cost; where one blocks, none.

    answer: of the model, None where it was not asked, since a check blocks. used: what else it took; nothing costs
    nothing. text: what is said in the place of an answer that is blocked.
    """
    if any(check.blocked for check in checks):
        none = Completion(chat, text, finish="filtered", flops=0.0, checks=tuple(checks))
        return summed(none, [*([answer] if answer else []), *used])
    assert answer is not None
    return summed(replace(answer, checks=(*answer.checks, *checks)), used)


def noted(used: list[Completion]) -> Callable[[Any], Flow[Any]]:
    """A handler for `intercept` that adds to `used` what the asks and the work of an inner flow, such as a judge's,
    cost."""

    def handle(item: Any) -> Flow[Any]:
        given = yield item
        if isinstance(item, Ask):
            used.extend(given)
        elif isinstance(item, Work):
            used.append(Completion((), "", seconds=given.seconds, flops=given.flops))
        return given

    return handle
