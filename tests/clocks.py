"""The only clocks of the tests: how the work of a call grows with its input, and waiting for what happens by itself.

No test asserts a number of seconds, which a busy machine changes: `make bench` measures speed.
"""

import time
from collections.abc import Callable

TIMES = 8
"""How many times as long the larger of two inputs is."""


def subquadratic(call: Callable[[int], object], size: int, tries: int = 5) -> bool:
    """Whether the work of `call(size)` is clearly less than it would be if it grew with the square of `size`.

    Compares two sizes, of which the larger is `TIMES` the smaller, by the processor's time of this thread alone: what
    runs beside it does not count. A first comparison that fails is tried again.
    """

    def seconds(length: int) -> float:
        start = time.thread_time()
        call(length)
        return time.thread_time() - start

    seconds(size // TIMES)  # what is loaded or compiled once is no part of it
    return any(seconds(size) < TIMES**1.5 * seconds(size // TIMES) for _ in range(tries))


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until a condition holds, looked at every 20 ms; an error if it does not for so many seconds of sleep."""
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        time.sleep(0.02)
    raise TimeoutError(f"the condition did not come to hold within {seconds} s")
