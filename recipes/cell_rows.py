"""A file with a row of JSON for each cell of a grid: what it holds is not done again, what is missing stays empty.

Each grid of the recipes reads its rows, adds to them, and writes its page by these functions.
"""

import importlib.metadata
import json
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

MARKS = ("<!-- cells -->\n", "<!-- /cells -->")
"""Between these lines of a page its tables stand."""


def read(path: Path, key: Sequence[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows that are there, by the fields of `key`; of two with one key the later."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {tuple(row[name] for name in key): row for row in map(json.loads, lines)}


def add(path: Path, row: dict[str, Any]) -> None:
    """Append a row."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def page_of(page: Path, tables: Iterable[str]) -> str:
    """The text of a page with these lines between its marks."""
    above, rest = page.read_text(encoding="utf-8").split(MARKS[0])
    below = rest.split(MARKS[1])[1]
    return "\n".join([f"{above}{MARKS[0].strip()}", *tables, f"{MARKS[1]}{below}"])


def show(page: Path, tables: Iterable[str], write: bool) -> None:
    """Print the tables, or write them into the page."""
    if write:
        page.write_text(page_of(page, tables), encoding="utf-8")
    else:
        print(*tables, sep="\n")


def versions() -> dict[str, str]:
    """What a row was made with."""
    libraries = {name: importlib.metadata.version(name) for name in ("withstand", "torch", "transformers")}
    return {**libraries, "python": platform.python_version()}
