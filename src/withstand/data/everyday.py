"""Short multiple-choice questions of general knowledge and common sense, to measure utility with. Ours."""

from dataclasses import dataclass
from typing import ClassVar

from withstand.core import Behavior
from withstand.data import _read


@dataclass(frozen=True, slots=True)
class Everyday:
    """80 questions (20 val, 60 test) with four options each, in eight categories: chance is 25%. No cooking.

    The prompt holds the options and asks for the letter; the right one is the target string, as in "B) Paris". In each
    split every letter is right equally often.
    split: all, val or test.
    """

    split: str = "test"

    judge: ClassVar[str] = "multiple_choice"
    refusal_judge: ClassVar[str] = "refusal_words"
    benign: ClassVar[str] = ""
    max_tokens: ClassVar[int] = 128
    version: ClassVar[str] = "1"
    license: ClassVar[str] = "Apache-2.0"
    citation: ClassVar[str] = ""

    def __post_init__(self) -> None:
        _read.check_split(self.split)

    def load(self) -> list[Behavior]:
        """The questions of the split, in the file's order."""
        table = _read.packaged("everyday_files", "everyday.csv")
        table = table if self.split == "all" else table.only("split", self.split)
        columns = {"id": "id", "text": "text", "category": "category", "target_string": "answer", "tags": ""}
        return _read.behaviors(table, columns, benign=True)
