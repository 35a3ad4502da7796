"""What people read in place of the labels of a run's components: aliases, and short forms of long labels.

Cells are matched by their labels, which JSON, CSV and addresses hold. Pages and tables call these functions last.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from withstand.results.cells import KINDS, CellResult, Record

if TYPE_CHECKING:
    from withstand.results.pair_comparison import ComparedSide


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


def names_of(part: "CellResult | ComparedSide", kinds: Collection[str] = KINDS[1:]) -> dict[str, str]:
    """Label -> name of the components of a cell, or of a side of a comparison."""
    return {getattr(part, kind): name for kind, name in part.shown.items() if kind in kinds}


def aliased(cell: CellResult) -> CellResult:
    """A cell with the names that people read in place of its labels."""
    notes = tuple(renamed(note, names_of(cell)) for note in cell.notes)
    labels: dict[str, Any] = dict(cell.shown)
    return replace(cell, **labels, notes=notes) if labels else cell


def shown_warnings(cells: Iterable[CellResult], warnings: Iterable[str]) -> list[str]:
    """The warnings of a summary, which name defenses."""
    names = {label: name for cell in cells for label, name in names_of(cell, ("defense",)).items()}
    return [renamed(warning, names) for warning in warnings]


def plan_names(plan: Record) -> dict[str, str]:
    """Label -> name of the targets, defenses and attacks of a plan, where they differ."""
    return {
        cell[kind]: name
        for cell, shown in zip(plan["cells"], shown_names(plan), strict=True)
        for kind, name in shown.items()
        if kind in ("target", "defense", "attack")
    }
