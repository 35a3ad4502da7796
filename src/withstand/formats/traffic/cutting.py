"""A stream of bytes cut into records. What is left of one at the end of a part waits for its rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from withstand.formats.traffic.decode import LINE


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole records. data: a record a line.   records: how many.   size: bytes of the log that they took.

    problem: kind and reason of one record that is passed over; `data` is then empty.
    """

    data: bytes
    records: int
    size: int
    problem: tuple[str, str] | None = None


class Cutter(Protocol):
    """Cuts what is fed to it."""

    def feed(self, data: bytes) -> Sequence[Piece]:
        """The records that end in `data`."""

    def rest(self) -> Sequence[Piece]:
        """What waits, as records: the log has ended. After that it begins anew."""


class Lines:
    """A record a line. A line of more than `LINE` bytes is passed over, without being held."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size, self._long = 0, False

    def feed(self, data: bytes) -> Sequence[Piece]:
        end = data.rfind(b"\n") + 1
        if not end:
            self._hold(data)
            return ()
        pieces = []
        first = data.find(b"\n") + 1
        if self._long or self._size + first > LINE:
            self._hold(data[:first])
            pieces, first = list(self.rest()), first
        else:
            first = 0
        if whole := b"".join((*self._held, data[first:end])):
            pieces.append(Piece(whole, whole.count(b"\n"), len(whole)))
        self._held, self._size, self._long = [], 0, False
        self._hold(data[end:])
        return pieces

    def rest(self) -> Sequence[Piece]:
        held, size, long = b"".join(self._held), self._size, self._long
        self._held, self._size, self._long = [], 0, False
        if long:
            why = f"it has {size:,} bytes; at most {LINE // 2**20} MiB are read"
            return (Piece(b"", 1, size, ("line too long", why)),)
        return (Piece(held, 1, size),) if held else ()

    def _hold(self, data: bytes) -> None:
        self._size += len(data)
        self._long = self._long or self._size > LINE
        self._held = [] if self._long else [*self._held, data] if data else self._held
