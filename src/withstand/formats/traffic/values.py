"""JSON that is not a record a line: a list, pretty-printed objects, an object around a list. Cut in bounded memory."""

import json
import re
from collections.abc import Sequence
from typing import Literal

from withstand.core import Json
from withstand.formats.traffic.cutting import Piece, too_long
from withstand.formats.traffic.decode import LINE

BARE = ("data", "records", "rows", "items", "exchanges", "logs", "results")
"""Names of lists in an object around them: their items are records, and what stands beside them says nothing."""
WRAPPED = ("samples", "resourceSpans", "resourceLogs")
"""The same, where what stands before the list is of each item: a record is the object with one item in it."""
DEPTH = 10_000
"""Levels of nesting."""
SHORT = 200
"""Characters of a text before a list that is kept."""

_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{}]', re.DOTALL)
_STRING_END = re.compile(rb'(?:[^"\\]++|\\.)*+"', re.DOTALL)
_LIST = re.compile(rb"\s*:\s*\[")
_BEFORE_LIST = re.compile(rb"\s*:?\s*$")


class Values:
    """A value at the top of a document is a record; so is an item of a list there, or of a list in an object there."""

    rescans = True

    def __init__(self) -> None:
        self._data = b""
        self._at = 0  # where the search goes on
        self._start = 0  # of what was not given yet
        self._depth = 0
        self._base = 0  # the depth at which records lie: 0, in a list 1, in a list of an object 2
        self._begin = 0  # of the record that is open
        self._in: Literal["between", "record", "rest"] = "between"
        self._prefix, self._suffix = b"", b""
        self._long = 0  # bytes of the record that were let go
        self._text = False  # in a text of which the beginning was let go
        self._junk = False  # something that is no object lies before the next record
        self._size = 0  # bytes before `_start` that no piece counted yet

    def feed(self, data: bytes) -> Sequence[Piece]:
        if self._depth > DEPTH:
            self._size += len(data)
            return []
        self._data = self._data[self._start :] + data
        self._at -= self._start
        self._begin -= self._start
        self._start = 0
        pieces: list[Piece] = []
        while (token := self._token()) is not None:
            pieces += self._seen(token)
        self._let_go()
        return pieces

    def rest(self) -> Sequence[Piece]:
        left = self._data[self._begin :] if self._in == "record" else b""
        if self._in != "record":
            self._note_junk(len(self._data))
        self._move(len(self._data))
        if self._in == "record" and (self._long or len(left) > LINE):
            pieces = [self._piece(problem=too_long(self._long + len(left)))]
        elif self._in == "record":
            pieces = [self._piece(_one_line(left) + b"\n")]
        else:
            unended = ("half-written line", "the list of records does not end") if self._depth else None
            if self._depth > DEPTH:
                unended = "nested too deeply", f"{DEPTH:,} lists and objects lie in each other; nothing behind is read"
            pieces = [*self._junk_piece(), Piece(b"", 0, self._size, unended)]
        self.__init__()  # type: ignore[misc]
        return pieces

    def _move(self, to: int) -> None:
        self._size += to - self._start
        self._start = to

    def _piece(self, data: bytes = b"", problem: tuple[str, str] | None = None) -> Piece:
        size, self._size = self._size, 0
        return Piece(data, 1, size, problem)

    def _token(self) -> re.Match[bytes] | None:
        """The next text or bracket that is whole."""
        if self._text:
            end = _STRING_END.match(self._data, self._at)
            if end is None:
                self._at = len(self._data) - (len(self._data) > self._at and self._data.endswith(b"\\"))
                return None
            self._text, self._at = False, end.end()
        token = _TOKEN.search(self._data, self._at)
        if token is None:
            self._at = len(self._data)
        elif token[0] == b'"':  # its end is not there yet
            self._at, token = token.start(), None
        elif token[0][0] == 34 and self._is_name(token) and _BEFORE_LIST.match(self._data, token.end()):
            self._at, token = token.start(), None  # what follows a name decides
        else:
            self._at = token.end()
        return token

    def _is_name(self, token: re.Match[bytes]) -> bool:
        """Whether a text may be the name of a list of records."""
        there = self._depth == 1 and self._base == 0 and self._in != "between"
        return there and token[0][1:-1].decode("latin-1") in (*BARE, *WRAPPED)

    def _seen(self, token: re.Match[bytes]) -> list[Piece]:
        sign = token[0][:1]
        if sign == b'"':
            is_list = self._is_name(token) and _LIST.match(self._data, token.end())
            if is_list:
                self._descend(token)
            return []
        if sign in (b"[", b"{"):
            if self._in == "between" and self._depth == self._base == 0 and sign == b"[":
                self._note_junk(token.start())
                self._base = 1
                self._move(token.end())
            elif self._in == "between" and self._depth == self._base:
                self._note_junk(token.start())
                self._in, self._begin = "record", token.start()
            self._depth += 1
            if self._depth > DEPTH:  # where records begin behind it nobody knows
                self._at, self._begin = len(self._data), len(self._data)
                self._in = "rest"
            return []
        self._depth = max(0, self._depth - 1)
        if self._in == "record" and self._depth == self._base:
            return self._record(token.end())
        if self._in == "between" and self._depth < self._base:  # the list has ended
            self._note_junk(token.start())
            self._move(token.end())
            self._in = "rest" if self._depth else "between"
            self._base, self._prefix, self._suffix = 0, b"", b""
            return self._junk_piece()
        if self._in == "rest" and self._depth == 0:
            self._in = "between"
            self._move(token.end())
        return []

    def _descend(self, token: re.Match[bytes]) -> None:
        """Take the items of a list in an object at the top for records."""
        self._prefix, self._suffix = b"", b""
        if token[0][1:-1].decode() in WRAPPED:
            before = self._data[self._begin : token.start()] if self._in == "record" and not self._long else b"{"
            self._prefix, self._suffix = _kept(before) + token[0] + b":[", b"]}"
        listed = _LIST.match(self._data, token.end())
        assert listed is not None
        self._move(listed.end())
        self._at, self._depth, self._base, self._in, self._long = listed.end(), 2, 2, "between", 0

    def _record(self, end: int) -> list[Piece]:
        long, body = self._long, self._data[self._begin : end]
        self._in, self._long = "between", 0
        junk = self._junk_piece()
        self._move(end)
        if long or len(body) > LINE:
            return [*junk, self._piece(problem=too_long(long + len(body)))]
        return [*junk, self._piece(self._prefix + _one_line(body) + self._suffix + b"\n")]

    def _note_junk(self, end: int) -> None:
        self._junk = self._junk or bool(self._data[self._start : end].strip(b" \t\r\n,\x00\xef\xbb\xbf"))

    def _junk_piece(self) -> list[Piece]:
        junk, self._junk = self._junk, False
        why = "something stands between records that is no object"
        return [self._piece(problem=("no object", why))] if junk else []

    def _let_go(self) -> None:
        """Hold no more than the record that is open, and no more of it than a record may have."""
        if self._in == "record":
            if len(self._data) - self._begin <= LINE:
                return
            self._long += len(self._data) - self._begin
        elif self._in == "between":
            self._note_junk(self._at)
        if len(self._data) - self._at > LINE:  # in a text
            self._text = True
            self._at = len(self._data) - self._data.endswith(b"\\")
        self._move(self._at)
        self._begin = self._at


def _one_line(body: bytes) -> bytes:
    """In JSON a line end stands between values alone."""
    return body.replace(b"\r", b" ").replace(b"\n", b" ")


def _kept(before: bytes) -> bytes:
    """The beginning of an object, with the short values in it and in its objects, open for one more name."""
    try:
        value = json.loads(before.rstrip().rstrip(b",") + b"}")
    except (ValueError, RecursionError):
        return b"{"
    short = {
        name: {inner: item for inner, item in held.items() if _is_short(item)} if isinstance(held, dict) else held
        for name, held in value.items()
        if isinstance(held, dict) or _is_short(held)
    }
    return json.dumps(short)[:-1].encode() + b"," if short else b"{"


def _is_short(value: Json) -> bool:
    return value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= SHORT)
