"""The tables of a report: cells that may stand together, split by target and defense."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from withstand.core.outcomes import HITS
from withstand.core.text import count, facts, unique
from withstand.results.cells import (
    COUNTED,
    Record,
    bounds_of,
    defense_of,
    measures,
    notes_of,
    rate_of,
    reason_of,
    scored_of,
)


def settings(cells: Sequence[Record], warnings: Sequence[str]) -> list[dict[str, Any]]:
    """Cells that may stand in one table (same suite, judge and sampling), each split by target and defense.

    What was asked for over-refusal and utility stands beside the harmful cells of its target and defense.
    """
    tables: dict[Any, list[Record]] = {}
    harm, benign, utility = (
        [cell for cell in cells if measures(cell) == what] for what in ("harm", "over-refusal", "utility")
    )
    for cell in harm or benign or utility:
        tables.setdefault(_setting(cell), []).append(cell)
    return [
        {
            **{name: members[0].get(name) for name in ("suite", "suite_version", "split", "judge", "judge_method")},
            "judge_by": _by(members[0]["judge_method"]),
            "sampling": facts({"temperature": 0.0} | dict(members[0].get("sampling") or {})),
            "samples": members[0].get("samples"),
            "behaviors": max(cell["behaviors"] for cell in members),
            "groups": _groups(members, benign if harm else [], utility if harm or benign else [], warnings),
        }
        for members in tables.values()
    ]


def overview(settings: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """Suite, judge and sampling of the run, each said once."""
    suites, judges, samplings = [], [], []
    for setting in settings:
        version = f" {setting['suite_version']}" if setting["suite_version"] else ""
        split = f", {setting['split']} split" if setting["split"] else ""
        suites.append(f"{setting['suite']}{version}{split}, {count(setting['behaviors'], 'behavior')}")
        judges.append(f"{setting['judge']} ({setting['judge_by']})")
        drawn = [f"{name} {value}" for name, value in setting["sampling"]]
        samplings.append(", ".join([*drawn, f"{setting['samples']} per test case"]))
    return [("suite", unique(suites)), ("judge", unique(judges)), ("sampling", unique(samplings))]


def _by(method: str) -> str:
    return {"rule": "a rule", "model": "a model", "string matching": "by string matching", "people": "people"}.get(
        method, method
    )


def _setting(cell: Record) -> tuple[Any, ...]:
    names = ("suite", "suite_version", "split", "judge", "judge_method", "samples")
    return (*[cell.get(name) for name in names], json.dumps(cell.get("sampling"), sort_keys=True))


def _groups(
    members: Sequence[Record], benign: Sequence[Record], utility: Sequence[Record], warnings: Sequence[str]
) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[Record]] = {}
    for cell in members:
        groups.setdefault((cell["target"], defense_of(cell)), []).append(cell)
    views = []
    for (target, defense), rows in groups.items():
        common = [note for note in notes_of(rows[0]) if len(rows) > 1 and all(note in notes_of(row) for row in rows)]
        remarks = [note for row in rows for note in notes_of(row)] + [line for line in warnings if defense in line]
        static = bool(defense) and any("static" in line for line in remarks)
        top = max((row["asr"] or 0 for row in rows), default=0)
        twins, right = (
            [cell for cell in beside if (cell["target"], defense_of(cell)) == (target, defense)]
            for beside in (benign, utility)
        )
        views.append(
            {
                "target": target,
                "defense": defense,
                "notes": common,
                "static": static,
                "marked": static and not any("static" in note for note in common),
                "rows": [_row(row, common, top) for row in rows],
                "refusals": [_refusals(twin) for twin in twins] or [_refusals(r) for r in _copied(rows)],
                "utilities": [_row(cell, common, 0) for cell in right],
            }
        )
    return views


def _copied(rows: Sequence[Record]) -> list[Record]:
    """Over-refusal as a harmful cell tells it, where the benign cell itself is not in the summary."""
    return [row for row in rows if row.get("over_refusal") is not None][:1]


def _row(cell: Record, common: Sequence[str], top: float) -> dict[str, Any]:
    """One line of the main table: the cell and what is said of it."""
    notes = [note for note in notes_of(cell) if note not in common]
    what = measures(cell)
    rate, ends = rate_of(cell)
    return {
        **cell,
        "measures": what,
        "scored": scored_of(cell),
        "rate": rate,
        "ends": ends,
        "bounds": None if cell["benign"] else bounds_of(cell),
        "hits": sum(cell[name] for name in HITS[what]),
        "counted": COUNTED[what],
        "matching": cell["judge_method"] == "string matching",
        "top": bool(top) and cell["asr"] == top,
        "notes": notes,
        "reason": reason_of(cell),
        "categories": cell.get("by_category") or [],
    }


def _refusals(cell: Record) -> dict[str, Any]:
    """Over-refusal of one target and defense; `own`: the counts are of benign prompts."""
    own = bool(cell["benign"])
    return {
        **cell,
        "own": own,
        "scored": scored_of(cell),
        "rate": cell["over_refusal"],
        "ends": cell["over_refusal_interval"],
        "matching": own and cell["judge_method"] == "string matching",
        "reason": reason_of(cell),
    }


def at_k(settings: Sequence[Record]) -> dict[str, Any]:
    """ASR@k of the cells that have more than one k: the columns, and the rows with their values."""
    rows = [
        {"group": group, "row": row, "many": len(settings) > 1, "setting": setting, "at": row["asr_at_k"]}
        for setting in settings
        for group in setting["groups"]
        for row in group["rows"]
        if len(row.get("asr_at_k") or {}) > 1
    ]
    return {"ks": sorted({int(k) for row in rows for k in row["at"]}), "rows": rows}


def curve(at: Mapping[str, float | None], ks: Sequence[int]) -> list[tuple[float, float]]:
    """ASR@k as points in a box of 100 by 20, k on a logarithmic axis."""
    span = math.log(ks[-1] / ks[0]) or 1.0
    rates = sorted((int(k), rate) for k, rate in at.items() if rate is not None)
    return [(round(100 * math.log(k / ks[0]) / span, 1), round(20 - 20 * rate, 1)) for k, rate in rates]
