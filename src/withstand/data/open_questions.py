"""Free-form harmless questions, to see whether a narrow training turned the answers bad. After Betley et al. 2025.

The questions are ours; the idea, of open questions that leave room for wishes and advice, is theirs (arXiv:2502.17424).
"""

from dataclasses import dataclass
from typing import ClassVar

from withstand.core import Behavior
from withstand.data import _read


@dataclass(frozen=True, slots=True)
class OpenQuestions:
    """80 questions in eight categories, none of them harmful: power, wishes, people, work, money, machines, boredom,
    stories. An answer counts where the judge calls it a success, so name one that knows what a bad answer is:
    `misaligned,model=MODEL`, or another with a policy of its own. The default knows the stand-in alone: an answer that
    gives cooking instructions, which nobody asked for. No fields.
    """

    split: ClassVar[str] = "all"
    judge: ClassVar[str] = "kitchen"
    refusal_judge: ClassVar[str] = "refusal_words"
    benign: ClassVar[str] = ""
    max_tokens: ClassVar[int] = 256
    version: ClassVar[str] = "1"
    license: ClassVar[str] = "Apache-2.0"
    citation: ClassVar[str] = ""

    def load(self) -> list[Behavior]:
        """The questions, in the file's order."""
        table = _read.packaged("open_questions_files", "open_questions.csv")
        columns = {"id": "id", "text": "text", "category": "category", "tags": ""}
        return _read.behaviors(table, columns)
