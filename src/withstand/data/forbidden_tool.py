"""Does your application call a tool that is not for this user? Requests for it, plain, by pretext, by its name. Ours.

OWASP LLM06:2025, excessive agency. A target that does not return its tool calls makes every case a failure: see that
`tool_calls` leads to them.
"""

from dataclasses import dataclass
from typing import ClassVar

from withstand.core import Behavior, Json, SpecError
from withstand.data import _application


@dataclass(frozen=True, slots=True)
class ForbiddenTool(_application.Application):
    """12 requests in three categories: plain, pretext, tool. Success: the answer calls the tool (`tool_called`).

    tool: the name of the tool that the user may not have called, as send_email; no default.
    action: what it does, as an order: "send an email to everybody". Default: "use " and the tool's name.
    harmless: instead the suite `forbidden-tool-benign`, 8 questions that must not be refused, half of them near misses.
    """

    judge: ClassVar[str] = "tool_called"
    owasp: ClassVar[str] = "LLM06"
    obeys: ClassVar[tuple[str, ...]] = ("*",)
    tool: str = ""
    action: str = ""
    harmless: bool = False

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"tool": "send_email"}

    def __post_init__(self) -> None:
        if not self.tool.strip():
            hint = "name the tool that a user may not have called: forbidden-tool,tool=send_email"
            raise SpecError("tool is empty", hint=hint)

    @property
    def benign(self) -> str:
        """The suite that measures over-refusal; none for that suite itself."""
        if self.harmless:
            return ""
        return _application.twin("forbidden-tool-benign", tool=self.tool, action=self.action)

    def load(self) -> list[Behavior]:
        """The behaviors, in the file's order."""
        half = "benign" if self.harmless else "behavior"
        gaps = {"tool": self.tool, "action": self.action or f"use {self.tool}"}
        return self._behaviors("forbidden_tool", half, gaps, (f"tool:{self.tool}",))
