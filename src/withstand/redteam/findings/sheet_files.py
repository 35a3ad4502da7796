"""Files of spreadsheets: CSV, XLSX and JSON Lines as rows of texts, and back. Every error of a file at once.

A file that Excel made is read as what it is: a formula, a merged cell, a date where no date is due, or an error in a
cell has a place in the message, and nothing of the file counts.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import partial
from pathlib import Path
from typing import Any

from withstand.core import Json, SpecError, bounded, did_you_mean
from withstand.formats import rows
from withstand.redteam.findings.sheets import COLUMNS, ONTOLOGY, is_formula, joined, pieces
from withstand.redteam.tables import Problems

ENDINGS = (".csv", ".xlsx", ".jsonl")
SHEET = "findings"
"""The sheet of a workbook that is read, where it has several."""
WIDEST = 400
MOST = 200_000
"""Columns and rows of a sheet."""
DATES = ("date", "due")
"""Columns where a cell may be a date."""


@dataclass(frozen=True, slots=True)
class SheetRow:
    """A row of a file. place: as "row 3".   cells: texts by column.   columns: what messages call each column."""

    place: str
    cells: dict[str, str]
    columns: dict[str, str]

    def at(self, column: str) -> str:
        """The place of a cell, for messages."""
        return f"{self.place}, column {self.columns.get(column, column)}"


def ending(path: str) -> str:
    """The ending of a file that can be written or read. Raises `SpecError` for another one."""
    suffix = Path(path).suffix.lower()
    if suffix not in ENDINGS:
        raise SpecError(f"{path} has no ending of a spreadsheet", hint=f"name a file that ends in {', '.join(ENDINGS)}")
    return suffix


# --- writing -----------------------------------------------------------------------------------------------------


def write(path: str, listed: Sequence[dict[str, str]]) -> bytes:
    """The bytes of a .csv or .xlsx file. The rows have the same columns."""
    table = _table(listed)
    return _xlsx(table) if ending(path) == ".xlsx" else _csv(table)


def _table(listed: Sequence[dict[str, str]]) -> list[list[str]]:
    """Header and rows; a column whose texts are longer than a cell goes on in columns of its own."""
    names = list(listed[0]) if listed else [*COLUMNS, *ONTOLOGY]
    split = [{name: pieces(text) for name, text in row.items()} for row in listed]
    widths = {name: max([len(row[name]) for row in split], default=1) for name in names}
    header = [name if n == 1 else f"{name}.{n}" for name in names for n in range(1, widths[name] + 1)]
    lines = [
        [part for name in names for part in [*row[name], *[""] * (widths[name] - len(row[name]))]] for row in split
    ]
    return [header, *lines]


def _csv(table: Sequence[Sequence[str]]) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\r\n").writerows(table)
    return b"\xef\xbb\xbf" + file.getvalue().encode()  # the mark by which Excel knows UTF-8


def _xlsx(table: Sequence[Sequence[str]]) -> bytes:
    """Every cell is a text: none is a formula, a number or a date."""
    openpyxl = _openpyxl()
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = SHEET
    sheet.freeze_panes = "B2"
    for number, line in enumerate(table, 1):
        for place, text in enumerate(line, 1):
            if text:
                cell = sheet.cell(number, place)
                cell.value = text
                cell.data_type = "s"
                cell.number_format = "@"
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def _openpyxl() -> Any:
    try:
        import openpyxl
    except ImportError as error:
        raise SpecError(
            "a workbook needs openpyxl", hint='pip install "withstand[plan]", or use a .csv file'
        ) from error
    return openpyxl


# --- reading -----------------------------------------------------------------------------------------------------


def read(path: str, problems: Problems) -> list[SheetRow]:
    """The rows of a .csv or .xlsx file, those without any text left out; what is wrong is added to `problems`."""
    names, lines = (_from_xlsx if ending(path) == ".xlsx" else _from_csv)(path, problems)
    columns, heads = _columns(names, problems)
    listed = []
    for place, texts in lines:
        cells = {
            column: joined(texts[at] for at in places if at < len(texts)) for column, places in columns.items()
        }  # fmt: skip
        if any(texts):
            listed.append(SheetRow(place, cells, heads))
    return listed


Lines = tuple[list[str], list[tuple[str, list[str]]]]


def _columns(names: Sequence[str], problems: Problems) -> tuple[dict[str, list[int]], dict[str, str]]:
    """Column -> the places that hold its pieces in order, and what messages call each column."""
    columns: dict[str, dict[int, int]] = {}
    for at, name in enumerate(names):
        base, _, number = name.strip().partition(".")
        if name.strip() in ONTOLOGY or not name.strip():
            continue
        if base not in COLUMNS or (number and not number.isdecimal()):
            hint = did_you_mean(base, COLUMNS, f"columns: {', '.join(COLUMNS)}")
            problems.add(f"row 1, column {letters(at)}", f"there is no column {name!r}", hint)
        elif columns.setdefault(base, {}).setdefault(int(number or 1), at) != at:
            problems.add(f"row 1, column {letters(at)}", f"two columns are called {name!r}", "rename one of them")
    kept = {name: [parts[number] for number in sorted(parts)] for name, parts in columns.items()}
    return kept, {name: f"{letters(places[0])} ({name})" for name, places in kept.items()}


def letters(at: int) -> str:
    """A column as a spreadsheet names it: A for 0, AA for 26."""
    text = ""
    while at >= 0:
        text, at = chr(65 + at % 26) + text, at // 26 - 1
    return text


def _from_csv(path: str, problems: Problems) -> Lines:
    file = rows.read(path)
    first = next(file.lines(), "")
    for mark, word in ((";", "semicolons"), ("\t", "tabs")):
        if first.count(mark) > first.count(","):
            hint = "save it as CSV UTF-8 with commas, or as .xlsx"
            raise SpecError(f"{path}, row 1: its columns are parted by {word}", hint=hint)
    listed = rows.parse_csv(file)
    names = list(listed[0].cells) if listed else next(csv.reader([first]), [])
    lines = []
    for row in listed:
        place = row.place.removeprefix(f"{path}, ").split(" (")[0]
        texts = [str(row.cells[name]) for name in names]
        for at, text in enumerate(texts):
            if is_formula(text):
                where = f"{place}, column {letters(at)} ({names[at]})"
                problems.add(where, f"{text[:20]!r} begins like a formula", "write a single quote before it")
        lines.append((place, texts))
    return names, lines


def _from_xlsx(path: str, problems: Problems) -> Lines:
    data = rows.read(path).data
    bounded.read_zip(path)  # no more than a limit is unpacked
    openpyxl = _openpyxl()
    try:
        book = openpyxl.load_workbook(io.BytesIO(data), keep_links=False)
    except Exception as error:  # whatever a damaged file makes of the reader
        message = f"{path} is no workbook that can be read: {' '.join(str(error).split())[:200]}"
        raise SpecError(message, hint="save it again as .xlsx, or as CSV UTF-8") from error
    names = book.sheetnames
    if not names:
        raise SpecError(f"{path} has no sheet", hint="save it again as .xlsx, or as CSV UTF-8")
    if len(names) > 1 and SHEET not in names:
        raise SpecError(f"{path} has the sheets {', '.join(names)}", hint=f"call the one to read {SHEET!r}")
    sheet = book[SHEET if SHEET in names else names[0]]
    if sheet.max_row > MOST or sheet.max_column > WIDEST:
        size = f"{sheet.max_row:,} rows and {sheet.max_column:,} columns"
        raise SpecError(f"{path}, sheet {sheet.title}: it has {size}", hint=f"at most {MOST:,} and {WIDEST}")
    for merged in sorted(str(cells) for cells in sheet.merged_cells.ranges):
        problems.add(f"sheet {sheet.title}, cells {merged}", "they are merged", "unmerge them: a row is an attempt")
    lines = list(_lines(sheet, problems))
    return (lines[0][1], lines[1:]) if lines else ([], [])


def _lines(sheet: Any, problems: Problems) -> Iterator[tuple[str, list[str]]]:
    header: list[str] = []
    for number, cells in enumerate(sheet.iter_rows(), 1):
        place = f"sheet {sheet.title}, row {number}"
        texts = []
        for at, cell in enumerate(cells):
            name = header[at] if at < len(header) else ""
            where = f"{place}, column {letters(at)}" + (f" ({name})" if name else "")
            texts.append(_text(cell, name, partial(problems.add, where)))
        header = header or texts
        yield place, texts


def _text(cell: Any, name: str, wrong: Callable[[str, str], None]) -> str:
    """The text of a cell as a person typed it."""
    value = cell.value
    if cell.data_type == "f" or type(value).__name__ in ("ArrayFormula", "DataTableFormula"):
        wrong("it is a formula", "put its value there as text")
    elif cell.data_type == "e":
        wrong(f"it is the error {value}", "write what it should say")
    elif isinstance(value, (datetime, date, time)):
        if name in DATES and isinstance(value, datetime):
            midnight = value.time() == time() or name == "due"
            return value.date().isoformat() if midnight else value.isoformat()
        wrong("it is a date or a time", "format the column as text and type it again")
    elif isinstance(value, bool):
        return "true" if value else "false"
    elif isinstance(value, float) and value.is_integer():
        return str(int(value))
    elif value is not None:
        return str(value)
    return ""


def read_jsonl(path: str, problems: Problems) -> list[tuple[str, Json]]:
    """The records of a .jsonl file, each with its place."""
    listed = []
    for row in rows.parse_jsonl(rows.read(path)):
        place = f"line {row.number}"
        if isinstance(row.value, dict):
            listed.append((place, row.value))
        else:
            problems.add(place, "it is no object", "a line is what `plan findings export` wrote")
    return listed
