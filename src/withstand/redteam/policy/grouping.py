"""A policy as the record by which reports, comparisons and gates group behaviors (core/taxonomy.py)."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from withstand.core.bounded import read_toml
from withstand.core.taxonomy import SCHEMES, Grouping
from withstand.redteam.policy.records import Policy


def grouping_of(policy: Policy) -> Grouping:
    """How this policy groups behaviors. Its own [[suite]] tables go before the maps of the suites that ship.

    A shipped map that names a category which the policy lacks means its parent; without one, nothing.
    """
    names = {category.id: category.title for category in policy.categories.values()}
    suites: dict[str, dict[str, tuple[str, ...]]] = {
        use: {category: here for category, ids in categories.items() if (here := _here(ids, names))}
        for use, categories in shipped().items()
    }
    for suite in policy.suites:
        rest = {} if "*" in suite.categories else suites.get(suite.use, {})
        suites[suite.use] = {**rest, **suite.categories}
    return Grouping(
        label=policy.label,
        digest=policy.digest,
        names=names,
        intents={category.id: category.intent for category in policy.categories.values()},
        mappings={category.id: category.mappings for category in policy.categories.values()},
        suites=suites,
        schemes=_schemes(policy),
    )


@cache
def shipped() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Suite that ships -> its category -> categories of the starter policy."""
    tables = read_toml(Path(__file__).parent / "suites.toml")
    return {use: {category: tuple(ids.split()) for category, ids in table.items()} for use, table in tables.items()}


def _here(ids: tuple[str, ...], names: Mapping[str, str]) -> tuple[str, ...]:
    """The ids that the policy has, or the nearest parents that it has."""
    chosen: dict[str, None] = {}
    for name in ids:
        while name and name not in names:
            name = name.rpartition(".")[0]
        if name:
            chosen[name] = None
    return tuple(chosen)


def _schemes(policy: Policy) -> dict[str, str]:
    """Hazard or risk, as suites write it (bare, or with a version) -> the first category that maps to it."""
    schemes: dict[str, str] = {}
    for category in policy.categories.values():
        for mapping in category.mappings:
            framework, version, item = mapping.split(":", 2)
            if framework in SCHEMES:
                schemes.setdefault(mapping, category.id)
            if SCHEMES.get(framework) == version:
                schemes.setdefault(f"{framework}:{item}", category.id)
    return schemes
