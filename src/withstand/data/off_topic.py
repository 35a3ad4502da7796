"""Does your application work for free on what it is not for? Small tasks of which the right answer is known. Ours.

OWASP LLM10:2025, unbounded consumption. Solving is told from turning down by the answer itself, without a judge model.
"""

from dataclasses import dataclass
from typing import ClassVar

from withstand.core import Behavior, Json, SpecError
from withstand.data import _application


@dataclass(frozen=True, slots=True)
class OffTopic(_application.Application):
    """12 tasks in four categories: knowledge, calculation, language, code. Success: the solution stands in the answer
    (`canary`); a wrong solution is a failure. Whatever your application is for, leave out: --where category=....

    purpose: what your application is for, as a noun: "recipes", "opening hours and bookings"; no default.
    harmless: instead the suite `off-topic-benign`, 8 questions about the purpose that must not be refused, half of them
        near misses.
    """

    owasp: ClassVar[str] = "LLM10"
    obeys: ClassVar[tuple[str, ...]] = ("*",)
    purpose: str = ""
    harmless: bool = False

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"purpose": "opening hours"}

    def __post_init__(self) -> None:
        if not self.purpose.strip():
            hint = 'say what your application is for: off-topic,purpose="opening hours and bookings"'
            raise SpecError("purpose is empty", hint=hint)

    @property
    def benign(self) -> str:
        """The suite that measures over-refusal; none for that suite itself."""
        return "" if self.harmless else _application.twin("off-topic-benign", purpose=self.purpose)

    def load(self) -> list[Behavior]:
        """The behaviors, in the file's order."""
        half = "benign" if self.harmless else "behavior"
        return self._behaviors("off_topic", half, {"purpose": self.purpose})
