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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from withstand.core import SpecError, did_you_mean
from withstand.formats.traffic.batch import Batch as Batch
from withstand.formats.traffic.cutting import Piece
from withstand.formats.traffic.decode import LINE, Decoder, UnreadableError
from withstand.formats.traffic.exchange import BadLine, Exchange
from withstand.formats.traffic.forms import AUTO, check_form, detect
from withstand.formats.traffic.frames import LINES, Frame, frame_of, merged
from withstand.formats.traffic.plain import FIELDS
from withstand.formats.traffic.position import BEGINNING, HEAD, Position, is_marked, mark_of
from withstand.formats.traffic.rotation import newer, state, unread
from withstand.formats.traffic.source import STDIN, Source

SIZE = 2**20
"""Bytes of a batch, about."""
SAMPLES = (2**16, 2**20, LINE + 2**16)
"""Bytes of the log, about, whose records say its form; the later ones where there is no whole record before."""
GROWING = ("", "UTF-16")
"""How a log is packed that may grow while it is read."""

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
        self._first: Source | None = Source(path if path == STDIN else unread(path, start)[0][0][0])
        for size in SAMPLES if form == AUTO else ():
            if self.form == AUTO and (sample := self._first.sample(size, size == SAMPLES[0])):
                half = b"\n" not in sample and path != STDIN and self._first.packed in GROWING
                self._detect(sample, not half and (size == SAMPLES[-1] or len(sample) < size))

    def __iter__(self) -> Iterator[Exchange | BadLine]:
        """All items, without positions."""
        for batch in self.batches():
            yield from batch.read()

    def batches(self, size: int = SIZE, follow: Wait | None = None) -> Iterator[Batch]:
        """What is in the log from `start` on, `size` bytes at a time, about.

        follow: goes on with what is written later, to this file and to its successors when it is rotated, by name or
        by being emptied; it is called when there is nothing more now. A half-written last line waits for its rest.
        """
        files, whole = self._files()
        if not whole:
            yield self._missing(self.start)
        waiting = deque(files)
        while waiting:
            path, position = waiting.popleft()
            source = self._source(path)
            last = not waiting
            reading = _Reading(self, path, source, position, last)
            yield from reading.batches(size, follow if last else None)
            if reading.end == "renamed":
                waiting.extend((copy, BEGINNING) for copy in (*newer(self.path, source), self.path))
            elif reading.end == "cut":
                files, whole = unread(self.path, reading.position)
                if not whole:
                    yield self._missing(reading.position)
                waiting.extend(files)
            source.close()

    def _files(self) -> tuple[list[tuple[str, Position]], bool]:
        """The files to read, each with its position, and whether the one that `start` is of is among them."""
        if self.path != STDIN or not self.start.mark or self._first is None:
            return unread(self.path, self.start)
        same = is_marked(self._first.sample(HEAD, False), self.start.mark)
        return [(STDIN, self.start if same else BEGINNING)], same

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
        return self._batch(Piece(b"", 0, 0, ("log replaced", why)), LINES, 0, BEGINNING)

    def _detect(self, sample: bytes, final: bool) -> None:
        """Tell the form from the first records. final: raise where it is open; else where there are none, wait."""
        frame = frame_of(self.path, sample)
        if frame.pieces is not None:
            pieces = [next(frame.pieces(self.path, 0, 1), Piece(b"", 0, 0))]
        else:
            cutter = frame.cutter()
            pieces = [*cutter.feed(sample), *(cutter.rest() if final else ())]
        batches = [self._batch(piece, frame, 0, BEGINNING) for piece in merged(pieces)]
        records = [record for batch in batches for record in batch.values()]
        if records or final:
            self.form, self.why = detect(self.path, frame.word, records, dict(self.columns))

    def _batch(self, piece: Piece, frame: Frame, line: int, end: Position, path: str = "") -> Batch:
        return Batch(
            path or self.path,
            self.form,
            self.columns,
            line,
            piece.data,
            end,
            piece.problem,
            False,
            frame.table,
            piece.ends,
        )


class _Reading:
    """The reading of one file of a log. position: how far it got.   end: why it ended."""

    def __init__(self, log: Log, path: str, source: Source, position: Position, last: bool) -> None:
        self.log, self.path, self.source, self.last = log, path, source, last
        self.position, self.end, self.unended = position, "end", False
        self.frame, self.cutter = LINES, LINES.cutter()
        self.passed = 0  # records that a cutter which rescans has still to pass over

    def batches(self, size: int, follow: Wait | None) -> Iterator[Batch]:
        sample = self.source.sample(SAMPLES[0], True)
        self._frame(sample)
        if self.frame.pieces is not None:
            for piece in self.frame.pieces(self.path, self.position.line, size):
                yield self._batch(piece)
            return
        if not self._skip():
            yield self._batch(Piece(b"", 0, 0, ("log is shorter", f"it ends before byte {self.position.offset:,}")))
            return
        moved, held = False, b""
        while True:
            data = self._data(size, follow is None)
            if not sample and data:  # the log was empty: its first line says how it is laid out
                held, data = held + data, b""
                if b"\n" in held:
                    sample, data = held, held
                    self._frame(sample)
            if self.unended and data:
                data = self._ended(data)
            yield from self._taken(self.cutter.feed(data))
            if data:
                continue
            if follow is None or self.source.damage or self.source.packed not in GROWING:
                break
            if moved:  # nobody has written to it since it got another name
                break
            what = "same" if self.path == STDIN else state(self.log.path, self.source)
            if what == "cut":
                self.end = "cut"
                break
            if not follow():
                self.end = "stopped"
                return
            moved = what == "renamed"
            self.end = "renamed" if moved else "end"
        yield from self._rest()

    def _frame(self, sample: bytes) -> None:
        if sample:
            self.frame = frame_of(self.path, sample)
            self.cutter = self.frame.cutter()
            self.passed = self.position.line if self.cutter.rescans else 0

    def _skip(self) -> bool:
        """Go to the position, and see whether the line before it has its end."""
        offset = 0 if self.passed else self.position.offset
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

    def _rest(self) -> Iterator[Batch]:
        """What does not end in a new line. It waits for its rest where it is half written and may still grow."""
        grows = self.last and self.end == "end" and self.path != STDIN and self.source.packed in GROWING
        before = self.position
        for batch in self._taken(self.cutter.rest(), grows):
            if grows and self.frame.table is None and batch.problem is None and _is_half(batch.data):
                self.position = before
                why = "half-written line", f"it has no end: byte {before.offset:,} and what follows it are read again"
                yield replace(batch, data=b"", end=before, waits=True, problem=why)
            else:
                yield batch
        if self.source.damage:
            yield self._batch(Piece(b"", 0, 0, ("damaged log", self.source.damage)))

    def _taken(self, pieces: Sequence[Piece], grows: bool = False) -> Iterator[Batch]:
        """The batches of whole records, without those that were read before. grows: the last may be half written."""
        for piece in merged(pieces):
            rest = piece
            if self.passed:
                rest = _behind(piece, self.passed)
                self.passed -= piece.records - rest.records
            if self.log.form == AUTO and rest.data and not (grows and _is_half(rest.data)):
                self.log._detect(rest.data, True)
            if rest.records or rest.problem:
                yield self._batch(rest)

    def _batch(self, piece: Piece) -> Batch:
        line = self.position.line
        mark = self.position.mark if self.path == STDIN and self.position.mark else mark_of(self.source.head)
        self.position = Position(self.position.offset + piece.size, line + piece.records, mark)
        return self.log._batch(piece, self.frame, line, self.position, self.path)


def _behind(piece: Piece, passed: int) -> Piece:
    """A piece of JSON without its first `passed` records."""
    if passed >= piece.records:
        return Piece(b"", 0, 0)
    lines = piece.data.split(b"\n", passed)
    return replace(piece, data=lines[-1], records=piece.records - passed)


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
