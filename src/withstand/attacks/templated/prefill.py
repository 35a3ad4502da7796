"""Prefill: the answer's first words are put into the assistant's mouth. Vega et al. 2023, arXiv:2312.12321.

Andriushchenko et al. 2024, arXiv:2404.02151, do it through the prefill option of an API.
"""

from dataclasses import dataclass
from typing import ClassVar

from withstand.core import Behavior, Flow, Message, Most, SpecError, Target, TestCase, user


@dataclass(frozen=True, slots=True)
class Prefill:
    """One test case, whose chat ends with an assistant message that opens the answer.

    opening: the first words, for every behavior; default "": each behavior's own target string.
    seed: any whole number, default 0; changes nothing.

    Raises `SpecError` in the flow of a behavior that has no target string, when `opening` is empty too.
    """

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"prefill"})
    opening: str = ""
    seed: int = 0

    def most(self) -> Most:
        return Most(cases=1)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        opening = self.opening or behavior.target_string
        if not opening:
            raise SpecError(
                f"behavior {behavior.id} has no target string to prefill",
                hint='give one opening for all behaviors, such as opening = "Sure, here is how:"',
            )
        yield TestCase(behavior.id, (*user(behavior.prompt()), Message("assistant", opening)))
