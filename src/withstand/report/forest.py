"""A forest plot: differences with their intervals on one axis, as numbers for the page and as plain text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from withstand.core.text import visible

WIDTH, LEFT, STEP, TOP = 440.0, 10.0, 36.0, 20.0
"""Of the drawing, in SVG units: its width, the space beside the axis, the height of a row and of the axis."""
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
TICKS = 6
NAME, AXIS = 22, 34
"""Columns of the text form: for the name, and for the axis."""


@dataclass(frozen=True, slots=True)
class Line:
    """One difference in [-1, 1] with the ends of its interval.   text: it in words.   overall: it is over all rows."""

    name: str
    difference: float
    low: float
    high: float
    text: str
    overall: bool = False


@dataclass(frozen=True, slots=True)
class Forest:
    """Lines on an axis from `first` to `last`, marked at `ticks`: differences in [-1, 1]."""

    lines: Sequence[Line]
    first: float
    last: float
    ticks: Sequence[float]

    @staticmethod
    def of(lines: Sequence[Line]) -> "Forest | None":
        """None without a line. The axis holds all intervals, and 0."""
        if not lines:
            return None
        low, high = min(0.0, *(line.low for line in lines)), max(0.0, *(line.high for line in lines))
        step = next((step for step in STEPS if (high - low) / step <= TICKS), STEPS[-1])
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        ticks = [step * place for place in range(first, max(last, first + 1) + 1)]
        return Forest(lines, ticks[0], ticks[-1], ticks)

    @property
    def width(self) -> float:
        return WIDTH

    @property
    def height(self) -> float:
        return TOP + STEP * len(self.lines)

    def x(self, difference: float) -> float:
        """Where a difference lies in the drawing."""
        share = (min(max(difference, self.first), self.last) - self.first) / (self.last - self.first)
        return round(LEFT + share * (WIDTH - 2 * LEFT), 1)

    def y(self, place: int) -> float:
        """The top of a row."""
        return STEP * place

    def text(self) -> list[str]:
        """Lines of ASCII: (---o---) is an interval with its difference, | is 0; the last line is the axis."""
        zero = self._column(0)
        rows = []
        for line in self.lines:
            low, at, high = (self._column(value) for value in (line.low, line.difference, line.high))
            marks = [" "] * AXIS
            marks[zero] = "|"
            marks[low : high + 1] = ["-"] * (high + 1 - low)
            marks[low], marks[high], marks[at] = "(", ")", "#" if line.overall else "o"
            name = " ".join(visible(line.name).split())
            name = name if len(name) <= NAME else f"{name[: NAME - 3]}..."
            rows.append(f"{name:{NAME}} {''.join(marks)} {line.text}".rstrip())
        axis = [" "] * (AXIS + 4)
        for tick in (self.ticks[0], 0.0, self.ticks[-1]):
            label = points_of(tick)
            start = min(max(self._column(tick) - len(label) // 2, 0), len(axis) - len(label))
            if not "".join(axis[max(start - 1, 0) : start + len(label) + 1]).strip():
                axis[start : start + len(label)] = label
        return [*rows, f"{'points':{NAME}} {''.join(axis)}".rstrip()]

    def _column(self, difference: float) -> int:
        share = (min(max(difference, self.first), self.last) - self.first) / (self.last - self.first)
        return round(share * (AXIS - 1))


def points_of(tick: float) -> str:
    """A place on the axis in points: "-20", "0", "+20"."""
    return f"{100 * tick:+.0f}" if round(100 * tick) else "0"
