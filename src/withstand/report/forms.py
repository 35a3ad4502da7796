"""A report as a file: a page, Markdown or JSON, by what its name ends in."""

import json
from collections.abc import Callable
from pathlib import Path

from withstand.core import Json, SpecError
from withstand.core.save import save
from withstand.core.text import series

ENDINGS = (".html", ".md", ".json")


def check_place(path: Path, what: str) -> None:
    """Raise `SpecError` for a file that is no page, Markdown or JSON, or is in no folder. what: such as "a card"."""
    if path.suffix not in ENDINGS:
        raise SpecError(f"{path}: {what} cannot be written so", hint=f"name a file that ends in {series(ENDINGS)}")
    if not path.parent.is_dir():
        raise SpecError(f"{path}: there is no folder {path.parent}", hint="make it, or name a file in another one")


def write(path: Path, what: str, html: Callable[[], str], markdown: Callable[[], str], value: Json) -> None:
    """Write a report as its ending says. Raises `SpecError` as `check_place` does."""
    check_place(path, what)
    forms: dict[str, Callable[[], str]] = {".html": html, ".md": markdown, ".json": lambda: _json(value)}
    save(path, forms[path.suffix]())


def _json(value: Json) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
