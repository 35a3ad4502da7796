"""A reliability diagram as numbers for an SVG. The page's policy allows no inline style: colors are classes."""

import math
from dataclasses import dataclass

from withstand.core.text import rate
from withstand.stats.reliability import Reliability

SIDE, LEFT, BOTTOM, TOP, RIGHT = 360.0, 44.0, 40.0, 10.0, 12.0
"""Of the square panel and its margins, in SVG units."""


@dataclass(frozen=True, slots=True)
class Dot:
    """A bin: its place, the ends of its interval, and a radius that grows with its texts."""

    x: float
    y: float
    low: float
    high: float
    radius: float
    text: str


@dataclass(frozen=True, slots=True)
class Diagram:
    """Bins beside the line on which a perfect scorer's would lie. ticks: (place across, place upwards, text)."""

    dots: tuple[Dot, ...]
    ticks: tuple[tuple[float, float, str], ...]
    perfect: tuple[float, float, float, float]
    side: float = SIDE
    left: float = LEFT
    right: float = SIDE - RIGHT
    top: float = TOP
    bottom: float = SIDE - BOTTOM


def diagram(scores: Reliability) -> Diagram:
    """The mean score of each bin, and the share of positive texts in it."""
    largest = max(part.n for part in scores.bins)
    dots = tuple(
        Dot(
            _x(part.mean), _y(part.share), _y(part.ends[0]), _y(part.ends[1]),
            round(3 + 5 * math.sqrt(part.n / largest), 1),
            f"{part.n:,} texts, mean score {part.mean:.3f}, positive {rate(part.share, part.ends)}",
        )
        for part in scores.bins
    )  # fmt: skip
    ticks = tuple((_x(at / 4), _y(at / 4), f"{at / 4:g}") for at in range(5))
    return Diagram(dots, ticks, (_x(0), _y(0), _x(1), _y(1)))


def _x(share: float) -> float:
    return round(LEFT + share * (SIDE - LEFT - RIGHT), 1)


def _y(share: float) -> float:
    return round(TOP + (1 - share) * (SIDE - TOP - BOTTOM), 1)
