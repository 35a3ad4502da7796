"""How the records of a log are laid out in it: a line each, rows of CSV or Parquet, JSON documents, a zip file."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from withstand.core import SpecError
from withstand.formats.traffic.archive import sample_pieces
from withstand.formats.traffic.cutting import Cutter, Lines, Piece, Rows
from withstand.formats.traffic.decode import Decoder, UnreadableError
from withstand.formats.traffic.source import STDIN
from withstand.formats.traffic.tables import Table, parquet_pieces, table_of
from withstand.formats.traffic.values import BARE, Values

Pieces = Callable[[str, int, int], Iterator[Piece]]
"""Path, records that were read before, bytes at a time -> the records behind them. Their sizes count records."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A layout. word: for a record, in messages.   cutter: cuts the stream of its bytes, anew for each file.

    pieces: reads a file that is no stream, instead of it.   table: the head of CSV.
    """

    word: str
    cutter: Callable[[], Cutter] = Lines
    pieces: Pieces | None = None
    table: Table | None = None


LINES = Frame("line")


def frame_of(path: str, sample: bytes) -> Frame:
    """The layout of the log at `path`, which begins with `sample`. Raises `SpecError` for a table that is none."""
    if sample.startswith((b"PK\x03\x04", b"PAR1")):
        if path == STDIN:
            raise SpecError("a zip file or Parquet cannot be read from stdin", hint="name the file")
        if sample.startswith(b"PAR1"):
            return Frame("row", pieces=parquet_pieces)
        return Frame("sample", pieces=sample_pieces)
    text = sample.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n\x00")
    ending = re.search(r"\.(jsonl|ndjson|json|csv|tsv)(\.\w+)?$", path, re.IGNORECASE)
    name = ending[1].lower() if ending else ""
    lines = name in ("jsonl", "ndjson")
    if (text.startswith(b"[") and not _is_line(text)) or (text.startswith(b"{") and not lines and _is_document(text)):
        return Frame("record", Values)
    if not lines and name != "json" and not text.startswith(b"{") and not _has_objects(text):
        table = table_of(path, sample, certain=bool(name))
        if table is not None:
            delimiter = table.delimiter
            return Frame("row", lambda: Rows(delimiter), table=table)
    return LINES


def _is_document(text: bytes) -> bool:
    """Whether an object goes on behind its first line, or is one around a list of records."""
    first, _, rest = text.partition(b"\n")
    decode = Decoder()
    try:
        value = decode(first, [])
    except UnreadableError:
        return first.rstrip().endswith((b"{", b"[", b",")) and bool(rest) and not _has_objects(rest)
    lists = [name for name in BARE if isinstance(value, dict) and isinstance(value.get(name), list)]
    return bool(lists) and any(isinstance(item, dict) for name in lists for item in value[name])


def _is_line(text: bytes) -> bool:
    """Whether a list ends on its first line, and objects follow."""
    first, _, rest = text.partition(b"\n")
    return first.rstrip().endswith(b"]") and _has_objects(rest)


def _has_objects(text: bytes) -> bool:
    """Whether one of the first lines is an object."""
    decode = Decoder()
    for line in text.split(b"\n", 20)[:20]:
        try:
            if isinstance(decode(line, []), dict):
                return True
        except UnreadableError:
            continue
    return False


def merged(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """The same records in as few pieces as can be."""
    held: list[Piece] = []
    for piece in pieces:
        if piece.problem is not None and held:
            yield _joined(held)
            held = []
        if piece.problem is not None:
            yield piece
        else:
            held.append(piece)
    if held:
        yield _joined(held)


def _joined(pieces: Sequence[Piece]) -> Piece:
    if len(pieces) == 1:
        return pieces[0]
    ends, start = [], 0
    for piece in pieces:
        ends += [start + end for end in piece.ends]
        start += len(piece.data)
    data = b"".join(piece.data for piece in pieces)
    return Piece(data, sum(piece.records for piece in pieces), sum(piece.size for piece in pieces), ends=tuple(ends))
