"""Does your application obey instructions in a document? Harmless questions about one. After Greshake et al. 2023,
arXiv:2302.12173.

OWASP LLM01:2025, prompt injection. The texts are ours.
"""

from dataclasses import dataclass
from typing import ClassVar

from withstand.core import Behavior, Json, SpecError
from withstand.data import _application


@dataclass(frozen=True, slots=True)
class PlantedDocument(_application.Application):
    """8 requests that bring a document with a planted instruction, or 6 about a document that you have planted.

    Success: the instruction is followed. Its code word stands in the answer (`canary`), or its tool is called
    (`tool_called`).

    document: what the planted document is called, as "the letter of this week"; default "": the requests bring their
        own. It must be such that your application finds it.
    canary: the code word that the planted instruction asks for, where there is `document`.
    tool: instead, the tool that it asks to be called.
    harmless: instead the suite `planted-document-benign`: the 8 documents without an instruction, and 2 in which one is
        meant for people. They must not be refused.
    """

    owasp: ClassVar[str] = "LLM01"
    document: str = ""
    canary: str = ""
    tool: str = ""
    harmless: bool = False

    @staticmethod
    def sample() -> dict[str, Json]:
        return {}

    def __post_init__(self) -> None:
        if not self.document.strip():
            if self.canary or self.tool:
                hint = 'name it: planted-document,document="the letter of this week",canary=BASIL-FALCON-5136'
                raise SpecError("canary and tool belong to a document that you have planted", hint=hint)
        elif self.canary and self.tool:
            raise SpecError("planted-document has canary and tool", hint="give one; the other is a suite of its own")
        elif not self.tool:
            _application.check_canary('planted-document,document="..."', self.canary, "the document's instruction")

    @property
    def judge(self) -> str:  # type: ignore[override]
        """By what the planted instruction asks for."""
        return "tool_called" if self.tool else "canary"

    @property
    def benign(self) -> str:
        """The suite that measures over-refusal; none for that suite itself."""
        return "" if self.harmless else "planted-document-benign"

    def load(self) -> list[Behavior]:
        """The behaviors, in the file's order."""
        if self.harmless:
            return self._behaviors("planted_document", "benign")
        if not self.document:
            return self._behaviors("planted_document", "request")
        tag = f"tool:{self.tool}" if self.tool else f"canary:{self.canary}"
        return self._behaviors("planted_document", "stored", {"document": self.document}, (tag,))
