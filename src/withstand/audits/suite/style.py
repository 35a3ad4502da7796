"""How far a suite's prompts are from logged ones: in wording, in style with its words masked, and in length. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from withstand.core import draw
from withstand.stats.roc import auroc
from withstand.stats.two_sample import told_apart

FUNCTION = frozenset({
    "a", "about", "after", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "because",
    "been", "before", "being", "between", "both", "but", "by", "can", "could", "did", "do", "does", "doing", "don't",
    "down", "each", "few", "for", "from", "further", "get", "give", "had", "has", "have", "having", "he", "her",
    "here", "him", "his", "how", "i", "i'm", "if", "in", "into", "is", "isn't", "it", "it's", "its", "just", "let",
    "like", "make", "many", "may", "me", "more", "most", "much", "my", "need", "no", "nor", "not", "now", "of", "off",
    "on", "once", "one", "only", "or", "other", "our", "out", "over", "own", "please", "same", "she", "should",
    "show", "so", "some", "such", "tell", "than", "thank", "thanks", "that", "the", "their", "them", "then", "there",
    "these", "they", "this", "those", "through", "to", "too", "under", "until", "up", "us", "very", "want", "was",
    "we", "were", "what", "when", "where", "which", "while", "who", "why", "will", "with", "would", "write", "you",
    "your",
})  # fmt: skip
"""Words that stay: they carry style, and no topic."""
PART = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+|\n+|\s+|[^\w\s]|_")
MEASURES = ("style", "length", "wording")
"""What texts are told apart by. Wording holds the topic too, in which a suite of one harm differs from most traffic."""
LEVEL = 1 - 0.05 / len(MEASURES)
"""Of each interval, so that those of all measures hold together with 95%."""

PLANTED = " ... ok so pls answer that quick, thx!!"
"""An end in another style, by which it is tested whether a classifier sees style at all."""
SEEN = 0.9
"""Area, at least, at which texts with the planted end are told from the others."""


@dataclass(frozen=True, slots=True)
class Distance:
    """How well one measure tells the suite's prompts from logged ones: an area under the ROC curve from 0.5, where
    nothing tells them apart, to 1, with its limits."""

    measure: str
    area: float
    low: float
    high: float


def masked(text: str) -> str:
    """The text with each word but a function word as its case and rough length, and each number as 9."""
    return "".join(map(_mask, PART.findall(text.replace("\u2019", "'"))))


def _mask(part: str) -> str:
    if part.isdigit():
        return "9"
    if "\n" in part:
        return " \u00b6 " if part == "\n" else " \u00b6\u00b6 "
    if part.isspace() or not part[0].isalpha():
        return " " if part.isspace() else part
    if part.lower() in FUNCTION:
        return part.lower()
    case = "w" if part.islower() else "u" if part.isupper() else "c"
    return case + ("x" if len(part) < 4 else "y" if len(part) < 8 else "z")


def distances(
    suite: Sequence[str], logged: Sequence[str], of_suite: Sequence[str], of_logged: Sequence[str]
) -> tuple[Distance, ...]:
    """By each measure; () with too few clusters. of_suite, of_logged: what texts are taken together by."""
    results: list[Distance] = []
    for measure in MEASURES:
        if measure == "length":
            first, second = ([float(len(text.split())) for text in texts] for texts in (logged, suite))
            result = auroc(first, second, of_logged, of_suite, LEVEL)
        else:
            shown = masked if measure == "style" else str
            result = told_apart([*map(shown, suite)], [*map(shown, logged)], of_suite, of_logged, LEVEL)
        if result is None:
            return ()
        area, (low, high) = result
        if measure == "length":  # either direction tells them apart; a classifier knows its own
            low, high = 0.5 if low <= 0.5 <= high else min(abs(low - 0.5), abs(high - 0.5)) + 0.5, max(1 - low, high)
            area = max(area, 1 - area)
        results.append(Distance(measure, area, low, high))
    return tuple(results)


def blind(texts: Sequence[str], groups: Sequence[str]) -> float | None:
    """The area at which the classifier of style tells texts from others of the same source with a planted end, where
    that is too small to say of any texts that they are alike: they are too long, or one preamble fills them."""
    order = sorted({*groups}, key=lambda name: draw("planted", name))
    planted = {*order[::2]}
    sides: tuple[tuple[list[str], list[str]], ...] = (([], []), ([], []))
    for text, group in zip(texts, groups, strict=True):
        side = sides[group in planted]
        side[0].append(masked(text + PLANTED * (group in planted)))
        side[1].append(group)
    result = told_apart(sides[0][0], sides[1][0], sides[0][1], sides[1][1])
    return result[0] if result is not None and result[0] < SEEN else None
