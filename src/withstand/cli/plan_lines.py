"""How the console of a plan writes and reads places, numbers and two texts side by side."""

import itertools
import re
import shutil
import textwrap
from collections.abc import Iterator

from withstand.core import SpecError
from withstand.redteam.coverage.cells import Cell
from withstand.redteam.plan.matching import Task

NAMES = ("layer", "feature", "persona", "harm")


def place(spot: Cell | Task) -> str:
    """Where to test, as the commands that lead there."""
    return " ".join(f"/{name} {value}" for name in NAMES if (value := getattr(spot, name)))


def beside(left: str, right: str) -> Iterator[str]:
    """Two texts in two columns, as wide as the terminal."""
    width = max(20, shutil.get_terminal_size().columns // 2 - 2)
    columns = [
        [part for line in text.splitlines() for part in textwrap.wrap(line, width) or [""]] for text in (left, right)
    ]
    for first, second in itertools.zip_longest(*columns, fillvalue=""):
        yield f"{first:<{width}} | {second}".rstrip()


def whole(text: str, hint: str) -> int:
    if not re.fullmatch(r"#?\d{1,6}", text):
        raise SpecError(f"{text!r} is no number", hint=hint)
    return int(text.lstrip("#"))
