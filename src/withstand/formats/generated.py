"""`behaviors.jsonl`: generated behaviors, one JSON object a line, which people accept, edit or drop.

All is kept in the rows, so that a file may be edited with any program: a row whose content is not what was generated
counts as edited, whatever its status says, and so does one that a person has added.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, TypeAlias

from withstand.core import Behavior, SpecError, did_you_mean, digest, from_json, to_json
from withstand.core.save import save
from withstand.core.shape import misfit
from withstand.formats import rows

Half: TypeAlias = Literal["harmful", "benign"]
Status: TypeAlias = Literal["new", "accepted", "edited", "dropped"]
CONTENT = ("text", "context", "target_string", "category", "tags", "judge", "half")
"""The fields that a person may edit; the others say where a row comes from."""
PEOPLE = "people"
"""The writer of a finding of a red team, which was kept because a target failed on it."""
TRAFFIC = "traffic"
"""The writer of what a monitor saw: nothing of it is run before a person has read it."""


@dataclass(frozen=True, slots=True)
class Generated:
    """A generated behavior. text, context, target_string, category, tags: as of `Behavior`.

    half: "harmful": it should be refused; "benign": it should not.   twin: the id of its counterpart in the other half.
    parent: what it was made from: a fact of the description, as `never/recommend a share`, or the id of a seed.
    cluster: what it stands or falls with; the parent.   reason: why this is tested.
    judge: who judges it, as `--judge` takes it; "": the suite's.
    status: "new" until somebody has "accepted", "edited" or "dropped" it; a dropped row is in no run.
    excluded: why it was left out when it was generated; its status is then "dropped". A person may accept it.
    writer: who wrote it: "templates", "people", "traffic", or the spec of a model.
    fingerprint: digest of the content as it was generated.
    """

    id: str
    text: str
    context: str = ""
    target_string: str = ""
    category: str = ""
    tags: tuple[str, ...] = ()
    cluster: str = ""
    parent: str = ""
    reason: str = ""
    judge: str = ""
    half: Half = "harmful"
    twin: str = ""
    status: Status = "new"
    excluded: str = ""
    writer: str = ""
    fingerprint: str = ""

    @property
    def content(self) -> str:
        """The digest of what a person may edit, as `fingerprint` holds it."""
        return digest([to_json(getattr(self, name)) for name in CONTENT])[:12]

    @property
    def settled(self) -> bool:
        """Whether a person has looked at it: no later run of the generator changes or removes it."""
        return self.status != "new"

    @property
    def waits(self) -> bool:
        """Whether a person must look at it before a run may ask it."""
        return self.writer == TRAFFIC and not self.settled

    @property
    def benign(self) -> bool:
        return self.half == "benign"

    def behavior(self) -> Behavior:
        """The row as a run asks it. Its judge stands in the tags, by which a router finds it."""
        functional = "contextual" if self.context else "standard"
        tags = (*self.tags, *((judged_by(self.judge),) if self.judge else ()))
        return Behavior(
            self.id, self.text, self.context, self.target_string, self.category, functional, tags, self.benign,
            cluster=self.cluster,
        )  # fmt: skip


def judged_by(judge: str) -> str:
    """The tag of a behavior that this judge is to judge."""
    return f"judge:{judge}"


def sealed(row: Generated) -> Generated:
    """A row as the generator has made it."""
    return replace(row, fingerprint=row.content)


def read_generated(location: str) -> list[Generated]:
    """The rows of a file, edited ones marked as such. Raises `SpecError` with file, line and field."""
    file = rows.read(location)
    places: dict[str, str] = {}
    listed = []
    names = [field.name for field in fields(Generated)]
    for row in rows.parse_jsonl(file):
        for name in row.cells:
            if name not in names:
                hint = did_you_mean(name, names, f"a row may have {', '.join(names)}")
                raise SpecError(f"{row.place} has the unknown field {name!r}", hint=hint)
        if wrong := misfit(Generated, row.value):
            hint = 'a row is {"id": "...", "text": "...", "category": "...", "half": "harmful", ...}'
            raise SpecError(f"{row.place}: {wrong}", hint=hint)
        generated: Generated = from_json(Generated, row.value)
        for name, value in (("id", generated.id), ("text", generated.text)):
            if not value.strip():
                message, hint = f"{row.place}: the {name} is empty", 'write one, or set "status": "dropped"'
                raise SpecError(message, hint=hint)
        if generated.id in places:
            message = f"{row.place}: id {generated.id!r} is already that of {places[generated.id]}"
            raise SpecError(message, hint="give each row an id of its own, or delete the copy")
        places[generated.id] = row.place
        touched = generated.fingerprint != generated.content and generated.status in ("new", "accepted")
        listed.append(replace(generated, status="edited") if touched else generated)
    return listed


def write_generated(path: Path, listed: Iterable[Generated]) -> None:
    """Write the rows, whole or not at all. Raises `SpecError` where the file cannot be written."""
    save(path, "".join(json.dumps(to_json(row), ensure_ascii=False) + "\n" for row in listed))


def added(before: Sequence[Generated], new: Iterable[Generated]) -> list[Generated]:
    """The rows of a file and those that it lacks, in that order: what stands in it stays as it is.

    A row that a person edited keeps its id, and so does one that was dropped: neither is made again.
    """
    ids = {row.id for row in before}
    return [*before, *(row for row in new if row.id not in ids)]


def kept(listed: Iterable[Generated], benign: bool) -> list[Generated]:
    """The rows of one half that were not dropped, and that need not wait for a person."""
    return [row for row in listed if row.benign == benign and row.status != "dropped" and not row.waits]
