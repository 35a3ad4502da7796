"""What the judges share that show a model an answer: the note on a cut one, and the parts of what the model says."""

import json
import re
from collections.abc import Mapping
from typing import Any

from withstand.core import Behavior, Completion, Verdict

OPENING = r"(?:^|[,{])[ \t>*#\"'-]*(?:the)?"  # a part stands at the start of a line, or in a list
CLOSING = r"(?:\s*/\s*5)?(?=[\s\"'*\])]*(?:}|[,.](?!\d)|$))"


def shown(behavior: Behavior, completion: Completion, clip: int) -> dict[str, str]:
    """What fills the gaps of a judge's question: `answer` has at most `clip` characters, the head of a longer one."""
    return {"behavior": behavior.text, "context": behavior.context or "none", "answer": completion.text[:clip]}


def joined(*reasons: str) -> str:
    """The reasons of a verdict as one text, without empty ones."""
    return "; ".join(filter(None, reasons))


def unread(answer: Completion, note: str = "") -> Verdict:
    """Unscored: what a judge's answer says instead of a verdict."""
    reply = "the judge's own filter spoke" if answer.finish == "filtered" else f"the judge said {answer.text[:80]!r}"
    return Verdict("unscored", why=joined(reply, note))


def clip_note(completion: Completion, clip: int) -> str:
    """What a verdict must say where the judge was shown the head of an answer; "" where it saw all."""
    long = len(completion.text)
    return f"judged the first {clip} of {long} characters" if long > clip else ""


def parts_in(text: str, parts: Mapping[str, str]) -> dict[str, str] | None:
    """The parts of a judge's answer by name, in small letters, with its `reason` if it is in the object with them.

    parts: names with the values they may have, a regular expression; of a number "4.0", "4/5" and "\"4\"" are read too.
    Read from the last JSON object with all parts, else each from its last line `#thescore: 4` or `score: 4`. None if
    one is lacking or has another value, or if the thinking does not end.
    """
    answer = text.rpartition("</think>")[2]  # some templates open the block in the prompt
    if "<think>" in answer:
        return None
    given = last_object(answer, parts)
    values: dict[str, str] = {}
    for name, pattern in parts.items():
        match: re.Match[str] | None
        if given is not None:
            match = re.fullmatch(rf"\s*({pattern})(?:\.0)?(?:\s*/\s*5)?\s*", str(given[name]), re.IGNORECASE)
        else:
            line = rf"{OPENING}{name}[ \t\"'*]*[:=][\s\"'*\[(]*({pattern}){CLOSING}"
            *_, match = (None, *re.finditer(line, answer, re.IGNORECASE | re.MULTILINE))
        if match:
            values[name] = match[1].lower()
    if len(values) < len(parts):
        return None
    return values | ({"reason": str(given["reason"])} if given and "reason" in given else {})


def last_object(text: str, names: Mapping[str, str]) -> dict[str, Any] | None:
    """The last JSON object with all names. What stands inside one, as in its reason, is not looked through."""
    result, place, decode = None, text.find("{"), json.JSONDecoder().raw_decode
    while place >= 0:
        end = place + 1
        try:
            value, after = decode(text, place)  # scans to the bracket that closes this one
            if names.keys() <= value.keys():
                result, end = value, after
        except (ValueError, RecursionError):
            pass
        place = text.find("{", end)
    return result
