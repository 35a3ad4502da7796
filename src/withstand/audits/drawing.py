"""Figures of an audit as numbers of an SVG drawing, for `report/drawing.html.j2`: places in a box, labels, ticks."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

WIDTH, HEIGHT = 560, 220
LINE = 13
"""Height of a label, in pixels."""
GAP = 34
"""Between two ticks, in pixels."""


def from_above(value: float, top: float = 1.0) -> float:
    """The place of a value in [0, top], counted from above."""
    return round((1 - value / top) * HEIGHT, 1)


def rate_grid(top: float = 1.0) -> list[dict[str, Any]]:
    """Three lines of rates up to `top`."""
    return [{"y": from_above(share * top, top), "text": f"{100 * share * top:.0f}%"} for share in (0, 0.5, 1)]


def across(step: float, most: float) -> float:
    """The place of a step from the left."""
    return round(step / most * WIDTH, 1)


def step_ticks(steps: Sequence[int], most: float) -> list[dict[str, Any]]:
    """Ticks at these steps, in their order; one too near to the last is left out."""
    ticks: list[dict[str, Any]] = []
    last = -float(GAP)
    for step in steps:
        if across(step, most) - last >= GAP:
            last = across(step, most)
            ticks.append({"x": last, "text": str(step)})
    return ticks


def apart(lines: Sequence[dict[str, Any]]) -> None:
    """Move the labels of lines apart that would lie on each other, and none out of the drawing."""
    order = sorted(lines, key=lambda line: line["label_y"])
    for first, second in pairwise(order):
        second["label_y"] = max(second["label_y"], first["label_y"] + LINE)
    for place, line in enumerate(reversed(order)):
        line["label_y"] = round(min(line["label_y"], HEIGHT + 4 - LINE * place), 1)
