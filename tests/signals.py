"""Signals for processes of tests: a child inherits that its parent ignores them, as the background of a shell or nohup
has it."""

import os
import signal
from collections.abc import Callable


def heard(number: int) -> Callable[[], object] | None:
    """For `preexec_fn` of a process that this signal shall end; None where there are no such signals."""
    return (lambda: signal.signal(number, signal.SIG_DFL)) if os.name == "posix" else None
