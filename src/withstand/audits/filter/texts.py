"""The texts that a filter is audited on: a user's file, its labels, and which of its rows a filter kept.

A text is there once, however many rows have it: a filter that drops repeats has dropped nothing of what they say. Two
texts that differ in white space alone are one.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from withstand.core import Chat, Json, Message, SpecError, did_you_mean
from withstand.core.text import count, series
from withstand.formats import finetuning, rows

COLUMN = "text"
"""The column of running texts, unless another is named."""
Key: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A text of the data. number: its first row, from 1.   chat: one answer after () for running text, or a whole
    chat.   harmful: whether its label says that it should be dropped; None without a label, or with both.   cluster:
    texts of one cluster stand or fall together; "" for its own.   cells: columns that it is sliced by, with its
    values."""

    number: int
    chat: Chat
    harmful: bool | None = None
    cluster: str = ""
    cells: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """What its slices are read off: all turns but the system message, which is the same for all."""
        return "\n\n".join(turn.text for turn in self.chat if turn.role != "system")


@dataclass(frozen=True, slots=True)
class Label:
    """What marks a row that should be dropped: a cell that is one of `values`, or a number of `least` or more."""

    column: str
    values: tuple[str, ...] = ()
    least: float = 0.0

    @staticmethod
    def of(text: str) -> "Label":
        """From "COLUMN=VALUE", "COLUMN=VALUE,VALUE" or "COLUMN>=NUMBER"."""
        for sign in (">=", "="):
            column, found_sign, value = text.partition(sign)
            if not found_sign or not column.strip() or not value.strip():
                continue
            if sign == "=":
                values = tuple(part.strip().lower() for part in value.split(",") if part.strip())
                return Label(column.strip(), values)
            try:
                return Label(column.strip(), least=float(value))
            except ValueError:
                break
        hint = "COLUMN=VALUE of the rows that should be dropped, as in toxic=1, or COLUMN>=NUMBER, as in score>=0.5"
        raise SpecError(f"--label {text} says no label", hint=hint)

    def read(self, row: rows.Row) -> bool | None:
        """Whether a row should be dropped; None for an empty cell. Raises `SpecError` where a number is needed."""
        cell = written(row.cells.get(self.column))
        if not cell:
            return None
        if self.values:
            return cell in self.values
        try:
            number = float(cell)
            if math.isnan(number):
                raise ValueError
            return number >= self.least
        except ValueError:
            message = f"{row.place}, column {self.column}: expected a number, found {cell[:40]!r}"
            raise SpecError(message, hint=f"--label {self.column}=VALUE for a label in words") from None


@dataclass(frozen=True, slots=True)
class Data:
    """A file that was read. running: its rows are running texts, not chats.   rows: how many.   empty: rows without a
    text, left out.   both: texts with rows of both labels, which count as not labeled.   numbers: of each text, how
    many rows have it.   labels: what a reader must know of them."""

    name: str
    running: bool
    texts: tuple[Text, ...]
    rows: int
    empty: int
    both: int
    numbers: tuple[int, ...]
    column: str
    labels: tuple[str, ...] = ()

    def notes(self) -> Iterator[str]:
        """What a reader must know of the file."""
        if repeated := sum(self.numbers) - len(self.texts):
            yield f"{count(repeated, 'row repeats', 'rows repeat')} a text, which counts once"
        if self.empty:
            yield f"{count(self.empty, 'row without a text is', 'rows without a text are')} left out"
        if self.both:
            yield f"{count(self.both, 'text has', 'texts have')} both labels in different rows: not labeled"
        yield from self.labels


def written(value: Json) -> str:
    """A cell as text in lower case: true and false of JSON, and 1.0 as 1."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip().lower()


def key(chat: Chat) -> Key:
    """What two rows of one text share."""
    return tuple((turn.role, " ".join(turn.text.split())) for turn in chat)


def read(
    path: str, column: str = "", label: Label | None = None, cluster: str = "", sliced: Sequence[str] = ()
) -> Data:
    """The texts of a file: of the column, of one called `text`, or chats of a format that `withstand train` reads.

    cluster: the column of what stands or falls together.   sliced: columns whose values are slices.

    Raises `SpecError` for a file without texts, and columns that it lacks.
    """
    name, running, pairs = _chats(path, column)
    _check_columns(name, [row for row, _ in pairs], [label.column if label else "", cluster, *sliced])
    by_key: dict[Key, list[tuple[rows.Row, Chat]]] = {}
    for row, chat in pairs:
        if any(turn.text.strip() for turn in chat):
            by_key.setdefault(key(chat), []).append((row, chat))
    if not by_key:
        raise SpecError(f"{name} has no text", hint="name the column that has: --text COLUMN")
    texts, both = list[Text](), 0
    for same in by_key.values():
        labels = {label.read(row) for row, _ in same} - {None} if label else set()
        both += len(labels) == 2
        row, chat = same[0]
        harmful = labels.pop() if len(labels) == 1 else None
        cells = tuple((name, value) for name in sliced if (value := written(row.cells.get(name))))
        texts.append(Text(row.number, chat, harmful, written(row.cells.get(cluster)) if cluster else "", cells))
    numbers = tuple(map(len, by_key.values()))
    return Data(name, running, tuple(texts), len(pairs), len(pairs) - sum(numbers), both, numbers, column or COLUMN)


def check_labels(data: Data, path: str, label: Label) -> None:
    """Raise `SpecError` where the labels tell nothing apart, with the values that there are."""
    labels = {text.harmful for text in data.texts}
    if {True, False} <= labels:
        return
    wrong = "no text should be dropped" if True not in labels else "every text should be dropped"
    there = Counter(written(row.cells.get(label.column)) for row in rows.parse(rows.read(path)))
    values = series([repr(value) for value, _ in there.most_common(6)])
    raise SpecError(
        f"{data.name}, column {label.column}: {wrong} by --label",
        hint=f"its values are {values}; name those of rows that should be dropped",
    )


def label_notes(path: str, label: Label) -> Iterator[str]:
    """What else a column of labels says: "not known" counts as "should stay", which nobody meant."""
    there = Counter(written(row.cells.get(label.column)) for row in rows.parse(rows.read(path)))
    others = [(value, times) for value, times in there.most_common() if value and value not in label.values]
    if label.values and len(others) > 1:
        values = series([f"{value[:40]!r} ({times:,})" for value, times in others[:6]])
        yield f"rows whose {label.column} is {values} count as such that should stay"


def has_column(path: str, column: str) -> bool:
    """Whether any row of a file has such a column."""
    return any(column in row.cells for row in rows.parse(rows.read(path)))


def _chats(path: str, column: str) -> tuple[str, bool, list[tuple[rows.Row, Chat]]]:
    """The name of a file, whether it holds running texts, and its rows with their chats."""
    file = rows.read(path)
    name, listed = Path(file.name).name, rows.parse(file)
    if not listed:
        raise SpecError(f"{name} has no rows", hint="give at least one")
    first = listed[0].cells
    if column or COLUMN in first:
        wanted = column or COLUMN
        _check_columns(name, listed, [wanted])
        return name, True, [(row, (Message("assistant", row.text(wanted)),)) for row in listed]
    if not any(keys <= first.keys() for keys in finetuning.FORMATS.values()):
        there = series(list(map(str, first))[:8])
        hint = f"--text COLUMN names one of {there}; or give chats as `withstand train` reads them"
        raise SpecError(f"{name} has no column {COLUMN}, and its rows are no chats", hint=hint)
    data = finetuning.parse(file.data, name)
    by_number = {row.number: row for row in listed}
    return name, False, [(by_number[row.number], row.chat) for row in data.rows]


def _check_columns(name: str, listed: Sequence[rows.Row], columns: Sequence[str]) -> None:
    there = {str(column) for row in listed for column in row.cells}
    for column in filter(None, columns):
        if column not in there:
            hint = did_you_mean(column, there, f"it has {series(sorted(there)[:8])}")
            raise SpecError(f"{name} has no column {column!r}", hint=hint)


# --- what a filter kept ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """dropped: of each text, whether no row of it was kept.   partly: texts of which some rows were dropped."""

    dropped: tuple[bool, ...]
    partly: int


def kept(data: Data, path: str) -> Kept:
    """What a file of kept rows says of the texts. Raises `SpecError` where it holds rows that the data does not."""
    column = data.column if data.running else ""
    name, _, pairs = _chats(path, column)
    there = Counter(key(chat) for _, chat in pairs if any(turn.text.strip() for turn in chat))
    whole: Mapping[Any, int] = dict(zip(map(key, (text.chat for text in data.texts)), data.numbers, strict=True))
    for row, chat in pairs:
        if there[key(chat)] > whole.get(key(chat), 0):
            more = sum(times for text, times in there.items() if times > whole.get(text, 0))
            raise SpecError(
                f"{row.place} is not in {data.name}, or more often: {count(more, 'row')} of {name} are so",
                hint="--kept names the rows of DATA that the filter left, with their texts as they were",
            )
    dropped = tuple(not there[text] for text in whole)
    partly = sum(0 < there[text] < times for text, times in whole.items())
    return Kept(dropped, partly)
