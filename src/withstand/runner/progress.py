"""How far running searches are: what a flow's asks, pieces of work and candidates say of them as they go by.

Nothing is printed here; the tally carries the searches to whoever shows them.
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from withstand.core import Ask, Flow, TestCase, Work, Worked, intercept
from withstand.core.notice import Step

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Search:
    """The search of one attack for one behavior.

    step: steps of gradient work done, of at most `steps` (0: not known). loss: the lowest so far, in nats. score: the
    highest of a candidate so far. asks: chats sent by the attack to all roles, of at most `most` (0: not known).
    moved: the monotonic time of the last change, in seconds.
    """

    attack: str
    behavior: str
    steps: int = 0
    most: int = 0
    step: int = 0
    loss: float | None = None
    score: float | None = None
    asks: int = 0
    moved: float = field(default_factory=time.monotonic)

    @property
    def share(self) -> float:
        """The share of the search that is done, in [0, 1); 0 where no bound is known."""
        done, most = (self.step, self.steps) if self.step else (self.asks, self.most)
        return min(done / most, 0.99) if most else 0.0

    def see(self, item: Any, answer: Any) -> None:
        """Take in an item of the flow and its answer."""
        self.moved = time.monotonic()
        if isinstance(item, TestCase):
            if item.score is not None:
                self.score = item.score if self.score is None else max(self.score, item.score)
        elif isinstance(item, Ask):
            self.asks += len(item.chats)
        elif isinstance(item, Work) and isinstance(answer, Worked) and isinstance(answer.value, Mapping):
            step, loss = answer.value.get("step"), answer.value.get("lowest", answer.value.get("loss"))
            self.step = step if isinstance(step, int) else self.step
            if isinstance(loss, (int, float)):
                self._see_loss(float(loss))

    def _see_loss(self, loss: float) -> None:
        self.loss = loss if self.loss is None else min(self.loss, loss)

    def at(self, step: Step) -> None:
        """Take in a step of running work; of another behavior's search it is ignored."""
        if step.behavior in ("", self.behavior):
            self.moved, self.step, self.steps = time.monotonic(), step.number, step.of
            if math.isfinite(step.loss):
                self._see_loss(step.loss)


def bounds_of(attack: Any) -> tuple[int, int]:
    """The most steps and asks of an attack for one behavior, where its fields and `most()` say them; else 0."""
    steps = getattr(attack, "steps", 0)
    most = attack.most() if hasattr(attack, "most") else None
    return (steps if isinstance(steps, int) else 0), sum(most.asks.values()) if most else 0


@contextmanager
def searching(searches: list[Search], attack: Any, label: str, behavior: str, times: int = 1) -> Iterator[Search]:
    """A search that stands among the running ones as long as it lasts. times: the behaviors of a joint attack."""
    steps, most = bounds_of(attack)
    search = Search(label, behavior, steps, most * times)
    searches.append(search)
    try:
        yield search
    finally:
        if search in searches:
            searches.remove(search)


def watched(flow: Flow[T], search: Search) -> Flow[T]:
    """The flow, with what goes by shown to the search."""

    def handle(item: Any) -> "Flow[Any]":
        answer = yield replace(item, watch=search.at) if isinstance(item, Work) else item
        search.see(item, answer)
        return answer

    return (yield from intercept(flow, handle))
