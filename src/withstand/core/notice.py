"""What long preparations say while they work: the command line listens, a library that is imported stays silent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_listeners: list[Callable[[str], None]] = []


def tell(text: str) -> None:
    """Say how far a preparation is, to whoever listens."""
    for listener in _listeners:
        listener(text)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Give what is told to `listener` as long as it lasts. It may be called from any thread."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
