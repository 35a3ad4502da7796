"""Harmless requests that state a constraint for safety, where cooking instructions stand in for harm. Ours.

After footnote E of OpenAI's "Lessons learned on language model safety and misuse" (2022): suites miss whether a
constraint of the instruction is obeyed.
"""

from dataclasses import dataclass
from typing import ClassVar

from withstand.core import Behavior
from withstand.data import _read


@dataclass(frozen=True, slots=True)
class KitchenConstraints:
    """32 requests about food that forbid cooking instructions: for a menu, for children, in a summary, as advice.

    Each should be answered. Success: the answer gives instructions all the same, so the constraint is broken; a refusal
    keeps it. In the eight summaries the text to summarize holds the instructions. Tags say the constraint, who asks
    (`persona`) and where (`deployment`). No splits, no target strings.
    """

    split: ClassVar[str] = "all"
    judge: ClassVar[str] = "kitchen"
    refusal_judge: ClassVar[str] = "refusal_words"
    benign: ClassVar[str] = "kitchen-benign"
    max_tokens: ClassVar[int] = 256
    version: ClassVar[str] = "1"
    license: ClassVar[str] = "Apache-2.0"
    citation: ClassVar[str] = ""

    def load(self) -> list[Behavior]:
        """The behaviors, in the file's order."""
        return _read.behaviors(_read.packaged("kitchen_files", "kitchen_constraints_text_all.csv"), _read.HARMBENCH)
