"""How figures and foreign texts are written for people. Standard library only."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

INVISIBLE = re.compile(
    r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff"
    r"\ufe00-\ufe0e\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
"""Controls, direction marks, zero widths, tags, lone surrogates: what can hide text or turn it around.

U+FE0F stays: it only makes an emoji colored."""

DASH = "\u2013"


def head_of(label: str) -> str:
    """A component's name in its label, without its fields."""
    return re.split("[:,]", label)[0]


def visible(value: Any) -> str:
    """`value` as text without a hidden character: each is named by its code point, as in <U+202E>.

    A lone surrogate becomes U+FFFD, so that the page can always be written as UTF-8.
    """
    return INVISIBLE.sub(_symbol, "" if value is None else str(value))


def _symbol(match: re.Match[str]) -> str:
    code = ord(match[0])
    return "\ufffd" if 0xD800 <= code < 0xE000 else f"\u27e8U+{code:04X}\u27e9"


def storable(text: str) -> str:
    """Text that every database takes: NUL and lone surrogates, which an answer or a file may hold, spelled out."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def percent(rate: float | None) -> str:
    """A rate in [0, 1] as "40%"; "n/a" for None. Only a true 0 or 1 reads "0%" or "100%"."""
    return "n/a" if rate is None else f"{_hundredths(rate)}%"


def _hundredths(rate: float) -> str:
    if 0 < rate < 0.001:
        return "<0.1"
    if 0.999 < rate < 1:
        return ">99.9"
    return f"{100 * rate:.1f}" if 0 < rate < 0.01 or 0.99 < rate < 1 else f"{100 * rate:.0f}"


def interval(ends: Sequence[float] | None) -> str:
    """Two rates as "28-54%", with an en dash; "n/a" for None."""
    return "n/a" if ends is None else f"{_hundredths(ends[0])}{DASH}{_hundredths(ends[1])}%"


def rate(value: float | None, ends: Sequence[float] | None = None) -> str:
    """A rate in [0, 1] with its interval: "40 % (28-54)", with an en dash; "n/a" for None."""
    if value is None or ends is None:
        return percent(value)
    return f"{percent(value)} ({_hundredths(ends[0])}{DASH}{_hundredths(ends[1])})"


def change(difference: float | None, ends: Sequence[float] | None = None) -> str:
    """A difference of two rates: "+30.0 points (+10.0 to +50.0)"; "" for None."""
    if difference is None:
        return ""
    between = f" ({100 * ends[0]:+.1f} to {100 * ends[1]:+.1f})" if ends else ""
    return f"{100 * difference:+.1f} points{between}"


def decimals(digits: int) -> Callable[[float | None], str]:
    """A way to write numbers with so many digits after the point; "n/a" for None."""
    return lambda value: "n/a" if value is None else f"{value:.{digits}f}"


def whole(count: float | None) -> str:
    """A count with thousands separators; "n/a" for None."""
    return "n/a" if count is None else f"{count:,.0f}"


SIZES = {1e18: "E", 1e15: "P", 1e12: "T", 1e9: "G", 1e6: "M", 1e3: "k"}


def short(count: float | None) -> str:
    """A large count in four characters or so: 9,120, 48.1 k, 3.20 M."""
    if count is None or abs(count) < 10_000:
        return whole(count)
    size = next(s for s in SIZES if abs(count) >= s * 0.9995)
    number = count / size
    digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:.{digits}f} {SIZES[size]}"


def tidy(count: float) -> str:
    """A round count for an axis: 20, 500 G, 2 T."""
    size = next((s for s in SIZES if count >= s), 1)
    return f"{count / size:g} {SIZES.get(size, '')}".rstrip()


def clock(seconds: float | None) -> str:
    """A time span as "1 h 02 min", "3 min 20 s" or "4.1 s"; "n/a" for None."""
    if seconds is None:
        return "n/a"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:,} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min {rest:02} s"


def facts(value: Any, path: str = "") -> list[tuple[str, str]]:
    """A nested JSON value as (path, text) lines: {"a": {"b": 1}} -> [("a.b", "1")]."""
    if isinstance(value, Mapping):
        return [line for key, inner in value.items() for line in facts(inner, f"{path}.{key}" if path else str(key))]
    if isinstance(value, (list, tuple)) and any(isinstance(inner, (Mapping, list, tuple)) for inner in value):
        return [line for i, inner in enumerate(value) for line in facts(inner, f"{path}[{i}]")]
    if isinstance(value, (list, tuple)):
        return [(path, ", ".join(str(inner) for inner in value))]
    return [(path, "" if value is None else value if isinstance(value, str) else json.dumps(value))]


def count(number: int, singular: str, plural: str = "") -> str:
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def series(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def file_name(run: str) -> str:
    """A run's name as that of a file in the current folder, whatever the name is."""
    return re.sub(r"[/\\\x00-\x1f\x7f]", "-", run)


def unique(items: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(items))
