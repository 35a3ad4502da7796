"""What changed between two versions of a policy, and whether the new one may be used: `withstand policy diff`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from withstand.core import Json, to_json
from withstand.redteam.policy.records import Policy
from withstand.redteam.tables import Problem

BINDING = (
    "definition", "excludes", "severity", "tier", "action", "applies_to", "intent", "contexts_allowed", "overrides",
)  # fmt: skip
"""What decides whether something is of a category and what is done then: labels of before and after do not agree. So it
is with the map of a suite that another rate was computed by: a hard behavior moved out of a category lets it pass."""


@dataclass(frozen=True, slots=True)
class Change:
    """kind: of a category, a use case or a suite's map.   key: what changed, "" where all of it came or went.

    binding: it needs a new version of the policy.
    """

    kind: Literal["category", "use_case", "suite"]
    id: str
    what: Literal["added", "removed", "changed"]
    key: str = ""
    old: Json = None
    new: Json = None
    binding: bool = False


def changes(old: Policy, new: Policy) -> tuple[Change, ...]:
    """Every change, in the order of the new file. Spaces and line ends of a text are no change."""
    use_cases = [{case.id: case for case in policy.use_cases} for policy in (old, new)]
    suites = [{suite.use: suite for suite in policy.suites} for policy in (old, new)]
    return (
        *_changes("category", old.categories, new.categories),
        *_changes("use_case", *use_cases),
        *_changes("suite", *suites),
    )


def _changes(
    kind: Literal["category", "use_case", "suite"], old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[Change]:
    of_policy, of_suite = kind == "category", kind == "suite"
    for name, record in new.items():
        if name not in old:
            yield Change(kind, name, "added", binding=of_policy)
            continue
        for one_field in fields(record):
            before, after = (_plain(getattr(side, one_field.name)) for side in (old[name], record))
            if before != after:
                binding = of_suite or (of_policy and one_field.name in BINDING)
                yield Change(kind, name, "changed", one_field.name, before, after, binding)
    for name in old:
        if name not in new:
            yield Change(kind, name, "removed", binding=of_policy or of_suite)


def _plain(value: Any) -> Json:
    value = to_json(value)
    return " ".join(value.split()) if isinstance(value, str) else value


def refusals(old: Policy, new: Policy) -> tuple[Problem, ...]:
    """Why the new version may not stand beside labels of the old one: its version, and ids lost or used again."""
    problems: list[Problem] = []
    binding = [change for change in changes(old, new) if change.binding]
    before, after = old.header.version, new.header.version
    if binding and before == after:
        problems += [
            Problem(
                f"{change.kind} {change.id}{f', {change.key}' if change.key else ''}",
                f"it is {change.what}, and the version is still {after}",
                "give [policy] a new version: labels of the old meaning say which one they are of",
            )
            for change in binding
        ]
    elif before != after and _number(after) < _number(before):
        problems.append(Problem("policy, version", f"{after} is before {before}", "versions go up"))
    for name in old.categories.keys() - new.categories.keys() - {*new.header.retired}:
        hint = "write it into `retired` of [policy]: no category may ever have its id again"
        problems.append(Problem(f"category {name}", "it is gone, and its id is not retired", hint))
    for name in sorted({*old.header.retired} - {*new.header.retired}):
        hint = "leave it there: ids are never reused"
        problems.append(Problem("policy, retired", f"{name} was retired before", hint))
    return tuple(problems)


def _number(version: str) -> list[tuple[int, int | str]]:
    """A version as people order it: numbers by value, and before words."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.findall(r"\d+|[^\W\d]+", version)]


def in_words(change: Change) -> str:
    """As in: category hate, tier: sensitive -> restricted."""
    name = f"{change.kind.replace('_', ' ')} {change.id}"
    if not change.key:
        return f"{name}: {change.what}"
    return f"{name}, {change.key}: {_written(change.old)} -> {_written(change.new)}"


def _written(value: Json) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_written(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_written, value)) or "none"
    return "none" if value in (None, "") else str(value)
