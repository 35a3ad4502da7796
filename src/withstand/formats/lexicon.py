"""A lexicon: terms with weights by category, and the score that a text has by it. Ours.

It counts words and reads no meaning: "not disgusting at all" scores as "disgusting" does, a rude sentence without a
term scores 0, and a term may be part of how a group is named. The list that ships, `rude-words.csv`, is of rudeness
about food; it is for tests and demonstrations.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import prod

from withstand.core import Json, SpecError
from withstand.core.text import INVISIBLE
from withstand.formats import rows

SHIPPED = "rude-words.csv"
COLUMNS = ("term", "weight", "category")
TERMS = 10_000
"""Terms of a lexicon, at most."""
APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'"})


@dataclass(frozen=True, slots=True)
class Lexicon:
    """weights: of each category the weight of each term, in (0, 1]. A term is words as they are written, in any case;
    `*` at its end stands for any ending."""

    weights: Mapping[str, Mapping[str, float]]

    def scores(self, text: str) -> dict[str, float]:
        """Of each category 1 minus the product of (1 - weight) over the different terms in the text: in [0, 1], 0
        without a term. A term that is repeated counts once, so that length alone adds nothing."""
        plain = normal(text)
        return {
            category: round(1 - prod(1 - terms[term] for term in _matched(tuple(terms), plain)), 6)
            for category, terms in self.weights.items()
        }

    def terms_in(self, text: str) -> list[str]:
        """The terms that the text has, the heaviest first."""
        plain = normal(text)
        heard = [(-terms[term], term) for terms in self.weights.values() for term in _matched(tuple(terms), plain)]
        return [term for _, term in sorted(heard)]


def read(path: str = "") -> Lexicon:
    """The lexicon in a CSV or JSONL file with the columns term, weight and category; default: the one that ships.

    Raises `SpecError` with the row for a weight outside (0, 1], a term that stands twice in a category, and no terms.
    """
    return _read(path or SHIPPED, rows.read(path).data if path else _shipped())


def normal(text: str) -> str:
    """A text as terms are compared: Unicode's compatibility form in small letters, without what cannot be seen."""
    return unicodedata.normalize("NFKC", INVISIBLE.sub("", text)).casefold().translate(APOSTROPHES)


def _shipped() -> bytes:
    return (files("withstand.formats") / SHIPPED).read_bytes()


@cache
def _read(name: str, data: bytes) -> Lexicon:
    weights: dict[str, dict[str, float]] = {}
    listed = rows.parse(rows.File(name, data))
    if not 0 < len(listed) <= TERMS:
        raise SpecError(f"{name} has {len(listed):,} terms; it must have 1 to {TERMS:,}")
    for row in listed:
        if lacking := [column for column in COLUMNS if not str(row.cells.get(column) or "").strip()]:
            raise SpecError(f"{row.place}: no {lacking[0]}", hint=f"a lexicon has the columns {', '.join(COLUMNS)}")
        term, category = " ".join(normal(row.text("term")).split()), row.text("category").strip()
        if not re.search(r"\w", term) or "*" in term[:-1]:
            raise SpecError(f"{row.place}: {term!r} is no term", hint="write words; * may stand at the end alone")
        terms = weights.setdefault(category, {})
        if term in terms:
            raise SpecError(f"{row.place}: {term!r} stands twice in {category}", hint="give a term one weight")
        terms[term] = _weight(row, row.cells["weight"])
    return Lexicon(weights)


def _weight(row: rows.Row, value: Json) -> float:
    try:
        weight = float(value)
    except (TypeError, ValueError):
        weight = 0.0
    if isinstance(value, bool) or not 0 < weight <= 1:
        raise SpecError(f"{row.place}: the weight is {str(value)[:40]!r}", hint="it must be above 0, and at most 1")
    return weight


def _matched(terms: Sequence[str], plain: str) -> list[str]:
    """The terms that stand in a text as words of their own."""
    return [term for term in terms if term.split()[0].rstrip("*") in plain and _pattern(term).search(plain)]


@cache
def _pattern(term: str) -> re.Pattern[str]:
    stem = r"\s+".join(map(re.escape, term.removesuffix("*").split()))
    end = "" if term.endswith("*") else r"(?!\w)"
    return re.compile(rf"(?<!\w){stem}{end}")
