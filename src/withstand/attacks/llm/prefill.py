"""Prefill: write the first words of the answer for the assistant. Vega et al. 2023, arXiv:2312.12321.

Andriushchenko et al. 2024, arXiv:2404.02151, do it through the prefill option of an API. Vega et al. have a helper
model write the first words, from examples: the field `writer`. Our examples are of everyday requests, and what it
writes is cut after `words` words.
"""

import re
from dataclasses import dataclass, field
from typing import ClassVar

from withstand.attacks.llm._attacker import check_writer, drafts, no_draft, unquoted
from withstand.attacks.llm._texts import text_of
from withstand.attacks.llm._writer import WRITER
from withstand.core import (
    Behavior,
    Flow,
    Message,
    Model,
    Sampling,
    SpecError,
    Target,
    TestCase,
    UpperBounds,
    at_least,
    filled,
    user,
)
from withstand.core.prompts import OWN, Prompts

PROMPT = Prompts.single(text_of("prefill.txt"), "behavior")


@dataclass(frozen=True, slots=True)
class Prefill:
    """One test case, whose chat ends with an assistant message that opens the answer.

    opening: the first words, for every behavior; default "": each behavior's own target string.
    writer: a model that goes on after the opening, or opens the answer where there is none; default none. One without
        safety training does best (the paper: a base model).
    words: most words that are kept of what it writes, 1 or more, default 24.
    tries: asks for a usable beginning, 1 or more, default 3.
    attacker_tokens: of the writer's answer, 1 or more, default 128.
    temperature: of the writer, in [0, 10], default 1.
    prompt: own text for the writer, with {behavior} and {opening}; default "": ours.
    seed: any whole number, default 0; changes nothing.

    Raises `SpecError` in the flow of a behavior that has no target string, when `opening` is empty and there is no
    `writer`.
    """

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"prefill"})
    informed: ClassVar[bool] = True
    opening: str = ""
    writer: Model | None = field(default=None, metadata=WRITER)
    words: int = 24
    tries: int = 3
    attacker_tokens: int = 128
    temperature: float = 1.0
    seed: int = 0
    prompt: str = field(default="", metadata=OWN)

    def __post_init__(self) -> None:
        at_least(1, self, "words")
        check_writer(self)
        PROMPT.texts(self.prompt)

    def most(self) -> UpperBounds:
        return UpperBounds(cases=1, asks={"attacker": self.tries} if self.writer else {})

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        opening = self.opening or behavior.target_string
        if self.writer:
            opening = yield from self._written(self.writer, behavior, opening)
        if not opening:
            raise SpecError(
                f"behavior {behavior.id} has no target string to prefill",
                hint='give one opening for all behaviors, such as opening = "Sure, here is how:"',
            )
        yield TestCase(behavior.id, (*user(behavior.prompt()), Message("assistant", opening)))

    def _written(self, writer: Model, behavior: Behavior, opening: str) -> Flow[str]:
        """The opening and what the writer makes of it."""

        def beginning(answer: str) -> str | None:
            text = unquoted(answer.strip().removeprefix("Answer:"))
            text = text.removeprefix(opening).lstrip() if opening else text
            return "".join(re.findall(r"\s*\S+", text)[: self.words]).lstrip() or None

        parts = {"behavior": behavior.prompt(), "opening": opening}
        asked = user(filled(PROMPT.texts(self.prompt)["prompt"], **parts))
        sampling = Sampling(max_tokens=self.attacker_tokens, temperature=self.temperature)
        [draft] = yield from drafts(writer, [asked], beginning, sampling, self.tries, parts=True)
        if draft is None:
            raise no_draft(self.tries)
        return " ".join(filter(None, [opening, draft.value]))
