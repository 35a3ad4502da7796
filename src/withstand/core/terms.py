"""Terms of a list, and how they are looked for in a text: word by word, in any case, whatever joins the words."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

MARKS = "\u0300-\u036f\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff\u0e31-\u0e3a\u0e47-\u0e4e"
"""Marks that belong to the letter before them: accents, vowel signs."""
PART = re.compile(rf"[^\W_](?:[^\W_]|[{MARKS}])*")
"""A word of a term, or of a text in which terms are looked for: letters and digits (a 65-year-old)."""
HYPHENS = "-\u2010\u2011"
GAP = re.compile(rf"[^\S\n]{{1,2}}|\n|[{HYPHENS}]")
"""What may stand between two words of a term."""
TERM = re.compile(rf"{PART.pattern}(?:[ -]{PART.pattern})*")
"""A term that can be found."""


def plain(word: str) -> str:
    """A word as terms are compared: in small letters, in Unicode's compatibility form."""
    return word.lower() if word.isascii() else unicodedata.normalize("NFKC", word).lower()


def parts_of(term: str) -> tuple[str, ...]:
    """The words of a term, as they are compared."""
    return tuple(plain(word) for word in PART.findall(term))


def joined(text: str, words: Sequence[re.Match[str]]) -> bool:
    """Whether words follow each other with a space or hyphen between, and no hyphen stands before the first."""
    start = words[0].start()
    gaps = [text[a.end() : b.start()] for a, b in pairwise(words)]
    return all(map(GAP.fullmatch, gaps)) and not (start and text[start - 1] in HYPHENS)
