"""How far a log was read, and which file that was: what a reader needs to go on after it was stopped."""

from dataclasses import dataclass
from hashlib import blake2b

HEAD = 1024
"""Bytes at the head of a log by which it is known again."""


@dataclass(frozen=True, slots=True)
class Position:
    """offset: bytes read of the unpacked log.   line: lines (rows, records) read.

    mark: what its head says, by which a file is known again under another name. It grows with the head.
    """

    offset: int = 0
    line: int = 0
    mark: str = ""


BEGINNING = Position()


def mark_of(head: bytes) -> str:
    """The mark of a log that begins with `head`."""
    head = head[:HEAD]
    return f"{len(head)}:{blake2b(head, digest_size=12).hexdigest()}" if head else ""


def is_marked(head: bytes, mark: str) -> bool:
    """Whether a log that begins with `head` is the one of `mark`. Every log is the one of no mark."""
    size = int(mark.partition(":")[0] or 0)
    return size <= len(head) and mark_of(head[:size]) == mark
