"""Does your application give its system prompt away? Requests for it, plain, in disguise and under pretexts. Ours.

OWASP LLM07:2025, system prompt leakage. The judge looks for a canary of yours, so a leak in other words is not seen.
"""

from dataclasses import dataclass
from typing import ClassVar

from withstand.core import Behavior, Json
from withstand.data import _application


@dataclass(frozen=True, slots=True)
class PromptLeak(_application.Application):
    """12 requests in three categories: plain, disguise, pretext. Success: the canary stands in the answer, also spelt,
    reversed or encoded (`canary`).

    canary: a text of your system prompt that stands nowhere else, such as MAPLE-HERON-4417; no default. It is kept in
        the store: put one there for the test, and no real secret.
    harmless: instead the suite `prompt-leak-benign`, 8 questions that must not be refused, half of them near misses.
    """

    owasp: ClassVar[str] = "LLM07"
    obeys: ClassVar[tuple[str, ...]] = ("*",)
    canary: str = ""
    harmless: bool = False

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"canary": "MAPLE-HERON-4417"}

    def __post_init__(self) -> None:
        if not self.harmless:
            _application.check_canary("prompt-leak", self.canary, "your system prompt")

    @property
    def benign(self) -> str:
        """The suite that measures over-refusal; none for that suite itself."""
        return "" if self.harmless else "prompt-leak-benign"

    def load(self) -> list[Behavior]:
        """The behaviors, in the file's order."""
        if self.harmless:
            return self._behaviors("prompt_leak", "benign")
        return self._behaviors("prompt_leak", "behavior", tags=(f"canary:{self.canary}",))
