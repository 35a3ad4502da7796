"""What people read in place of the labels of a run's components: aliases, and short forms of long labels.

Cells are matched by their labels, which JSON, CSV and addresses hold. Pages and tables call these functions last.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from withstand.results.cells import Record

KINDS = ("suite", "target", "defense", "attack", "judge")


def shown_names(plan: Record) -> list[dict[str, str]]:
    """For each cell of a plan the names that people read instead of its labels, where they differ.

    A component's alias; for `http` without one, host and path instead of the whole request, unless two would be alike.
    """
    names: dict[str, dict[str, str]] = {}
    labels = [_labels(plan, cell) for cell in plan["cells"]]
    for kind in KINDS:
        whole = dict.fromkeys(of_cell[kind] for of_cell in labels)
        aliases = plan.get("aliases", {}).get(kind, {})
        printed = {label: str(aliases.get(label) or _short(label)) for label in whole}
        counts = Counter(printed.values())
        names[kind] = {
            label: name for label, name in printed.items() if name != label and (counts[name] == 1 or label in aliases)
        }
    return [{kind: shown[of[kind]] for kind, shown in names.items() if of[kind] in shown} for of in labels]


def _labels(plan: Record, cell: Record) -> dict[str, str]:
    suite = plan["suites"][cell["suite"]]["name"] if "suites" in plan else ""
    return {kind: suite if kind == "suite" else str(cell[kind]) for kind in KINDS}


def _short(label: str) -> str:
    """Host and path of an `http` target; else the label."""
    match = re.match(r"http:(?:https?://)?([^,?#]+)", label)
    return match[1].rstrip("/") if match else label


def renamed(text: str, names: Mapping[str, str]) -> str:
    """A sentence with the name of each label that stands in it. names: label -> name."""
    if not names:
        return text
    labels = "|".join(re.escape(label) for label in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![\w:=/.-])(?:{labels})(?![\w=/-]|:\S|,\w+=)", lambda match: names[match[0]], text)


def _pairs(cell: Record, kinds: tuple[str, ...] = KINDS[1:]) -> dict[str, str]:
    """Label -> name of the components of a cell, or of a side of a comparison."""
    return {cell[kind]: name for kind, name in cell.get("shown", {}).items() if kind in kinds}


def aliased(cell: Record) -> dict[str, Any]:
    """A cell of a summary with the names that people read in place of its labels."""
    notes = [renamed(note, _pairs(cell)) for note in cell.get("notes") or []]
    return {**cell, **cell.get("shown", {}), "notes": notes} if cell.get("shown") else dict(cell)


def shown_summary(summary: Record) -> dict[str, Any]:
    """A summary with the names that people read in its cells, warnings and calibrations."""
    cells = summary["cells"]
    judges = {label: name for cell in cells for label, name in _pairs(cell, ("judge",)).items()}
    return {
        **summary,
        "cells": [aliased(cell) for cell in cells],
        "warnings": shown_warnings(cells, summary.get("warnings") or []),
        "calibrations": [
            {**calibration, "judge": judges.get(calibration["judge"], calibration["judge"])}
            for calibration in summary.get("calibrations") or []
        ],
    }


def shown_warnings(cells: Sequence[Record], warnings: Sequence[str]) -> list[str]:
    """The warnings of a summary, which name defenses."""
    names = {label: name for cell in cells for label, name in _pairs(cell, ("defense",)).items()}
    return [renamed(warning, names) for warning in warnings]


def plan_names(plan: Record) -> dict[str, str]:
    """Label -> name of the targets, defenses and attacks of a plan, where they differ."""
    return {
        label: name
        for cell, shown in zip(plan["cells"], shown_names(plan), strict=True)
        for label, name in _pairs({**cell, "shown": shown}, ("target", "defense", "attack")).items()
    }


def shown_comparison(comparison: Record) -> dict[str, Any]:
    """A comparison with the names that people read in what tells its rows apart, and in its notes."""
    rows = comparison["rows"]
    names: dict[str, str] = {}
    for row in rows:
        names |= {**_pairs(row["a"]), **_pairs(row["b"])}
    return {
        **comparison,
        "a": renamed(comparison["a"], names),
        "b": [renamed(side, names) for side in comparison["b"]],
        "rows": [{**row, **{part: renamed(row[part], names) for part in ("label", "name")}} for row in rows],
        "notes": [renamed(note, names) for note in comparison["notes"]],
    }
