"""The items of a list in an attacker's answer."""

import re
from collections.abc import Iterator

from withstand.attacks.llm._objects import mended
from withstand.core.refusal import refusal_in

MARK = r"(?:\d{1,2}[.):]|[-*\u2022])"
"""What stands before an item of a list."""
BLANKS = re.compile(r"[\s*_#]*")
ITEM = re.compile(rf"[\s*_#]*(?:{MARK}[\s*_]+)+(.+)$", re.MULTILINE)
"""A mark may stand twice: the opening's, and the one with which the attacker begins anew."""


def items(text: str) -> tuple[str, ...] | None:
    """The different texts of a JSON list or of a list with a number or bullet a line; None where there are none."""
    start = re.search(r"\[\s*\"", text)  # else a bracket of prose would be read as a list
    if start:
        read = mended(text[start.start() :])
        names = [item for item in read if isinstance(item, str)] if isinstance(read, list) else []
    else:
        names = list(marked(text))
    kept = [item.strip().strip("*_").strip() for item in names]
    return tuple(dict.fromkeys(item for item in kept if item and not refusal_in(item))) or None


def marked(text: str) -> Iterator[str]:
    """The lines behind a number or bullet. What stands before a mark is read once, however many lines it has."""
    place = 0
    while place < len(text):
        if match := ITEM.match(text, place):
            yield match[1]
            end = match.end()
        else:
            end = BLANKS.match(text, place).end()  # type: ignore[union-attr]  # it matches the empty text too
        place = text.find("\n", end) + 1 or len(text)
