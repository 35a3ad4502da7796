"""The figures of a hardening as numbers of an SVG drawing: rates and loss over the steps of the training."""

from collections.abc import Callable, Iterator
from typing import Any

from withstand.audits.drawing import across, apart, from_above, rate_grid, step_ticks
from withstand.core import Json
from withstand.core.text import percent, unique

LINES = (("adaptive", "harmful"), ("fixed", "refused"), ("over-refusal", "third"))
"""What a line shows, and its style."""


def figures(report: Json) -> dict[str, Any]:
    """By their titles; a figure that would show nothing is left out."""
    course = report["course"]
    drawn = {
        "Families that were held out": _rates(course, "held_out"),
        "Families that were trained on": _rates(course, "trained"),
        "Loss on clean texts that were held out, nats a token": _loss(course),
    }
    return {name: figure for name, figure in drawn.items() if figure}


def _rates(course: Json, group: str) -> Json:
    if all(row[f"{group}_adaptive"] is None and row[f"{group}_fixed"] is None for row in course):
        return None
    keys = {"adaptive": f"{group}_adaptive", "fixed": f"{group}_fixed", "over-refusal": "over_refusal"}
    lines = [_line(course, name, keys[name], kind, from_above, percent) for name, kind in LINES]
    return _figure(course, [line for line in lines if line], rate_grid())


def _loss(course: Json) -> Json:
    losses = [row["loss"] for row in course if row["loss"] is not None]
    if not losses:
        return None
    top = max(losses) * 1.1 or 1.0
    line = _line(course, "loss", "loss", "third", lambda loss: from_above(loss, top), lambda loss: f"{loss:.3f} nats")
    ticks = [{"y": from_above(share * top, top), "text": f"{share * top:.2f}"} for share in (0, 0.5, 1)]
    return _figure(course, [line] if line else [], ticks)


def _figure(course: Json, lines: list[dict[str, Any]], grid: list[dict[str, Any]]) -> Json:
    if max((len(line["points"]) for line in lines), default=0) < 2:
        return None
    apart(lines)
    steps = unique(row["step"] for row in course)
    return {"lines": lines, "ticks": step_ticks(steps, _last(course)), "grid": grid, "below": "steps of the hardening"}


def _line(
    course: Json, name: str, key: str, kind: str, place: Callable[[float], float], write: Callable[[float], str]
) -> dict[str, Any] | None:
    last = _last(course)
    points: list[dict[str, Any]] = [
        {"x": across(step, last), "y": place(mean), "text": f"step {step}: {name} {write(mean)}", "low": None}
        for step, mean in _means(course, key)
    ]
    return {"name": name, "kind": kind, "points": points, "label_y": points[-1]["y"] + 4} if points else None


def _means(course: Json, key: str) -> Iterator[tuple[int, float]]:
    """Of each step the mean over seeds; a seed without a figure is left out."""
    for step in sorted({row["step"] for row in course}):
        values = [row[key] for row in course if row["step"] == step and row[key] is not None]
        if values:
            yield step, sum(values) / len(values)


def _last(course: Json) -> int:
    return max([1, *(int(row["step"]) for row in course)])
