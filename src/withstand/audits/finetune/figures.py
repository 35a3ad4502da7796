"""The figures of a fine-tuning audit as numbers of an SVG drawing: places in a box, labels, ticks."""

from collections.abc import Sequence
from math import ceil
from typing import Any

from withstand.audits.drawing import HEIGHT, LINE, WIDTH, across, apart, from_above, rate_grid, step_ticks
from withstand.audits.finetune.tables import title
from withstand.core import Json

LETTER = 6.6
"""Width of one in a label, in pixels."""


def figures(audit: Json) -> dict[str, Any]:
    """By the name that a table calls for; a figure that would show nothing is left out."""
    drawn = {"curve": _curve(audit["curve"]), "pareto": _pareto(audit), "depth": _depth(audit["depth"])}
    return {name: figure for name, figure in drawn.items() if figure}


def loss_of(audit: Json) -> str:
    """The loss that all arms have."""
    return "user_loss" if all(arm["utility"]["user_loss"] is not None for arm in audit["arms"]) else "neutral_loss"


def _curve(curve: Json) -> Json:
    if len(curve) < 2:
        return None
    most = max(point["step"] for point in curve)
    lines: list[dict[str, Any]] = []
    for name, key, interval in (("harmful", "harm_rate", "ci"), ("refused", "refusal", "")):
        points: list[dict[str, Any]] = [
            {
                "x": across(point["step"], most), "y": from_above(point[key]),
                "text": f"step {point['step']}: {point[key]:.0%} {name}",
                "low": from_above(point[interval][0]) if interval else None,
                "high": from_above(point[interval][1]) if interval else None,
            } for point in curve if point[key] is not None
        ]  # fmt: skip
        if points:
            lines.append({"name": name, "kind": name, "points": points, "label_y": points[-1]["y"] + 4})
    apart(lines)
    ticks = step_ticks([point["step"] for point in curve], most)
    return {"lines": lines, "ticks": ticks, "grid": rate_grid(), "below": "steps of your fine-tuning"}


def _pareto(audit: Json) -> Json:
    loss = loss_of(audit)
    arms = [arm for arm in audit["arms"] if None not in (arm["utility"][loss], arm["harm_rate"])]
    if len([arm for arm in arms if arm["name"] != "none"]) < 2:
        return None
    losses = [arm["utility"][loss] for arm in arms]
    low, high = min(losses), max(losses)
    span = (high - low) or 1.0
    top = min(1.0, max(0.1, ceil(11 * max(arm["harm_rate"] for arm in arms)) / 10))
    points = []
    for arm in arms:
        points.append({
            "name": title(arm), "x": round((0.05 + 0.9 * (arm["utility"][loss] - low) / span) * WIDTH, 1),
            "y": from_above(arm["harm_rate"], top),
            "kind": "before" if arm["name"] == "none" else "front" if arm["name"] in audit["front"] else "beaten",
            "text": f"{arm['harm_rate']:.0%} harmful, loss {arm['utility'][loss]:.3f}, "
                    f"{arm['cost']['flops']:.2g} FLOPs",
        })  # fmt: skip
    _label(points)
    ticks = [
        {"x": round((0.05 + 0.9 * share) * WIDTH, 1), "text": f"{low + share * span:.3f}"} for share in (0, 0.5, 1)
    ]
    what = "your rows held out" if loss == "user_loss" else "the base's own harmless answers"
    below = f"loss on {what}, nats a token: further left is more useful"
    return {"points": points, "ticks": ticks if high > low else ticks[:1], "grid": rate_grid(top), "below": below}


def _label(points: Sequence[dict[str, Any]]) -> None:
    """Give each point a place for its name, the first that is free of other names and points."""
    taken = [(p["x"] - 6, p["y"] - 6, p["x"] + 6, p["y"] + 6) for p in points]
    for point in points:
        wide = LETTER * len(point["name"])
        for step in range(60):
            down = LINE * (step // 2 + 1) // 2 * (1 if step // 2 % 2 else -1)
            left = step % 2 == 1
            x = point["x"] + (-10 - wide if left else 10)
            box = (x, point["y"] + down - LINE / 2, x + wide, point["y"] + down + LINE / 2)
            inside = box[0] >= 0 and box[2] <= WIDTH + 150 and box[1] >= -LINE and box[3] <= HEIGHT
            if inside and not any(_over(box, place) for place in taken):
                break
        taken.append(box)
        point |= {"lx": round(x, 1), "ly": round(point["y"] + down + 4, 1)}


def _over(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _depth(depth: Json) -> Json:
    nats = depth["kl_by_position"] if depth else []
    if not nats or max(nats) <= 0:
        return None
    wide = WIDTH / len(nats)
    bars = [
        {"x": round(place * wide + 0.15 * wide, 1), "y": from_above(value, max(nats)), "width": round(0.7 * wide, 1),
         "height": round(HEIGHT - from_above(value, max(nats)), 1), "text": f"token {place + 1}: {value:.3f} nats"}
        for place, value in enumerate(nats)
    ]  # fmt: skip
    ticks = [{"x": round((place + 0.5) * wide, 1), "text": str(place + 1)} for place in range(len(nats))]
    grid = [{"y": HEIGHT, "text": "0"}, {"y": 0, "text": f"{max(nats):.2f}"}]
    return {"bars": bars, "ticks": ticks, "grid": grid, "below": "token of the refusal; height in nats"}
