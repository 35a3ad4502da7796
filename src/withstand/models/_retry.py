"""Bounded retries for models whose answer may fail to come: back-off with jitter, and Retry-After."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import tenacity

from withstand.core import AskError

T = TypeVar("T")

FIRST_WAIT = 0.5
"""Seconds before the second try, and the width of the jitter; the waits double from there."""
LONGEST_WAIT = 30.0
"""Seconds between two tries, at most, unless the server asks for more."""
LONGEST_ASKED = 120.0
"""Seconds that a server may ask for; who asks for more is not waited for."""


class Transient(Exception):  # noqa: N818  (it names a kind of failure, and ends as an AskError)
    """A failure that the next try may mend. `retry_after`: seconds that the server asks to wait, if it said so.
    `busy`: the server has too much to do, so that others should wait too. `ends`: what it is where no try mends it;
    `FatalAskError` where other requests will likely meet it too, such as a connection that fails."""

    def __init__(
        self, reason: str, retry_after: float | None = None, busy: bool = False, ends: type[AskError] = AskError
    ) -> None:
        super().__init__(reason)
        self.ends = ends
        self.retry_after = retry_after or 0.0
        self.busy = busy


def retrying(call: Callable[[], T], tries: int, what: str, hint: str) -> T:
    """What `call` returns, at the latest on its last of `tries` tries.

    A `Transient` is tried again; anything else passes through. Raises `AskError` with the last reason, caused by what
    caused that, when the tries are used up (of the kind that it `ends` in) or the server asks for a wait of more than
    `LONGEST_ASKED` seconds.
    """
    retries = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(tries), wait=_wait, retry=tenacity.retry_if_exception(_worth_it), reraise=True
    )
    try:
        return retries(call)
    except Transient as error:
        if not _worth_it(error):
            raise AskError(
                f"{what} asks for a wait of {error.retry_after:.0f} s, which is above {LONGEST_ASKED:.0f} s: {error}",
                hint="run again later: what is done is kept",
            ) from error.__cause__
        times = "once" if tries == 1 else f"{tries} times"
        message = f"{what} was asked {times} without an answer; last: {error}"
        raise error.ends(message, hint=hint) from error.__cause__


def seconds_asked(retry_after: str | None) -> float | None:
    """The seconds that a Retry-After header (a number or an HTTP date) asks for; None if missing or unreadable."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass  # then it is a date
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _worth_it(error: BaseException) -> bool:
    return isinstance(error, Transient) and error.retry_after <= LONGEST_ASKED


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, Transient) else 0.0
    doubled = min(FIRST_WAIT * 2.0 ** (state.attempt_number - 1), LONGEST_WAIT)
    return max(asked, doubled) + random.uniform(0, FIRST_WAIT)
