"""How an audit puts a suite to a model: as an ordinary run at temperature 0, whose rows are in the audit's store."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from withstand import api
from withstand.core import SpecError
from withstand.registry import find
from withstand.runner import chain

HINT = "use a target with the field system, such as openai"


def ask(
    model: Any, suite: Mapping[str, Any], store: Any, attack: Any = "direct", system: str | None = None,
    max_tokens: int | None = None, **more: Any,
) -> api.Run:  # fmt: skip
    """The run; rows that the store holds are not asked again.

    system: the message in place of the model's own; None keeps that.   max_tokens: of an answer, None for the
    default.   more: other fields of the spec.
    """
    target = model if system is None else under_system(model, system)
    sampling = {"temperature": 0.0} | ({"max_tokens": max_tokens} if max_tokens else {})
    spec = {"suite": dict(suite), "target": chain.spec_of(target), "attack": attack, "sampling": sampling, **more}
    run = api.run(spec, store=store)
    if system and hasattr(target, "release"):
        target.release()  # the same weights again: an equal model without the message stays
    return run


def spent(run: api.Run) -> tuple[float, float]:
    """Floating-point operations and seconds of the searches of a run, over its behaviors."""
    most: dict[str, dict[str, float]] = {"flops": {}, "seconds": {}}
    for case in run.cases():
        for name, by_behavior in most.items():  # by the last case of a behavior
            used = case["spent"].get(name) or 0.0
            by_behavior[case["behavior"]] = max(by_behavior.get(case["behavior"], 0.0), used)
    return sum(most["flops"].values()), sum(most["seconds"].values())


def under_system(model: Any, system: str) -> Any:
    """The model with this system message in place of its own. Raises `SpecError` where it takes none."""
    if hasattr(model, "system"):
        return replace(model, system=system)
    if system:
        name = find.name_of(type(model))
        raise SpecError(f"{name} takes no system message, and the audit asks under one: {system[:60]!r}", hint=HINT)
    return model


def grams(words: Sequence[str], longest: int = 4) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Every run of 1 to `longest` words with the place where it begins, the short ones first."""
    for size in range(1, longest + 1):
        for start in range(len(words) - size + 1):
            yield start, tuple(words[start : start + size])
