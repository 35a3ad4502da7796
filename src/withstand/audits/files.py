"""The files of an audit: its report as JSON, Markdown and one HTML page."""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from withstand.core import Json, SpecError
from withstand.report import table as write_table
from withstand.report.table import Table
from withstand.report.write import save

PATH = re.compile(r"(?<![\w./<])(?!//)(?:[A-Za-z]:[\\/]|~?/)(?:[^\s,;'\"()\[\]]*[\\/])?([^\s,;'\"()\[\]\\/]+)")


def make(folder: Path) -> None:
    """Make the folder of an audit. Raises `SpecError` where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"the folder {folder} cannot be made: {error.strerror}", hint="name another with -o") from error


def without_paths(text: str) -> str:
    """The text with each absolute path cut to its last name: a page is sent to others."""
    return PATH.sub(r"\1", text)


def write(
    folder: Path, name: str, report: Json, markdown: str, html: str, about: Callable[[Json], object] | None = None
) -> None:  # fmt: skip
    """Write NAME.json, NAME.md and NAME.html into the folder, which is made where it is missing.

    about: what a report is about. Files that lie there and are about something else are kept, as NAME-1.json and so on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = json.dumps(report, indent=1) + "\n"
    if about:
        _keep_other(folder, name, about, about(json.loads(written)))
    for ending, text in (("json", written), ("md", markdown), ("html", html)):
        save(folder / f"{name}.{ending}", text)


def _keep_other(folder: Path, name: str, about: Callable[[Json], object], new: object) -> None:
    """Rename the files of a report that is about something else, or that cannot be read."""
    try:
        if about(json.loads((folder / f"{name}.json").read_text("utf-8"))) == new:
            return
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        pass
    number = next(n for n in itertools.count(1) if not any(folder.glob(f"{name}-{n}.*")))
    for ending in ("json", "md", "html"):
        if (path := folder / f"{name}.{ending}").exists():
            path.rename(folder / f"{name}-{number}.{ending}")


def markdown(
    title: str, answers: Sequence[str], facts: Iterable[tuple[str, str]], tables: Iterable[Table],
    panels: Iterable[tuple[str, Sequence[str]]],
) -> str:  # fmt: skip
    """The page as Markdown: answers, facts about the setting, tables with their notes, and lists of sentences."""
    cell = write_table.markdown
    lines = [f"# {cell(title)}", "", *(f"- {cell(text)}" for text in answers), ""]
    lines += [f"{cell(name)}: {cell(value)}  " for name, value in facts]
    for table in tables:
        lines += ["", f"## {cell(table.title)}", "", *([cell(table.note), ""] if table.note else [])]
        lines.append(table.markdown() if table.rows else "Nothing to show.")
    for heading, texts in panels:
        lines += ["", f"## {cell(heading)}", "", *(f"- {cell(text)}" for text in texts)]
    return "\n".join(lines) + "\n"
