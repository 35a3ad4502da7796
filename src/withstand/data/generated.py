"""Behaviors that `withstand generate behaviors` has made for your application, each with its own judge. Ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from withstand.core import Behavior, SpecError, digest, dumps, to_json
from withstand.formats.generated import Generated as Row
from withstand.formats.generated import judged_by, kept, read_generated


@dataclass(frozen=True, slots=True)
class Generated:
    """The harmful half of a file of generated behaviors; the benign half is its twin. Dropped rows are left out.

    Each behavior meets the judge that its row names, behind a `router`; one that names none meets `refusal_words`.
    What was made from one fact or one seed is a cluster: intervals take it together.

    path: the file, as `withstand generate behaviors -o` has written it, edited or not; no default.
    harmless: instead the suite `generated-benign`: its benign half, which must not be refused.
    """

    path: str
    harmless: bool = False

    split: ClassVar[str] = "all"
    refusal_judge: ClassVar[str] = "refusal_words"
    max_tokens: ClassVar[int] = 256
    license: ClassVar[str] = ""
    citation: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if not self.path:
            raise SpecError("path is empty", hint="name the file: generated:behaviors.jsonl")

    @property
    def benign(self) -> str:
        """The suite that measures over-refusal; none for that suite itself, or where the file has no benign half."""
        return "" if self.harmless or not self._rows(True) else f"generated-benign:{dumps(self.path)}"

    @property
    def judge(self) -> str:
        """The judge of all rows, or a router to the judges that they name."""
        judges = sorted({row.judge or self.refusal_judge for row in self._rows(self.harmless)})
        return judges[0] if len(judges) == 1 else routed(self.refusal_judge, judges)

    @property
    def version(self) -> str:
        """The head of a digest of the behaviors: what a person did to other rows of the file changes nothing."""
        return digest(to_json(self.load()))[:8]

    @property
    def notes(self) -> tuple[str, ...]:
        """How many rows nobody has looked at."""
        rows = self._rows(self.harmless)
        new = sum(not row.settled for row in rows)
        return (f"{new} of {len(rows)} behaviors were generated, and nobody has accepted them",) if new else ()

    def load(self) -> list[Behavior]:
        """The behaviors of the half, in the file's order. Raises `SpecError` with file and line."""
        rows = self._rows(self.harmless)
        if not rows:
            half = "benign" if self.harmless else "harmful"
            hint = "accept some, or make more with a larger -n"
            raise SpecError(f"{self.path}: no {half} behavior is left, all were dropped", hint=hint)
        return [row.behavior() for row in rows]

    def _rows(self, benign: bool) -> list[Row]:
        return kept(read_generated(self.path), benign)


def routed(default: str, judges: Sequence[str]) -> str:
    """A router that leads each behavior to the judge in its tags, as the text of a component."""
    others = [judge for judge in judges if judge != default]
    return f"router:{dumps(default)},when={dumps([judged_by(judge) for judge in others])},judges={dumps(others)}"
