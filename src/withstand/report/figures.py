"""The figures of a report as numbers and places: what `figures.html.j2` draws as tables and inline SVG.

Each is None or empty where a run has nothing to show in it. Colors and dashes are classes, since the page's policy
allows no inline style: `level` is a rate in tenths, for the color of a cell; `line` is the place of a curve.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from withstand.core.text import count, series, tidy, unique
from withstand.report import words
from withstand.report.settings import Group, Setting
from withstand.results.cells import CellResult, Interval, Record
from withstand.results.judge_error import annotators_of
from withstand.results.worst_case import WorstCase

ANY = "any attack"

LINES = 6
"""Curves in one panel: as many as colors and dashes can be told apart."""

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 440.0, 210.0, 34.0, 34.0, 8.0
"""Of a panel with axes, in SVG units; what lies right of LEFT and above BOTTOM is the plot."""


# --- tables of rates -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Square:
    """A cell as a square of a heat map. level: its rate in tenths, None without a rate; home: cases were found here."""

    cell: CellResult
    home: bool = False

    @property
    def level(self) -> int | None:
        return _level(self.cell.asr)


@dataclass(frozen=True, slots=True)
class WorstSquare:
    """What any attack broke of a target, as a square."""

    worst: WorstCase

    @property
    def level(self) -> int | None:
        return _level(self.worst.rate)


def _level(rate: float | None) -> int | None:
    return None if rate is None else min(10, int(10 * rate + 0.5))


def _harmful(setting: Setting) -> list[tuple[str, CellResult]]:
    """The harmful cells, each with its target and defense in words."""
    return [(group.name, row) for group in setting.groups for row in group.rows if not row.benign]


def heat_map(setting: Setting) -> dict[str, Any] | None:
    """Attacks, and any of them, against targets and their defenses; None for one target, which the table shows.

    The longer side goes down the page.
    """
    squares: dict[tuple[str, str], Square | WorstSquare] = {
        (name, row.attack): Square(row) for name, row in _harmful(setting) if _origin(row.attack) is None
    }
    squares |= {
        (group.name, ANY): WorstSquare(group.worst) for group in setting.groups if group.worst and group.worst.cases > 1
    }
    targets, attacks = (unique(key[at] for key in squares) for at in (0, 1))
    if len(targets) < 2:
        return None
    if len(attacks) >= len(targets):
        lines = [{"name": a, "squares": [squares.get((t, a)) for t in targets]} for a in attacks]
        return {"corner": "attack", "columns": targets, "lines": lines}
    lines = [{"name": t, "squares": [squares.get((t, a)) for a in attacks]} for t in targets]
    return {"corner": "target", "columns": attacks, "lines": lines}


def _origin(label: str) -> tuple[str, str] | None:
    """Attack and target of test cases that were found elsewhere, from the label that `--cases-from` gives them."""
    attack, separator, where = label.partition(" found on ")
    return (attack, where) if separator else None


def transfer(setting: Setting, spec: Record) -> dict[str, Any] | None:
    """Where test cases were found against where they were sent: those of an earlier run, and joint searches over
    surrogates."""
    searched = _surrogates(setting, spec)
    squares: dict[tuple[str, str], dict[str, Square]] = defaultdict(dict)
    for name, row in _harmful(setting):
        source = _origin(row.attack) or ((row.attack, searched[row.attack]) if row.attack in searched else None)
        if source:
            home = source[1] == name or source[1].startswith(f"{name} (")
            squares[source][name] = Square(row, home)
    if not squares:
        return None
    targets = unique(group.name for group in setting.groups)
    lines = [
        {"name": attack, "where": where, "squares": [by_target.get(target) for target in targets]}
        for (attack, where), by_target in squares.items()
    ]
    return {"corner": "found by", "columns": targets, "lines": lines}


def _surrogates(setting: Setting, spec: Record) -> dict[str, str]:
    """The models that a joint attack searched on, by the attack's label."""
    labels = unique(row.attack for _, row in _harmful(setting) if _origin(row.attack) is None)
    given = [entry for entry in spec.get("attack") or [] if isinstance(entry, Mapping)]
    if len(given) != len(labels):
        return {}
    named = {
        label: [str(model.get("use", "")) if isinstance(model, Mapping) else str(model) for model in models]
        for label, entry in zip(labels, given, strict=True)
        if isinstance(models := entry.get("surrogates"), list) and models
    }
    return {label: series(models) for label, models in named.items()}


# --- success against budget ------------------------------------------------------------------------------------------


def budget(settings: Sequence[Setting], points: Sequence[Record]) -> list[dict[str, Any]]:
    """Curves of the attacks that search: one panel per target and defense, all on one axis of asks or of FLOPs."""
    by_cell: dict[int, list[Record]] = defaultdict(list)
    for point in points:
        by_cell[point["cell"]].append(point)
    searched = {point["cell"] for point in points if point["spent"] > 0}
    if not searched:
        return []
    axis = Axis.of(points[0]["by"], [point["spent"] for point in points if point["spent"] > 0])
    panels = []
    for setting in settings:
        for group in setting.groups:
            curves = [(row, by_cell[row.index]) for row in group.rows if row.index in searched]
            curves.sort(key=lambda curve: (-curve[1][-1]["rate"], curve[0].attack))
            if curves:
                lines = [_curve(line, row, curve, axis) for line, (row, curve) in enumerate(curves[:LINES])]
                panels.append(
                    {"name": group.name, "lines": lines, "left_out": len(curves) - len(lines),
                     "ticks": list(axis.ticks()), "by": axis.by}
                )  # fmt: skip
    return panels


@dataclass(frozen=True)
class Axis:
    """Of what was spent: logarithmic, but beginning at 0, as wide as `most` in units of `unit`."""

    by: str
    unit: float
    most: float

    @staticmethod
    def of(by: str, spent: Sequence[float]) -> "Axis":
        """For amounts above 0. Asks are few enough to count; of operations the unit is a thousandth of the most."""
        return Axis(by, 1.0 if by == "asks" else max(spent) / 1_000, max(spent))

    def x(self, spent: float) -> float:
        return round(LEFT + (WIDTH - LEFT - 18) * math.log1p(spent / self.unit) / math.log1p(self.most / self.unit), 1)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Places and their labels, none too near to another."""
        steps = [0, *(d * 10**e for e in range(25) for d in (1, 2, 5) if self.unit <= d * 10**e <= self.most)]
        last, apart = -100.0, 34 if self.by == "asks" else 46
        for step in steps:
            x = self.x(step)
            if x - last >= apart:
                yield x, f"{step:,}" if self.by == "asks" else tidy(step)
                last = x


def _up(rate: float) -> float:
    return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - rate), 1)


def _curve(line: int, row: CellResult, points: Sequence[Record], axis: Axis) -> dict[str, Any]:
    def stairs(name: str) -> list[tuple[float, float]]:
        corners: list[tuple[float, float]] = []
        for point in points:
            x, y = axis.x(point["spent"]), _up(point[name])
            corners += [(x, corners[-1][1] if corners else y), (x, y)]
        return [*corners, (axis.x(axis.most), corners[-1][1])]

    end = points[-1]
    return {
        "line": line,
        "letter": "abcdef"[line],
        "attack": row.attack,
        "matching": row.matching,
        "path": _path(stairs("rate")),
        "band": _path([*stairs("high"), *reversed(stairs("low"))]) + "Z",
        "x": axis.x(axis.most) + 4,
        "y": _up(end["rate"]) + 4,
        "start": points[0]["rate"],
        "rate": end["rate"],
        "at_most": end["at_most"],
        "ends": [end["low"], end["high"]],
        "broken": end["broken"],
        "behaviors": end["behaviors"],
        "spent": end["spent"],
        "area": end["area"],
        "forecast": words.forecast(points),
        # what is neither broken nor ended by itself was cut off: there the rate is no share of what was counted
        "estimated": any(abs(point["rate"] * point["behaviors"] - point["broken"]) > 1e-6 for point in points),
    }


def _path(corners: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g},{y:g}" for x, y in corners)


# --- over-refusal against ASR ----------------------------------------------------------------------------------------

SIDE, EDGE = 330.0, 40.0
"""Of the square plot and its margin, in SVG units."""


def tradeoff(setting: Setting) -> list[dict[str, Any]]:
    """The strongest attack on each target and defense against how much it refuses that it should not."""
    points: list[dict[str, Any]] = []
    groups = [group for group in setting.groups if not group.benign]
    any_attack = any(group.defense for group in groups) and all(group.worst for group in groups)
    for group in setting.groups:
        strongest = _any_of(group) if any_attack else _strongest(group)
        refusals = [(cell.over_refusal, cell) for cell in group.refusals if cell.over_refusal is not None]
        if not strongest or not refusals:
            continue
        (attack, asr, ends), (refused, benign) = strongest, refusals[0]
        points.append(
            {
                "number": len(points) + 1,
                "name": group.name,
                "defended": bool(group.defense),
                "static": group.static,
                "any": any_attack,
                "attack": attack,
                "x": _right(refused),
                "y": _high(asr),
                "across": [_right(end) for end in benign.over_refusal_interval or [refused] * 2],
                "along": [_high(end) for end in ends or [asr] * 2],
                "rate": asr,
                "ends": ends,
                "refusal": refused,
                "refusal_ends": benign.over_refusal_interval,
            }
        )
    return points if len(points) > 1 else []


def _strongest(group: Group) -> tuple[str, float, Interval | None] | None:
    """The attack with the highest ASR, that and its interval; None without one."""
    rated = [(row.asr, row) for row in group.rows if not row.benign and row.asr is not None]
    if not rated:
        return None
    asr, best = max(rated, key=lambda entry: entry[0])
    return best.attack, asr, best.asr_interval_all or best.asr_interval


def _any_of(group: Group) -> tuple[str, float, Interval | None] | None:
    """What any attack broke: a mean over the cases of an attack that knows a defense would flatter the defense."""
    worst = group.worst
    return (f"any of {count(len(worst.attacks), 'attack')}", worst.rate, worst.interval) if worst else None


def _right(rate: float) -> float:
    return round(EDGE + (SIDE - EDGE - 14) * rate, 1)


def _high(rate: float) -> float:
    return round(12 + (SIDE - EDGE - 12) * (1 - rate), 1)


# --- a judge against people ------------------------------------------------------------------------------------------


def agreement(calibrations: Sequence[Record]) -> list[dict[str, Any]]:
    """For each stored calibration the judge's verdicts by what the labels say, shares of each row as levels."""
    views = []
    for calibration in calibrations:
        rows = []
        counts = ("true_positive", "false_negative"), ("false_positive", "true_negative")
        for name, (yes, no) in zip(("shown", "not shown"), counts, strict=True):
            total = calibration[yes] + calibration[no]
            shares = [calibration[key] / total if total else None for key in (yes, no)]
            cells = [
                {"n": calibration[key], "share": share, "level": int(10 * (share or 0) + 0.5)}
                for key, share in zip((yes, no), shares, strict=True)
            ]
            rows.append({"name": name, "total": total, "cells": cells})
        names = ("accuracy", "sensitivity", "specificity")
        rates = [(name, calibration[name], calibration[f"{name}_interval"]) for name in names]
        views.append({**calibration, "rows": rows, "rates": rates, "by": annotators_of(calibration)})
    return views
