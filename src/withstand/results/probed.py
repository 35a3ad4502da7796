"""How the judge of a cell met the probes of `withstand judge probe`: a new judge has to pass them first."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from withstand.core import Json
from withstand.core.text import head_of, unique


def probed(cell: Mapping[str, Any], told: Json | None) -> tuple[Json, str]:
    """What `withstand judge probe` stored last of the cell's judge as JSON, or None, and a note on it.

    Nothing is said of a judge that was never probed if it is deterministic and ships with the package, where its tests
    measure it; all others are new, until they have passed.
    """
    judge = cell["judge"]
    if told is None:
        return None, "" if _measured(
            cell
        ) else f"{judge} was never probed (`withstand judge probe`): do not trust it yet"
    failed = [each["probe"] for each in told["probes"] if not each["passed"]]
    value = {"passed": told["passed"], "of": told["of"], "failed": unique(failed)}
    if not failed:
        return value, f"{judge} passed all {told['of']} probes"
    return value, f"{judge} failed {len(failed)} of {told['of']} probes: {', '.join(value['failed'])}"


def _measured(cell: Mapping[str, Any]) -> bool:
    """Whether no model speaks in it, and it is none of a user's own."""
    folder = files("withstand") / "judges"
    ours = any((folder / f"{head_of(cell['judge'])}{ending}").is_file() for ending in (".py", ".toml"))
    return cell["judge_method"] == "imported" or (ours and cell["judge_method"] != "model")
