"""A report of a monitor as plain records: what its sections say, without the traffic and without functions.

The page, the files and the explorer write these records; the store keeps them without texts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from withstand.core import Json, to_json
from withstand.monitor.section import WORDS, Chart, Context, Mark, Section, State
from withstand.redteam.dates import moment
from withstand.redteam.incidents.records import incidents
from withstand.report import table as tables

GROUP = "group"
"""The class of a row with one cell that is a heading over the rows below it."""
HIDDEN = "(a text, in the monitor's folder alone)"
LONGEST = 64
"""Characters of a word."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A value of a table as text. css: its classes."""

    text: str
    css: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """A column's heading. right: aligned to the right."""

    name: str
    unit: str = ""
    right: bool = False


@dataclass(frozen=True, slots=True)
class ShownTable:
    """A table as texts. folded: long, shown on demand."""

    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    note: str = ""
    folded: bool = False

    def table(self) -> tables.Table:
        """It as the table that every page and file can write."""
        columns = [
            tables.Column(head.name, lambda cell: cell.text, head.unit, head.right, lambda cell: cell.css)
            for head in self.heads
        ]
        rows = [row[0].text if len(row) == 1 and row[0].css == GROUP else row for row in self.rows]
        return tables.Table(columns, rows, self.title, self.note, self.folded)


@dataclass(frozen=True, slots=True)
class ShownLine:
    """A curve over time. points: (seconds since 1970, value), finite.   low, high: as many, or none."""

    name: str
    points: tuple[tuple[float, float], ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ShownChart:
    """Curves over time in one panel. See `Chart`."""

    title: str
    lines: tuple[ShownLine, ...]
    unit: str = ""
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A section as it is shown. See `Section`."""

    id: str
    question: str
    answer: str
    state: State
    tables: tuple[ShownTable, ...] = ()
    charts: tuple[ShownChart, ...] = ()
    advice: tuple[str, ...] = ()
    value: Json = None


@dataclass(frozen=True, slots=True)
class Event:
    """An incident that people opened. ts: when it began, seconds since 1970."""

    ts: float
    id: str
    category: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a monitor says at the end of its traffic.

    start, end: of the traffic, seconds since 1970.   before: section -> its state in the last report of less traffic.
    incidents: those that began within the traffic.
    """

    name: str
    policy: str
    start: float
    end: float
    exchanges: int
    accounts: int
    answers: tuple[Answer, ...]
    before: Mapping[str, str]
    incidents: tuple[Event, ...] = ()


def report_of(context: Context, sections: Sequence[Section], before: Mapping[str, str]) -> Report:
    """The report of these sections. before: the states of the report before it."""
    [(exchanges, first)] = context.traffic.rows(
        "SELECT coalesce(sum(exchanges), 0), (SELECT min(hour) * 3600 FROM past_hour) FROM hour_total"
    )
    [(accounts,)] = context.traffic.rows("SELECT count(DISTINCT account) FILTER (account <> '') FROM account_day")
    span = context.traffic.span()
    start = span[0] if span else context.now
    start = start if first is None else min(start, float(first))
    events = tuple(
        Event(begun, incident.id, incident.category)
        for incident in incidents(context.store)
        if start <= (begun := moment("first_event", incident.first_event).timestamp()) <= context.now
    )
    return Report(
        context.settings.keeping.name, context.policy.label, start, context.now, int(exchanges),
        accounts,
        tuple(map(answer_of, sections)), before, events,
    )  # fmt: skip


def answer_of(section: Section) -> Answer:
    """A section without functions."""
    return Answer(
        section.id, section.question, section.answer, section.state, tuple(map(_shown, section.tables)),
        tuple(map(_chart, section.charts)), tuple(section.advice), _plain(section.value),
    )  # fmt: skip


def _chart(chart: Chart) -> ShownChart:
    """A chart without points that are no numbers: curves break where points are missing."""
    lines = []
    for line in chart.lines:
        ends = zip(line.low, line.high, strict=True) if line.low and line.high else [None] * len(line.points)
        rows = [
            (float(ts), float(value), end)
            for (ts, value), end in zip(line.points, ends, strict=True)
            if math.isfinite(value) and (end is None or (math.isfinite(end[0]) and math.isfinite(end[1])))
        ]
        points = tuple((ts, value) for ts, value, _ in rows)
        low, high = (tuple(float(end[side]) for _, _, end in rows if end is not None) for side in (0, 1))
        lines.append(ShownLine(line.name, points, low, high))
    return ShownChart(chart.title, tuple(lines), chart.unit, tuple(chart.marks))


def _plain(value: Any) -> Json:
    """A value as JSON can hold it: numbers of numpy are Python's, and one that is not finite is None."""
    value = to_json(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if value is not None and not isinstance(value, (str, bool, int, float)):
        value = value.item() if hasattr(value, "item") else str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(table: tables.Table) -> ShownTable:
    columns = [column for column in table.columns if not column.draw]
    heads = tuple(Head(column.name, column.unit, column.right) for column in columns)
    at = [place for place, column in enumerate(table.columns) if not column.draw]
    rows = [
        (Cell(row, GROUP),) if isinstance(row, str) else tuple(_cell(table.columns[place], row[place]) for place in at)
        for row in table.rows
    ]
    return ShownTable(heads, tuple(rows), table.title, table.note, table.folded)


def _cell(column: tables.Column, value: Any) -> Cell:
    return Cell(column.text(value), (column.mark(value) or "") if column.mark else "")


def without_texts(answer: Answer) -> Answer:
    """It without what people wrote, for the store, whose rows outlast the texts of the traffic.

    Marked cells of tables say that they are elsewhere. Of the figures for machines words alone remain.
    """
    shown = tuple(
        replace(
            table,
            rows=tuple(
                tuple(replace(cell, text=HIDDEN) if WORDS in cell.css.split() else cell for cell in row)
                for row in table.rows
            ),
        )
        for table in answer.tables
    )
    return replace(answer, tables=shown, value=_words_only(answer.value))


def _words_only(value: Json) -> Json:
    """A value with None for every text of several words, or of more than 64 characters."""
    if isinstance(value, Mapping):
        return {name: _words_only(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_words_only(inner) for inner in value]
    if isinstance(value, str) and (len(value) > LONGEST or len(value.split()) > 1):
        return None
    return value
