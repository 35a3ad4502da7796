"""Reads files of strangers within limits: regular files alone, so many bytes, values, digits and levels of nesting.

A file that passes a limit, or is none that can be read, raises `SpecError` with its name, the place and the way out.
The limits keep what is made of a file below a gigabyte, and no reader of the package has to catch a parser's errors.
"""

import json
import os
import re
import stat
import struct
import tomllib
import zipfile
import zlib
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from withstand.core.content import Json
from withstand.core.errors import SpecError

MIB = 2**20
ROWS = 384 * MIB
"""Bytes of a file of rows."""
MEMORY = 768 * MIB
"""Bytes of a file of rows with all that is made of it."""
LINE = 64 * MIB
"""Bytes of a line."""
DOCUMENT = 64 * MIB
"""Bytes of a file that is read as one value: a baseline, test cases, a cases file."""
TOML = 4 * MIB
"""Bytes of a TOML file."""
BUNDLE = 512 * MIB
"""Bytes of all files in a zip file, unpacked."""
DEPTH = 64
"""Levels of nesting, and parts of a dotted name in TOML."""
DIGITS = 300
"""Digits of a whole number: a longer one is no float."""
VALUES = 4_000_000
"""Values of a JSON text or a line of CSV."""
TOML_VALUES = 200_000
DIRECTORY = MIB
"""Bytes of a zip file's own list of its files."""

CHUNK = MIB
SMALLER = "split the file, or leave out what is not needed"


# --- files -------------------------------------------------------------------------------------------------------


def read_bytes(path: str | Path, limit: int = DOCUMENT, line: int = 0) -> bytes:
    """A regular file's bytes, at most `limit`, and at most `line` of them in a line (0: as many as there are).

    Raises `OSError` as `open` does, `SpecError` for a pipe, a device, a folder, and past a limit.
    """
    with os.fdopen(descriptor(path), "rb", buffering=0) as file:
        if line:
            _check_lines(path, file, limit, line)
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1) if size <= limit else b""  # at once: parts that are joined would be there twice
        while size <= limit and len(data) <= limit and (more := file.read(CHUNK)):  # it grew, or is of the system
            data += more
    if size > limit or len(data) > limit:
        raise SpecError(f"{path} has more than {limit // MIB} MiB", hint=SMALLER)
    return data


def _check_lines(path: str | Path, file: Any, limit: int, line: int) -> None:
    """Look through a file, and go back to its beginning. Raises `SpecError` for a line that is too long."""
    total = tail = 0
    while total <= limit and (part := file.read(CHUNK)):
        total += len(part)
        first, last = part.find(b"\n"), part.rfind(b"\n")
        if tail + (len(part) if first < 0 else first) > line:
            raise SpecError(f"{path}: a line has more than {line // MIB} MiB", hint="is it a file of rows?")
        tail = tail + len(part) if last < 0 else len(part) - last - 1
    file.seek(0)


def descriptor(path: str | Path) -> int:
    """A descriptor of a regular file. Without waiting: opening a pipe to which nobody writes would take for ever."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags)
    except ValueError:  # a name that no file can have: it holds a NUL
        raise FileNotFoundError(2, "No such file", str(path)) from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device"
        hint = "name a file; write the output of a program to one first"
        raise SpecError(f"{path} cannot be read: it is {kind}", hint=hint)
    return descriptor


def head(path: str | Path, size: int) -> bytes:
    """The first bytes of a regular file. Raises as `read_bytes` does."""
    with os.fdopen(descriptor(path), "rb") as file:
        return file.read(size)


def read_text(path: str | Path, limit: int = DOCUMENT) -> str:
    """A regular file's text, UTF-8, without a byte order mark. Raises as `read_bytes` and `decode` do."""
    return decode(str(path), read_bytes(path, limit))


def decode(name: str, data: bytes) -> str:
    """The text of a file's bytes, without a byte order mark. Raises `SpecError` with the line of what is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        offset = len(data) - len(error.object) + error.start
        line = data.count(b"\n", 0, offset) + 1
        message = f"{name}, line {line}: byte {offset} (0x{data[offset]:02x}) is not UTF-8"
        raise SpecError(message, hint="save the file as UTF-8") from None


# --- JSON --------------------------------------------------------------------------------------------------------


def parse_json(name: str, text: str, line: int = 1, unique: bool = False) -> Json:
    """The value in `text`, which begins at `line` of the file `name`. unique: no object may have a name twice.

    Every number is finite. Raises `SpecError` with file, line and what to do.
    """

    def once(pairs: list[tuple[str, Json]]) -> Json:
        record = dict(pairs)
        if len(record) < len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    raise SpecError(f"{name}: {key!r} is in it twice", hint="merge the two, or delete one")
                seen.add(key)
        return record

    _check_values(name, text)
    try:
        value = json.loads(
            text,
            object_pairs_hook=once if unique else None,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except json.JSONDecodeError as error:
        message = f"{name}, line {line + error.lineno - 1}, character {error.colno}: bad JSON: {error.msg}"
        raise SpecError(message, hint="fix the line; strings and names need double quotes") from None
    except RecursionError:
        _too_deep(name)
    except ValueError as error:
        raise SpecError(f"{name}, line {line}: bad JSON: {error}", hint="write a number that JSON has") from None
    if text.count("[") + text.count("{") > DEPTH:
        _check_depth(name, value)
    return value


def _integer(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"a number has {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text[:20]} is no finite number")
    return number


_PART = re.compile(r'"(?:[^"\\]|\\.)*+"|[^"]++', re.DOTALL)


def _check_values(name: str, text: str) -> None:
    """Raise `SpecError` for more values than `VALUES`. What stands in texts is told apart only where it matters."""
    if sum(map(text.count, ",[{")) <= VALUES:
        return
    values = 0
    for part in _PART.finditer(text):
        start, end = part.span()
        if text[start] != '"':
            values += sum(text.count(sign, start, end) for sign in ",[{")
        if values > VALUES:
            raise SpecError(f"{name} has more than {VALUES:,} values", hint=SMALLER)


def _check_depth(name: str, value: Json) -> None:
    level: list[Json] = [value]
    for _ in range(DEPTH):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, (dict, list))]
        if not level:
            return
    _too_deep(name)


def _inside(value: Json) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _too_deep(name: str) -> NoReturn:
    raise SpecError(f"{name}: bad JSON: it is nested too deeply", hint=f"nest at most {DEPTH} levels")


# --- TOML --------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+"""|' r"'''(?:[^']|'(?!''))*+'''|"
    r'"(?:[^"\\\n]|\\.)*+"|' r"'[^'\n]*+'|#[^\n]*+|[\[\]{}=,.\n]|[0-9][0-9A-Za-z_]++",
    re.DOTALL,
)  # fmt: skip


def read_toml(path: str | Path) -> dict[str, Any]:
    """A TOML file. Raises `OSError` where it cannot be opened, else `SpecError` with file and line."""
    return parse_toml(str(path), read_text(path, TOML))


def parse_toml(name: str, text: str) -> dict[str, Any]:
    """The table in a TOML text. Raises `SpecError` with file and line."""
    _check_toml(name, text)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        end = f"at the end, line {len(text.splitlines())}"  # what a half-written file lacks stands there
        message = str(error).replace("at end of document", end)
        raise SpecError(f"{name} is not TOML: {message}", hint="fix the line; texts need quotes") from None


def _check_toml(name: str, text: str) -> None:
    """Raise `SpecError` where the parser would take long or much memory: both grow with the square of a dotted name."""
    if len(text) > TOML:
        raise SpecError(f"{name} has more than {TOML // MIB} MiB", hint=SMALLER)
    values, depth, dots = 0, 0, 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == ".":
            dots += 1
        elif token in ("[", "{", "]", "}", "=", ",", "\n"):
            dots = 0
            depth = depth + 1 if token in "[{" else max(0, depth - 1) if token in "]}" else depth
            values += token in "[{=,"
        elif token[0].isdigit() and len(token) > DIGITS:
            raise SpecError(f"{name}: a number has {len(token)} digits", hint=f"at most {DIGITS}")
        if max(dots, depth) > DEPTH or values > TOML_VALUES:
            line = text.count("\n", 0, match.start()) + 1
            what = f"more than {TOML_VALUES:,} values" if values > TOML_VALUES else "too many levels"
            raise SpecError(f"{name}, line {line}: {what}", hint=f"nest at most {DEPTH} levels; {SMALLER}")


# --- zip files ---------------------------------------------------------------------------------------------------


def read_zip(path: str | Path, limit: int = BUNDLE, only: Callable[[str], bool] = lambda _: True) -> dict[str, bytes]:
    """The files in a zip file by name, at most `limit` bytes once unpacked, whatever its own list says.

    only: which names are read.

    Raises `OSError` where it cannot be opened, `SpecError` for what is no such file and past the limit.
    """
    files: dict[str, bytes] = {}
    with os.fdopen(descriptor(path), "rb") as stream:
        _check_directory(path, stream)
        try:
            with zipfile.ZipFile(stream) as archive:
                for member in filter(lambda member: only(member.filename), archive.infolist()):
                    if member.header_offset < 0:
                        raise zipfile.BadZipFile("its list names a place before it")
                    plain = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
                    if not plain or member.flag_bits & 1:
                        message = f"{path}: {member.filename} is encrypted or packed otherwise"
                        raise SpecError(message, hint="pack it as plain zip")
                    if member.filename in files:
                        raise SpecError(f"{path}: {member.filename} is in it twice", hint="pack it again")
                    files[member.filename] = _unpacked(path, archive, member, limit - sum(map(len, files.values())))
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, struct.error) as error:
            raise SpecError(f"{path} is a damaged zip file: {error}", hint="fetch it again") from None
    return files


def _unpacked(path: str | Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> bytes:
    parts, total = [], 0
    with archive.open(member) as file:
        while part := file.read(CHUNK):
            total += len(part)
            if total > limit:
                raise SpecError(f"{path} holds more than {BUNDLE // MIB} MiB", hint="ask who made it for the folder")
            parts.append(part)
    return b"".join(parts)


def _check_directory(path: str | Path, stream: Any) -> None:
    """Raise `SpecError` where the list of files is too long, before `zipfile` reads it whole."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 2**16 - 42))
    tail = stream.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        raise SpecError(f"{path} is no zip file", hint="fetch it again")
    if b"PK\6\7" in tail[max(0, at - 20) : at] or struct.unpack("<L", tail[at + 12 : at + 16])[0] > DIRECTORY:
        raise SpecError(f"{path} lists too many files", hint="a zip file of this program holds six")
    stream.seek(0)
