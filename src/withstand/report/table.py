"""A table as values with a declaration of its columns, which writes itself for a page, a file, a paper or a terminal.

Texts of a table may come from a model, a data file or a person: each form disarms them in its own way.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from withstand.core.text import visible

Row = Sequence[Any] | str


def plain(value: Any) -> str:
    """A value as it stands; "" for None."""
    return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    name: the heading.   unit: of its values, as in "nats".   right: aligned to the right, as numbers are.
    write: a value as text; a tuple is given as arguments.   mark: the CSS class of a value, "" for none.
    draw: a value as markup, in HTML alone; a column with it is in no other form.
    """

    name: str
    write: Callable[..., str] = plain
    unit: str = ""
    right: bool = False
    mark: Callable[[Any], str | None] | None = None
    draw: Callable[[Any], Any] | None = None

    @property
    def heading(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def text(self, value: Any) -> str:
        return self.write(*value) if isinstance(value, tuple) else self.write(value)

    def html(self, value: Any) -> Any:
        return self.draw(value) if self.draw else self.text(value)

    def css(self, value: Any) -> str:
        return " ".join(filter(None, ("right" if self.right else None, self.mark(value) if self.mark else None)))


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of values, one per column; a row that is a text is a heading over the rows below it.

    note: what the columns mean.   folded: long, shown on demand.   figure: name of the figure that goes before it.
    """

    columns: Sequence[Column]
    rows: Sequence[Row]
    title: str = ""
    note: str = ""
    folded: bool = False
    figure: str = ""

    def shown(self) -> "Table":
        """The table without the columns that are empty in every row."""
        rows = [row for row in self.rows if not isinstance(row, str)]
        keep = [
            at
            for at, column in enumerate(self.columns)
            if column.draw or not rows or any(column.text(row[at]) for row in rows)
        ]
        return replace(
            self,
            columns=[self.columns[at] for at in keep],
            rows=[row if isinstance(row, str) else [row[at] for at in keep] for row in self.rows],
        )

    def _written(self) -> list[Column]:
        return [column for column in self.columns if not column.draw]

    def heads(self) -> list[str]:
        """The headings, with units, of the columns that have a text."""
        return [column.heading for column in self._written()]

    def texts(self) -> list[list[str]]:
        """The rows as texts, for a terminal; a heading stands in the first column."""
        blank = [""] * (len(self._written()) - 1)
        return [[row, *blank] if isinstance(row, str) else self._texts(row) for row in self.rows]

    def _texts(self, row: Sequence[Any]) -> list[str]:
        return [column.text(value) for column, value in zip(self.columns, row, strict=True) if not column.draw]

    def markdown(self) -> str:
        """A table in GitHub's Markdown."""
        table = self.shown()
        rule = "|".join("---:" if column.right else "---" for column in table._written())
        head, *body = ["| " + " | ".join(map(markdown, line)) + " |" for line in [table.heads(), *table.texts()]]
        return "\n".join([head, f"|{rule}|", *body])

    def section(self, level: int) -> Iterator[str]:
        """The lines of a part of a Markdown text: title, note, and the table where it has rows, each before a blank."""
        if self.title:
            yield from (f"{'#' * level} {markdown(self.title)}", "")
        if self.note:
            yield from (markdown(self.note), "")
        if self.rows:
            yield from (self.markdown(), "")

    def latex(self, caption: str, label: str) -> str:
        """A table of booktabs. `caption`: plain text; `label`: of letters, digits, "-" and ":"."""
        columns = self._written()
        body = [
            rf"\multicolumn{{{len(columns)}}}{{l}}{{\textit{{{latex(row)}}}}} \\"
            if isinstance(row, str)
            else " & ".join(map(latex, self._texts(row))) + r" \\"
            for row in self.rows
        ]
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{latex(caption)}}}",
                rf"\label{{{label}}}",
                rf"\begin{{tabular}}{{{''.join('r' if column.right else 'l' for column in columns)}}}",
                r"\toprule",
                " & ".join(map(latex, self.heads())) + r" \\",
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )


# --- foreign texts in each form --------------------------------------------------------------------------------------


def markdown(text: Any) -> str:
    """Any text as one line of Markdown that shows it: no cell ends in it, and no markup, link or picture begins."""
    return re.sub(r"[\\|\[]", r"\\\g<0>", " ".join(visible(text).split())).replace("&", "&amp;").replace("<", "&lt;")


SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after the end of a line these would be read as its options
    "]": "{]}",
    "*": "{*}",
    "\u2013": r"\textendash{}",
    "\u27e8": "{[}",  # around a code point
    "\u27e9": "{]}",
}

LETTERS = frozenset(map(chr, range(0xC0, 0x100))) - set("\xd7\xf7")
"""What every LaTeX of this century reads as UTF-8; other characters are named by their code point."""


def latex(text: Any) -> str:
    """Any text as one line of LaTeX that shows it."""
    shown = "".join(map(_latex, " ".join(visible(text).split())))
    shown = re.sub("-(?=-)", "-{}", shown)  # two would become one dash
    return re.sub(r"(?<=\d)\\textendash\{\}(?=\d)", "--", shown)


def _latex(character: str) -> str:
    as_is = character.isascii() or character in LETTERS
    return SPECIAL.get(character) or (character if as_is else f"{{[}}U+{ord(character):04X}{{]}}")


FORMULA = re.compile("[=+\\-@\\t\\r\\n\uff1d\uff0b\uff0d\uff20]")
"""How a text begins that a spreadsheet may run. OWASP, "CSV Injection"; the last four are wide forms of the first."""


def csv_lines(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A header, then a line per row. A text that a spreadsheet could take for a formula gets a single quote before."""
    file = io.StringIO()
    writer = csv.DictWriter(file, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _inert(value) for name, value in row.items()})
        yield file.getvalue()
        file.seek(0)
        file.truncate()
    yield file.getvalue()


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value
