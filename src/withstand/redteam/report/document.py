"""The report of a red team as a document: sections of texts, lists, tables and blocks, in Markdown, HTML and JSON.

Blocks say what they are (`report_passages`), so that a reader and the linter can tell a measurement from what people
found by hand.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from withstand.core import Json
from withstand.redteam.report.passages import FACTS, Block
from withstand.report.shell import render
from withstand.report.table import Table
from withstand.report.table import markdown as line

SCHEMA = "withstand.plan-report/1"


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph. strong: what a reader must not miss."""

    text: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of short texts."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Title:
    """A heading within a section."""

    text: str


@dataclass(frozen=True, slots=True)
class Boxed:
    """Parts in a block of a kind: `measured`, `replay` or `restricted`."""

    block: Block
    parts: tuple["Part", ...]


Part: TypeAlias = Text | Bullets | Title | Table | Boxed


@dataclass(frozen=True, slots=True)
class Section:
    """A numbered section."""

    number: int
    title: str
    parts: tuple[Part, ...]

    @property
    def heading(self) -> str:
        return f"{self.number} {self.title}"


@dataclass(frozen=True, slots=True)
class Document:
    """A report. facts: what stands below the title, as (term, lines)."""

    title: str
    plan: str
    round: str
    level: str
    facts: tuple[tuple[str, tuple[str, ...]], ...]
    sections: tuple[Section, ...] = field(default=())


# --- Markdown ----------------------------------------------------------------------------------------------------


def markdown(document: Document) -> str:
    """The report in GitHub's Markdown; blocks stand between comments."""
    lines = [f"# {line(document.title)}", ""]
    lines += [line("; ".join(f"{term}: {', '.join(values)}" for term, values in document.facts)), ""]
    for section in document.sections:
        lines += [f"## {line(section.heading)}", ""]
        for part in section.parts:
            lines += [*_markdown(part)]
    return "\n".join(lines).rstrip() + "\n"


def _markdown(part: Part) -> Iterator[str]:
    if isinstance(part, Text):
        yield from (f"**{line(part.text)}**" if part.strong else line(part.text), "")
    elif isinstance(part, Title):
        yield from (f"### {line(part.text)}", "")
    elif isinstance(part, Bullets):
        yield from (*(f"- {line(item)}" for item in part.items), "")
    elif isinstance(part, Boxed):
        facts = "; ".join(f"{name}={line(value)}" for name, value in part.block.facts.items())
        yield from (f"<!-- {part.block.kind}{f': {facts}' if facts else ''} -->", "")
        for inner in part.parts:
            yield from _markdown(inner)
        yield from (f"<!-- /{part.block.kind} -->", "")
    else:
        yield from part.section(3)


# --- HTML --------------------------------------------------------------------------------------------------------


def html(document: Document) -> str:
    """The report as one page that loads nothing."""
    template = Path(__file__).parent / "redteam_report.html.j2"
    return render(template, document=document, facts=document.facts, kind_of=kind_of, short=_short)


def kind_of(part: Part) -> str:
    """The kind of a part, for templates."""
    return type(part).__name__.lower()


def _short(title: str) -> str:
    """A section's title for the page's navigation."""
    return title.partition(",")[0].partition(":")[0]


# --- JSON --------------------------------------------------------------------------------------------------------


def as_json(document: Document) -> Json:
    """The same content for machines."""
    return {
        "schema": SCHEMA,
        "title": document.title,
        "plan": document.plan,
        "round": document.round,
        "level": document.level,
        "facts": {term: list(values) for term, values in document.facts},
        "sections": [
            {"number": section.number, "title": section.title, "parts": [_json(part) for part in section.parts]}
            for section in document.sections
        ],
    }


def _json(part: Part) -> dict[str, Any]:
    if isinstance(part, (Text, Title)):
        return {"title" if isinstance(part, Title) else "text": part.text}
    if isinstance(part, Bullets):
        return {"items": list(part.items)}
    if isinstance(part, Boxed):
        facts = {name: part.block.facts[name] for name in FACTS if name in part.block.facts}
        return {"block": part.block.kind, **facts, "parts": [_json(inner) for inner in part.parts]}
    shown = part.shown()
    return {"title": part.title, "note": part.note, "columns": shown.heads(), "rows": _rows(shown)}


def _rows(table: Table) -> list[Sequence[str]]:
    return [[text for text in row if text] if isinstance(whole, str) else row
            for whole, row in zip(table.rows, table.texts(), strict=True)]  # fmt: skip


def written(document: Document, suffix: str) -> str:
    """The report as the text of a file. suffix: "md", "html" or "json"."""
    if suffix == "json":
        return json.dumps(as_json(document), indent=1, ensure_ascii=False) + "\n"
    return html(document) if suffix == "html" else markdown(document)
