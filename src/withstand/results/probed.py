"""How the judge of a cell met the probes of `withstand judge probe`: a new judge has to pass them first."""

import json
from functools import cache
from importlib.resources import files

from withstand.core import Json
from withstand.core.text import percent, unique
from withstand.results.by_hand import METHOD
from withstand.results.cells import CellResult, ProbeResult


def probed(cell: CellResult, stored: Json | None) -> tuple[ProbeResult | None, str]:
    """The newest probe result of the cell's judge, as `withstand judge probe` stored it, and a note on it.

    A judge without probes gets a note that it is new, unless it is deterministic and ships with the package, where its
    tests measure it. One whose weights ship is beside people in their card.
    """
    if stored is None:
        note = f"{cell.judge} was never probed (`withstand judge probe`): do not trust it yet"
        return None, "" if _measured(cell) else "; ".join(filter(None, [_beside_people(cell.judge), note]))
    failed = [probe["probe"] for probe in stored["probes"] if not probe["passed"]]
    result = ProbeResult(stored["passed"], stored["of"], tuple(unique(failed)))
    note = f"{cell.judge} passed all {result.of} probes"
    if failed:
        note = f"{cell.judge} failed {len(failed)} of {result.of} probes: {', '.join(result.failed)}"
    return result, "; ".join(filter(None, [_beside_people(cell.judge), note]))


def _measured(cell: CellResult) -> bool:
    """Whether the judge is no model: it ships with the package, or is a person, or another tool's."""
    folder = files("withstand") / "judges"
    ours = any((folder / f"{cell.judge_name}{ending}").is_file() for ending in (".py", ".toml"))
    return cell.judge_method in ("imported", METHOD) or (ours and cell.judge_method != "model")


@cache
def _beside_people(judge: str) -> str:
    """How `hybrid` as it ships did on labels of people, by the card of its weights; "" for any other judge."""
    if judge != "hybrid":
        return ""
    card = json.loads((files("withstand") / "judges" / "logistic-weights.json").read_text(encoding="utf-8"))
    row = card["across"]["all"]
    shares = ", ".join(f"{name} {percent(row[name])}" for name in ("accuracy", "sensitivity", "specificity"))
    whose = "sources that its weights were not fitted to, though its cues and threshold were chosen on them"
    return f"{judge} beside people, on {row['answers']:,} answers of {whose}: {shares}"
