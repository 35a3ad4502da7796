"""What the judges share that decide on an answer by themselves and ask no model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from withstand.core import Behavior, Completion, Flow, Verdict
from withstand.core.refusal import refusal_in


@dataclass(frozen=True, slots=True)
class Rule:
    """A judge that reads each completion and asks no model."""

    asks: ClassVar[int] = 0

    def grade(self, behavior: Behavior, completions: Sequence[Completion]) -> Flow[list[Verdict]]:
        yield from ()  # a flow that asks nothing
        return [self._verdict(behavior, completion) for completion in completions]

    def _verdict(self, behavior: Behavior, completion: Completion) -> Verdict:
        raise NotImplementedError


def refused_or(otherwise: Verdict, text: str) -> Verdict:
    """The verdict on a text: refused if it opens with a refusal, else `otherwise`."""
    refusal = refusal_in(text)
    return Verdict("refused", why=f"opens with {refusal!r}") if refusal else otherwise
