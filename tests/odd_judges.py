"""Judges that misbehave, for tests: `odd_judges:Stuck` and so on."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from withstand.core import AskError, Verdict


@dataclass(frozen=True)
class Stuck:
    """Success where the text says miracle; fails where it says broken, and where it says slow waits for a file."""

    method: ClassVar[str] = "rule"
    asks: ClassVar[int] = 0
    file: str = "/nowhere"

    def grade(self, behavior, completions):
        yield from ()
        return [self.verdict(completion.text) for completion in completions]

    def verdict(self, text):
        while "slow" in text and not Path(self.file).exists():
            time.sleep(0.01)
        if "broken" in text:
            raise AskError("this judge is broken")
        if "unsure" in text:
            return Verdict("unscored")
        return Verdict("success" if "miracle" in text else "failure")


@dataclass(frozen=True)
class StuckModel(Stuck):
    """The same, as a judge that asks models."""

    method: ClassVar[str] = "model"
    asks: ClassVar[int] = 1


@dataclass(frozen=True)
class Length:
    """A guard that finds long texts suspicious: a score of 1 from `most` characters on. Unscored where the text says
    `unsure`; without scores where `scores` is off."""

    version: ClassVar[int] = 1
    method: ClassVar[str] = "rule"
    asks: ClassVar[int] = 0
    most: int = 400
    unsure: str = "no text says this"
    scores: bool = True

    def grade(self, behavior, completions):
        yield from ()
        return [self.verdict(completion.text) for completion in completions]

    def verdict(self, text):
        score = min(1.0, len(text) / self.most)
        if self.unsure in text:
            return Verdict("unscored", why="it is not sure")
        return Verdict("success" if score >= 0.5 else "failure", score if self.scores else None)


@dataclass(frozen=True)
class Versioned:
    """A service that another version of answers from texts with `later` on. Success where the text says miracle."""

    version: ClassVar[int] = 1
    method: ClassVar[str] = "rule"
    asks: ClassVar[int] = 0

    def grade(self, behavior, completions):
        yield from ()
        return [
            Verdict("success" if "miracle" in text else "failure", scored_by="v2" if "later" in text else "v1")
            for text in (completion.text for completion in completions)
        ]


@dataclass(frozen=True)
class LengthModel(Length):
    """The same, as a judge that works with a model."""

    method: ClassVar[str] = "model"


@dataclass(frozen=True)
class Service:
    """A scorer that says which version it is: `later` where the text says new. Its score is the number that ends the
    text; it flags from 0.5 on, and is unscored where there is none."""

    version: ClassVar[int] = 1
    method: ClassVar[str] = "rule"
    asks: ClassVar[int] = 0
    threshold: float = 0.5

    def grade(self, behavior, completions):
        yield from ()
        return [self.verdict(completion.text) for completion in completions]

    def verdict(self, text):
        try:
            score = float(text.split()[-1])
        except ValueError:
            return Verdict("unscored", why="no number")
        outcome = "success" if score >= self.threshold else "failure"
        return Verdict(outcome, score, scores=(("rude", score),), scored_by="later" if "new" in text else "first")
