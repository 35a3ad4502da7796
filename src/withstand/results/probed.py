"""How the judge of a cell met the probes of `withstand judge probe`: a new judge has to pass them first."""

from importlib.resources import files

from withstand.core import Json
from withstand.core.text import unique
from withstand.results.cells import CellResult, ProbeResult


def probed(cell: CellResult, stored: Json | None) -> tuple[ProbeResult | None, str]:
    """The newest probe result of the cell's judge, as `withstand judge probe` stored it, and a note on it.

    A judge without probes gets a note that it is new, unless it is deterministic and ships with the package, where its
    tests measure it.
    """
    if stored is None:
        note = f"{cell.judge} was never probed (`withstand judge probe`): do not trust it yet"
        return None, "" if _measured(cell) else note
    failed = [probe["probe"] for probe in stored["probes"] if not probe["passed"]]
    result = ProbeResult(stored["passed"], stored["of"], tuple(unique(failed)))
    if not failed:
        return result, f"{cell.judge} passed all {result.of} probes"
    return result, f"{cell.judge} failed {len(failed)} of {result.of} probes: {', '.join(result.failed)}"


def _measured(cell: CellResult) -> bool:
    """Whether the judge asks no model and ships with the package."""
    folder = files("withstand") / "judges"
    ours = any((folder / f"{cell.judge_name}{ending}").is_file() for ending in (".py", ".toml"))
    return cell.judge_method == "imported" or (ours and cell.judge_method != "model")
