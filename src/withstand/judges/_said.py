"""What the judges share whose model answers in a form: the parts of its answer, read without trusting the form."""

import json
import re
from collections.abc import Mapping
from typing import Any

OPENING = r"(?:^|[,{])[ \t>*#\"'-]*(?:the)?"  # a part stands at the start of a line, or in a list
CLOSING = r"(?:\s*/\s*5)?(?=[\s\"'*\])]*(?:}|[,.](?!\d)|$))"


def parts_in(text: str, parts: Mapping[str, str]) -> dict[str, str] | None:
    """The parts of a judge's answer by name, in small letters, with its `reason` if it is in the object with them.

    parts: names with the values they may have, a regular expression; of a number "4.0", "4/5" and "\"4\"" are read too.
    Read from the last JSON object with all parts, else each from its last line `#thescore: 4` or `score: 4`. None if
    one is lacking or has another value, or if the thinking does not end.
    """
    said = text.rpartition("</think>")[2]  # some templates open the block in the prompt
    if "<think>" in said:
        return None
    given = last_object(said, parts)
    found: dict[str, str] = {}
    for name, values in parts.items():
        match: re.Match[str] | None
        if given is not None:
            match = re.fullmatch(rf"\s*({values})(?:\.0)?(?:\s*/\s*5)?\s*", str(given[name]), re.IGNORECASE)
        else:
            line = rf"{OPENING}{name}[ \t\"'*]*[:=][\s\"'*\[(]*({values}){CLOSING}"
            *_, match = (None, *re.finditer(line, said, re.IGNORECASE | re.MULTILINE))
        if match:
            found[name] = match[1].lower()
    if len(found) < len(parts):
        return None
    return found | ({"reason": str(given["reason"])} if given and "reason" in given else {})


def last_object(text: str, names: Mapping[str, str]) -> dict[str, Any] | None:
    """The last JSON object with all names. What stands inside one, as in its reason, is not looked through."""
    found, place = None, text.find("{")
    while place >= 0:
        end = place + 1
        try:
            value, after = json.JSONDecoder().raw_decode(text, place)  # scans to the bracket that closes this one
            if names.keys() <= value.keys():
                found, end = value, after
        except (ValueError, RecursionError):
            pass
        place = text.find("{", end)
    return found
