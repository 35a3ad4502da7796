"""A stream of bytes cut into records. What is left of one at the end of a part waits for its rest."""

import csv
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from withstand.formats.traffic.decode import LINE

ROW = 2**20
"""Bytes of a row of CSV: in a longer one a quote was opened that nobody closes."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole records. data: JSON, a record a line; or rows of CSV, which end at `ends`.   records: how many.

    size: bytes of the log that they took.   problem: kind and reason of one record that is passed over, without data.
    """

    data: bytes
    records: int
    size: int
    problem: tuple[str, str] | None = None
    ends: tuple[int, ...] = ()


def gathered(
    lines: Iterable[tuple[bytes, tuple[str, str] | None]], size: int, damage: tuple[type[Exception], ...]
) -> Iterator[Piece]:
    """Records of a file that is no stream of bytes, about `size` bytes at a time. lines: each record, or its problem.

    damage: what `lines` raises where nothing more can be read; it is the last piece.
    """
    held, records, problems = bytearray(), 0, list[Piece]()
    try:
        for line, problem in lines:
            if problem is None:
                held += line
                records += 1
            if held and (problem is not None or len(held) >= size):
                yield Piece(bytes(held), records, records)
                held, records = bytearray(), 0
            if problem is not None:
                yield Piece(b"", 1, 1, problem)
    except damage as error:
        problems = [Piece(b"", 0, 0, ("damaged log", " ".join(str(error).split())[:200]))]
    yield from [Piece(bytes(held), records, records)] if held else []
    yield from problems


class Cutter(Protocol):
    """Cuts what is fed to it. rescans: it has to see a log from its beginning to know where records are."""

    rescans: bool

    def feed(self, data: bytes) -> Sequence[Piece]:
        """The records that end in `data`."""

    def rest(self) -> Sequence[Piece]:
        """What waits, as records: the log has ended."""


class Lines:
    """A record a line. A line of more than `LINE` bytes is passed over, without being held."""

    rescans = False

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size, self._long = 0, False

    def feed(self, data: bytes) -> Sequence[Piece]:
        end = data.rfind(b"\n") + 1
        if not end:
            self._hold(data)
            return ()
        pieces: list[Piece] = []
        start, first = 0, data.find(b"\n") + 1
        if self._long or self._size + first > LINE:
            self._hold(data[:first])
            pieces, start = list(self.rest()), first
        if whole := b"".join((*self._held, data[start:end])):
            pieces.append(Piece(whole, whole.count(b"\n"), len(whole)))
        self._held, self._size, self._long = [], 0, False
        self._hold(data[end:])
        return pieces

    def rest(self) -> Sequence[Piece]:
        held, size, long = b"".join(self._held), self._size, self._long
        self._held, self._size, self._long = [], 0, False
        if long:
            return (Piece(b"", 1, size, too_long(size)),)
        return (Piece(held, 1, size),) if held else ()

    def _hold(self, data: bytes) -> None:
        self._size += len(data)
        self._long = self._long or self._size > LINE
        self._held = [] if self._long else [*self._held, data] if data else self._held


def too_long(size: int) -> tuple[str, str]:
    """The problem of a record of `size` bytes."""
    return "line too long", f"it has {size:,} bytes; at most {LINE // 2**20} MiB are read"


class _UnfinishedError(Exception):
    """A row goes on in a line that is not there yet."""


class Rows:
    """A row of CSV a record; a quoted cell may hold line ends. delimiter: between cells."""

    rescans = False

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter
        self._lines = Lines()
        self._waiting: deque[bytes] = deque()
        self._taken: list[bytes] = []
        csv.field_size_limit(LINE)  # Python's own limit is 128 KiB a cell

    def __iter__(self) -> "Rows":
        return self

    def __next__(self) -> str:
        """The next line for the parser; a byte is a character, so that lengths are those of the bytes."""
        if not self._waiting:
            raise _UnfinishedError
        self._taken.append(self._waiting.popleft())
        return self._taken[-1].decode("latin-1")

    def feed(self, data: bytes) -> Sequence[Piece]:
        pieces: list[Piece] = []
        for piece in self._lines.feed(data):
            if piece.problem is None:
                self._waiting.extend(
                    piece.data.splitlines(keepends=True) if b"\r" not in piece.data else _split(piece.data)
                )
            pieces += self._rows()
            if piece.problem is not None:
                pieces += [*self.rest(), piece]
        return pieces

    def rest(self) -> Sequence[Piece]:
        pieces: list[Piece] = []
        for piece in self._lines.rest():
            self._waiting.extend([piece.data] if piece.data else [])
            pieces += self._rows() if piece.problem is None else [*self._rows(), piece]
        while self._waiting:
            pieces += [self._open(), *self._rows()]
        return pieces

    def _rows(self) -> list[Piece]:
        """The rows that are whole, as one piece, and those with a quote that nobody closes."""
        pieces: list[Piece] = []
        rows: list[bytes] = []
        while self._waiting:
            if b'"' not in self._waiting[0]:
                rows.append(self._waiting.popleft())
                continue
            self._taken = []
            try:
                next(csv.reader(self, delimiter=self._delimiter, strict=True))
            except _UnfinishedError:
                self._waiting.extendleft(reversed(self._taken))
                if sum(map(len, self._taken)) <= ROW:
                    break
                pieces += [*_piece(rows), self._open()]
                rows = []
                continue
            except csv.Error:  # the reader of the row says what; the lines behind the first may be rows
                self._waiting.extendleft(reversed(self._taken[1:]))
                del self._taken[1:]
            rows.append(b"".join(self._taken))
        return [*pieces, *_piece(rows)]

    def _open(self) -> Piece:
        """The first line of a row that never ends, passed over alone: the lines behind it are read."""
        line = self._waiting.popleft()
        return Piece(b"", 1, len(line), ("open quote", "a quoted cell begins in it and never ends"))


def _split(data: bytes) -> list[bytes]:
    """Lines with their ends; a CR alone ends none."""
    lines = data.split(b"\n")
    return [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _piece(rows: Sequence[bytes]) -> list[Piece]:
    if not rows:
        return []
    ends, end = [], 0
    for row in rows:
        end += len(row)
        ends.append(end)
    return [Piece(b"".join(rows), len(rows), end, ends=tuple(ends))]
