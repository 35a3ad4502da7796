"""The tables of frameworks that policies and suites map to, each of a pinned version: OWASP, ATLAS, NIST and more.

Ids move from version to version, so that a mapping is `framework:version:id` wherever it is kept. `frameworks.toml` is
the one copy of every id and title. Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from withstand.core.bounded import read_toml
from withstand.core.errors import SpecError, closest, did_you_mean, suggest
from withstand.core.text import unique

FILE = Path(__file__).parent / "frameworks.toml"


@dataclass(frozen=True, slots=True)
class Framework:
    """A framework in one version.

    date: of publication, ISO 8601.   source: where its text is.   complete: whether `items` (id -> short title) are all
    that the version has; else those that tests of a model can be about.   impacts: ids that name a harm done, and no
    technique.   was: id -> what it was called in the version before, where that one is here too.
    """

    id: str
    version: str
    title: str
    date: str
    source: str
    complete: bool
    items: Mapping[str, str]
    impacts: frozenset[str] = frozenset()
    was: Mapping[str, str] | None = None


@cache
def frameworks() -> tuple[Framework, ...]:
    """All tables, versions of one framework from the oldest."""
    return tuple(
        Framework(
            **{**table, "date": table["date"].isoformat(), "impacts": frozenset(table.get("impacts", ()))}
        )
        for table in read_toml(FILE)["framework"]
    )  # fmt: skip


def versions(framework: str) -> tuple[Framework, ...]:
    """A framework's tables, from the oldest version. Raises `SpecError` for one that is not here."""
    tables = tuple(table for table in frameworks() if table.id == framework)
    if not tables:
        names = unique(table.id for table in frameworks())
        near = did_you_mean(framework, names, f"they are {', '.join(names)}")
        raise SpecError(f"there is no framework {framework!r}", hint=near)
    return tables


def table(framework: str, version: str) -> Framework:
    """A framework in one version. Raises `SpecError` where it is not here."""
    tables = versions(framework)
    for candidate in tables:
        if candidate.version == version:
            return candidate
    pinned = ", ".join(candidate.version for candidate in tables)
    raise SpecError(f"there is no {framework} {version}", hint=f"its versions are {pinned}")


def part(mapping: str) -> tuple[Framework, str]:
    """The table and the id of a mapping `framework:version:id`. Raises `SpecError` unless both exist."""
    framework, _, rest = mapping.partition(":")
    version, _, item = rest.partition(":")
    of = table(framework, version)
    if item not in of.items:
        near = closest(item, of.items) or [name for name in of.items if item and name.endswith(item)][:3]
        raise SpecError(
            f"{framework} {version} has no {item!r}", hint=suggest(near, f"its ids begin with {min(of.items)}")
        )
    return of, item


def full(key: str, text: str) -> str:
    """The mapping that a file means by `text` below `key`, as `framework:version:id`.

    key: a framework, or with its version as in `owasp_2026`.   text: an id, `ID:VERSION` or the whole mapping. Raises
    `SpecError` where the framework has several versions and none is named, and for what is in no table.
    """
    if text.count(":") > 1:
        part(text)
        return text
    pinned = {f"{of.id}_{of.version}": of for of in frameworks()}
    item, _, version = text.partition(":")
    tables = (pinned[key],) if key in pinned else versions(key)
    if key in pinned and version not in ("", pinned[key].version):
        raise SpecError(f"{text} is not of {key}", hint=f"write {item}, or put it below {pinned[key].id}")
    if not version and len(tables) > 1:
        meant = [f"{item}:{of.version} ({of.items[item]})" for of in tables if item in of.items]
        hint = f"write {' or '.join(meant)}" if meant else f"write the version: {item}:{tables[-1].version}"
        raise SpecError(f"{item} of {key} needs a version: its versions differ", hint=hint)
    mapping = f"{tables[0].id}:{version or tables[0].version}:{item}"
    part(mapping)
    return mapping


def carried(mapping: str) -> tuple[str, ...]:
    """What a mapping is called in the later versions of its framework that are here, with itself as the first."""
    of, item = part(mapping)
    chain = [mapping]
    tables = versions(of.id)
    for later in tables[tables.index(of) + 1 :]:
        item = next((new for new, old in (later.was or {}).items() if old == item), "")
        if not item:
            break
        chain.append(f"{later.id}:{later.version}:{item}")
    return tuple(chain)


def is_impact(mapping: str) -> bool:
    """Whether it names a harm done, as all do whose framework tells no techniques from harms."""
    of, item = part(mapping)
    return not of.impacts or item in of.impacts


@cache
def techniques() -> Mapping[str, tuple[str, ...]]:
    """Attack that ships -> the mappings of what it does; empty where it does nothing that ATLAS names."""
    version = versions("atlas")[-1].version
    table = read_toml(FILE)["techniques"]
    return {attack: tuple(f"atlas:{version}:{item}" for item in items) for attack, items in table.items()}
