"""What an attacker's answer says: without its thinking, and the JSON object in it, mended where it is broken."""

import re
from typing import Any

MOST_NESTED = 64
"""Depth of brackets; what attackers write has two or three."""
MOST_MENDED = 150_000
"""Characters that are mended in all in the search for one object."""


def read_object(text: str, *names: str) -> dict[str, str] | None:
    """The first JSON object in `text` with all `names` as texts, mended where quotes, commas or its end are lacking.

    None too where brackets are nested more than `MOST_NESTED` deep, or the first `MOST_MENDED` characters that were
    looked through from one bracket after another hold none.
    """
    left, start = MOST_MENDED, text.find("{")
    while start >= 0 and (left := left - (len(text) - start)) >= 0:
        read = mended(text[start:])
        for value in read if isinstance(read, list) else [read]:
            if isinstance(value, dict) and all(
                isinstance(value.get(name), str) and value[name].strip() for name in names
            ):
                return {name: value[name].strip() for name in names}
        start = text.find("{", start + 1)
    return None


def mended(text: str) -> Any:
    """The JSON value that a text begins with, mended; None where it is nested too deeply."""
    from json_repair import repair_json  # here, so that looking around stays fast

    if nesting(text) > MOST_NESTED:
        return None
    try:
        return repair_json(text, return_objects=True)
    except (RecursionError, ValueError):
        return None


def nesting(text: str) -> int:
    """How deep the brackets of a text are nested at most, those in quotes counted too."""
    depth = deepest = 0
    for match in re.finditer(r"([\[{])|[\]}]", text):
        depth = depth + 1 if match[1] else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


def field_in(name: str, text: str) -> str | None:
    """The text called `name` of the first JSON object in `text` that has one; None where none has."""
    fields = read_object(text, name)
    return fields[name] if fields else None


def spoken(text: str) -> str:
    """What an answer says behind its thinking; "" where the thinking does not end. Of a text that thinks before it
    writes an object, the object's own words are left alone."""
    thought, closed, answer = text.partition("</think>")
    head = thought.lstrip()
    if closed and not head.startswith("{"):  # some templates open the block in the prompt
        return answer
    return "" if head.startswith("<think>") else text
