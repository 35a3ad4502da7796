"""What the suites share: rows into behaviors, and every mistake with its place and the way out."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from withstand.core import Behavior, SpecError, did_you_mean, digest
from withstand.core.bounded import parse_json
from withstand.core.errors import closest
from withstand.formats.rows import File, Row, parse_csv, read_or_fetch

SPLITS = ("all", "val", "test")

HARMBENCH = {
    "id": "BehaviorID",
    "text": "Behavior",
    "context": "ContextString",
    "category": "SemanticCategory",
    "functional": "FunctionalCategory",
    "tags": "Tags",
}
"""Field -> column of HarmBench's text behaviors; its target strings are in a file of their own."""


@dataclass(frozen=True, slots=True)
class Table:
    """The records of one file, and the columns that any of them has."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        if not self.rows:
            raise SpecError(f"{self.name}: there is no behavior in it", hint="give a file with at least one row")

    @staticmethod
    def of(file: File, rows: Sequence[Row]) -> "Table":
        """The table of these records of a file."""
        columns = dict.fromkeys(column for row in rows for column in row.cells)
        return Table(file.name, tuple(columns), tuple(rows))

    def require(self, column: str, field: str = "", suite: str = "") -> None:
        """Raise `SpecError` unless there is such a column. `suite` has a `field` by which a user says which it is."""
        if column in self.columns:
            return
        hint = did_you_mean(column, self.columns, "give a file that has it")
        if suite:
            none = f"; {field}= if there is none" if field != "text" else ""
            hint = f"say which it is: {suite}:FILE,{field}={[*closest(column, self.columns), 'COLUMN'][0]}{none}"
        message = f"{self.name}: no column {column!r}; there are {', '.join(self.columns)}"
        raise SpecError(message, hint=hint)

    def only(self, column: str, value: str) -> "Table":
        """The rows whose cell in `column` is `value`."""
        self.require(column)
        rows = tuple(row for row in self.rows if row.text(column) == value)
        if not rows:
            values = sorted({row.text(column) for row in self.rows})
            some = ", ".join(map(repr, values[:10])) + (", ..." if values[10:] else "")
            message = f"{self.name}, column {column}: no row has {value!r}; there are {some}"
            raise SpecError(message, hint=did_you_mean(value, values, "choose a split that the file has"))
        return Table(self.name, self.columns, rows)


def csv_table(file: File) -> Table:
    """The table of a CSV file."""
    return Table.of(file, parse_csv(file))


@cache
def packaged(folder: str, name: str) -> Table:
    """The table of a CSV file that the package holds, read once in a process."""
    return csv_table(packaged_file(folder, name))


def packaged_file(folder: str, name: str) -> File:
    return File(name, (files("withstand.data") / folder / name).read_bytes())


def installed(package: str) -> list[Path]:
    """Where a folder of an installed package is, as pyrit/datasets, without an import; [] where it is not installed."""
    name, _, inside = package.partition("/")
    spec = importlib.util.find_spec(name) if name else None
    return [Path(place) / inside for place in (spec.submodule_search_locations or ())] if spec else []


def check_split(split: str, more: tuple[str, ...] = ()) -> None:
    """Raise `SpecError` unless `split` is one of HarmBench's, or one of those that the suite has besides."""
    splits = (*SPLITS, *more)
    if split not in splits:
        hint = did_you_mean(split, splits, "use test")
        raise SpecError(f"split is {split!r}; it must be {', '.join(splits[:-1])} or {splits[-1]}", hint=hint)


# --- behaviors -------------------------------------------------------------------------------------------------


def behaviors(
    table: Table, columns: Mapping[str, str], *, targets: File | None = None, benign: bool = False
) -> list[Behavior]:
    """The behaviors of `table`, in its order.

    `columns` maps fields of `Behavior` to columns; "": the file has none, and ids are made from text and context.
    `targets`: a JSON object, id -> target string, that knows every id.
    """
    for column in filter(None, columns.values()):
        table.require(column)
    strings = Row(targets.name, 1, parse_json(targets.name, targets.text())).cells if targets else {}
    listed: list[Behavior] = []
    places: dict[str, str] = {}
    for row in table.rows:
        cells: dict[str, Any] = {name: row.text(column) for name, column in columns.items() if name != "tags"}
        if not cells["text"].strip():
            message = f"{row.place}, column {columns['text']}: the text is empty"
            raise SpecError(message, hint="write the behavior there, or delete the row")
        if not columns["id"]:
            cells["id"] = digest([cells["text"], cells.get("context", "")])[:16]
        name, place = cells["id"], f"{row.place}, column {columns['id'] or columns['text']}"
        if not name.strip():
            raise SpecError(f"{place}: the id is empty", hint="give the row an id of its own")
        if name in places:
            message = f"{place}: id {name!r} is already that of {places[name]}"
            raise SpecError(message, hint="give each row an id of its own, or delete the copy")
        if targets:
            target_string = strings.get(name)
            if not isinstance(target_string, str) or not target_string.strip():
                message = f"{place}: id {name!r} has no target string in {targets.name}"
                raise SpecError(message, hint='add it there as "id": "Sure, here is ..."')
            cells["target_string"] = target_string
        cells["cluster"] = cells.get("cluster", "").strip()
        places[name] = row.place
        listed.append(Behavior(**cells, tags=row.tags(columns["tags"]), benign=benign))
    return listed


MAPPED = ("id", "text", "context", "target_string", "category", "functional", "tags", "cluster")
"""The fields of a suite that name the column of a behavior's field."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What `csv` and `jsonl` share: the fields, and rows made into behaviors.

    harmless: the model should answer these.   benign: the suite to measure over-refusal with.
    cluster: what behaviors stand or fall together by, such as the request that they paraphrase; blank: each by itself.
    split, split_column: keep the rows that have `split` in that column; without `split`, all.
    judge, refusal_judge, max_tokens, license, citation: what the suite says of itself.
    """

    path: str
    id: str = "id"
    text: str = "text"
    context: str = ""
    target_string: str = ""
    category: str = ""
    functional: str = ""
    tags: str = ""
    harmless: bool = False
    split: str = ""
    split_column: str = ""
    judge: str = "refusal_words"
    refusal_judge: str = "refusal_words"
    benign: str = ""
    max_tokens: int = 512
    license: str = ""
    citation: str = ""
    cluster: str = field(default="", metadata={"added": "0.2"})

    def __post_init__(self) -> None:
        if not self.path:
            raise SpecError("path is empty", hint="name the file")
        if not self.text:
            raise SpecError("text is empty", hint="name the column that holds the behaviors")
        if self.split and not self.split_column:
            raise SpecError(f"split is {self.split!r}, but no column tells splits apart", hint="set split_column")
        if self.max_tokens < 1:
            raise SpecError(f"max_tokens is {self.max_tokens}; it must be 1 or more", hint="512 is usual")

    @property
    def version(self) -> str:
        """The head of the file's sha256."""
        return sha256(read_or_fetch(self.path).data).hexdigest()[:8]

    def table(self) -> Table:
        """The rows of the file."""
        raise NotImplementedError

    def load(self) -> list[Behavior]:
        """The behaviors of the split, in the file's order. Raises `SpecError` with file, row and column."""
        table = self.table()
        if self.split:
            table = table.only(self.split_column, self.split)
        columns = {name: getattr(self, name) for name in MAPPED}
        for name, column in columns.items():
            if column:
                table.require(column, name, type(self).__name__.lower())
        return behaviors(table, columns, benign=self.harmless)
