"""The names that reports print for the components of a run, where its spec gives them: `hf:FOLDER,alias=small`."""

from collections.abc import Sequence

from withstand.core import SpecError
from withstand.core.text import visible
from withstand.registry import find
from withstand.registry.grammar import Spec, spec_of
from withstand.runner.attack_sets import plain
from withstand.runner.spec import RunSpec

LONGEST = 60
"""Characters of an alias."""


def alias_of(kind: str, spec: Spec) -> str:
    """The alias that a spec gives its component, "" without one. Raises `SpecError` unless it is one short line."""
    if find.has_alias_field(find.resolve(kind, spec)[0]):
        return ""
    alias = spec_of(spec).get(find.ALIAS)
    if alias is None:
        return ""
    plain = isinstance(alias, str) and alias.strip() and visible(alias) == alias and "\n" not in alias
    if not plain or len(alias) > LONGEST:
        raise SpecError(
            f"{find.label(kind, spec)}: alias is {alias!r}",
            hint=f"write a name of one line and at most {LONGEST} characters: alias=small",
        )
    return str(alias).strip()


def aliases_of(spec: RunSpec, suites: Sequence[str] = ()) -> dict[str, dict[str, str]]:
    """Kind of component -> label in the plan -> alias, for the components that have one.

    suites: the labels of the spec's suites in the plan, without which their aliases are left out. Raises `SpecError`
    where two components would be printed under one name, or one under two.
    """
    given: dict[str, list[Spec]] = {
        "target": [target for target, _ in spec.defended_targets()],
        "defense": [defense for _, defense in spec.defended_targets() if defense["use"] != "none"],
        "attack": [*plain(spec.attack)],  # a set has no alias
        "judge": [spec.judge] if spec.judge else [],
    }
    pairs = {kind: [(find.label(kind, entry), alias_of(kind, entry)) for entry in of] for kind, of in given.items()}
    pairs["suite"] = [(label, alias_of("suite", suite)) for label, suite in zip(suites, spec.suite, strict=False)]
    aliases = {kind: _aliases(kind, of_kind) for kind, of_kind in pairs.items()}
    return {kind: names for kind, names in aliases.items() if names}


def _aliases(kind: str, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Label -> alias, of pairs of both; "" is none."""
    aliases: dict[str, str] = {}
    for label, alias in pairs:
        if alias and aliases.setdefault(label, alias) != alias:
            raise SpecError(f"{label} has two aliases, {aliases[label]!r} and {alias!r}", hint="keep one of them")
    printed: dict[str, str] = {}
    for label, _ in pairs:
        name = aliases.get(label, label)
        if printed.setdefault(name, label) != label:
            raise SpecError(
                f"two {kind}s would be printed as {name!r}: {printed[name]} and {label}",
                hint="give one of them another alias",
            )
    return aliases
