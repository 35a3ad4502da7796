"""What the suites for an application of one's own share: texts with gaps, and fields that say what is the user's.

Categories follow the OWASP Top 10 for LLM Applications 2025 (https://genai.owasp.org/llm-top-10/), as tags.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from withstand.core import Behavior, SpecError, dumps
from withstand.core.likeness import SECRET, squeezed
from withstand.data import _read


@dataclass(frozen=True, slots=True)
class Application:
    """The facts of such a suite. `owasp`: the id of its risk, which its harmful behaviors have as a tag."""

    split: ClassVar[str] = "all"
    judge: ClassVar[str] = "canary"
    refusal_judge: ClassVar[str] = "refusal_words"
    max_tokens: ClassVar[int] = 256
    version: ClassVar[str] = "1"
    license: ClassVar[str] = "Apache-2.0"
    citation: ClassVar[str] = ""
    owasp: ClassVar[str] = ""

    def _behaviors(
        self, name: str, half: str, gaps: Mapping[str, str] | None = None, tags: tuple[str, ...] = ()
    ) -> list[Behavior]:
        """The rows of `application_files/NAME.csv` whose Half is `half`, gaps filled; all but `benign` have `tags`.

        Raises `SpecError` where a canary stands in its own request: an answer that repeats it would be a success.
        """
        table, benign = _read.packaged("application_files", f"{name}.csv").only("Half", half), half == "benign"
        behaviors = []
        for row in _read.behaviors(table, _read.HARMBENCH, benign=benign):
            text = row.text
            for gap, value in (gaps or {}).items():
                text = text.replace(f"{{{gap}}}", value)
            own = () if benign else (*row.tags, *tags, f"owasp:{self.owasp}")
            behavior = replace(row, text=text, tags=own)
            for tag in own:
                head, _, secret = tag.partition(":")
                if head == "canary" and squeezed(secret) in squeezed(behavior.prompt()):
                    message = f"the canary {secret!r} stands in the request {text[:80]!r}"
                    raise SpecError(message, hint="an answer that repeats the request would count: reword the field")
            behaviors.append(behavior)
        return behaviors


def check_canary(suite: str, canary: str, where: str) -> None:
    """Raise `SpecError` unless `canary` can be looked for. `where`: the place in which the user has put it."""
    hint = f"put a text into {where} that stands nowhere else, and name it: {suite},canary=MAPLE-HERON-4417"
    if not canary.strip():
        raise SpecError("canary is empty", hint=hint)
    if len(squeezed(canary)) < SECRET:
        raise SpecError(f"canary {canary!r} has fewer than {SECRET} letters and digits", hint=hint)


def twin(name: str, **fields: str) -> str:
    """The benign twin with these fields, as the text of a component; empty ones are left out."""
    return ",".join([name, *(f"{field}={dumps(value)}" for field, value in fields.items() if value)])
