"""Texts as they are shown: what hides a word from a rule, and from no model, is taken away before the rule reads."""

import re
import unicodedata
from collections.abc import Sequence
from typing import TypeAlias

Pairs: TypeAlias = Sequence[tuple[str, str]]
"""Texts as (prompt, completion), as a labeler reads them."""
MOST_MARKS = 8
"""Combining marks in a row that are kept: thousands are sorted in quadratic time, and no language needs more."""
TAGS = {0xE0000 + code: code for code in range(0x20, 0x7F)}
"""Unicode's tag characters, which nobody sees and models read as ASCII."""
HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]+"
)
"""Control characters, and those that Unicode has nothing shown for (Default_Ignorable_Code_Point)."""
_MARK = "[\u0300-\u036f\u0483-\u0489\u20d0-\u20ff\ufe20-\ufe2f]"
MARKS = re.compile(f"({_MARK}{{{MOST_MARKS}}}){_MARK}+")


def seen(text: str) -> str:
    """The text as a model may read it: tags as letters, nothing that is not shown, letters of one form (NFKC)."""
    if text.isascii():
        return text if text.isprintable() else HIDDEN.sub("", text)
    return unicodedata.normalize("NFKC", MARKS.sub(r"\1", HIDDEN.sub("", text.translate(TAGS))))


def both_ways(pairs: Pairs) -> tuple[list[tuple[str, str]], list[int]]:
    """Each pair as it is, then those that read otherwise once what is hidden is shown; and whose each of those is."""
    shown = [(at, (seen(prompt), seen(completion))) for at, (prompt, completion) in enumerate(pairs)]
    blank = [bool(text.strip()) for pair in pairs for text in pair]
    others = [
        (at, pair)
        for at, pair in shown
        if pair != tuple(pairs[at]) and [bool(text.strip()) for text in pair] == blank[2 * at : 2 * at + 2]
    ]
    return [*pairs, *(pair for _, pair in others)], [at for at, _ in others]


def highest(values: Sequence[float | None], owners: Sequence[int]) -> list[float | None]:
    """The score of each pair: the higher one of its two forms; None where the judge could not say of a form."""
    own = list(values[: len(values) - len(owners)])
    for at, value in zip(owners, values[len(own) :], strict=True):
        first = own[at]
        own[at] = None if first is None or value is None else max(first, value)
    return own
