"""Texts: those of data files, a context for the eyes of an attacker, the numbered lines of its answer."""

import json
import re
from functools import cache
from pathlib import Path

from withstand.attacks.llm._attacker import unquoted
from withstand.core import Behavior, Json, filled
from withstand.core.prompts import sections

NUMBER = re.compile(r"\s*\**\d{1,3}\s*[.):]\**\s*(?:\d{1,3}[.)]\s+)?")  # a seeded "1." is at times said once more
LABEL = re.compile(r"request:\s*", re.IGNORECASE)
CONTEXT = """
It refers to this text, which will stand above the request, so that there is no need to repeat it:
[text]
{context}
[end of text]
"""


@cache
def text_of(name: str) -> str:
    """The text of a file beside this one, without white space around it."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8").strip()


@cache
def data_of(name: str) -> Json:
    """What a JSON file beside this one holds; shared, so that nobody may change it."""
    return json.loads(text_of(name))


@cache
def parts_of(name: str) -> dict[str, str]:
    """The parts of a file beside this one, each under a line "## name"."""
    return sections(text_of(name))


def shown_context(behavior: Behavior) -> str:
    """The behavior's context for the eyes of an attacker; "" if it has none."""
    return filled(CONTEXT, context=behavior.context) if behavior.context else ""


def numbered(text: str) -> list[str]:
    """The texts of the numbered lines, in order, without number, quotes and a leading "Request:"; no empty ones."""
    items = (line[match.end() :] for line in text.splitlines() if (match := NUMBER.match(line)))
    bare = (unquoted(LABEL.sub("", unquoted(line), count=1) if LABEL.match(unquoted(line)) else line) for line in items)
    return [line for line in bare if line]


def lines_in(text: str) -> str | None:
    """The numbered lines as one text, so that `drafts` sees a refusal in the first of them; None if there are none."""
    return "\n".join(numbered(text)) or None
