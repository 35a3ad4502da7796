"""Logs in columns, CSV and Parquet, as records."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from withstand.core import SpecError
from withstand.formats.traffic.cutting import Piece, gathered
from withstand.formats.traffic.decode import LINE, Decoder, UnreadableError, mended

BATCH = 512
"""Rows of Parquet that are unpacked at a time."""


@dataclass(frozen=True, slots=True)
class Table:
    """The head of a CSV file. names: of its columns.   delimiter: between cells."""

    names: tuple[str, ...]
    delimiter: str

    def record(self, raw: bytes, odd: list[str]) -> dict[str, str]:
        """A row as an object, without its empty cells. Raises `UnreadableError`."""
        text = mended(raw, odd, b"\r\n\x00").decode()
        try:
            cells = text.split(self.delimiter) if '"' not in text else self._cells(text)
        except csv.Error as error:
            raise UnreadableError("not CSV", str(error)) from None
        if len(cells) != len(self.names):
            why = f"it has {len(cells)} cells; the header has {len(self.names)}"
            raise UnreadableError("wrong number of cells", why)
        return {name: cell for name, cell in zip(self.names, cells, strict=True) if cell}

    def _cells(self, text: str) -> list[str]:
        csv.field_size_limit(LINE)  # Python's own limit is 128 KiB a cell
        lines = (line + "\n" for line in text.split("\n"))
        return next(csv.reader(lines, delimiter=self.delimiter, strict=True), [])


def table_of(name: str, sample: bytes, certain: bool) -> Table | None:
    """The table that a log begins with: `sample` is its first part. certain: it is CSV, by its name.

    Raises `SpecError` where a column stands twice.
    """
    text = sample.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    rows: dict[str, list[str]] = {}
    for delimiter in (",", "\t", ";"):
        try:
            rows[delimiter] = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        except csv.Error:
            continue
    delimiter, cells = max(rows.items(), key=lambda row: len(row[1]), default=(",", []))
    plain = len(cells) > 2 and all(
        cell and len(cell) <= 80 and "{" not in cell and cell.isprintable() for cell in cells
    )
    if not cells or not (certain or plain):
        return None
    if len(set(cells)) < len(cells):
        twice = next(cell for cell in cells if cells.count(cell) > 1)
        raise SpecError(f"{name}: two columns are called {twice!r}", hint="rename one of them")
    return Table(tuple(cells), delimiter)


def parquet_pieces(path: str, start: int, size: int) -> Iterator[Piece]:
    """The rows of a Parquet file behind the first `start`, as JSON, about `size` bytes at a time.

    Raises `SpecError` where pyarrow is not there.
    """
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ModuleNotFoundError:
        raise SpecError("Parquet needs pyarrow", hint="pip install pyarrow, or write the log as JSONL") from None
    damage = (pyarrow.ArrowException, ValueError, OSError, TypeError, KeyError, ArithmeticError)

    def rows() -> Iterator[tuple[bytes, None]]:
        decode, done = Decoder(), 0
        file: Any = parquet.ParquetFile(path)
        for batch in file.iter_batches(batch_size=BATCH):
            done += batch.num_rows
            if done > start:
                own = _in_microseconds(pyarrow, batch).to_pylist()[max(0, start - done + batch.num_rows) :]
                yield from ((decode.dumps(row) + b"\n", None) for row in own)

    return gathered(rows(), size, damage)


def _in_microseconds(pyarrow: Any, batch: Any) -> Any:
    """A batch whose times are what Python has: a nanosecond would need pandas."""
    columns = [
        column.cast(pyarrow.timestamp("us", tz=column.type.tz), safe=False)
        if pyarrow.types.is_timestamp(column.type) and column.type.unit == "ns"
        else column
        for column in batch.columns
    ]
    return pyarrow.RecordBatch.from_arrays(columns, names=batch.schema.names)


def rows_of(data: bytes, ends: Sequence[int]) -> Iterator[bytes]:
    """The rows in `data` that end at `ends`."""
    start = 0
    for end in ends:
        yield data[start:end]
        start = end
