"""A file of generated behaviors while people review it: a row at a time, under a lock, so that nothing is lost."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from withstand.core import SpecError, digest, to_json
from withstand.core.save import locked
from withstand.formats.generated import Generated, read_generated, write_generated

Row: TypeAlias = Generated
Decision: TypeAlias = Literal["accepted", "edited", "dropped", "new"]
EDITABLE = ("text", "context", "category")
"""What a page may change of a row. Judge and tags say what code runs and what it looks for: the file alone has them."""


class OutdatedError(SpecError):
    """Somebody changed the row since it was read; `row` is what it is now."""

    def __init__(self, row: Generated) -> None:
        super().__init__("somebody changed this behavior while you looked at it", hint="look at it again, then decide")
        self.row = row


@dataclass(frozen=True)
class BehaviorFile:
    """The file at `path`. Each call reads it anew: other programs may write it."""

    path: Path

    def rows(self) -> list[Generated]:
        """All rows. Raises `SpecError` with file, line and field."""
        return read_generated(str(self.path))

    def decide(self, name: str, seen: str, decision: Decision, edits: Mapping[str, str] | None = None) -> Generated:
        """Give the row whose id is `name` a status, and with "edited" new texts; the row as it then stands.

        seen: `state_of` the row that the person decided on. Raises `OutdatedError` where it is another by now,
        `SpecError` for a row that is not there or would have no text. A text that is as it was generated is no edit.
        """
        with locked(self.path):
            rows = self.rows()
            place = next((place for place, row in enumerate(rows) if row.id == name), None)
            if place is None:
                raise SpecError(f"{self.path.name} has no behavior {name!r}", hint="somebody removed it: see the list")
            row = rows[place]
            if state_of(row) != seen:
                raise OutdatedError(row)
            changes = {key: text for key, text in (edits or {}).items() if key in EDITABLE}
            decided = replace(row, status=decision, **changes)  # type: ignore[arg-type] # texts alone
            if not decided.text.strip():
                raise SpecError("the text is empty", hint="write one, or drop the behavior")
            if decision in ("accepted", "edited"):
                touched = decided.content != decided.fingerprint
                decided = replace(decided, status="edited" if touched else "accepted")
            rows[place] = decided
            write_generated(self.path, rows)
            return decided


def state_of(row: Generated) -> str:
    """A name for all that a row holds, by which to see that it changed."""
    return digest(to_json(row))[:16]


def key_of(row: Generated) -> str:
    """A name for a row in an address, whatever its id is."""
    return digest(row.id)[:16]
