"""What is built once for all lanes: an HTTP client, an event loop, a loaded model."""

import threading
from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def built_once(build: Callable[P, T]) -> Callable[P, T]:
    """`build`, called once for equal arguments: a lock keeps the first lanes from building one each."""
    lock, cached = threading.RLock(), cache(build)

    @wraps(build)
    def shared(*args: P.args, **named: P.kwargs) -> T:
        with lock:
            return cached(*args, **named)  # type: ignore[arg-type]

    return shared
