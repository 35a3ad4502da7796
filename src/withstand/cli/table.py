"""Tables for a terminal: empty columns are dropped, names wrap between words, and what is too narrow is stacked."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

GAP = 2
"""Spaces between columns."""

_WORDS = re.compile(r"[^\s,_/:|=-]*[\s,_/:|=-]*")
_NUMBER = re.compile(r"n/a|[<>+\-~]?[\d.,]+.*")


@dataclass(frozen=True)
class TerminalTable:
    """Rows of texts under their headings, which fit the width of the terminal that prints them."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def lines(self, width: int) -> tuple[list[str], list[str]]:
        """The lines of the heading and those of the rows, each at most `width` cells wide where words allow it."""
        kept = [at for at in range(len(self.heads)) if not self.rows or any(row[at].strip() for row in self.rows)]
        heads = [self.heads[at] for at in kept]
        rows = [[row[at] for at in kept] for row in self.rows]
        widths = _fitted(heads, rows, width)
        if widths is None:
            return [], _stacked(heads, rows, width)
        right = [_is_number(column) for column in _columns(heads, rows)]
        return _row(heads, widths, right), [line for row in rows for line in _row(row, widths, right)]


def _columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The texts of each column, without its heading."""
    return [[row[at] for row in rows] for at in range(len(heads))]


def _is_number(column: Sequence[str]) -> bool:
    return bool(column) and all(_NUMBER.fullmatch(text) for text in column if text)


def _words(text: str) -> list[str]:
    return [word for word in _WORDS.findall(text) if word]


def _fitted(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """A width for each column, None where the table cannot be made narrow enough."""
    columns = _columns(heads, rows)
    widest = [max(map(cell_len, [head, *column])) for head, column in zip(heads, columns, strict=True)]
    least = [
        max(
            [cell_len(word.rstrip()) for word in _words(head)]
            + [cell_len(text) if _is_number(column) else cell_len(w.rstrip()) for text in column for w in _words(text)],
            default=0,
        )
        for head, column in zip(heads, columns, strict=True)
    ]
    available = width - GAP * (len(heads) - 1)
    if sum(least) > available:
        return None
    while sum(widest) > available:
        at = max((at for at in range(len(heads)) if widest[at] > least[at]), key=lambda at: widest[at])
        widest[at] -= 1
    return widest


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines, broken between words, behind "," "_" "/" ":" "|" "=" or "-"; a longer word is cut."""
    lines = [""]
    for word in _words(text):
        if lines[-1] and cell_len(lines[-1] + word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
        while cell_len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return [line.rstrip() for line in lines]


def _row(texts: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    parts = [wrapped(text, width) for text, width in zip(texts, widths, strict=True)]
    lines = []
    for at in range(max(map(len, parts), default=0)):
        cells = [part[at] if at < len(part) else "" for part in parts]
        padded = [
            " " * (width - cell_len(text)) + text if flush else text + " " * (width - cell_len(text))
            for text, width, flush in zip(cells, widths, right, strict=True)
        ]
        lines.append((" " * GAP).join(padded).rstrip())
    return lines


def _stacked(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Each row as a block: its first text, and below it the others behind their headings."""
    column = min(max(map(cell_len, heads[1:]), default=0), width // 2 - GAP)
    lines = []
    for first, *texts in rows:
        lines += wrapped(first, width)
        for head, text in zip(heads[1:], texts, strict=True):
            if text:
                lines += _row(["", head, text], [0, column, width - column - 2 * GAP], [False] * 3)
    return lines
