"""What the judges share that read the text of an answer and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from withstand.core import Behavior, Completion, Flow, Verdict


@dataclass(frozen=True, slots=True)
class ByText:
    """A judge that decides on each answer's text alone and asks no model."""

    asks: ClassVar[int] = 0

    def grade(self, behavior: Behavior, completions: Sequence[Completion]) -> Flow[list[Verdict]]:
        yield from ()  # a flow that asks nothing
        return [self._verdict(behavior, completion.text) for completion in completions]

    def _verdict(self, behavior: Behavior, text: str) -> Verdict:
        raise NotImplementedError
