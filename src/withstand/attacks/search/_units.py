"""The units of random search: what a suffix is made of where the target's tokenizer is not at hand."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

from withstand.core import SpecError


def changed(suffix: Sequence[str], number: int, draw: Random) -> list[str]:
    """`number` neighboring units anywhere in the suffix, all if it has fewer, drawn anew."""
    number = min(number, len(suffix))
    start = draw.randrange(len(suffix) - number + 1)
    return [*suffix[:start], *draw.choices(units(), k=number), *suffix[start + number :]]


def check_template(template: str) -> None:
    """Raise `SpecError` unless it has a place for the behavior, and none but that and one for the opening."""
    placeholders = set(re.findall(r"\{(\w+)\}", template))
    if not {"behavior"} <= placeholders <= {"behavior", "opening"}:
        raise SpecError(
            f"template has the placeholders {sorted(placeholders)}",
            hint="it must hold {behavior}, may hold {opening}, and nothing else in braces",
        )


@cache
def text_of(name: str) -> str:
    return Path(__file__).with_name(f"random_search_{name}.txt").read_text(encoding="utf-8").strip()


@cache
def units() -> list[str]:
    return text_of("units").split()
