"""Direct request: the behavior itself, the baseline of every other attack. Mazeika et al. 2024, arXiv:2402.04249."""

from dataclasses import dataclass
from typing import ClassVar

from withstand.core import Behavior, Flow, Target, TestCase, UpperBounds, user


@dataclass(frozen=True, slots=True)
class Direct:
    """One test case: the behavior's words below its context.

    seed: any whole number, default 0; changes nothing.
    """

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset()
    seed: int = 0

    def most(self) -> UpperBounds:
        return UpperBounds(cases=1)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        yield TestCase(behavior.id, user(behavior.prompt()))
