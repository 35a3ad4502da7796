"""What long preparations and searches say while they work: whoever shows progress listens, else nothing is printed."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """How far gradient work is: step `number` of at most `of`. loss: the lowest so far, in nats.

    behavior: the id of the behavior it searches for; "" for all behaviors of a joint attack.
    """

    behavior: str
    number: int
    of: int
    loss: float


_listeners: list[Callable[[str], None]] = []
_thread = threading.local()


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


def tell_step(behavior: str, number: int, of: int, loss: float) -> None:
    """Say how far a search is from within its `Work`, to whoever watches this thread."""
    if watch := getattr(_thread, "watch", None):
        watch(Step(behavior, number, of, loss))


@contextmanager
def watching(watch: Callable[[Step], None]) -> Iterator[None]:
    """Give the steps that this thread tells to `watch` as long as it lasts."""
    _thread.watch = watch
    try:
        yield
    finally:
        _thread.watch = None
