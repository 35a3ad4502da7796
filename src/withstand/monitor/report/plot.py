"""Curves over time in one panel, as numbers for an SVG: the same in the report and in the explorer."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TypeAlias

from withstand.core.text import percent, short
from withstand.monitor.report.shown import ShownChart, ShownLine
from withstand.monitor.section import Mark
from withstand.redteam.dates import DAY, HOUR, MONDAY, minute_of

WIDTH, HEIGHT = 720.0, 190.0
"""Of the panel, in SVG units, with what stands around it."""
LEFT, RIGHT, TOP, BOTTOM = 46.0, 8.0, 16.0, 20.0
STYLES = 6
"""Styles of curves in page.css."""
MOST = 400
"""Points of a curve that is kept or drawn: of more, the least and the greatest of each stretch of time."""
CLOSE = 14.0
"""Marks that lie closer have one sign, in SVG units."""
GAP = 6.0
"""A curve breaks where its next point is so many times as far as usual."""
SPANS = (HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 91 * DAY, 364 * DAY)

Place: TypeAlias = Callable[[float], float]
"""Where a value lies in SVG units."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A line as paths. style: from 0.   path, band: of SVG; band is "" without an interval.   dots: of lone points.

    last: its last value in words, with its interval.
    """

    name: str
    style: int
    path: str
    band: str
    dots: tuple[tuple[float, float], ...]
    last: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A value on an axis. at: in SVG units."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """A mark: at `at`, numbered from 1. when: to the minute.

    sign: the numbers of the marks that begin here and lie too close to be written apart; "" for all but the first.
    """

    at: float
    number: int
    sign: str
    when: str
    text: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A panel. title, unit: of the chart."""

    title: str
    unit: str
    curves: tuple[Curve, ...]
    ys: tuple[Tick, ...]
    xs: tuple[Tick, ...]
    notes: tuple[Note, ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


def plot_of(chart: ShownChart, marks: Sequence[Mark] = ()) -> Plot | None:
    """The panel of a chart, with these marks too; None without a point."""
    lines = [thin(line) for line in chart.lines]
    times = [ts for line in lines for ts, _ in line.points]
    values = [value for line in lines for value in (*(v for _, v in line.points), *line.low, *line.high)]
    if not values:
        return None
    first, last = min(times), max(times)
    notes = [*chart.marks, *marks]
    first, last = min([first, *(mark.ts for mark in chart.marks)]), max([last, *(mark.ts for mark in chart.marks)])
    if first == last:
        first, last = first - HOUR, last + HOUR
    step, low, high = _scale(min(values), max(values), chart.unit == "%")

    def x(ts: float) -> float:
        return round(LEFT + (ts - first) / (last - first) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    ys = [low + step * place for place in range(round((high - low) / step) + 1)]
    shown = sorted((mark for mark in notes if first <= mark.ts <= last), key=lambda mark: (mark.ts, mark.text))
    return Plot(
        chart.title, chart.unit,
        tuple(_curve(line, number % STYLES, x, y, chart.unit) for number, line in enumerate(lines) if line.points),
        tuple(Tick(y(value), percent(value) if chart.unit == "%" else _number(value, chart.unit)) for value in ys),
        tuple(Tick(x(ts), text) for ts, text in _times(first, last)),
        _notes([(x(mark.ts), mark) for mark in shown]),
    )  # fmt: skip


def _notes(marks: Sequence[tuple[float, Mark]]) -> tuple[Note, ...]:
    """Marks in order, with one sign for those that lie close to each other: "2-4"."""
    begins = [at for at, (place, _) in enumerate(marks) if at == 0 or place - marks[at - 1][0] > CLOSE]
    ends = dict(zip(begins, [*begins[1:], len(marks)], strict=False))  # none of none
    return tuple(
        Note(
            place, at + 1, "" if at not in ends else f"{at + 1}-{ends[at]}" if ends[at] > at + 1 else f"{at + 1}",
            minute_of(mark.ts), mark.text,
        )
        for at, (place, mark) in enumerate(marks)
    )  # fmt: skip


def thin(line: ShownLine) -> ShownLine:
    """A line of at most `MOST` points: of each stretch of time the least value and the greatest."""
    if len(line.points) <= MOST:
        return line
    size = math.ceil(len(line.points) / (MOST // 2))
    keep: list[int] = []
    for begin in range(0, len(line.points), size):
        stretch = sorted(range(begin, min(begin + size, len(line.points))), key=lambda at: line.points[at][1])
        keep += sorted({stretch[0], stretch[-1]})
    low, high = (tuple(values[at] for at in keep) if values else () for values in (line.low, line.high))
    return ShownLine(line.name, tuple(line.points[at] for at in keep), low, high)


def _curve(line: ShownLine, style: int, x: Place, y: Place, unit: str) -> Curve:
    steps = sorted(after[0] - before[0] for before, after in pairwise(line.points))
    longest = GAP * steps[len(steps) // 2] if steps else 0.0
    runs: list[list[int]] = []
    for at, (ts, _) in enumerate(line.points):
        if at == 0 or ts - line.points[at - 1][0] > longest:
            runs.append([])
        runs[-1].append(at)
    spots = [(x(ts), y(value)) for ts, value in line.points]
    path = " ".join(f"M{_corners([spots[at] for at in run])}" for run in runs if len(run) > 1)
    band = ""
    if line.low:
        lower = [(spot[0], y(value)) for spot, value in zip(spots, line.low, strict=True)]
        upper = [(spot[0], y(value)) for spot, value in zip(spots, line.high, strict=True)]
        band = " ".join(
            f"M{_corners([*(upper[at] for at in run), *(lower[at] for at in reversed(run))])}Z" for run in runs
        )
    last = _number(line.points[-1][1], unit)
    if line.low:
        last += f" ({_number(line.low[-1], unit)} to {_number(line.high[-1], unit)})"
    return Curve(line.name, style, path, band, tuple(spots[run[0]] for run in runs if len(run) == 1), last)


def _corners(spots: Sequence[tuple[float, float]]) -> str:
    return "L".join(f"{px},{py}" for px, py in spots)


def _number(value: float, unit: str) -> str:
    if unit == "%":
        return f"{100 * value:.3g}%"
    return short(value) if value == int(value) or abs(value) >= 100 else f"{value:.3g}"


def _scale(low: float, high: float, share: bool) -> tuple[float, float, float]:
    """A round step of the axis and its ends: 0 is on it."""
    low, high = min(0.0, low), max(0.0, high)
    if low == high:
        high = 0.01 if share else 1.0
    rough = (high - low) / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= rough * 0.999)
    return step, math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def _times(first: float, last: float) -> list[tuple[float, str]]:
    step = next((span for span in SPANS if (last - first) / span <= 8), SPANS[-1])
    shift = MONDAY if step % (7 * DAY) == 0 else 0.0
    begin = math.ceil((first - shift) / step) * step + shift
    form = "%d %b %H:%M" if step < DAY else "%d %b" if step < 91 * DAY else "%b %Y"
    ticks = []
    while begin <= last:
        ticks.append((begin, f"{datetime.fromtimestamp(begin, UTC):{form}}"))
        begin += step
    return ticks
