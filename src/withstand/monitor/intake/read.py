"""Logs into the traffic: each from where it was left, in transactions of some ten thousand exchanges."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from withstand.formats.traffic.log import Batch, open_log
from withstand.formats.traffic.position import Position
from withstand.formats.traffic.source import STDIN
from withstand.monitor.intake.columns import Columns
from withstand.monitor.intake.workers import Workers
from withstand.monitor.intake.write import Writer

SIZE = 4 * 2**20
"""Bytes of a log that a worker takes at once."""
ROWS = 15_000
"""Exchanges of a transaction, about: what a kill can cost of the work, and never of the log."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of a log now. waits: the number of a last line that is half written, 0 for none."""

    name: str
    form: str
    why: str
    lines: int
    exchanges: int
    waits: int = 0


def read(
    name: str, writer: Writer, workers: Workers, form: str, columns: Mapping[str, str],
    progress: Callable[[int], None] = lambda _lines: None, live: bool = False,
) -> Reading:  # fmt: skip
    """Read what is new in a log. live: stdin is written to while it is read, so that nothing waits for a full batch.

    progress: called with the number of lines that were read, after each transaction. Raises `SpecError` where the log
    cannot be opened, or its form is open.
    """
    source = writer.source(name)
    log = open_log(name, form, columns, Position(source.offset, source.line, source.mark))
    lines = exchanges = waits = 0
    alone = live and name == STDIN
    stream = workers.columns(log.batches(SIZE), alone)
    for parts in _transactions(stream, 1 if alone else ROWS):
        half = [batch.line + 1 for batch, _ in parts if batch.waits]
        whole = [part for batch, part in parts if not batch.waits]
        waits = half[-1] if half else waits
        if whole:
            lines += sum(part.lines for part in whole)
            exchanges += writer.write(source, whole)
            progress(lines)
    return Reading(name, log.form, log.why, lines, exchanges, waits)


def _transactions(stream: Iterable[tuple[Batch, Columns]], rows: int) -> Iterator[Sequence[tuple[Batch, Columns]]]:
    """Batches together, until they have so many rows; each file of a rotated log apart."""
    parts: list[tuple[Batch, Columns]] = []
    for batch, columns in stream:
        if parts and (batch.path != parts[0][0].path or columns.end.line < parts[-1][1].end.line):
            yield parts
            parts = []
        parts.append((batch, columns))
        if sum(max(len(part.content), 1) for _, part in parts) >= rows or batch.waits:
            yield parts
            parts = []
    if parts:
        yield parts


class Unchanged:
    """Which files are as they were when they were last read, so that a packed log is not unpacked again."""

    def __init__(self) -> None:
        self._states: dict[str, tuple[int, int, int]] = {}

    def __call__(self, name: str) -> bool:
        """Whether a log is as at the last call. stdin is never read twice."""
        if name == STDIN:
            before, self._states[name] = self._states.get(name), (0, 0, 0)
            return before is not None
        try:
            status = Path(name).stat()
        except OSError:
            return False
        state = status.st_ino, status.st_size, status.st_mtime_ns
        before, self._states[name] = self._states.get(name), state
        return before == state

    def forget(self, names: Iterable[str]) -> None:
        """Take these files as changed."""
        for name in names:
            self._states.pop(name, None)
