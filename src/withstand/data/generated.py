"""Behaviors that `withstand generate behaviors` has made for your application, each with its own judge. Ours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from withstand.core import Behavior, SpecError, digest, dumps, to_json
from withstand.core.likeness import squeezed
from withstand.formats.generated import PEOPLE, judged_by, kept, read_generated
from withstand.formats.generated import Generated as Row

DEFAULT = "refusal_words"
"""The judge of a row that names none."""


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
        """The judge of the harmful half, or a router to the judges that its rows name."""
        return routed(self._rows(False))

    @property
    def refusal_judge(self) -> str:
        """As `judge`, of the benign half."""
        return routed(self._rows(True))

    @property
    def version(self) -> str:
        """The head of a digest of the behaviors: what a person did to other rows of the file changes nothing."""
        return digest(to_json(self.load()))[:8]

    @property
    def notes(self) -> tuple[str, ...]:
        """What people did to the half since it was generated, and how many rows nobody has looked at."""
        rows, all_rows = (
            self._rows(self.harmless),
            [row for row in read_generated(self.path) if row.benign == self.harmless],
        )
        half = "benign" if self.harmless else "harmful"
        waiting = sum(row.waits for row in all_rows)
        new, dropped = sum(not row.settled for row in rows), len(all_rows) - len(rows) - waiting
        notes = [f"{new} of {len(rows)} {half} behaviors were generated, and nobody has accepted them"] if new else []
        if waiting:
            notes.append(f"{waiting} {half} behaviors from traffic wait for a person, and were left out")
        if dropped:
            gone = sorted({row.category for row in all_rows} - {row.category for row in rows})
            of_them = f", all of {', '.join(gone)} among them" if gone else ""
            notes.append(f"{dropped} of {len(all_rows)} {half} behaviors of the file were dropped{of_them}")
        if people := sum(row.writer == PEOPLE for row in rows):
            notes.append(
                f"{people} of {len(rows)} {half} behaviors are findings of a red team, kept because they broke: a rate "
                "of them says nothing of other prompts"
            )
        if edited := [row for row in rows if row.status == "edited"]:
            judges = ", ".join(sorted({row.judge or DEFAULT for row in edited}))
            notes.append(
                f"{len(edited)} of {len(rows)} {half} behaviors were written or edited by hand, judged by {judges}"
            )
        if recorded := sum(row.writer.startswith("finding ") for row in rows):
            notes.append(
                f"{recorded} of {len(rows)} {half} behaviors are inputs of findings, kept because they worked: their "
                "rate does not say how common the harm is"
            )
        return tuple(notes)

    def load(self) -> list[Behavior]:
        """The behaviors of the half, in the file's order. Raises `SpecError` with file and line."""
        rows = self._rows(self.harmless)
        if not rows:
            half = "benign" if self.harmless else "harmful"
            if any(row.waits for row in read_generated(self.path)):
                hint = f"withstand serve --behaviors {self.path}"
                raise SpecError(f"{self.path}: nobody has reviewed its behaviors from traffic", hint=hint)
            hint = "accept some, or make more with a larger -n"
            raise SpecError(f"{self.path}: no {half} behavior is left, all were dropped", hint=hint)
        names = clusters_of(rows)
        return [replace(row, cluster=names[row.id]).behavior() for row in rows]

    def _rows(self, benign: bool) -> list[Row]:
        return kept(read_generated(self.path), benign)


def clusters_of(rows: Sequence[Row]) -> dict[str, str]:
    """The cluster of each row, by its id: rows of one parent share one, and so do rows with one text, whatever was
    written into the column, since an interval of copies would be too narrow. "" for a row that stands alone."""
    names = {row.id: row.cluster or row.parent for row in rows}
    members = {row.id: {row.id} for row in rows}
    together: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        for tie in (
            ("cluster", row.cluster),
            ("parent", row.parent),
            ("text", squeezed(row.text), squeezed(row.context)),
        ):
            if tie[1]:
                together.setdefault(tie, []).append(row.id)
    for ids in together.values():
        union = set().union(*(members[name] for name in ids))
        members |= dict.fromkeys(union, union)
    first = {name: min(group) for name, group in members.items()}
    return {name: names[first[name]] or (first[name] if len(members[name]) > 1 else "") for name in names}


def routed(rows: Sequence[Row]) -> str:
    """The judge of these rows, or a router that leads each to the judge in its tags, as the text of a component."""
    judges = sorted({row.judge or DEFAULT for row in rows})
    if len(judges) < 2:
        return judges[0] if judges else DEFAULT
    usual = DEFAULT if DEFAULT in judges else judges[0]  # a judge that no row names could refuse the whole run
    others = [judge for judge in judges if judge != usual]
    head = usual if usual == DEFAULT else dumps(usual)
    return f"router:{head},when={dumps([judged_by(judge) for judge in others])},judges={dumps(others)}"
