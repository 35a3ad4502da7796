"""What can go wrong, and the check of a field's range. Standard library only; import these from `core`."""

from math import inf
from typing import Any


class WithstandError(Exception):
    """A mistake or a misfortune that a person can mend. `hint` says what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class SpecError(WithstandError):
    """Wrong usage, spec or data file: the command line ends with exit code 2."""


class StoreError(WithstandError):
    """The store cannot be opened, read or written."""


class AskError(WithstandError):
    """A model did not answer, after the retries it was given. Becomes a row of the failure log."""


def within(low: float, high: float, record: Any, *names: str) -> None:
    """Raise `SpecError` for a field of `record` that does not lie in [low, high], or is no number."""
    for name in names:
        if not low <= getattr(record, name) <= high:
            bounds = f"be {low:g} or more" if high == inf else f"lie in [{low:g}, {high:g}]"
            raise SpecError(f"{name} is {getattr(record, name)}", hint=f"it must {bounds}")


def at_least(low: float, record: Any, *names: str) -> None:
    """`within`, without an upper bound."""
    within(low, inf, record, *names)
