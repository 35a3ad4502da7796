"""The rates of a run by category, by hazard of MLCommons, by OWASP id or by category of a policy, over all suites."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal, TypeAlias

from withstand.core.taxonomy import ids_of, names_of
from withstand.core.text import unique
from withstand.results.by_policy import Assigned
from withstand.results.cell_builder import interval
from withstand.results.cells import CellResult, Interval
from withstand.results.counts import BehaviorCounts, Counts
from withstand.stats import rates
from withstand.store.store import RunRow, Store

By: TypeAlias = Literal["category", "mlcommons", "owasp", "policy"]


@dataclass(frozen=True, slots=True)
class GroupResult:
    """What became of the harmful behaviors of one id, under one attack on one target and defense, over all suites.

    id: "" for the behaviors without one.   name: what it means, "" for a category.   intent: of a category of a policy:
    "misuse", "unintended" or "either".   suites, judges: of its cells.
    behaviors, cases: how many were wanted.   success, scored: cases.   asr: mean over behaviors, in [0, 1], None where
    nothing was scored; with its 95% interval, which takes the behaviors of a cluster together.   asr_bounds: cases
    without a verdict counted as held, then as broken.
    """

    id: str
    name: str
    target: str
    defense: str
    attack: str
    suites: tuple[str, ...]
    judges: tuple[str, ...]
    behaviors: int
    cases: int
    success: int
    scored: int
    asr: float | None
    asr_interval: Interval | None
    asr_bounds: Interval | None
    intent: str = ""


Member: TypeAlias = tuple[CellResult, str, BehaviorCounts]
"""A behavior of a group: its cell, its key, and its counts."""


def grouped(
    store: Store, run: RunRow, counts: Counts, cells: tuple[CellResult, ...], by: By, policy: Assigned | None = None
) -> tuple[GroupResult, ...]:
    """The groups, by target, defense and attack as the run has them, then by id. A behavior of several ids is in each.

    policy: the categories of the behaviors, for "policy": their groups are in its order, by their intent. Works from
    the store alone. Runs that were recorded before suites had a taxonomy have ids in tags alone.
    """
    suites = run.plan["suites"]
    texts = store.behaviors({key for suite in suites for key in suite["behaviors"]})
    maps = run.plan.get("taxonomy") or [{}] * len(suites)
    groups: dict[tuple[str, ...], dict[str, list[Member]]] = defaultdict(lambda: defaultdict(list))
    for cell, entry, behaviors in zip(cells, run.plan["cells"], counts.behaviors, strict=True):
        if cell.benign:
            continue
        keys = suites[entry["suite"]]["behaviors"]
        for place, behavior in sorted(behaviors.items()):
            text = texts[keys[place]]
            category = text.get("category", "")
            if policy:
                ids = [*policy.ids[entry["suite"], keys[place]]]
            elif by == "category":
                ids = [category]
            else:
                ids = ids_of(by, category, text.get("tags", ()), maps[entry["suite"]])
            for name in ids or [""]:
                groups[cell.target, cell.defense, cell.attack][name].append((cell, keys[place], behavior))
    if policy:
        grouping = policy.grouping
        order = [name for intent in INTENTS for name in grouping.names if grouping.intents[name] == intent]
        return tuple(
            _group(grouping.names[name], name, members[name], grouping.intents[name])
            for members in groups.values()
            for name in order
            if name in members
        )
    return tuple(
        _group(names_of(by).get(name, ""), name, members[name])
        for members in groups.values()
        for name in sorted(members, key=lambda n: (not n, n))
    )


INTENTS = ("misuse", "unintended", "either")
"""Somebody wants the harm; it meets a person of good faith; both. Their rates are of other things: none is over two."""


def _group(title: str, name: str, members: list[Member], intent: str = "") -> GroupResult:
    cell = members[0][0]
    success = [behavior.counts["success"] for *_, behavior in members]
    scored = [behavior.scored for *_, behavior in members]
    unknown = [behavior.counts["unscored"] + behavior.counts["error"] for *_, behavior in members]
    clusters = [behavior.cluster or key for _, key, behavior in members]  # a behavior of two suites is one
    return GroupResult(
        id=name,
        name=title,
        target=cell.target,
        defense=cell.defense,
        attack=cell.attack,
        suites=tuple(unique(member.suite for member, *_ in members)),
        judges=tuple(unique(member.judge for member, *_ in members)),
        behaviors=len(members),
        cases=sum(behavior.cases for *_, behavior in members),
        success=sum(success),
        scored=sum(scored),
        asr=rates.mean_rate(success, scored),
        asr_interval=interval(success, scored, clusters),
        asr_bounds=rates.rate_bounds(success, unknown, [behavior.cases for *_, behavior in members]),
        intent=intent,
    )
