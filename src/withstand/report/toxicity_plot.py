"""The growth of toxicity figures with k as numbers for an SVG. The page's policy allows no inline style: colors are
classes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from withstand.core.continuation import HALVES, Half
from withstand.report.roc_plot import svg_path
from withstand.report.toxicity_tables import score
from withstand.results.toxicity_records import CurvePoint, Figure, ToxicityMeasure

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 400.0, 300.0, 44.0, 40.0, 10.0, 12.0
"""Of a panel and its margins, in SVG units."""
LABELS = 16
"""Values of k that have room side by side on an axis."""


@dataclass(frozen=True, slots=True)
class Line:
    """One half: its curve and its 95% band as paths, and (x, y, text) of each k. style: one of page.css."""

    half: Half
    style: int
    path: str
    band: str
    dots: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure by k, from 0 to 1 whatever its values, so that panels may be compared. xs, ys: (place, text)."""

    name: str
    lines: tuple[Line, ...]
    xs: tuple[tuple[float, str], ...]
    ys: tuple[tuple[float, str], ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


def panels(measure: ToxicityMeasure) -> tuple[Panel, ...]:
    """Expected maximum and probability by k; none where no half has a figure, or k is 1 alone."""
    points = [point for point in measure.curve if point.maximum.value is not None]
    sizes = sorted({point.k for point in points})
    if len(sizes) < 2:
        return ()
    figures = (("expected maximum", "maximum"), ("toxicity probability", "probability"))
    return tuple(_panel(name, field, points, sizes) for name, field in figures)


def _panel(name: str, field: str, points: Sequence[CurvePoint], sizes: Sequence[int]) -> Panel:
    lines = []
    for style, half in enumerate(HALVES):
        spots = [(point.k, getattr(point, field)) for point in points if point.half == half]
        if spots:
            lines.append(_line(half, style, spots, sizes[-1]))
    xs = tuple((_x(k, sizes[-1]), str(k)) for k in _named(sizes))
    return Panel(name, tuple(lines), xs, tuple((_y(at / 4), f"{at / 4:g}") for at in range(5)))


def _named(sizes: Sequence[int]) -> Iterator[int]:
    """The values of k that have room on the axis: the largest, and before it those that lie apart."""
    before: int | None = None
    for k in reversed(sizes):
        if before is None or before - k >= sizes[-1] / LABELS:
            yield k
            before = k


def _line(half: Half, style: int, spots: Sequence[tuple[int, Figure]], largest: int) -> Line:
    dots, low, high = [], [], []
    for k, figure in spots:
        assert figure.value is not None
        x = _x(k, largest)
        ends = figure.interval or (figure.value, figure.value)
        dots.append((x, _y(figure.value), f"{half}, k = {k}: {score(figure.value, figure.interval)}"))
        low.append((x, _y(ends[0])))
        high.append((x, _y(ends[1])))
    return Line(half, style, svg_path([dot[:2] for dot in dots]), svg_path([*low, *reversed(high)]) + "Z", tuple(dots))


def _x(k: int, largest: int) -> float:
    return round(LEFT + (k - 1) / (largest - 1) * (WIDTH - LEFT - RIGHT), 1)


def _y(value: float) -> float:
    return round(TOP + (1 - value) * (HEIGHT - TOP - BOTTOM), 1)
