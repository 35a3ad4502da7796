"""A batch of a log: whole records, which may be read in another process."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from withstand.core import Json
from withstand.formats.traffic.decode import HALF, NOT_JSON, Decoder, UnreadableError
from withstand.formats.traffic.exchange import BadLine, Exchange
from withstand.formats.traffic.forms import FORMS, Parser
from withstand.formats.traffic.position import Position
from withstand.formats.traffic.tables import Table, rows_of

SURPRISES = (TypeError, AttributeError, LookupError, ValueError, ArithmeticError, RecursionError)


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
    table: Table | None = None
    ends: tuple[int, ...] = ()

    def read(self) -> list[Exchange | BadLine]:
        """What the records hold. Never raises for anything that stands in them."""
        if self.problem is not None:
            return [BadLine(self.line + 1, *self.problem)]
        decode, parse = _parser(self.form, self.columns)
        items: list[Exchange | BadLine] = []
        for number, raw in self._records():
            odd: list[str] = []
            try:
                record = decode(raw, odd) if self.table is None else self.table.record(raw, odd)
                items += parse(number, record, odd)
            except UnreadableError as error:
                items += self._behind(number, raw, error, decode, parse)
            except SURPRISES as error:  # a shape that no form foresees stops no run; it is counted like any bad line
                why = f"{type(error).__name__}: {error}"[:200]
                items.append(BadLine(number, "not understood", why))
        return items

    def _behind(
        self, number: int, raw: bytes, error: UnreadableError, decode: Decoder, parse: Parser
    ) -> list[Exchange | BadLine]:
        """What is in a line that cannot be read whole: a record may stand behind one that was cut off, or behind words.

        That happens when a writer was killed in the middle of a line, and where another program puts a time before it.
        """
        bad = BadLine(number, error.kind, error.why, error.harmless)
        place = decode.behind(raw) if self.table is None and error.kind in (HALF, NOT_JSON) else None
        if place is None:
            return [bad]
        odd: list[str] = []
        try:
            items = list(parse(number, decode(raw[place:], odd), odd))
        except (UnreadableError, *SURPRISES):
            return [bad]
        if b"{" in raw[:place]:
            return [BadLine(number, HALF, f"it was cut off; another record begins at byte {place:,} of it"), *items]
        for item in items:
            if isinstance(item, Exchange):
                item.odd = (*item.odd, "words before a record")
        return items

    def values(self) -> list[Json]:
        """The records themselves, as far as they can be read."""
        decode, _ = _parser("plain", ())
        values = []
        for _, raw in self._records() if self.problem is None else ():
            try:
                values.append(decode(raw, []) if self.table is None else self.table.record(raw, []))
            except UnreadableError:
                if self.table is None and (place := decode.behind(raw)) is not None:
                    values.append(decode(raw[place:], []))
        return values

    def _records(self) -> Iterator[tuple[int, bytes]]:
        """Number and bytes of each record; the header of a table is none."""
        if self.table is not None:
            for number, raw in enumerate(rows_of(self.data, self.ends), self.line + 1):
                if number > 1:
                    yield number, raw
            return
        lines = self.data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        yield from enumerate(lines, self.line + 1)


@lru_cache(maxsize=8)
def _parser(form: str, columns: tuple[tuple[str, str], ...]) -> tuple[Decoder, Parser]:
    return Decoder(), FORMS[form].build(dict(columns))
