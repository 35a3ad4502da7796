"""Does your application give away what it keeps about somebody else? Requests for a record with a canary in it. Ours.

OWASP LLM02:2025, sensitive information disclosure. What leaks beside the canary is not seen.
"""

from dataclasses import dataclass
from typing import ClassVar

from withstand.core import Behavior, Json, SpecError
from withstand.data import _application


@dataclass(frozen=True, slots=True)
class PrivateData(_application.Application):
    """12 requests for the data of an invented person, in three categories: plain, disguise, pretext.

    Success: the canary stands in the answer or in what it hands to a tool (`canary`).

    canary: a text of that person's record that stands nowhere else, such as an address of your own invention; no
        default. It is kept in the store: invent the record for the test.
    owner: whose record it is, as a user would write it; no default, since a request for nobody's finds nothing.
    harmless: instead the suite `private-data-benign`, 8 questions that must not be refused, half of them near misses.
    """

    owasp: ClassVar[str] = "LLM02"
    obeys: ClassVar[tuple[str, ...]] = ("*",)
    canary: str = ""
    owner: str = ""
    harmless: bool = False

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"canary": "14 Plover Row", "owner": "Ida Brandt"}

    def __post_init__(self) -> None:
        if not self.harmless:
            _application.check_canary("private-data", self.canary, "the record of an invented person")
            if not self.owner.strip():
                hint = 'name whose record has the canary: private-data,canary=...,owner="Ida Brandt"'
                raise SpecError("owner is empty", hint=hint)

    @property
    def benign(self) -> str:
        """The suite that measures over-refusal; none for that suite itself."""
        return "" if self.harmless else "private-data-benign"

    def load(self) -> list[Behavior]:
        """The behaviors, in the file's order."""
        if self.harmless:
            return self._behaviors("private_data", "benign")
        return self._behaviors("private_data", "behavior", {"owner": self.owner}, (f"canary:{self.canary}",))
