"""Suites as items: what each behavior is of, how it is answered, and the splits of its suite."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from withstand.audits.suite.copies import grouped
from withstand.audits.suite.records import Item
from withstand.core import Behavior, SpecError, Suite, did_you_mean
from withstand.core.optional import optional
from withstand.core.taxonomy import OWN_TAG, UNCOVERED, Grouping, of_categories
from withstand.registry import find
from withstand.registry.grammar import spec_of
from withstand.runner.suites import has_splits

CLOSED = frozenset({"multiple_choice", "yes_no"})
"""Judges of answers that are a choice among given ones."""
OPTION = re.compile(r"(?m)^\s*\(?([A-Ea-e]|[1-5])[).:]\s|(?<!\w)\(?([A-E])\)\s")
OPTIONS = 3
"""Marks as those of a choice, at least, by which a text offers one: `A)` anywhere, and `1.` at the head of a line."""
CHOICE = re.compile(
    r"\b(?:answer|reply|respond|say)\b[^.?!\n]{0,40}?"
    r"\b(?:yes or no|true or false|(?:one|a single) (?:letter|number))\b",
    re.I,
)
"""Words that ask for a choice."""
CONSTRAINT = "constraint"
"""Tag, or functional category, of an item whose success breaks a constraint that its instruction states. A tag may say
which: `constraint:allergy`."""
SPLITS = ("train", "val", "test")
NAMED = (*SPLITS, "training", "valid", "validation", "dev", "eval", "held-out", "heldout")
"""What the column of splits of a user's file may call them."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The items of all suites, the copies among them that no cluster holds together, and their splits.

    labels: of the suites.   parts: suite, split and behaviors, for suites with splits.   notes: of users' copies.
    strange: tags that name a category which the policy lacks.
    """

    labels: tuple[str, ...]
    items: Sequence[Item]
    loose: Sequence[tuple[int, int]]
    parts: Sequence[tuple[str, str, Sequence[Behavior]]]
    notes: tuple[str, ...]
    strange: tuple[str, ...]


def load(specs: Sequence[Mapping[str, Any]], grouping: Grouping) -> Loaded:
    """The items of these suites. Raises `SpecError` for one that cannot be read or is named twice."""
    items: list[Item] = []
    parts: list[tuple[str, str, Sequence[Behavior]]] = []
    labels: list[str] = []
    notes: list[str] = []
    strange: set[str] = set()
    for spec in specs:
        suite: Suite = find.build("suite", spec)
        label = find.label("suite", spec)
        if label in labels:
            raise SpecError(f"{label} is named twice", hint="name each suite once")
        behaviors = suite.load()
        if not behaviors:
            raise SpecError(f"{label} has no behavior", hint="name a split that has some")
        labels.append(label)
        notes += optional(suite, "notes")
        items += _items(label, spec, suite, behaviors, grouping)
        parts += ((label, split, listed) for split, listed in _parts(spec, suite))
        tags = {tag[len(OWN_TAG) :] for behavior in behaviors for tag in behavior.tags if tag.startswith(OWN_TAG)}
        strange |= tags - grouping.names.keys()
    together, loose = grouped(items)
    return Loaded(tuple(labels), together, loose, parts, tuple(notes), tuple(sorted(strange)))


def _items(
    label: str, spec: Mapping[str, Any], suite: Suite, behaviors: Sequence[Behavior], grouping: Grouping
) -> Iterator[Item]:
    names = _names(label, spec)
    by_category = of_categories(optional(suite, "taxonomy"))
    closed = bool(suite.judge) and _base(suite.judge) in CLOSED
    obeys = optional(suite, "obeys")
    for behavior in behaviors:
        category, tags = behavior.category, behavior.tags
        yield Item(
            suite=label,
            behavior=behavior,
            categories=grouping.ids(names, category, tags, by_category.get(category, ())),
            judge=suite.judge,
            own=bool(category.strip()) or any(tag.startswith(OWN_TAG) for tag in tags),
            closed=closed or _offers(behavior.text),
            constrained=not behavior.benign and (bool({category, "*"} & {*obeys}) or _tagged(behavior)),
            deployed=bool(obeys),
        )


def _names(label: str, spec: Mapping[str, Any]) -> tuple[str, ...]:
    """What a policy may call the suite: as it was written, its file as in `csv:rows.csv`, its name."""
    entry = find.entry_of("suite", spec["use"])
    path = spec.get("path") or spec.get("")
    whole = f"{spec['use']}:{path}" if isinstance(path, str) else ""
    return tuple(dict.fromkeys(filter(None, (label, whole, spec["use"], entry.name if entry else ""))))


def _base(judge: str) -> str:
    """The file of a judge, whatever preset or fields it was named by."""
    cls, _ = find.resolve("judge", spec_of(judge))
    return str(cls.__module__).rpartition(".")[2]


def _offers(text: str) -> bool:
    """Whether a text asks for a choice among given answers."""
    marks = {line or inline for line, inline in OPTION.findall(text)}
    return len(marks) >= OPTIONS or bool(CHOICE.search(text))


def _tagged(behavior: Behavior) -> bool:
    return behavior.functional == CONSTRAINT or any(
        head == CONSTRAINT and (which.strip() or not colon)
        for head, colon, which in (tag.partition(":") for tag in behavior.tags)
    )


def _parts(spec: Mapping[str, Any], suite: Suite) -> Iterator[tuple[str, Sequence[Behavior]]]:
    """The splits that the suite has besides one another, with their behaviors."""
    column = spec.get("split_column")
    if not (column or has_splits(suite)):
        return
    for split in NAMED if column else SPLITS:
        try:
            yield split, find.build("suite", {**spec, "split": split}).load()
        except SpecError:  # it has no such split
            continue


def scoped(wanted: Sequence[str], grouping: Grouping) -> tuple[str, ...]:
    """The categories that the suites must cover: those that were named, or all of the policy but `uncovered`.

    Raises `SpecError` for one that the policy lacks.
    """
    for name in wanted:
        if name not in grouping.names:
            hint = did_you_mean(name, grouping.names, "`withstand policy render` lists them")
            raise SpecError(f"{grouping.label} has no category {name!r}", hint=hint)
    scope = tuple(dict.fromkeys(wanted)) or tuple(name for name in grouping.names if name != UNCOVERED)
    if not scope:
        raise SpecError(f"{grouping.label} has no category to cover", hint="give the policy categories of its own")
    return scope
