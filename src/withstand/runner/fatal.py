"""Which errors of a model end a call: those that all of its rows will meet. One object for each call of `drive`."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from withstand.core.errors import DownError, FatalAskError

FATAL = 3
"""Such errors of one model, after which none of its rows is tried."""


@dataclass(eq=False)
class FatalErrors:
    """What models and flows have ended in so far. Each method says why the call must end, "" while it goes on."""

    ended: Counter[Any] = field(default_factory=Counter)  # by queue, flows that ended in a `FatalAskError`
    sound: set[Any] = field(default_factory=set)  # queues of flows that ended well
    heard: Counter[Any] = field(default_factory=Counter)  # by model, its answers
    down: Counter[Any] = field(default_factory=Counter)  # by model, its `DownError`s since it last answered

    def answered(self, model: Any, answer: Any) -> str:
        """Take in what a model answered, or the error that came instead. A model may die after many answers."""
        if not isinstance(answer, Exception):
            self.heard[model] += 1
            self.down[model] = 0
        elif isinstance(answer, DownError):
            self.down[model] += 1
            if self.down[model] >= FATAL and self.heard[model]:
                return _why(answer, f" failed after {self.heard[model]} that came")
        return ""

    def failed(self, queue: tuple[Any, Any] | None, error: Exception, own: bool) -> str:
        """Take in a flow that failed while it waited for `queue`. own: the error is the model's, not of who reads it.

        A model that has answered others, and a queue of which a flow ended well, end nothing: another row may do well.
        """
        if not isinstance(error, FatalAskError) or queue is None or queue in self.sound:
            return ""
        if own and self.heard[queue[0]]:
            return ""
        self.ended[queue] += 1
        return _why(error) if self.ended[queue] >= FATAL else ""


def _why(error: Exception, after: str = "") -> str:
    hint = getattr(error, "hint", "")
    return f"{FATAL} answers in a row{after}: {error}" + (f" -> {hint}" if hint else "")
