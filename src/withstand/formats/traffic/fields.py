"""Values of logs as the fields of an `Exchange`: times, counts, names, texts. What is not as it should be is named."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

from withstand.core import Json
from withstand.formats.traffic.decode import UnreadableError, read_text
from withstand.formats.traffic.exchange import Exchange
from withstand.formats.traffic.messages import text_of

LAST = 253_402_300_800.0
"""The end of the year 9999, in seconds."""
WRONG = "wrong type: "


def seconds(value: Json, odd: list[str]) -> float:
    """A time as seconds since 1970, UTC. Raises `UnreadableError`.

    A number is taken by its size for seconds (below 1e11), milliseconds (1e14), microseconds (1e17) or nanoseconds.
    A time without a zone is taken for UTC, which is named.
    """
    if isinstance(value, str):
        return _seconds_of_text(value.strip(), odd)
    if isinstance(value, bool) or not isinstance(value, int | float):
        kind = "no time" if value is None else "wrong time"
        raise UnreadableError(kind, "it has no time" if value is None else f"its time is a {type(value).__name__}")
    size = abs(value)
    if not size < 1e20:
        raise UnreadableError("wrong time", f"its time is {str(value)[:40]}, which is no time")
    return float(value if size < 1e11 else value / 1e3 if size < 1e14 else value / 1e6 if size < 1e17 else value / 1e9)


_NUMBER = re.compile(r"[+-]?\d{1,25}(\.\d{0,25})?(e[+-]?\d{1,2})?", re.IGNORECASE)


def _seconds_of_text(text: str, odd: list[str]) -> float:
    if _NUMBER.fullmatch(text) and not re.fullmatch(r"(19|20)\d{6}", text):
        return seconds(float(text), odd)
    leap = re.sub(r"(T| )(\d\d:\d\d):60", r"\1\2:59", text)
    for read in (datetime.fromisoformat, _utc, _american, parsedate_to_datetime):
        try:
            moment = read(leap)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        if moment.tzinfo is None:
            odd.append("time without a zone")
            moment = moment.replace(tzinfo=UTC)
        try:
            return moment.timestamp() + (leap != text)
        except (OverflowError, ValueError):
            break
    if not text:
        raise UnreadableError("no time", "it has no time")
    raise UnreadableError("wrong time", f"its time is {text[:40]!r}: write 2026-03-01T12:00:00Z or seconds since 1970")


def _utc(text: str) -> datetime:
    """2026-03-01 12:00:00 UTC, 2026/03/01 12:00:00."""
    text = re.sub(r"\s*(UTC|GMT|Z)$", "+00:00", text)
    return datetime.fromisoformat(re.sub(r"^(\d{4})/(\d\d)/(\d\d)", r"\1-\2-\3", text))


def _american(text: str) -> datetime:
    """The month's name and the year are in it, so that no day is taken for a month: 1 Mar 2026 12:00:00."""
    return datetime.strptime(text, "%d %b %Y %H:%M:%S")


def _name(name: str, value: Json, odd: list[str]) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():  # what pandas makes of a column of numbers with gaps
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    odd.append(WRONG + name)
    return ""


def _number(name: str, value: Json, odd: list[str]) -> float | None:
    if isinstance(value, str):
        if not value.strip():
            return None
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        odd.append(WRONG + name)
        return None
    return float(value)


def _count(name: str, value: Json, odd: list[str]) -> int | None:
    if type(value) is int and 0 <= value < 2**31:
        return value
    number = _number(name, value, odd)
    if number is not None and number >= 2**31:
        odd.append(WRONG + name)
        return None
    return None if number is None else int(number)


_WORDS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False, "t": True, "f": False}


def _truth(name: str, value: Json, odd: list[str]) -> bool | None:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, str | int | float) else "?"
    if word in ("", "1.0", "0.0"):
        return {"": None, "1.0": True, "0.0": False}[word]
    if word not in _WORDS:
        odd.append(WRONG + name)
    return _WORDS.get(word)


def _labels(name: str, value: Json, odd: list[str]) -> Mapping[str, float]:
    """Scores by category. A null score is no label; yes and no are 1 and 0."""
    value = read_text(value) if isinstance(value, str) else value
    if not isinstance(value, dict):
        odd.append(WRONG + name)
        return {}
    scores: dict[str, float] = {}
    for category, score in value.items():
        if score is None:
            odd.append("a label without a score")
        elif isinstance(score, int | float) and isfinite(score) and 0 <= score <= 1:
            scores[category] = float(score)
        else:
            odd.append("a score outside 0 to 1")
    return scores


NAMES = (
    "account", "id", "conversation", "key", "app", "end_user", "use_case", "model", "locale", "finish_reason",
    "labeler", "labeler_version", "policy_version",
)  # fmt: skip
TEXTS = ("prompt", "completion", "system")
CONVERT: Mapping[str, Callable[[str, Json, list[str]], Any]] = {
    **dict.fromkeys(NAMES, _name),
    **dict.fromkeys(("prompt_tokens", "completion_tokens"), _count),
    "latency_ms": _number,
    "blocked": _truth,
    "labels": _labels,
}
"""Field of an exchange -> how its value is read. `turns` and `extra` are made by the forms, and stand as they are."""


def exchange(line: int, fields: Mapping[str, Json], odd: list[str]) -> Exchange:
    """The exchange with these fields; those of None are left out. Raises `UnreadableError` without time or texts."""
    ts = fields.get("ts")
    if type(ts) is not float or not 1e8 < ts < 1e11:
        ts = seconds(ts, odd)
        if not 0 < ts < LAST:
            raise UnreadableError("wrong time", f"its time is {ts:.0f} seconds since 1970")
    values: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None or name == "ts":
            continue
        if type(value) is str and (name in NAMES or name in TEXTS):
            values[name] = value
        elif name in TEXTS:
            values[name] = text_of(value, odd)
        else:
            values[name] = CONVERT[name](name, value, odd) if name in CONVERT else value
    prompt, completion, account = values.pop("prompt", ""), values.pop("completion", ""), values.pop("account", "")
    if not account:
        odd.append("no account")
    if fields.get("prompt") is None and fields.get("completion") is None:
        raise UnreadableError("no text", "it has neither a prompt nor a completion")
    return Exchange(line, ts, account, prompt, completion, **values, odd=tuple(odd))
