"""The user's copies of published suites: which are here, where to get the others, and the specs that name several."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from withstand.core import Json, SpecError, Suite
from withstand.core.home import home_dir
from withstand.core.optional import optional
from withstand.formats.rows import is_url
from withstand.registry import find
from withstand.registry.grammar import spec_of
from withstand.runner.spec import ChoiceSpec, RunSpec
from withstand.runner.suites import twin_suite

NAMED = {path.stem: path for path in Path(__file__).parent.glob("standard.toml")}
"""Specs that the package holds, by the name that `withstand run` takes."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A published suite and the user's copy of it. `place`: the file, or where it is looked for."""

    label: str
    suite: Suite
    place: str

    @property
    def here(self) -> bool:
        return is_url(self.place) or Path(self.place).expanduser().exists()

    @property
    def in_words(self) -> str:
        """What is missing, where to get it, and under which license."""
        license = self.suite.license or "read its license there"
        return f"{self.label}: no {self.place}; get it from {optional(self.suite, 'source')} ({license})"

    def json(self) -> Json:
        """As `withstand list suites --check --json` prints it; `version` and `notes` of a copy that can be read."""
        suite = self.suite
        facts = {name: getattr(suite, name, None) for name in ("license", "benign", "judge", "count", "taxonomy")}
        read: Json = {}
        if self.here:
            try:
                read = {"version": suite.version, "behaviors": len(suite.load()), "notes": optional(suite, "notes")}
            except SpecError as error:
                read = {"error": str(error)}
        return {"place": self.place, "here": self.here, "source": optional(suite, "source"), **facts, **read}


def every_copy() -> list[Copy]:
    """One of each published suite, looked for in the folder `suites` of the user."""
    presets = [name for name, entry in find.entries("suite").items() if entry.preset]
    names = [
        "harmbench",
        "realtoxicityprompts",
        *(name for name in presets if find.name_of(find.resolve("suite", name)[0]) == "published"),
    ]
    copies = [copy_of(_placed({"use": name})) for name in names]
    return [copy for copy in copies if copy]


def copy_of(spec: Mapping[str, Any], twin_of: Suite | None = None) -> Copy | None:
    """The copy that a suite's spec reads; None for a suite that needs none."""
    own = {key: value for key, value in spec.items() if key not in ChoiceSpec.model_fields}
    suite = twin_suite(own, twin_of) if twin_of else find.build("suite", own)
    if not optional(suite, "source"):
        return None
    return Copy(find.label("suite", {"use": own["use"]}), suite, getattr(suite, "place", getattr(suite, "path", "")))


def _placed(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec, with the user's folder for HarmBench's files where it names none."""
    if spec["use"] != "harmbench" or {"path", ""} & set(spec):
        return spec
    return {**spec, "path": str(home_dir("suites", "harmbench"))}


def completed(spec: RunSpec, named: str, skip: bool) -> tuple[RunSpec, list[str]]:
    """The spec of a run, and what it lacks. named: the packaged spec that it is of, or "".

    skip: leave suites and twins without a copy out and say so; else raise `SpecError` that lists all of them.
    """
    if named and spec.judge is None:
        raise SpecError(
            f"{named} leaves the judge to you",
            hint="--judge rubric,rubric=strongreject,model=MODEL reads answers; --judge refusal_words matches phrases",
        )
    kept, lacking = [], []
    for suite in map(_placed, spec.suite) if named else spec.suite:
        try:
            copy = copy_of(suite)
        except SpecError:
            copy = None  # the plan says it, with all else that is wrong
        if copy is None:
            kept.append(suite)
            continue
        if not copy.here:
            lacking.append(copy.in_words)
        twin = spec.benign or (spec_of(copy.suite.benign) if copy.suite.benign else None)
        beside = copy_of(twin, copy.suite) if twin and twin["use"] != "none" else None
        if beside and not beside.here:
            lacking.append(f"{beside.in_words}; it is the benign twin of {copy.label}")
            suite = {**suite, "benign": ""}
        if copy.here:
            kept.append(suite)
    if lacking and not (skip and kept):
        rest = "; --skip-missing runs the rest" if kept else ""
        raise SpecError(
            f"copies are missing. {'. '.join(dict.fromkeys(lacking))}",
            hint=f"`withstand list suites --check` shows all{rest}",
        )
    return spec.model_copy(update={"suite": kept}), [f"left out: {line}" for line in dict.fromkeys(lacking)]
