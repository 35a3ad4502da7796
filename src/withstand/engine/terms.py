"""What a defense adds to the loss of an attack by weights where it would block the text. Ours.

A defense gives terms in its own unit, how suspicious a text is; the engine makes nats of them. The addition is 0 where
the text passes, so that the search then follows the target string alone, and more than any target string's loss where
it is blocked, so that a text that passes always beats one that does not.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from withstand.core import Chat, Flow, Json, Model, WithstandError, user, work
from withstand.core.guards import MOST_ASKED
from withstand.core.optional import optional
from withstand.core.protocols import SeenThrough
from withstand.engine.text import Prompt

if TYPE_CHECKING:
    from torch import Tensor

BLOCKED = 100.0
"""Nats that any blocked text costs: above the mean cross-entropy of any token that a model can hold for likely."""
DOUBLING = 10.0
"""Nats more for each doubling of the suspicion above 1, so that blocked texts are led to where one passes."""
BATCH = 8
"""Texts that a guard is asked about at once."""

Guard: TypeAlias = Callable[[Sequence[Chat]], Flow[list[float]]]
"""The suspicion of each chat, by asking a model."""


class Term(Protocol):
    """How suspicious one part of a defense finds a chat, 0 or more: it is blocked from 1 on (score over threshold)."""

    def suspicions(self, chats: Sequence[Chat]) -> Sequence[float]:
        """Of each chat, as a user sends it."""

    def gradient(self, engine: Any, prompt: Prompt, slot: Sequence[int]) -> "Tensor | None":
        """Of the suspicion of the text with this slot by the slot's one-hot tokens, Float[Tensor, "slot vocabulary"];
        None where there is none, so that the term ranks candidates alone. By tokens, since one may also be what is
        predicted. `engine`: the `Engine` of the model that the attack works on."""


def penalty(suspicion: float) -> float:
    """Nats for a suspicion: 0 below 1. Raises `WithstandError` for one that is no number or below 0."""
    if not suspicion >= 0:
        raise WithstandError(
            f"a defense finds a text {suspicion} suspicious, and its suspicion starts at 0",
            hint="its scan, suspicion or terms must give a score over a threshold",
        )
    return 0.0 if suspicion < 1 else BLOCKED + DOUBLING * min(math.log2(suspicion), 1000.0)


def slope(suspicion: float) -> float:
    """Nats per unit of suspicion: the derivative of `penalty`."""
    return 0.0 if suspicion < 1 else DOUBLING / (math.log(2) * suspicion)


@dataclass(frozen=True)
class Scanned:
    """The term of a defense that scans prompts in this process."""

    suspicions: Callable[[Sequence[Chat]], Sequence[float]]

    def gradient(self, engine: Any, prompt: Prompt, slot: Sequence[int]) -> None:
        """It has none."""


def terms_of(model: Model) -> tuple[Term, ...]:
    """What the defense in front of a model finds suspicious without asking: its terms, else its scan."""
    if not isinstance(model, SeenThrough):
        return ()
    own, scan = optional(model.defense, "terms"), optional(model.defense, "scan")
    return tuple(own(model.model) if own else ()) or ((Scanned(scan),) if scan else ())


def penalties(terms: Sequence[Term], chats: Sequence[Chat]) -> list[float]:
    """Nats that terms add to each chat."""
    added = [0.0] * len(chats)
    for term in terms if chats else ():
        added = [total + penalty(value) for total, value in zip(added, term.suspicions(chats), strict=True)]
    return added


def guard_of(model: Model) -> Guard | None:
    """How to ask the guard in front of a model, where that is the only way to know what it says."""
    if not isinstance(model, SeenThrough) or terms_of(model):
        return None
    flow = optional(model.defense, "suspicion")
    return partial(flow, model.model) if flow else None


def guarded(
    guard: Guard | None, losses: Sequence[float], chats: Sequence[Chat], asked: dict[str, float], count: int = 1
) -> Flow[list[float]]:
    """The losses of chats of one turn and what their guard adds, where there is one that must be asked.

    `asked`: the suspicions that it gave, by text. It is asked about the lowest, until it has seen the `count` lowest
    with what it adds, or `MOST_ASKED`; then what it has not seen counts as blocked.
    """
    if guard is None:
        return list(losses)
    left, sent = max(MOST_ASKED, count), [chat[0].text for chat in chats]
    while True:
        unseen = 0.0 if left else 1.0
        totals = [loss + penalty(asked.get(text, unseen)) for loss, text in zip(losses, sent, strict=True)]
        lowest = sorted(range(len(sent)), key=totals.__getitem__)
        if all(sent[place] in asked for place in lowest[:count]) or not left:
            return totals
        ahead = dict.fromkeys(sent[place] for place in lowest[: max(count, BATCH)])
        new = [text for text in ahead if text not in asked][:left]
        answers = yield from guard([user(text) for text in new])
        asked |= {text: min(answer, 1e9) for text, answer in zip(new, answers, strict=True)}  # JSON knows no infinity
        left -= len(new)


def weighed(
    model: Model, do: Callable[[Any, Sequence[Any]], list[Json]], part: Json, chats: Sequence[Chat], count: int = 1
) -> Flow[list[float]]:
    """Work that gives the losses of chats, and what their guard adds to the lowest `count`."""
    losses = yield from work(model, do, part)
    return (yield from guarded(guard_of(model), losses, chats, {}, count))
