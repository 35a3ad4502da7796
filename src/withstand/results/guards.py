"""The guards of `withstand guard`: any judge that needs no behavior, and any defense that scores prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

from withstand.core import Model, SpecError, did_you_mean
from withstand.core.optional import optional
from withstand.registry import find
from withstand.registry.grammar import parse, spec_of, written
from withstand.runner.suites import check_judge

Reads: TypeAlias = Literal["prompt", "answer"]

RAW = 1.0
"""The threshold with which a defense is built to be scored: its suspicion, score over threshold, is then its score."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard, ready to be asked.

    spec: of the defense that it is, in its long form, without a threshold.   component: a judge, or a defense, with
    threshold `RAW` where it has one.   own: the threshold that was written; None for none.   adjustable: whether it has
    one that its scores are held against.   model: what a defense without a model of its own asks; None for none.
    """

    label: str
    spec: Mapping[str, Any]
    component: Any
    is_judge: bool
    reads: Reads
    own: float | None = None
    adjustable: bool = True
    model: Model | None = None

    def line(self, threshold: float | None = None) -> str:
        """What makes it stand before a target, for the command line and for TOML."""
        return written(self.spec if threshold is None else {**self.spec, "threshold": threshold})

    @property
    def models(self) -> list[Model]:
        """Those that it asks."""
        return list(dict.fromkeys(find.models((self.component, self.model))))


def guards_named(specs: Sequence[str], reads: Reads, target: str = "", offline: bool = False) -> list[Guard]:
    """Guards by their specs, checked. target: the model that they defend, for a defense that asks it.

    Raises `SpecError` for none, for one that is there twice, that scores nothing, or that reads something else.
    """
    if not specs:
        raise SpecError(
            "no guard is named", hint="name a judge, or a defense that scores prompts: --guard securevector"
        )
    model = find.build("target", parse(target)) if target else None
    guards: list[Guard] = []
    for spec in specs:
        guard = _guard(spec_of(spec), reads, model)
        if any(guard.label == before.label for before in guards):
            raise SpecError(f"the guard {guard.label} is named twice", hint="name each guard once")
        check_judge((guard.component, guard.model), offline)
        guards.append(guard)
    return guards


def _guard(given: Mapping[str, Any], reads: Reads, model: Model | None) -> Guard:
    kind, built = _built(given, reads)
    label = find.label(kind, given)
    if kind == "judge":
        placed = _placed(given, reads)
        find.build("defense", placed)  # raises for a judge that is no guard
        return Guard(label, placed, built, True, reads)
    spec, names = _reading(given, reads), _names(given)
    bare = {key: value for key, value in spec.items() if key != "threshold"}
    judges: tuple[Any, ...] = getattr(built, "judges", ())
    if len(judges) == 1:  # the defense `guard` with one judge is that judge
        return Guard(label, bare, judges[0], True, reads, built.threshold)
    scores = any(optional(built, name) is not None for name in ("scan", "suspicion"))
    if reads == "prompt" and not scores:
        hint = "name a judge, or a defense that blocks prompts, such as perplexity_filter:smollm2"
        raise SpecError(f"{label} says of no prompt how suspicious it is", hint=hint)
    if reads == "answer" and "reads" not in names:
        raise SpecError(f"{label} reads prompts, and no answers", hint="name a judge, or leave --reads answer out")
    if "model" in names and optional(built, "scan") is None and model is None and not any(find.models(built)):
        hint = f"--target SPEC names it, or write {spec['use']}:MODEL where it has a field for one"
        raise SpecError(f"{label} asks the model that it defends, and none is named", hint=hint)
    adjustable = "threshold" in names and not judges  # a cascade's scores are of several judges
    written_one = adjustable and "threshold" in find.resolve("defense", given)[1]
    own = float(find.build("defense", given).threshold) if written_one else None
    return Guard(label, bare if adjustable else spec, built, False, reads, own, adjustable, model)


def _reading(spec: Mapping[str, Any], reads: Reads) -> dict[str, Any]:
    """The spec of a defense, reading what is wanted where it has that field."""
    return {**spec, "reads": reads} if "reads" in _names(spec) else dict(spec)


def _names(spec: Mapping[str, Any]) -> set[str]:
    """The fields of a defense."""
    return {field.name for field in fields(find.resolve("defense", spec)[0])}


def _placed(spec: Mapping[str, Any], reads: Reads) -> dict[str, Any]:
    """The defense that a judge is."""
    short = written(spec)
    first: dict[str, Any] = {"judges": [dict(spec)]} if "," in short else {"": short}
    return {"use": "guard", **first, "reads": reads}


def _built(spec: Mapping[str, Any], reads: Reads) -> tuple[str, Any]:
    """The kind of a guard and its component. Where a judge and a defense have its name, the judge if it can be built.

    Raises `SpecError` for a name that neither has, and as building does.
    """
    kinds = [kind for kind in ("judge", "defense") if find.entry_of(kind, spec["use"])] or ["judge", "defense"]
    errors = []
    for kind in kinds:
        try:
            return kind, _scored(kind, spec, reads)
        except SpecError as error:
            errors.append(error)
    if not any(find.entry_of(kind, spec["use"]) for kind in kinds):
        near = did_you_mean(spec["use"], [*find.entries("judge"), *find.entries("defense")], "")
        hint = near or "`withstand list judges` and `withstand list defenses` have them"
        raise SpecError(f"no judge and no defense is called {spec['use']!r}", hint=hint)
    first = str(spec.get("", "")).partition(":")[0]
    raise errors[-1 if find.entry_of("judge", first) else 0]  # guard:JUDGE is the defense, guard:MODEL the judge


def _scored(kind: str, spec: Mapping[str, Any], reads: Reads) -> Any:
    """A component; a defense so that its suspicion is its score, but for one of judges."""
    if kind == "judge":
        return find.build(kind, spec)
    names, cls = _names(spec), find.resolve(kind, spec)[0]
    raw = "threshold" in names and "judges" not in names and any(hasattr(cls, name) for name in ("scan", "suspicion"))
    return find.build(kind, {**_reading(spec, reads), "threshold": RAW} if raw else _reading(spec, reads))
