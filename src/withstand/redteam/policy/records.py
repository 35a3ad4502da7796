"""`policy.toml`: the categories of harm that a service names, versioned, what it does about each, and its use cases.

A label, an alert or a finding says which policy, and which version of it, its category is of. The idea of a live
category `uncovered` is from OpenAI's "Lessons learned on language model safety and misuse" (2022): misuse that no rule
names must still be a label.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from withstand.core import Json, SpecError, did_you_mean, digest
from withstand.core.frameworks import full, is_impact
from withstand.core.taxonomy import UNCOVERED
from withstand.redteam.dates import day, length_of
from withstand.redteam.tables import Problems, check_names, read_tables, record_of, records_of
from withstand.registry.grammar import to_toml

SCHEMA = "withstand.policy/1"
Tier: TypeAlias = Literal["prohibited", "restricted", "sensitive", "monitored"]
Intent: TypeAlias = Literal["misuse", "unintended", "either"]
Action: TypeAlias = Literal["allow", "log", "warn", "throttle", "block", "suspend", "escalate"]
Authority: TypeAlias = Literal["system", "developer", "user"]

MAY_UNLOCK: Mapping[Tier, tuple[Authority, ...]] = {
    "prohibited": (),
    "restricted": ("system",),
    "sensitive": ("system", "developer"),
    "monitored": ("system", "developer", "user"),
}
"""Tier -> who may unlock a category of it: the owner of the system, a developer who builds on it, a user."""
STRICTEST: tuple[Tier, ...] = ("prohibited", "restricted", "sensitive", "monitored")
INHERITED = (
    "excludes", "severity", "tier", "applies_to", "intent", "contexts_allowed", "action", "alert", "map",
)  # fmt: skip
"""What a child takes from its parent where it says nothing. A definition is its own, and nobody unlocks it unasked."""


@dataclass(frozen=True, slots=True)
class Header:
    """[policy]. version: stamped on every label.   effective: an ISO date.   supersedes: the version before, or its
    file beside this one, with which `policy check` then compares.   retired: ids that are used no more."""

    name: str
    version: str
    effective: str = ""
    owner: str = ""
    supersedes: str = ""
    retired: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.effective:
            day("effective", self.effective)


@dataclass(frozen=True, slots=True)
class Alert:
    """When a monitor speaks: at `min_count` events in a window such as "1h" that are also `rate_multiplier` times what
    is usual, where that is given and something is."""

    min_count: int = 1
    window: str = "1h"
    rate_multiplier: float = 0.0


@dataclass(frozen=True, slots=True)
class Override:
    """Who unlocks a category, to which action, in which contexts (none: in all), and why."""

    by: Authority
    action: Action
    reason: str
    contexts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of harm. definition: what is in.   excludes: what is out, with the nearest neighbor.

    severity: 0 none to 4 critical.   tier: who may unlock it, see `MAY_UNLOCK`.   intent: misuse (somebody wants the
    harm), unintended (it meets a person of good faith) or either.   contexts_allowed: where it is no violation.
    map: framework -> `framework:version:id`.   examples: `SUITE:ID` of a behavior, or `file:PATH`; never a text.
    """

    id: str
    title: str
    definition: str
    severity: int
    tier: Tier
    action: Action
    excludes: str = ""
    applies_to: tuple[Literal["prompt", "completion"], ...] = ("prompt", "completion")
    intent: Intent = "either"
    contexts_allowed: tuple[str, ...] = ()
    alert: Alert | None = None
    map: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()
    examples: tuple[str, ...] = ()

    @property
    def mappings(self) -> tuple[str, ...]:
        """All entries of frameworks, as `framework:version:id`."""
        return tuple(mapping for mappings in self.map.values() for mapping in mappings)

    def action_for(self, by: Authority, context: str = "") -> Action:
        """What is done where `by` asks to unlock it in this context: the override's action, or the category's own."""
        for override in self.overrides:
            fits = not override.contexts or context in override.contexts
            if by == override.by and by in MAY_UNLOCK[self.tier] and fits:
                return override.action
        return self.action


@dataclass(frozen=True, slots=True)
class UseCase:
    """[[use_case]], the register of what customers say they do. requires: conditions in words.

    expected_categories: of the policy, that its traffic will meet.
    """

    id: str
    stance: Literal["allowed", "review", "pilot", "disallowed"]
    title: str = ""
    sensitive: bool = False
    requires: tuple[str, ...] = ()
    expected_categories: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class SuiteMap:
    """[[suite]]: the categories of the policy that a suite's behaviors are of. use: its name, its file as in
    `csv:rows.csv`, or its alias.

    categories: the suite's category -> ids of the policy; "*" for all others.
    """

    use: str
    categories: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as its file says it, children filled from their parents. categories: by id, `uncovered` among them.

    digest: of what it says, whatever its file is called.
    """

    file: str
    header: Header
    categories: Mapping[str, Category]
    use_cases: tuple[UseCase, ...]
    suites: tuple[SuiteMap, ...]
    digest: str

    @property
    def label(self) -> str:
        """Name and version."""
        return f"{self.header.name} {self.header.version}"


NO_RULE = Category(
    UNCOVERED,
    "Not covered by the policy",
    "It looks wrong, and no rule of the policy says so.",
    severity=0,
    tier="monitored",
    action="log",
)


def read_policy(path: str | Path) -> Policy:
    """The policy of a file. Raises `SpecError` with all its errors, each with its table and key."""
    problems = Problems(str(path))
    policy = policy_of(problems, read_tables(path, SCHEMA))
    problems.check()
    return policy


def policy_of(problems: Problems, content: Mapping[str, Json]) -> Policy:
    """The policy that these tables make, without what is wrong in them; every error is added."""
    check_names(problems, content, ("policy", "category", "use_case", "suite"))
    header = None
    if "policy" in content:
        header = record_of(problems, Header, content["policy"], "policy")
    else:
        problems.add("[policy]", "there is none", "a policy has a name and a version")
    tables = {**content, "category": _with_parents(problems, content.get("category", []))}
    unknown: set[tuple[str, str]] = set()
    listed = [_mapped(problems, category, unknown) for category in records_of(problems, Category, tables, "category")]
    categories = {category.id: category for category in listed}
    if not content.get("category"):
        problems.add("category", "there is none", "write [[category]], or start with `withstand policy new`")
    categories.setdefault(UNCOVERED, NO_RULE)
    for category in listed:
        above = categories.get(category.id.rpartition(".")[0])
        taken = {message for _, message, _ in _wrong(above, categories)} if above else set()  # said of the parent
        for place, message, hint in _wrong(category, categories):
            if message not in taken:
                problems.add(f"category {category.id}, {place}", message, hint)
    use_cases = records_of(problems, UseCase, content, "use_case")
    suites = _suites(problems, content.get("suite", []))
    ids = {entry.get("id") for entry in tables["category"] if isinstance(entry, dict)} | {UNCOVERED}  # sound or not
    names = sorted(name for name in ids if isinstance(name, str))
    references = [(f"use_case {case.id}, expected_categories", case.expected_categories) for case in use_cases]
    references += [
        (f"suite {suite.use}, categories, {of}", given) for suite in suites for of, given in suite.categories.items()
    ]
    for place, given in references:
        for name in given:
            if name not in ids:
                problems.add(place, f"the policy has no category {name!r}", did_you_mean(name, names, "add it"))
    if header is not None:
        _check_header(problems, header, categories)
    return Policy(problems.file, header or Header("", ""), categories, use_cases, suites, digest(content))


def _check_header(problems: Problems, header: Header, categories: Mapping[str, Category]) -> None:
    for name in ("name", "version"):
        if not getattr(header, name).strip():
            problems.add(f"policy, {name}", "it is empty", "every label is stamped with it")
    for name in header.retired:
        if name in categories:
            problems.add(f"category {name}", "its id is retired", "give the category another id: ids are never reused")


def _with_parents(problems: Problems, entries: Json) -> Json:
    """The tables of categories, with what children leave out from their parents."""
    if not isinstance(entries, list):
        return entries
    tables = {entry["id"]: entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)}
    filled: dict[str, dict[str, Json]] = {}
    for name in sorted(tables, key=lambda name: name.count(".")):  # parents first
        above = filled.get(name.rpartition(".")[0], {})
        filled[name] = {key: value for key, value in above.items() if key in INHERITED} | tables[name]
    for name in tables:
        if (above := name.rpartition(".")[0]) and above not in tables:
            problems.add(f"category {name}, id", f"its parent {above!r} is no category", "add it, or write no dot")
    seen: set[str] = set()
    rows = []
    for entry in entries:
        name = entry.get("id") if isinstance(entry, dict) else None
        first = isinstance(name, str) and name not in seen
        seen |= {name} if isinstance(name, str) else set()
        rows.append(filled[name] if first and isinstance(name, str) else entry)  # a second one keeps its own words
    return rows


def _mapped(problems: Problems, category: Category, unknown: set[tuple[str, str]]) -> Category:
    """The category with whole mappings; every id that is in no table is an error, once: a child has its parent's."""
    whole: dict[str, tuple[str, ...]] = {}
    for key, ids in category.map.items():
        for text in ids:
            try:
                mapping = full(key, text)
            except SpecError as error:
                if (key, text) not in unknown:
                    problems.add(f"category {category.id}, map, {key}", str(error), error.hint)
                unknown.add((key, text))
                continue
            framework = mapping.partition(":")[0]
            whole[framework] = tuple(dict.fromkeys([*whole.get(framework, ()), mapping]))
    return replace(category, map=whole)


def _suites(problems: Problems, entries: Json) -> tuple[SuiteMap, ...]:
    if not isinstance(entries, list):
        problems.add("suite", "it is no list of tables", "write [[suite]]")
        return ()
    maps: dict[str, SuiteMap] = {}
    for number, entry in enumerate(entries, 1):
        suite = record_of(problems, SuiteMap, entry, f"suite {number}")
        if suite and suite.use in maps:
            problems.add(f"suite {number}", f"there is another map of {suite.use}", "write one for each suite")
        elif suite:
            maps[suite.use] = replace(suite, categories={of: tuple(ids) for of, ids in suite.categories.items()})
    return tuple(maps.values())


def _wrong(category: Category, categories: Mapping[str, Category]) -> Iterator[tuple[str, str, str]]:
    """Key, message and hint of what does not fit together in a category."""
    may = MAY_UNLOCK[category.tier]
    if category.alert and not length_of(category.alert.window):
        yield "alert, window", f"{category.alert.window!r} is no span of time", "write 30m, 1h or 7d"
    if not 0 <= category.severity <= 4:
        yield "severity", f"it is {category.severity}", "write 0 (none) to 4 (critical)"
    for name in ("title", "definition"):
        if not getattr(category, name).strip():
            yield name, "it is empty", "say what is in"
    if not category.applies_to:
        yield "applies_to", "it is empty", 'write ["prompt", "completion"], or one of them'
    if category.tier == "prohibited":
        if category.contexts_allowed:
            yield "contexts_allowed", "it is prohibited, which no context allows", "write contexts_allowed = []"
        if category.action in ("allow", "log", "warn", "throttle"):
            yield "action", f"it is prohibited, and {category.action} lets it through", "write block or escalate"
    for number, override in enumerate(category.overrides, 1):
        if override.by not in may:
            who = f"{' or '.join(may)} may" if may else "nobody may"
            yield (
                f"overrides {number}",
                f"a {override.by} may not unlock what is {category.tier}",
                f"{who} unlock it; delete the override",
            )
    if category.id == UNCOVERED and (category.tier != "monitored" or category.map):
        yield "tier", f"{UNCOVERED} is what no rule names", "it is monitored, and maps to no framework"
    above = categories.get(category.id.rpartition(".")[0])
    if above and STRICTEST.index(category.tier) > STRICTEST.index(above.tier) == 0:
        yield "tier", f"{above.id} is prohibited, and a part of it {category.tier}", "write prohibited"
    for mapping in category.mappings:
        if category.intent == "unintended" and not is_impact(mapping):
            hint = "name the harm done alone, such as AML.T0048.003"
            yield "map", f"nobody attacks in an unintended harm, and {mapping} is a technique", hint
    for text in category.examples:
        head, _, rest = text.partition(":")
        if not rest or " " in head or "\n" in text:
            hint = "write SUITE:ID of a suite's behavior, or file:PATH"
            yield "examples", f"{text[:40]!r} is no reference: a policy holds no example itself", hint


def starter(name: str = "") -> str:
    """The text of a policy to start from, with the name of a service."""
    text = (Path(__file__).parent / "starter.toml").read_text(encoding="utf-8")
    return text.replace('name = "Example service"', to_toml({"name": name}).strip(), 1) if name else text
