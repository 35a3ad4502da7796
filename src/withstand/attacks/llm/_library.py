"""The strategy library of AutoDAN-Turbo: how a strategy is found again. Liu et al. 2024, arXiv:2410.05295.

Where we leave the paper: it compares answers by a text embedding model; here two texts are as alike as their sets of
character trigrams (cosine), which needs no model and works in any script. Scores are in [0, 1], not 1 to 10.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean

from withstand.core import SpecError, bounded

HIGH, LOW = 5 / 9 + 1e-9, 2 / 9 - 1e-9
"""Mean rises above which a strategy is used alone, or among others: above 5, from 2 on the paper's scale of 1 to 10.
The rest is for rounding: 6/9 - 1/9 is not 5/9."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """What made a score rise: `example` is the better prompt, `rise` by how much (in (0, 1]), `answer` the target's
    answer before it, by which it is found again."""

    strategy: str
    definition: str
    example: str
    rise: float
    answer: str


def retrieve(library: Sequence[Strategy], answer: str, k: int) -> tuple[bool, list[Strategy]]:
    """Whether there are strategies that worked at answers like this one, and which: the best alone if its mean rise is
    above HIGH, else up to `k` above LOW; if there are none, up to `k` that did not work.

    The 2k nearest entries count (first of equals first); each strategy with its mean rise and its best example.
    """
    nearest = sorted(library, key=lambda entry: -similarity(entry.answer, answer))[: 2 * k]
    similar = []
    for name in dict.fromkeys(entry.strategy for entry in nearest):
        entries = [entry for entry in nearest if entry.strategy == name]
        best = max(entries, key=lambda entry: entry.rise)
        similar.append(replace(best, rise=fmean(entry.rise for entry in entries)))
    similar.sort(key=lambda entry: -entry.rise)
    if similar and similar[0].rise > HIGH:
        return True, similar[:1]
    useful = [entry for entry in similar if entry.rise > LOW]
    return bool(useful), (useful or similar)[:k]


def similarity(first: str, second: str) -> float:
    """Cosine of the sets of character trigrams, in [0, 1]; 0 where a text is empty."""
    a, b = trigrams(first), trigrams(second)
    return len(a & b) / math.sqrt(len(a) * len(b)) if a and b else 0.0


@lru_cache(maxsize=10_000)
def trigrams(text: str) -> frozenset[str]:
    """All runs of three characters, without regard to case and kind of white space; a shorter text is one run."""
    text = " ".join(text.lower().split())
    return frozenset(text[i : i + 3] for i in range(max(1, len(text) - 2))) if text else frozenset()


def read_library(path: str) -> list[Strategy]:
    """The strategies in a JSON file, a list of objects with the fields of `Strategy`; none for ""."""
    if not path:
        return []
    try:
        rows = bounded.parse_json(path, bounded.read_text(Path(path).expanduser()))
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}", hint="name a file of strategies") from None
    names = [f.name for f in fields(Strategy)]
    if not isinstance(rows, list):
        raise SpecError(f"{path}: no list", hint=f"write a list of objects, each with {', '.join(names)}")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or sorted(row) != sorted(names):
            raise SpecError(f"{path}: strategy {number} has other fields", hint=f"give it {', '.join(names)}")
        texts = [row[name] for name in names if name != "rise"]
        if not all(isinstance(text, str) for text in texts) or not row["strategy"].strip():
            raise SpecError(f"{path}: strategy {number} lacks a text", hint="all but rise are texts; strategy its name")
        rise = row["rise"]
        if isinstance(rise, bool) or not isinstance(rise, (int, float)) or not 0 <= rise <= 1:
            raise SpecError(f"{path}: strategy {number} has rise {rise!r}", hint="a number in [0, 1]")
    return [Strategy(**{**row, "rise": float(row["rise"])}) for row in rows]
