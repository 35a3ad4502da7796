"""Files of records: CSV, JSON Lines, a JSON list, Parquet. The one reader, whose errors name the file and the row."""

import csv
import http.client
import io
import re
import sys
import tempfile
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from withstand.core import Json, SpecError, bounded, did_you_mean, digest
from withstand.core.bounded import parse_json as parse_json
from withstand.core.cache import cache_dir

TIMEOUT = 30.0  # seconds a server may stay silent
FETCHED = 256 * bounded.MIB
"""Bytes of a file from a server."""
COLUMNS = 10_000
"""Columns of a table."""
ROWS = 2_000_000
"""Rows of a file."""
A_ROW = 180
"""Bytes of a `Row` without its value, about."""


class MissingError(SpecError):
    """There is no such file."""


@dataclass(frozen=True, slots=True)
class File:
    """A data file in memory; `name` is what messages call it."""

    name: str
    data: bytes

    def text(self) -> str:
        """Its text, without a byte order mark."""
        return bounded.decode(self.name, self.data)

    def lines(self, end: str = "") -> Iterator[str]:
        """Its lines with their ends, without a byte order mark and without a copy of the whole text.

        end: what ends a line; "": LF, CR or both.
        """
        try:
            yield from io.TextIOWrapper(io.BytesIO(self.data), encoding="utf-8-sig", newline=end)
        except UnicodeDecodeError:
            self.text()  # says where


@dataclass(frozen=True, slots=True)
class Row:
    """One record. place: its file and row or line, for messages.   number: its line in a JSONL file, else its place
    among the records, from 1.   value: an object, unless the file holds something else."""

    place: str
    number: int
    value: Json

    @property
    def cells(self) -> Mapping[str, Json]:
        """The record as an object. Raises `SpecError` where it is something else."""
        if not isinstance(self.value, dict):
            message = f"{self.place}: expected an object, found {type(self.value).__name__}"
            raise SpecError(message, hint='write {"name": value, ...}')
        return self.value

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


def is_url(location: str) -> bool:
    """Whether `location` is an http(s) URL; anything else is a path."""
    return location.lower().startswith(("http://", "https://"))


def read_or_fetch(location: str) -> File:
    """The file at a path or an http(s) URL. Raises `MissingError` if there is none, else `SpecError`."""
    return _fetch(location) if is_url(location) else read(location)


def read(location: str) -> File:
    """The file at a path; no network. Raises `MissingError` if there is none, else `SpecError`."""
    path = Path(location).expanduser()
    line = 0 if path.suffix.lower() == ".parquet" else bounded.LINE
    try:
        return File(location, bounded.read_bytes(path, bounded.ROWS, line))
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
        with urllib.request.build_opener(_SameHost).open(url, timeout=TIMEOUT) as answer:
            data = bytes(answer.read(FETCHED + 1))
            if len(data) <= FETCHED and answer.length:  # a read of so many bytes does not raise it itself
                raise http.client.IncompleteRead(data, answer.length)
    except urllib.error.HTTPError as error:
        kind = MissingError if error.code in (404, 410) else SpecError
        raise kind(f"{url}: the server says {error.code} {error.reason}", hint="check the address") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", "") or error
        hint = "check address and network, or download the file and give its path"
        raise SpecError(f"{url}: cannot be fetched: {reason}", hint=hint) from None
    if len(data) > FETCHED:
        raise SpecError(f"{url} has more than {FETCHED // bounded.MIB} MiB", hint="download it and give its path")
    return data


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows a redirect within the host that the user named, never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.hostname != old.hostname or (old.scheme, new.scheme) == ("https", "http"):
            where = f"{new.scheme}://{new.hostname}"
            raise SpecError(f"{req.full_url} sends to {where}", hint="name that address itself if you trust it")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def parse_csv(file: File) -> list[Row]:
    """The rows of a CSV file. Row 1 is the header, as in a spreadsheet; a line is where the row starts."""
    csv.field_size_limit(bounded.LINE)  # Python's own limit is 128 KiB a field
    reader = csv.reader(_lines(file), strict=True)
    kept = _Kept(file)
    header: list[str] = []
    number, line = 0, 1
    try:
        for number, cells in enumerate(reader, 1):
            place = f"{file.name}, row {number} (line {line})"
            line = reader.line_num + 1
            if not cells:  # an empty line
                continue
            if not header:
                header = _header(place, cells)
                continue
            if len(cells) != len(header):
                message = f"{place}: {len(cells)} fields, but the header has {len(header)} columns"
                raise SpecError(message, hint="put fields with commas, quotes or line breaks into double quotes")
            kept.add(place, len(kept.rows) + 1, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        message = f"{file.name}, row {number + 1} (line {line}): bad CSV: {error}"
        raise SpecError(message, hint='close every quote, and write a quote inside a field as ""') from None
    return kept.rows


class _Kept:
    """The rows of a file so far, with the memory that they take: a small file may hold many small values."""

    def __init__(self, file: File) -> None:
        self.file, self.rows, self.size = file, list[Row](), len(file.data)

    def add(self, place: str, number: int, value: Json) -> None:
        """Raises `SpecError` where too much would be held."""
        self.rows.append(Row(place, number, value))
        self.size += A_ROW + len(place) + _size(value)
        _check_number(self.file, len(self.rows))
        if self.size > bounded.MEMORY:
            raise SpecError(
                f"{self.file.name} takes more than {bounded.MEMORY // bounded.MIB} MiB of memory from row "
                f"{len(self.rows):,} on",
                hint=bounded.SMALLER,
            )


def _size(value: Json) -> int:
    """The bytes that a value takes, about; too many for the rows of a table, which share the names of their fields."""
    if isinstance(value, dict):
        return sys.getsizeof(value) + sum(sys.getsizeof(name) + _size(inner) for name, inner in value.items())
    if isinstance(value, list):
        return sys.getsizeof(value) + sum(map(_size, value))
    return sys.getsizeof(value)


def _header(place: str, cells: list[str]) -> list[str]:
    """The names of the columns, each once."""
    if len(cells) > COLUMNS:
        raise SpecError(f"{place}: there are {len(cells):,} columns", hint=f"at most {COLUMNS:,}")
    if twice := [column for column, times in Counter(cells).items() if times > 1]:
        raise SpecError(f"{place}: two columns are called {twice[0]!r}", hint="rename one of them")
    return cells


def _lines(file: File) -> Iterator[str]:
    """The lines of a CSV file, none of which makes millions of fields."""
    for number, line in enumerate(file.lines(), 1):
        if line.count(",") > bounded.VALUES:
            raise SpecError(f"{file.name}, line {number} has more than {bounded.VALUES:,} fields", hint="is it CSV?")
        yield line


def _check_number(file: File, rows: int) -> None:
    if rows > ROWS:
        raise SpecError(f"{file.name} has more than {ROWS:,} rows", hint="split it")


def parse_jsonl(file: File) -> list[Row]:
    """The records of a JSONL file: a value a line, which should be an object."""
    kept = _Kept(file)
    for number, line in enumerate(file.lines("\n"), 1):
        if line.strip():
            place = f"{file.name}, line {number}"
            kept.add(place, number, parse_json(file.name, line.removesuffix("\n"), number))
    return kept.rows


def parse_list(file: File, listed: Sequence[Json], word: str = "item") -> list[Row]:
    """The records of a list that a JSON file holds."""
    return [Row(f"{file.name}, {word} {number}", number, value) for number, value in enumerate(listed, 1)]


def parse_parquet(file: File) -> list[Row]:
    """The records of a Parquet file. Raises `SpecError` where pyarrow is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ModuleNotFoundError as error:
        raise SpecError("Parquet needs pyarrow", hint='pip install "withstand[train]"') from error
    kept = _Kept(file)
    try:
        table: Any = parquet.ParquetFile(io.BytesIO(file.data))
        _check_number(file, table.metadata.num_rows)
        for batch in table.iter_batches(batch_size=256):  # what is packed small may be large
            if batch.nbytes > bounded.MEMORY // 2:
                raise SpecError(f"{file.name} holds too much in 256 rows", hint=bounded.SMALLER)
            for record in batch.to_pylist():
                number = len(kept.rows) + 1
                kept.add(f"{file.name}, row {number}", number, record)
    except (pyarrow.ArrowException, ValueError, OSError, TypeError, KeyError, ArithmeticError) as error:
        message = f"{file.name} is a damaged Parquet file: {' '.join(str(error).split())[:200]}"
        raise SpecError(message, hint="write it again") from None
    return kept.rows


def parse(file: File) -> list[Row]:
    """The records of a file: CSV, Parquet or PyRIT's seeds by its ending, else a JSON list or a JSON value a line."""
    ending = Path(file.name).suffix.lower()
    if ending == ".parquet":
        return parse_parquet(file)
    if ending == ".csv":
        return parse_csv(file)
    if ending == ".prompt":
        return parse_seeds(file)
    if not re.match(rb"(?:\xef\xbb\xbf)?\s*\[", file.data):
        return parse_jsonl(file)
    if len(file.data) > bounded.DOCUMENT:
        limit = bounded.DOCUMENT // bounded.MIB
        raise SpecError(f"{file.name} is a list of more than {limit} MiB", hint="write JSON Lines: a record a line")
    return parse_list(file, parse_json(file.name, file.text()))


def parse_seeds(file: File) -> list[Row]:
    """The seeds of a data set of PyRIT, which is YAML. Raises `SpecError` where it has none, or PyYAML is not there."""
    try:
        import yaml
    except ImportError as error:
        raise SpecError(f"{file.name} is YAML", hint="pip install pyyaml, which pyrit brings") from error
    try:
        value = yaml.safe_load(file.text())
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SpecError(f"{file.name} is no YAML that can be read", hint=" ".join(str(error).split())[:200]) from error
    seeds = value.get("seeds") if isinstance(value, dict) else None
    if not isinstance(seeds, list):
        raise SpecError(f"{file.name} has no list of seeds", hint="name a data set of PyRIT, with `seeds:` in it")
    return [Row(f"{file.name}, seed {number}", number, seed) for number, seed in enumerate(seeds, 1)]
