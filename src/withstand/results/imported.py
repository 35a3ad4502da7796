"""The suites of imported runs: HarmBench's behaviors beside an experiment, JailbreakBench's from its artifacts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from withstand.core import Behavior, Json, SpecError, digest, to_json
from withstand.formats.harmbench import BEHAVIORS, TARGETS, load
from withstand.registry import find, grammar
from withstand.runner.suites import Chosen


def jailbreakbench_suite(behaviors: Sequence[Behavior]) -> Json:
    """The suite of JailbreakBench's artifacts, as a plan has it."""
    return {
        "name": "jailbreakbench", "version": "", "checksum": digest([to_json(b) for b in behaviors]), "split": "",
        "license": "MIT", "citation": "",
    }  # fmt: skip


def harmbench_suite(place: str, suite: str = "") -> tuple[Json, list[Behavior]]:
    """The suite of an experiment in the folder `place`, as a plan has it, and its behaviors.

    suite: its spec; by default the behaviors' file in `place` or above it, with the target strings that lie beside.
    """
    strings: dict[str, str] = {}
    if suite:
        spec = grammar.parse(suite)
    else:
        path = Path(place).expanduser().resolve()
        root = next((folder for folder in (path, *path.parents[:4]) if (folder / BEHAVIORS).is_file()), None)
        if root is None:
            raise SpecError(
                f"there is no {BEHAVIORS} in {place} or above it",
                hint="name the suite of its behaviors: --suite harmbench:FOLDER,split=all",
            )
        spec = {"use": "harmbench", "path": str(root / BEHAVIORS), "split": "all"}
        read = load(root / TARGETS) if (root / TARGETS).is_file() else {}
        strings = {key: text for key, text in read.items() if isinstance(text, str)} if isinstance(read, dict) else {}
    built = find.build("suite", spec)
    behaviors = [replace(b, target_string=strings.get(b.id, b.target_string)) for b in built.load()]
    checksum = digest([to_json(b) for b in behaviors])
    return Chosen(find.label("suite", {"use": spec["use"]}), built, (), checksum).json(), behaviors
