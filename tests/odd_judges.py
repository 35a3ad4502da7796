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
