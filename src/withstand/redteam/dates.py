"""Days and times that people write, as ISO texts. Times are UTC inside."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time

from withstand.core import SpecError
from withstand.core.text import clock

HOUR, DAY, WEEK = 3_600, 86_400, 604_800
"""Seconds of each."""
MONDAY = 4 * DAY
"""The first Monday since 1970, in seconds: weeks begin on Mondays, UTC."""
TIME_HINT = "write the day and the time with its zone, such as 2026-02-03T10:00:00Z, or the day alone"


def day(name: str, text: str) -> date:
    """The day in an ISO text. Raises `SpecError` that names the field."""
    try:
        read = date.fromisoformat(text)
    except ValueError:
        read = None
    if read is None or read.isoformat() != text:  # other forms of ISO 8601 do not sort as texts
        raise SpecError(f"{name} is {text!r}" if text else f"{name} is missing", hint="write a date such as 2026-02-16")
    return read


def refused(name: str, text: str) -> Iterator[str]:
    """What is wrong with an ISO day, for who lists all mistakes; nothing where it is one."""
    try:
        day(name, text)
    except SpecError as error:
        yield f"{error}: {error.hint}"


def moment(name: str, text: str, end: bool = False, utc: bool = False) -> datetime:
    """The moment in an ISO text in UTC; a day alone is its first moment, or with `end` its last.

    Raises `SpecError` that names the field; with `utc` a time without a zone is UTC, else it is an error.
    """
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise SpecError(f"{name} is {text!r}" if text else f"{name} is missing", hint=TIME_HINT) from None
    if len(text) <= len("2026-02-03"):
        read = datetime.combine(day(name, text), time.max if end else time.min)
    elif read.tzinfo is None and not utc:
        raise SpecError(f"{name} is {text!r}, without a zone", hint=TIME_HINT)
    try:
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except OverflowError:
        raise SpecError(f"{name} is {text!r}", hint=TIME_HINT) from None


def day_of(seconds: float) -> str:
    """The day (UTC) of a moment in seconds since 1970, as an ISO text."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def minute_of(seconds: float) -> str:
    """The minute (UTC) of a moment in seconds since 1970, as in "2026-02-03 10:05"."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def second_of(seconds: float) -> str:
    """The second (UTC) of a moment in seconds since 1970, as in "2026-02-03T10:05:07Z"."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def length_of(text: str) -> int | None:
    """Seconds of a span such as "30m", "1h" or "7d"; None for a text that is none."""
    match = re.fullmatch(r"([1-9]\d*)([smhd])", text)
    return int(match[1]) * {"s": 1, "m": 60, "h": HOUR, "d": DAY}[match[2]] if match else None


def span(seconds: float) -> str:
    """A time span for people: in days from two days on."""
    return f"{seconds / DAY:.1f} days" if seconds >= 2 * DAY else clock(seconds)


def today() -> date:
    """The day in UTC."""
    return datetime.now(UTC).date()
