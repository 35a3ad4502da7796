"""ROC curves with their bands as numbers for an SVG. The page's policy allows no inline style: colors are classes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from withstand.core.text import percent
from withstand.results.guard_figures import GuardResult
from withstand.stats.roc import Point

SIDE, LEFT, BOTTOM, TOP, RIGHT = 400.0, 44.0, 40.0, 10.0, 12.0
"""Of the square panel and its margins, in SVG units."""
STYLES = 6
"""Styles of curves in page.css."""
NEAR = 5
"""The second panel shows this many budgets of false alarms."""

Place: TypeAlias = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Line:
    """A guard as paths. dot: where it operates; bars: its intervals there, as (x1, y1, x2, y2)."""

    style: int
    name: str
    path: str
    band: str
    dot: tuple[float, float] | None
    bars: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves from no false alarms to `most`. ticks: (place, text) of each axis; limit: where the budget is."""

    name: str
    lines: tuple[Line, ...]
    xs: tuple[tuple[float, str], ...]
    ys: tuple[tuple[float, str], ...]
    limit: float
    chance: str
    side: float = SIDE
    left: float = LEFT
    right: float = SIDE - RIGHT
    top: float = TOP
    bottom: float = SIDE - BOTTOM


def panels(guards: Sequence[GuardResult], budget: float) -> Iterator[Panel]:
    """All of it, and the part around the budget where that is a small one."""
    yield _panel("all thresholds", guards, budget, 1.0)
    if NEAR * budget <= 0.5:
        yield _panel(f"up to {percent(NEAR * budget)} false alarms", guards, budget, NEAR * budget)


def _panel(name: str, guards: Sequence[GuardResult], budget: float, most: float) -> Panel:
    def x(share: float) -> float:
        return round(LEFT + share / most * (SIDE - LEFT - RIGHT), 1)

    def y(share: float) -> float:
        return round(TOP + (1 - share) * (SIDE - TOP - BOTTOM), 1)

    lines = tuple(_line(at, guard, x, y, most) for at, guard in enumerate(guards[:STYLES]))
    xs = tuple((x(most * part / 4), f"{100 * most * part / 4:.3g}%") for part in range(5))
    ys = tuple((y(part / 4), f"{25 * part}%") for part in range(5))
    return Panel(name, lines, xs, ys, x(budget), svg_path([(x(0), y(0)), (x(1), y(1))]))


def _line(at: int, guard: GuardResult, x: Place, y: Place, most: float) -> Line:
    spots = [(x(point.alarms), y(point.caught)) for point in guard.points]
    dot, bars = None, list[tuple[float, float, float, float]]()
    if guard.at is not None and guard.at.caught is not None and guard.at.alarms.rate <= most:
        alarms, caught = guard.at.alarms, guard.at.caught
        dot = x(alarms.rate), y(caught.rate)
        bars = [
            (x(alarms.ends[0]), dot[1], x(alarms.ends[1]), dot[1]),
            (dot[0], y(caught.ends[0]), dot[0], y(caught.ends[1])),
        ]
    return Line(at, guard.guard, svg_path(spots), _band(guard.points, x, y), dot, tuple(bars))


def _band(points: Sequence[Point], x: Place, y: Place) -> str:
    """Between the stairs that the curve surely lies above, and those that it surely lies below."""
    if not points:
        return ""
    low, high, floor, before = [(x(0), y(0))], list[tuple[float, float]](), 0.0, 0.0
    for point in points:
        low += [(x(point.alarm_ends[1]), y(floor)), (x(point.alarm_ends[1]), y(point.caught_ends[0]))]
        high += [(x(before), y(point.caught_ends[1])), (x(point.alarm_ends[0]), y(point.caught_ends[1]))]
        floor, before = point.caught_ends[0], point.alarm_ends[0]
    return svg_path([*low, (x(1), y(floor)), (x(1), y(1)), (x(before), y(1)), *reversed(high)]) + "Z"


def svg_path(spots: Sequence[tuple[float, float]]) -> str:
    """The line through these places, as the attribute `d` of a path; "" for none."""
    return "M" + "L".join(f"{px:g},{py:g}" for px, py in spots) if spots else ""
