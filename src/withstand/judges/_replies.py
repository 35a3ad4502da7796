"""What the judges share that ask a model: the reasons of a verdict, and the parts of what the model says."""

import json
import re
from collections.abc import Mapping
from typing import Any

from withstand.core import Completion, Verdict

OPENING = r"(?:^|[,{])[ \t>*#\"'-]*(?:the)?"  # a part stands at the start of a line, or in a list
CLOSING = r"(?:\s*/\s*5)?(?=[\s\"'*\])]*(?:}|[,.](?!\d)|$))"


def joined(*reasons: str) -> str:
    """The reasons of a verdict as one text, without empty ones."""
    return "; ".join(filter(None, reasons))


def unread(answer: Completion) -> Verdict:
    """Unscored: what a judge's answer says instead of a verdict."""
    reply = "the judge's own filter spoke" if answer.finish == "filtered" else f"the judge said {answer.text[:80]!r}"
    return Verdict("unscored", why=reply)


def parts_in(text: str, parts: Mapping[str, str]) -> dict[str, str] | None:
    """The parts of a judge's answer by name, in small letters, with its `reason` if it is in the object with them.

    parts: names with the values they may have, a regular expression; of a number "4.0", "4/5" and "\"4\"" are read too.
    Read from the last JSON object with all parts, else each from its last line `#thescore: 4` or `score: 4`. None if
    one is lacking or has another value, if the thinking does not end, or if the search for the object takes more steps
    than `steps_for` the answer.
    """
    answer = text.rpartition("</think>")[2]  # some templates open the block in the prompt
    if "<think>" in answer:
        return None
    try:
        given = last_object(answer, parts)
    except OverLimitError:
        return None
    values: dict[str, str] = {}
    for name, pattern in parts.items():
        match: re.Match[str] | None
        if given is not None:
            value = given[name] if isinstance(given[name], (str, int, float)) else ""
            match = re.fullmatch(rf"\s*({pattern})(?:\.0)?(?:\s*/\s*5)?\s*", str(value), re.IGNORECASE)
        else:
            line = rf"{OPENING}{name}[ \t\"'*]*[:=][\s\"'*\[(]*({pattern}){CLOSING}"
            *_, match = (None, *re.finditer(line, answer, re.IGNORECASE | re.MULTILINE))
        if match:
            values[name] = match[1].lower()
    if len(values) < len(parts):
        return None
    return values | ({"reason": _written(given["reason"])} if given and "reason" in given else {})


def _written(reason: Any) -> str:
    """A reason as text; "" for one that is no text and nested too deeply to be written."""
    try:
        return str(reason)
    except RecursionError:
        return ""


class OverLimitError(Exception):
    """A search took more steps than `steps_for` its text."""


def steps_for(text: str) -> int:
    """How many characters may be decoded while objects are looked for in a text: in a reply that a model means to be
    read they are fewer than a thousandth of that."""
    return 1_000_000 + 8 * len(text)


OBJECT = re.compile(r'\{(?=[ \t\r\n]*")')
NESTED = 10_000
"""Characters charged for an object that is nested too deeply: Python's limit is a depth of about 1,000."""


def last_object(text: str, names: Mapping[str, str]) -> dict[str, Any] | None:
    """The last JSON object with all names. What stands inside one, as in its reason, is not looked through.

    Raises `OverLimitError`: an object that is not closed, or lacks a name, is looked through from each bracket in it,
    so that the work on a text of brackets alone would grow with the square of its length.
    """
    result, end, left, decode = None, 0, steps_for(text), json.JSONDecoder().raw_decode
    while opening := OBJECT.search(text, end):
        place = opening.start()
        end = place + 1
        try:
            value, after = decode(text, place)  # scans to the bracket that closes this one
            left -= after - place
            if names.keys() <= value.keys():
                result, end = value, after
        except json.JSONDecodeError as error:
            left -= error.pos - place + error.pos // 4  # the error counts the lines before it
        except ValueError:  # a number with more digits than Python reads; it does not say where
            left -= len(text) - place
        except RecursionError:
            left -= NESTED
        if left < 0:
            raise OverLimitError
    return result
