"""Whether two texts are the same but for a word or two, and how a secret is looked for. Standard library only."""

import re
import unicodedata

TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[a-z]+(?:'[a-z]+)?|%")
ALIKE = 0.9
"""Share of common three-word runs above which two texts are alike."""
SECRET = 4
"""Letters and digits of a secret, at least: shorter ones stand in an answer by chance."""


def tokens(text: str) -> list[str]:
    """The words, numbers and percent signs of a text, in lower case."""
    return TOKEN.findall(text.lower().replace("\u2019", "'"))


def runs(text: str) -> frozenset[tuple[str, ...]]:
    """The runs of three words of a text; of a shorter one the text as its only run."""
    words = tokens(text)
    return frozenset(tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2)))


def alike(a: str, b: str) -> bool:
    """Whether two texts are the same but for a word or two: by their runs of three words."""
    return alike_runs(runs(a), runs(b))


def alike_runs(first: frozenset[tuple[str, ...]], second: frozenset[tuple[str, ...]]) -> bool:
    """`alike`, of texts whose runs are at hand."""
    return len(first & second) > ALIKE * len(first | second)


def folded(text: str) -> str:
    """Without case, and with full-width and other compatible letters as plain ones."""
    return unicodedata.normalize("NFKC", text).casefold()


def squeezed(text: str) -> str:
    """`folded`, letters and digits alone."""
    return "".join(filter(str.isalnum, folded(text)))
