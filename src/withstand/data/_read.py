"""What the suites share: files into rows, rows into behaviors, and every mistake with its place and the way out."""

import csv
import http.client
import io
import json
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from withstand.core import Behavior, Json, SpecError, did_you_mean, digest
from withstand.core.cache import cache_dir
from withstand.core.errors import closest

SPLITS = ("all", "val", "test")
TIMEOUT = 30.0  # seconds a server may stay silent

HARMBENCH = {
    "id": "BehaviorID",
    "text": "Behavior",
    "context": "ContextString",
    "category": "SemanticCategory",
    "functional": "FunctionalCategory",
    "tags": "Tags",
}
"""Field -> column of HarmBench's text behaviors; its target strings are in a file of their own."""


class MissingError(SpecError):
    """There is no such file."""


@dataclass(frozen=True, slots=True)
class File:
    """A data file in memory; `name` is what messages call it."""

    name: str
    data: bytes

    def text(self) -> str:
        """Its text, without a byte order mark."""
        try:
            return self.data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            offset = len(self.data) - len(error.object) + error.start
            line = self.data.count(b"\n", 0, offset) + 1
            message = f"{self.name}, line {line}: byte {offset} (0x{self.data[offset]:02x}) is not UTF-8"
            raise SpecError(message, hint="save the file as UTF-8") from None


@dataclass(frozen=True, slots=True)
class Row:
    """One record; `place` is its file and 1-based number."""

    place: str
    cells: Mapping[str, Json]

    def text(self, column: str) -> str:
        """The cell with LF line ends; "" where there is no such column, cell or value."""
        value = self.cells.get(column) if column else None
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if value is not None and not isinstance(value, str):
            message = f"{self.place}, column {column}: expected text, found {type(value).__name__}"
            raise SpecError(message, hint="write the value as a string")
        return (value or "").replace("\r\n", "\n")

    def tags(self, column: str) -> tuple[str, ...]:
        """The cell split at commas, or the list that JSON may hold."""
        value = self.cells.get(column)
        if isinstance(value, list) and all(isinstance(tag, str) for tag in value):
            return tuple(value)
        return tuple(tag.strip() for tag in self.text(column).split(",") if tag.strip())


@dataclass(frozen=True, slots=True)
class Table:
    """The records of one file, and the columns that any of them has."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        if not self.rows:
            raise SpecError(f"{self.name}: there is no behavior in it", hint="give a file with at least one row")

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


def check_split(split: str) -> None:
    """Raise `SpecError` unless `split` is one of HarmBench's."""
    if split not in SPLITS:
        hint = did_you_mean(split, SPLITS, "use test")
        raise SpecError(f"split is {split!r}; it must be all, val or test", hint=hint)


# --- files -----------------------------------------------------------------------------------------------------


def is_url(location: str) -> bool:
    """Whether `location` is an http(s) URL; anything else is a path."""
    return location.lower().startswith(("http://", "https://"))


def read(location: str) -> File:
    """The file at a path or an http(s) URL. Raises `MissingError` if there is none, else `SpecError`."""
    if is_url(location):
        return _fetch(location)
    path = Path(location).expanduser()
    try:
        return File(location, path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, beside, f"the current folder is {Path.cwd()}")
        raise MissingError(f"{location}: no such file", hint=hint) from None
    except OSError as error:
        raise SpecError(f"{location}: cannot be read: {error.strerror}", hint="name a file that you may read") from None


def _fetch(url: str) -> File:
    """The file at `url`, downloaded once: the copy in the cache folder stands until it is deleted."""
    folder = cache_dir("data")
    copy = folder / digest(url)
    if not copy.exists():
        data = _download(url)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as part:
                part.write(data)
            Path(part.name).replace(copy)
        except OSError as error:
            message = f"{url}: no copy can be kept in {folder}: {error.strerror}"
            raise SpecError(message, hint="set WITHSTAND_CACHE to a folder that you may write to") from None
    return File(f"{url} (copy: {copy})", copy.read_bytes())


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        kind = MissingError if error.code in (404, 410) else SpecError
        raise kind(f"{url}: the server says {error.code} {error.reason}", hint="check the address") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", "") or error
        hint = "check address and network, or download the file and give its path"
        raise SpecError(f"{url}: cannot be fetched: {reason}", hint=hint) from None


# --- rows ------------------------------------------------------------------------------------------------------


def parse_csv(file: File) -> Table:
    """The rows of a CSV file. Row 1 is the header, as in a spreadsheet; a line is where the row starts."""
    csv.field_size_limit(2**31 - 1)  # Python's own limit is 128 KiB a field
    reader = csv.reader(io.StringIO(file.text(), newline=""), strict=True)
    rows: list[Row] = []
    header: list[str] = []
    number, line = 0, 1
    try:
        for number, cells in enumerate(reader, 1):
            place = f"{file.name}, row {number} (line {line})"
            line = reader.line_num + 1
            if not cells:  # an empty line
                continue
            if not header:
                header = cells
                if twice := [column for column in header if header.count(column) > 1]:
                    raise SpecError(f"{place}: two columns are called {twice[0]!r}", hint="rename one of them")
                continue
            if len(cells) != len(header):
                message = f"{place}: {len(cells)} fields, but the header has {len(header)} columns"
                raise SpecError(message, hint="put fields with commas, quotes or line breaks into double quotes")
            rows.append(Row(place, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        message = f"{file.name}, row {number + 1} (line {line}): bad CSV: {error}"
        raise SpecError(message, hint='close every quote, and write a quote inside a field as ""') from None
    return Table(file.name, tuple(header), tuple(rows))


def parse_jsonl(file: File) -> Table:
    """The rows of a JSONL file: an object a line, where a row may lack what others have."""
    rows: list[Row] = []
    for number, line in enumerate(file.text().split("\n"), 1):
        if line.strip():
            rows.append(Row(f"{file.name}, line {number}", _parse_json(file.name, line, number)))
    columns = dict.fromkeys(column for row in rows for column in row.cells)
    return Table(file.name, tuple(columns), tuple(rows))


def _parse_json(name: str, text: str, line: int = 1) -> dict[str, Json]:
    """The object in `text`, which begins at `line` of the file `name`."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        message = f"{name}, line {line + error.lineno - 1}, character {error.colno}: bad JSON: {error.msg}"
        raise SpecError(message, hint="mend the line; strings and names need double quotes") from None
    if not isinstance(value, dict):
        message = f"{name}, line {line}: expected an object, found {type(value).__name__}"
        raise SpecError(message, hint='write {"name": value, ...}')
    return value


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
    strings = _parse_json(targets.name, targets.text()) if targets else {}
    listed: list[Behavior] = []
    places: dict[str, str] = {}
    for row in table.rows:
        cells = {field: row.text(column) for field, column in columns.items() if field != "tags"}
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
        places[name] = row.place
        listed.append(Behavior(**cells, tags=row.tags(columns["tags"]), benign=benign))
    return listed


MAPPED = ("id", "text", "context", "target_string", "category", "functional", "tags")
"""The fields of a suite that name the column of a behavior's field."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What `csv` and `jsonl` share: the fields, and rows made into behaviors.

    harmless: the model should answer these.   benign: the suite to measure over-refusal with.
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
        return sha256(read(self.path).data).hexdigest()[:8]

    def table(self) -> Table:
        """The rows of the file."""
        raise NotImplementedError

    def load(self) -> list[Behavior]:
        """The behaviors of the split, in the file's order. Raises `SpecError` with file, row and column."""
        table = self.table()
        if self.split:
            table = table.only(self.split_column, self.split)
        columns = {field: getattr(self, field) for field in MAPPED}
        for field, column in columns.items():
            if column:
                table.require(column, field, type(self).__name__.lower())
        return behaviors(table, columns, benign=self.harmless)
