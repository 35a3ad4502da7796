"""A report in Markdown, HTML or JSON as passages: what stands in which section, and in which kind of block.

A block says what it is: `measured` (with suite, n and interval), `replay` or `restricted`. In Markdown it stands
between `<!-- measured: suite=S; n=N; interval=L-H -->` and `<!-- /measured -->`, in HTML in an element with
`data-block`, in JSON in an object with `block`. All else is of manual rounds.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Literal, TypeAlias

from withstand.core import Json, SpecError

Kind: TypeAlias = Literal["manual", "measured", "replay", "restricted"]
KINDS: tuple[Kind, ...] = ("measured", "replay", "restricted")
FACTS = ("suite", "n", "interval")
"""What a measured block names."""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a report that says what it is. number: its place among the blocks.   facts: what it names."""

    kind: Kind = "manual"
    number: int = 0
    facts: Mapping[str, str] = field(default_factory=dict)


MANUAL = Block()


@dataclass(frozen=True, slots=True)
class Passage:
    """A paragraph, a heading, an item of a list or a row of a table. section: the heading that it stands under.

    number: of that section, 0 where it has none.   place: for people, as "line 14".   cells: of a row, by heading.
    """

    text: str
    section: str
    number: int
    place: str
    block: Block = MANUAL
    heading: bool = False
    cells: Mapping[str, str] = field(default_factory=dict)


def passages(text: str, suffix: str) -> list[Passage]:
    """The passages of a file's text. suffix: "md", "html" or "json". Raises `SpecError` for another one."""
    readers = {"md": _markdown, "markdown": _markdown, "html": _html, "htm": _html, "json": _json}
    if suffix not in readers:
        raise SpecError(f"no report ends in .{suffix}", hint="a report is a file .md, .html or .json")
    return [passage for passage in readers[suffix](text) if passage.text.strip()]


def _numbered(title: str) -> tuple[str, int]:
    """A heading without its number, and the number."""
    match = re.match(r"\s*(\d{1,2})[.)]?\s+(?=\D)(.*)", title, re.DOTALL)
    return (match[2].strip(), int(match[1])) if match else (title.strip(), 0)


# --- Markdown ----------------------------------------------------------------------------------------------------

COMMENT = re.compile(r"<!--\s*(/?)\s*(\w+)\s*:?(.*?)-->")


def _markdown(text: str) -> Iterator[Passage]:
    section, number, block, blocks = "", 0, MANUAL, 0
    heads: list[str] = []
    paragraph: list[str] = []
    begins, fenced = 0, False

    def flush() -> Iterator[Passage]:
        if paragraph:
            yield Passage(_unescaped(" ".join(paragraph)), section, number, f"line {begins}", block)
            paragraph.clear()

    for at, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith(("```", "~~~")):
            yield from flush()
            fenced = not fenced
            continue
        if fenced:
            continue
        if match := COMMENT.fullmatch(stripped):
            yield from flush()
            if match[2] in KINDS:
                blocks += not match[1]
                block = MANUAL if match[1] else Block(match[2], blocks, _facts(match[3]))
            continue
        if match := re.match(r"(#{1,6})\s+(.*)", stripped):
            yield from flush()
            if len(match[1]) <= 2:
                section, number = _numbered(_unescaped(match[2]))
            yield Passage(_unescaped(match[2]), section, number, f"line {at}", block, heading=True)
            heads = []
        elif stripped.startswith("|"):
            yield from flush()
            cells = [_unescaped(cell.strip()) for cell in re.split(r"(?<!\\)\|", stripped.strip("|"))]
            if all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                continue
            row = dict(zip(heads, cells, strict=False)) if heads else {}
            yield Passage("; ".join(cells), section, number, f"line {at}", block, cells=row)
            heads = heads or cells
        elif not stripped:
            yield from flush()
            heads = []
        else:
            if match := re.match(r"(?:[-*+]|\d+[.)])\s+(.*)", stripped):
                yield from flush()
                stripped = match[1]
            begins = begins if paragraph else at
            paragraph.append(stripped.removeprefix("> "))
    yield from flush()


def _facts(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def _unescaped(text: str) -> str:
    return re.sub(r"\\([\\|\[`*_])", r"\1", text).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


# --- HTML --------------------------------------------------------------------------------------------------------

PARTS = frozenset(
    {"p", "li", "td", "th", "tr", "dd", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "caption", "summary", "pre", "div"}
    | {"blockquote", "figcaption", "title", "section", "main", "header", "footer"}
)
"""Elements at whose ends a passage ends."""
SILENT = frozenset({"style", "script", "template", "pre"})
VOID = frozenset({"meta", "br", "hr", "img", "input", "link", "col", "wbr", "area", "base", "source", "track", "embed"})


class _Page(HTMLParser):
    """Collects the passages of a page; `code` is kept between backticks, so that it is read as quoted."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.passages: list[Passage] = []
        self.section, self.number, self.blocks = "", 0, 0
        self.open: list[tuple[str, Block]] = []
        self.words: list[str] = []
        self.heads: list[str] = []
        self.row: list[str] | None = None
        self.in_head = False

    @property
    def block(self) -> Block:
        return self.open[-1][1] if self.open else MANUAL

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            return
        given = {name: value or "" for name, value in attrs}
        if tag in PARTS:
            self.flush()
        block = self.block
        if (kind := given.get("data-block", "")) in KINDS:
            self.blocks += 1
            facts = {name.removeprefix("data-"): value for name, value in given.items() if name.startswith("data-")}
            block = Block(kind, self.blocks, facts)
        self.open.append((tag, block))
        if tag == "table":
            self.heads = []
        if tag == "tr":
            self.row = []
        self.in_head = tag == "thead" or (self.in_head and tag != "tbody")
        if tag == "code":
            self.words.append("`")

    def handle_endtag(self, tag: str) -> None:
        if tag == "code":
            self.words.append("`")
        if tag in PARTS:
            self.flush(tag)
        if tag == "tr" and self.row is not None:
            self.end_row()
        while self.open and tag in {name for name, _ in self.open}:
            if self.open.pop()[0] == tag:
                break

    def handle_data(self, data: str) -> None:
        if not any(name in SILENT for name, _ in self.open):
            self.words.append(data)

    def flush(self, tag: str = "") -> None:
        text = " ".join("".join(self.words).split())
        self.words.clear()
        if self.row is not None:
            if tag in ("td", "th"):
                self.row.append(text)
            return
        if not text:
            return
        heading = re.fullmatch("h[1-6]", tag) is not None
        if tag in ("h1", "h2"):
            self.section, self.number = _numbered(text)
        place = f"line {self.getpos()[0]}"
        self.passages.append(Passage(text, self.section, self.number, place, self.block, heading))

    def end_row(self) -> None:
        cells, self.row = self.row or [], None
        if self.in_head:
            self.heads = cells
        row = {} if self.in_head else dict(zip(self.heads, cells, strict=False))
        place = f"line {self.getpos()[0]}"
        self.passages.append(Passage("; ".join(cells), self.section, self.number, place, self.block, cells=row))


def _html(text: str) -> Iterator[Passage]:
    page = _Page()
    page.feed(text)
    page.close()
    page.flush()
    yield from page.passages


# --- JSON --------------------------------------------------------------------------------------------------------


def _json(text: str) -> Iterator[Passage]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise SpecError(
            f"it is not JSON: {error}", hint="give the file that `plan report -o FILE.json` wrote"
        ) from error
    if not isinstance(value, dict) or not isinstance(value.get("sections"), list):
        raise SpecError("it is no report: it has no sections", hint="give a file of `plan report`")
    blocks = iter(range(1, 10**6))
    for at, section in enumerate(value["sections"]):
        if isinstance(section, dict):
            title, number = str(section.get("title", "")), section.get("number")
            place = f"sections[{at}]"
            where = (title, number if isinstance(number, int) else 0)
            yield Passage(title, *where, f"{place}.title", heading=True)
            yield from _walk(section.get("parts", []), where, f"{place}.parts", MANUAL, blocks)


def _walk(value: Json, where: tuple[str, int], place: str, block: Block, blocks: Iterator[int]) -> Iterator[Passage]:
    if isinstance(value, str):
        yield Passage(value, *where, place, block)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _walk(inner, where, f"{place}[{at}]", block, blocks)
    elif isinstance(value, Mapping):
        if (kind := value.get("block")) in KINDS:
            block = Block(kind, next(blocks), {name: _fact(inner) for name, inner in value.items()})
        if isinstance(value.get("columns"), list) and isinstance(value.get("rows"), list):
            yield from _rows(value, where, place, block)
            return
        for name, inner in value.items():
            if name not in ("block", "kind", *FACTS):
                yield from _walk(inner, where, f"{place}.{name}", block, blocks)
            if name in ("rate", "asr", "share", "percent") and isinstance(inner, (int, float)):
                yield Passage(f"the {name} is {inner}", *where, f"{place}.{name}", block)


def _rows(value: Mapping[str, Any], where: tuple[str, int], place: str, block: Block) -> Iterator[Passage]:
    heads = [str(head) for head in value["columns"]]
    for name in ("title", "note"):
        if value.get(name):
            yield Passage(str(value[name]), *where, f"{place}.{name}", block)
    yield Passage("; ".join(heads), *where, f"{place}.columns", block)
    for at, row in enumerate(value["rows"]):
        cells = [_fact(cell) for cell in row] if isinstance(row, list) else [_fact(row)]
        named = dict(zip(heads, cells, strict=False))
        yield Passage("; ".join(cells), *where, f"{place}.rows[{at}]", block, cells=named)


def _fact(value: Any) -> str:
    return "" if value is None else "-".join(map(str, value)) if isinstance(value, list) else str(value)
