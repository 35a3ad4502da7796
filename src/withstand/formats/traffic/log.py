"""One log of any form, read in batches: `open_log`.

    log = open_log("traffic.jsonl")                       # "-" is stdin
    for batch in log.batches():
        for item in batch.read():                         # here, or in another process: a batch can be pickled
            ...                                           # an Exchange, or a BadLine
        ...                                               # write, with batch.end
    open_log("traffic.jsonl", start=batch.end)            # goes on behind that batch

A batch holds whole records, so `start` never cuts one. A record gives one exchange or one bad line; one that holds a
conversation or several spans gives several.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from withstand.core import SpecError, did_you_mean
from withstand.formats.traffic.cutting import Cutter, Lines, Piece
from withstand.formats.traffic.decode import Decoder, UnreadableError
from withstand.formats.traffic.exchange import BadLine, Exchange
from withstand.formats.traffic.forms import AUTO, FORMS, Parser, check_form, detect
from withstand.formats.traffic.plain import FIELDS
from withstand.formats.traffic.position import BEGINNING, Position, mark_of
from withstand.formats.traffic.rotation import newer, state, unread
from withstand.formats.traffic.source import STDIN, Source

SIZE = 2**20
"""Bytes of a batch, about."""
SAMPLE = 2**16
"""Bytes of the log, about, whose lines say its form."""
FIRST = 50
"""Lines, at most, that say it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole records of a log, not yet read. path: of their file.   line: records before them.

    end: where to go on when these were taken.   problem: kind and reason of the one record, which was passed over.
    waits: it is a last line that is half written. `end` is before it, so that it is read again when it is whole.
    """

    path: str
    form: str
    columns: tuple[tuple[str, str], ...]
    line: int
    data: bytes
    end: Position
    problem: tuple[str, str] | None = None
    waits: bool = False

    def read(self) -> list[Exchange | BadLine]:
        """What the records hold. Never raises for anything that stands in them."""
        if self.problem is not None:
            return [BadLine(self.line + 1, *self.problem)]
        decode, parse = _parser(self.form, self.columns)
        items: list[Exchange | BadLine] = []
        lines = self.data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        for number, raw in enumerate(lines, self.line + 1):
            odd: list[str] = []
            try:
                items += parse(number, decode(raw, odd), odd)
            except UnreadableError as error:
                items.append(BadLine(number, error.kind, error.why, error.harmless))
        return items


@lru_cache(maxsize=8)
def _parser(form: str, columns: tuple[tuple[str, str], ...]) -> tuple[Decoder, Parser]:
    return Decoder(), FORMS[form].build(dict(columns))


Wait = Callable[[], bool]
"""Waits for more of a log that is followed, and returns whether to go on."""
End = Literal["end", "stopped", "renamed", "cut"]


class Log:
    """A log that is open. path: of a file, or "-".   form: of its records; "auto" as long as there is none.

    why: how the form was told.
    """

    def __init__(self, path: str, form: str, columns: Mapping[str, str], start: Position) -> None:
        self.path, self.form, self.why, self.start = path, form, "as you say", start
        self.columns = tuple(columns.items())
        self._first: Source | None = Source(path)
        if form == AUTO and (sample := self._first.sample(SAMPLE)):
            self._detect(sample)

    def __iter__(self) -> Iterator[Exchange | BadLine]:
        """All items, without positions."""
        for batch in self.batches():
            yield from batch.read()

    def batches(self, size: int = SIZE, follow: Wait | None = None) -> Iterator[Batch]:
        """What is in the log from `start` on, `size` bytes at a time, about.

        follow: goes on with what is written later, to this file and to its successors when it is rotated, by name or
        by being emptied; it is called when there is nothing more now. A half-written last line waits for its rest.
        """
        files, whole = unread(self.path, self.start)
        if not whole:
            yield self._missing(self.start)
        waiting = deque(files)
        while waiting:
            path, position = waiting.popleft()
            source = self._source(path)
            last = path == self.path and not waiting
            reading = _Reading(self, path, source, position, last)
            yield from reading.batches(size, follow if last else None)
            if reading.end == "renamed":
                waiting.extend((copy, Position()) for copy in (*newer(path, source), path))
            elif reading.end == "cut":
                files, whole = unread(path, reading.position)
                if not whole:
                    yield self._missing(reading.position)
                waiting.extend(files)
            source.close()

    def _source(self, path: str) -> Source:
        """The file at `path`, from its beginning."""
        first, self._first = self._first, None
        if first is not None and path == first.path:
            return first
        if first is not None:
            first.close()
        return Source(path)

    def _missing(self, position: Position) -> Batch:
        why = (
            f"another log has its name now: what was written to the old one after byte {position.offset:,} is not here"
        )
        return Batch(self.path, self.form, self.columns, 0, b"", Position(), ("log replaced", why))

    def _detect(self, sample: bytes) -> None:
        lines = sample.splitlines() if len(sample) < SAMPLE else sample.splitlines()[:-1] or [sample]
        self.form, self.why = detect(self.path, lines[:FIRST], dict(self.columns))

    def _cutter(self) -> Cutter:
        return Lines()


class _Reading:
    """The reading of one file of a log. position: how far it got.   end: why it ended."""

    def __init__(self, log: Log, path: str, source: Source, position: Position, last: bool) -> None:
        self.log, self.path, self.source, self.last = log, path, source, last
        self.position, self.end, self.unended = position, "end", False

    def batches(self, size: int, follow: Wait | None) -> Iterator[Batch]:
        if not self._skip():
            yield self._batch(Piece(b"", 0, 0, ("log is shorter", f"it ends before byte {self.position.offset:,}")))
            return
        cutter, moved = self.log._cutter(), False
        while True:
            data = self._data(size, follow is None)
            if self.unended and data:
                data = self._ended(data)
            for piece in cutter.feed(data):
                yield self._taken(piece)
            if data:
                continue
            if follow is None or self.source.damage or self.source.packed not in ("", "UTF-16"):
                break
            if moved:  # nobody has written to it since it got another name
                break
            what = "same" if self.path == STDIN else state(self.path, self.source)
            if what == "cut":
                self.end = "cut"
                break
            if not follow():
                self.end = "stopped"
                return
            moved = what == "renamed"
            self.end = "renamed" if moved else "end"
        yield from self._rest(cutter)

    def _skip(self) -> bool:
        """Go to the position, and see whether the line before it has its end."""
        offset = self.position.offset
        if not self.source.skip(max(0, offset - 1)):
            return False
        self.unended = offset > 0 and self.source.read(1) not in (b"\n", b"")
        return True

    def _ended(self, data: bytes) -> bytes:
        """What follows the end of a last line that was read before its writer had ended it."""
        self.unended = False
        rest = data.removeprefix(b"\r").removeprefix(b"\n")
        self.position = replace(self.position, offset=self.position.offset + len(data) - len(rest))
        return rest

    def _data(self, size: int, whole: bool) -> bytes:
        """The next bytes: `size` of them, or what there is now."""
        parts: list[bytes] = []
        left = size
        while left > 0 and (part := self.source.read(left)):
            parts.append(part)
            left -= len(part)
            if self.path == STDIN and not whole:
                break
        return b"".join(parts)

    def _rest(self, cutter: Cutter) -> Iterator[Batch]:
        """What does not end in a new line. It waits for its rest where it is half written and may still grow."""
        for piece in cutter.rest():
            growing = self.last and self.end == "end" and self.path != STDIN and self.source.packed in ("", "UTF-16")
            before = self.position
            batch = self._taken(piece)
            if growing and _is_half(piece.data):
                batch = replace(batch, end=before, waits=True)
                self.position = before
            yield batch
        if self.source.damage:
            yield self._batch(Piece(b"", 0, 0, ("damaged log", self.source.damage)))

    def _taken(self, piece: Piece) -> Batch:
        """The batch of whole records."""
        if self.log.form == AUTO and piece.data:
            self.log._detect(piece.data)
        return self._batch(piece)

    def _batch(self, piece: Piece) -> Batch:
        line, log = self.position.line, self.log
        mark = self.position.mark if self.path == STDIN and self.position.mark else mark_of(self.source.head)
        self.position = Position(self.position.offset + piece.size, line + piece.records, mark)
        return Batch(self.path, log.form, log.columns, line, piece.data, self.position, piece.problem)


def _is_half(line: bytes) -> bool:
    """Whether a last line is no whole record."""
    try:
        Decoder()(line, [])
    except UnreadableError as error:
        return not error.harmless
    return False


def open_log(
    path: str, form: str = AUTO, columns: Mapping[str, str] | None = None, start: Position | None = None
) -> Log:
    """The log at `path`, or of stdin ("-"). form: one of `FORMS`, or told from its first lines, which `Log.why` says.

    columns: field of an exchange -> column of the log, or a dotted path into a record.
    Raises `SpecError` where it cannot be opened, its form is open, or a column is of no field.
    """
    check_form(form)
    columns = columns or {}
    for field in columns:
        if field not in FIELDS:
            raise SpecError(
                f"no exchange has a {field!r}", hint=did_you_mean(field, FIELDS, f"fields: {', '.join(FIELDS)}")
            )
    return Log(path, form, columns, start or BEGINNING)
