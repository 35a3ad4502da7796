"""What can go wrong, and the check of a field's range. Standard library only; import these from `core`."""

import re
from collections.abc import Iterable, Sequence
from math import inf
from typing import Any


class WithstandError(Exception):
    """A mistake or a misfortune that a person can mend. `hint` says what to do next, `code` is the exit code."""

    code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class SpecError(WithstandError):
    """Wrong usage, spec or data file: the command line ends with exit code 2."""


class StoreError(WithstandError):
    """The store cannot be opened, read or written."""


class StoreGoneError(StoreError):
    """The store's file was removed or replaced while it was written: the run did not end as it should."""

    code = 3


class ForeignRowsError(StoreError):
    """Rows that would be reused are of writers whom the user does not trust."""


class AskError(WithstandError):
    """A model did not answer, after the retries it was given. Becomes a row of the failure log."""


class FatalAskError(AskError):
    """An answer, or the lack of one, that other rows will meet too: a refused key or connection, a path without text.

    Becomes a row of the failure log. The first three of a model that has answered nothing else end the call.
    """


class DownError(FatalAskError):
    """Nobody listens at the model's address, or it does not take the key: no row can be the cause.

    Three in a row end the call, also after answers: an application that died, a key that ran out.
    """


def of_status(status: int) -> type[AskError]:
    """What an HTTP status with which a model refuses a request ends in: a wrong address or key is so for every row."""
    if status == 401:
        return DownError
    return FatalAskError if status in (404, 405) or status < 400 else AskError


class DeviceError(WithstandError):
    """A device failed in a way that only a new process mends. Ends the call; no row fails for it."""


DEAD = re.compile(
    r"CUDA error|HIP error|CUBLAS_STATUS|CUDNN_STATUS|device-side assert|launch failure|device (was )?lost"
)
DEAD_TYPES = ("AcceleratorError", "EngineDeadError")


def dead_device(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, says that the device answers no more until the process ends."""
    while error is not None:
        memory = type(error).__name__ == "OutOfMemoryError"
        dead = type(error).__name__ in DEAD_TYPES or (isinstance(error, RuntimeError) and DEAD.search(str(error)))
        if dead and not memory:
            return True
        error = error.__cause__ or error.__context__
    return False


def closest(word: str, words: Iterable[str]) -> list[str]:
    """At most three of the words that look like `word` or begin with it, whatever their case, best first."""
    from difflib import get_close_matches  # only a mistake needs it

    lower = word.lower()
    by_lower = {candidate.lower(): candidate for candidate in words}
    longer = [name for name in by_lower if len(lower) > 2 and name.startswith(lower)]
    near = dict.fromkeys([*get_close_matches(lower, by_lower, n=3, cutoff=0.6), *longer])
    return [by_lower[name] for name in near][:3]


def suggest(names: Sequence[str], otherwise: str = "") -> str:
    """The hint that offers these names; `otherwise` where there are none."""
    return f"did you mean {' or '.join(names)}?" if names else otherwise


def did_you_mean(word: str, words: Iterable[str], otherwise: str = "") -> str:
    """The hint that names the words most like `word`; `otherwise` where none is like it."""
    return suggest(closest(word, words), otherwise)


def within(low: float, high: float, record: Any, *names: str) -> None:
    """Raise `SpecError` for a field of `record` that does not lie in [low, high], or is no number."""
    for name in names:
        if not low <= getattr(record, name) <= high:
            bounds = f"be {low:g} or more" if high == inf else f"lie in [{low:g}, {high:g}]"
            raise SpecError(f"{name} is {getattr(record, name)}", hint=f"it must {bounds}")


def positive(record: Any, *names: str) -> None:
    """Raise `SpecError` for a field of `record` that is not a finite number above 0."""
    for name in names:
        if not 0 < getattr(record, name) < inf:
            raise SpecError(f"{name} is {getattr(record, name)}", hint="it must be above 0")


def at_least(low: float, record: Any, *names: str) -> None:
    """`within`, without an upper bound."""
    within(low, inf, record, *names)


def gives_vectors(model: Any, hint: str) -> None:
    """Raise `SpecError` for a model that is no sentence encoder. hint: which to use."""
    if "vectors" not in model.gives:
        raise SpecError(f"the model on {model.place} does not turn texts into vectors", hint=hint)
