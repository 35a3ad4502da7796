"""The names that reports print for the components of a run, where its spec gives them: `hf:FOLDER,alias=small`."""

from withstand.core import SpecError
from withstand.registry import find
from withstand.registry.grammar import Spec, spec_of
from withstand.runner.spec import RunSpec


def aliases_of(spec: RunSpec) -> dict[str, dict[str, str]]:
    """Kind of component -> label in the plan -> alias, for the components that have one.

    Raises `SpecError` where two components would be printed under one name, or one under two.
    """
    own = [target["defense"] for target in spec.target if "defense" in target]
    given: dict[str, list[Spec]] = {
        "target": [{key: value for key, value in target.items() if key != "defense"} for target in spec.target],
        "defense": [defense for defense in [*spec.defense, *own] if spec_of(defense)["use"] != "none"],
        "attack": list(spec.attack),
        "judge": [spec.judge] if spec.judge else [],
    }
    aliases = {kind: _aliases(kind, specs) for kind, specs in given.items()}
    return {kind: names for kind, names in aliases.items() if names}


def _aliases(kind: str, specs: list[Spec]) -> dict[str, str]:
    aliases: dict[str, str] = {}
    labels = dict.fromkeys(find.label(kind, spec) for spec in specs)
    for spec in specs:
        label, alias = find.label(kind, spec), find.alias_of(kind, spec)
        if alias and aliases.setdefault(label, alias) != alias:
            raise SpecError(f"{label} has two aliases, {aliases[label]!r} and {alias!r}", hint="keep one of them")
    printed: dict[str, str] = {}
    for label in labels:
        name = aliases.get(label, label)
        if printed.setdefault(name, label) != label:
            raise SpecError(
                f"two {kind}s would be printed as {name!r}: {printed[name]} and {label}",
                hint="give each an alias of its own",
            )
    return aliases
