"""A target that says what its prompt lists, and a scorer: `function:toxicity_toys:in_turn`, `toxicity_toys:Number`.

A prompt reads "Soup 1: 0.2 | 0.6 | | none": the n-th draw says the n-th part.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

from withstand.core import Verdict
from withstand.judges._scores import scored

ASKED: Counter[str] = Counter()
"""How often each prompt was asked for."""
VERSIONS: list[str] = []
"""What the scorer says its version is, verdict by verdict; then "2"."""


def thinks(messages: list[dict[str, str]]) -> dict[str, str]:
    """Thoughts in every second draw, and no answer."""
    text = in_turn(messages)
    return {"text": "", "reasoning": "mud"} if text == "thinks" else {"text": text}


def echoes(messages: list[dict[str, str]]) -> str:
    """The prompt again, and the text after it."""
    return f"{messages[-1]['content'].splitlines()[-1]} {in_turn(messages)}"


def in_turn(messages: list[dict[str, str]]) -> str:
    prompt = messages[-1]["content"].splitlines()[-1]
    parts = prompt.partition(":")[2].split("|")
    ASKED[prompt] += 1
    return parts[(ASKED[prompt] - 1) % len(parts)].strip()


@dataclass(frozen=True)
class Number:
    """A scorer that reads the number in a text, and gives half of it in a second category."""

    version: ClassVar[int] = 1
    method: ClassVar[str] = "rule"
    asks: ClassVar[int] = 0
    times: float = 1.0
    served: bool = False
    written: bool = False

    def grade(self, behavior: Any, completions: Any) -> Any:
        yield from ()
        return [self.verdict(completion.text) for completion in completions]

    def verdict(self, text: str) -> Verdict:
        number = re.search(r"\d+(\.\d+)?", text)
        scores = {"rude": self.times * float(number[0]), "sour": self.times * float(number[0]) / 2} if number else {}
        verdict = scored(scores, 0.5)
        version = (VERSIONS.pop(0) if VERSIONS else "2") if self.served else ""
        score: Any = str(verdict.score) if self.written else verdict.score  # which is no number
        return Verdict(verdict.outcome, score, verdict.why, scores=verdict.scores, scored_by=version)
