"""The JSON value in a line of a log, whatever its writer did to it. What was mended is named."""

import ast
import json
from typing import Any

from withstand.core import Json, SpecError

LINE = 16 * 2**20
"""Bytes of a line. A longer one is counted and passed over."""
VALUES = 1_000_000
"""Values of a line that the careful reader takes, which is slower and keeps more than orjson."""

LITERAL = 2**18
"""Characters of a list as Python prints it, which is what pandas writes into CSV."""

HALF, NOT_JSON = "half-written line", "not JSON"
TRIES, TRIED = 16, 2**20
"""Places in a line at which a record is looked for, and bytes of such a line."""


class UnreadableError(Exception):
    """A line holds no record. kind: a word to count it by.   why: in full."""

    def __init__(self, kind: str, why: str, harmless: bool = False) -> None:
        super().__init__(why)
        self.kind, self.why, self.harmless = kind, why, harmless


def _orjson() -> Any:
    try:
        import orjson
    except ImportError:
        raise SpecError("logs need orjson", hint='pip install "withstand[monitor]"') from None
    return orjson


class Decoder:
    """Reads lines. It holds orjson, which nobody else has to import."""

    def __init__(self) -> None:
        self._library = _orjson()
        self.loads = self._library.loads

    def behind(self, raw: bytes) -> int | None:
        """Where a record begins that ends with the line, though the line is none. In a text its quotes are escaped."""
        place = 0
        for _ in range(TRIES) if len(raw) <= TRIED else ():
            place = raw.find(b'{"', place + 1)
            if place < 0:
                break
            try:
                self.loads(raw[place:])
            except ValueError:
                continue
            return place
        return None

    def dumps(self, value: Json) -> bytes:
        """A value as JSON in UTF-8; what JSON has not becomes a text."""
        text: bytes = self._library.dumps(value, default=str, option=self._library.OPT_NON_STR_KEYS)
        return text

    def __call__(self, raw: bytes, odd: list[str]) -> Json:
        """The value in a line; what was mended is added to `odd`. Raises `UnreadableError`."""
        try:
            value = self.loads(raw)
        except ValueError:
            raw = mended(raw, odd)
            try:
                value = self.loads(raw)
            except ValueError:
                return _loose(raw.decode(), odd)
        # a name that stands twice always raises the sum; the careful reader then looks
        if type(value) is dict and (colons := _colons(raw)) > len(value) and colons > _names(value) and _twice(raw):
            odd.append("a name twice")
        return value


def _colons(raw: bytes) -> int:
    """At least the number of names in a line, about: in a text a quote before a colon is escaped."""
    return raw.count(b'":') + raw.count(b'" :') - raw.count(b'\\":')


def _names(value: Json) -> int:
    """How many names there are in a value. It is not nested deeper than orjson reads."""
    count, level = 0, [value]
    while level:
        inner = level.pop()
        if type(inner) is dict:
            count += len(inner)
            level += [item for item in inner.values() if type(item) in (dict, list)]
        else:
            level += [item for item in inner if type(item) in (dict, list)]
    return count


def _twice(raw: bytes) -> bool:
    """Whether an object has a name twice. Readers differ in which of the two they take."""
    seen = False
    if raw.count(b",") > VALUES:
        return False

    def once(pairs: list[tuple[str, Json]]) -> None:
        nonlocal seen
        seen = seen or len({name for name, _ in pairs}) < len(pairs)

    try:
        json.loads(raw, object_pairs_hook=once)
    except (ValueError, RecursionError):
        return False
    return seen


def mended(raw: bytes, odd: list[str], around: bytes = b" \t\r\n\x00") -> bytes:
    """A line without what is not of it, in UTF-8. around: bytes that are not of it at its ends.

    Raises `UnreadableError` where nothing is left.
    """
    body = raw.strip(around).removeprefix(b"\xef\xbb\xbf").strip(around)
    if not body:
        if b"\x00" in raw:
            raise UnreadableError("NUL bytes", "there are only NUL bytes: the writer was cut off, or the disk was full")
        raise UnreadableError("blank line", "there is nothing in it", harmless=True)
    if b"\x00" in raw:
        odd.append("NUL bytes")
    try:
        body.decode()
    except UnicodeDecodeError:
        if b"\x00" in body:
            why = "there are NUL bytes in it, and it is not UTF-8: is it UTF-16?"
            raise UnreadableError("NUL bytes", why) from None
        odd.append("not UTF-8")
        try:
            return body.decode("cp1252").encode()
        except UnicodeDecodeError:
            return body.decode("latin-1").encode()
    return body


def _loose(text: str, odd: list[str]) -> Json:
    """The value in a line that is not strict JSON: NaN, control characters, half surrogate pairs."""
    if sum(map(text.count, ",[{")) > VALUES:
        raise UnreadableError("too many values", f"it is not strict JSON, and has more than {VALUES:,} values")
    odd.append("loose JSON")
    try:
        value = json.loads(text, strict=False, object_pairs_hook=lambda pairs: _once(pairs, odd))
        return _sendable(value) if "\\u" in text else value
    except json.JSONDecodeError as error:
        raise _broken(error, text) from None
    except RecursionError:
        raise UnreadableError("nested too deeply", "lists and objects are nested too deeply") from None
    except ValueError as error:
        raise UnreadableError(NOT_JSON, " ".join(str(error).split())[:200]) from None


def _once(pairs: list[tuple[str, Json]], odd: list[str]) -> dict[str, Json]:
    record = dict(pairs)
    if len(record) < len(pairs):
        odd.append("a name twice")
    return record


def _broken(error: json.JSONDecodeError, text: str) -> UnreadableError:
    cut = error.pos >= len(text) - 1 or error.msg.startswith(
        ("Unterminated string", "Invalid \\uXXXX", "Invalid \\esc")
    )
    if text[0] in "{[" and cut and not error.msg.startswith("Extra data"):
        return UnreadableError(HALF, f"it ends in the middle of a record, at character {len(text):,}")
    return UnreadableError(NOT_JSON, f"character {error.pos + 1}: {error.msg}")


def _sendable(value: Json) -> Json:
    """Without half surrogate pairs, which no file in UTF-8 can hold."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_sendable(name): _sendable(inner) for name, inner in value.items()}
    return [_sendable(inner) for inner in value] if isinstance(value, list) else value


def read_text(text: str) -> Json:
    """The list or object that a text holds, in JSON or as Python prints it; else the text."""
    start = text.lstrip()[:1]
    if start not in ("[", "{"):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if len(text) > LITERAL or ("'" not in text and "None" not in text):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text
    return value if isinstance(value, dict | list) else text
