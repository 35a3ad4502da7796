"""The units of random search: what a suffix is made of where the target's tokenizer is not at hand."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random


def changed(suffix: Sequence[str], number: int, draw: Random) -> list[str]:
    """`number` neighboring units anywhere in the suffix, all if it has fewer, drawn anew."""
    number = min(number, len(suffix))
    start = draw.randrange(len(suffix) - number + 1)
    return [*suffix[:start], *draw.choices(units(), k=number), *suffix[start + number :]]


@cache
def text_of(name: str) -> str:
    return Path(__file__).with_name(f"random_search_{name}.txt").read_text(encoding="utf-8").strip()


@cache
def units() -> list[str]:
    return text_of("units").split()
