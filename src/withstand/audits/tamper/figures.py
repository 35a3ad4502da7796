"""The curve of harm against compute as numbers of an SVG drawing."""

from collections.abc import Iterator, Sequence
from math import log10
from typing import Any

from withstand.audits.drawing import GAP, WIDTH, apart, from_above, rate_grid
from withstand.core import Json
from withstand.core.text import percent, short

FREE = 0.06
"""Share of the width that is left of the cheapest tampering, where the model as it is stands."""


def curve(report: Json, base: Json = None) -> Json:
    """The worst case of what costs at most so much, with each tampering as a point; None where nothing was tried.

    base: the report of the model before a hardening, whose curve is drawn beside.
    """
    sides = [("after hardening", "harmful", report), ("before", "refused", base)] if base else []
    sides = sides or [("worst case", "harmful", report)]
    costs = [cell["flops"] for _, _, side in sides for cell in side["cells"] if cell["flops"] > 0]
    if not costs:
        return None
    scale = _Scale(min(costs), max(costs))
    lines = [_line(name, kind, side["curve"], scale) for name, kind, side in sides]
    apart(lines)
    points = [
        {
            "x": scale.x(cell["flops"]), "y": from_above(cell["harm"]["value"]), "r": 3, "name": "",
            "kind": "left-out" if cell["bounded"] == "outside" else "counts",
            "text": f"{cell['label']}: {percent(cell['harm']['value'])} at {short(cell['flops'])} FLOPs",
        } for cell in report["cells"] if cell["harm"]["value"] is not None and cell["method"] != "none"
    ]  # fmt: skip
    below = "compute of one tampering, FLOPs"
    return {"lines": lines, "points": points, "ticks": list(scale.ticks()), "grid": rate_grid(), "below": below}


class _Scale:
    """Logarithmic, with room for 0 at the left."""

    def __init__(self, least: float, most: float) -> None:
        self.least, self.most = log10(least), max(log10(most), log10(least) + 1)

    def x(self, flops: float) -> float:
        if flops <= 0:
            return 0.0
        share = (log10(flops) - self.least) / (self.most - self.least)
        return round((FREE + (1 - FREE) * min(1.0, max(0.0, share))) * WIDTH, 1)

    def ticks(self) -> Iterator[dict[str, Any]]:
        yield {"x": 0.0, "text": "0"}
        last = 0.0
        for power in range(int(self.least), int(self.most) + 1):
            if power >= self.least and self.x(10.0**power) - last >= GAP:
                last = self.x(10.0**power)
                yield {"x": last, "text": f"1e{power}"}


def _line(name: str, kind: str, points: Sequence[Json], scale: _Scale) -> dict[str, Any]:
    """Steps: the worst case stays until something costs more and does more harm."""
    drawn: list[dict[str, Any]] = []
    path: list[dict[str, float]] = []
    for point in points:
        if point["value"] is None:
            continue
        x, y = scale.x(point["flops"]), from_above(point["value"])
        path += [{"x": x, "y": path[-1]["y"]}] if path else []
        path.append({"x": x, "y": y})
        drawn.append({
            "x": x, "y": y, "low": from_above(point["low"]), "high": from_above(point["high"]),
            "text": f"up to {short(point['flops'])} FLOPs: {percent(point['value'])} "
                    f"({percent(point['low'])} to {percent(point['high'])}), {point['tried']} tried",
        })  # fmt: skip
    path.append({"x": float(WIDTH), "y": path[-1]["y"]})
    drawn.append({**path[-1], "low": None, "text": f"{name}: {percent(points[-1]['value'])}"})
    return {"name": name, "kind": kind, "points": drawn, "path": path, "label_y": path[-1]["y"] + 4}
