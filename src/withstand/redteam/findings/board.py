"""The findings of a store, filtered, counted and paged over columns. Texts are read of one page alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import sqlalchemy as sql

from withstand.core import digest
from withstand.redteam.findings.triage import STATUSES
from withstand.store.attempts import FINDINGS, SEVERE, Attempt, attempts
from withstand.store.store import Store
from withstand.store.tables import attempt

PAGE = 50
"""Findings of a page."""
NOBODY = "-"
"""The owner of findings that have none."""
ORDERS = ("severity", "newest", "oldest")
Wait: TypeAlias = Literal["", "rate", "second", "owner", "alike"]
WAITS_FOR: Mapping[Wait, str] = {
    "rate": "not rated", "second": "lacks a second rater", "owner": "open, without an owner",
    "alike": "same input as another",
}  # fmt: skip
"""What a finding may wait for."""
OPEN = ("new", "confirmed", "regressed")
"""Statuses of findings that somebody has to work on."""
_NO_INPUT = digest([])
"""`Attempt.input` of what holds no text: such are not alike."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which findings, "" for all. plan: None for those of any and of no plan.   run: how its key begins.

    severity: "1" to "4", "0" for not rated.   owner: `NOBODY` for none.   harm: "new" for those in a tester's words.
    only: a tester whose findings alone may be seen.
    """

    plan: str | None = None
    run: str = ""
    status: str = ""
    severity: str = ""
    owner: str = ""
    harm: str = ""
    layer: str = ""
    round: str = ""
    tester: str = ""
    todo: str = ""
    order: str = "severity"
    only: str = ""

    def query(self, **changes: str) -> dict[str, str]:
        """The query of an address that means this, with some changes."""
        wanted = replace(self, **changes)
        default = {"plan": None, "only": wanted.only, "order": "severity"}
        names = (name for name in self.__slots__ if getattr(wanted, name) not in ("", None))
        return {name: getattr(wanted, name) for name in names if getattr(wanted, name) != default.get(name, "")}


@dataclass(frozen=True, slots=True)
class Page:
    """A page of findings. statuses: how many of each match the filters but that of the status.   matching: how many
    match all.   same: id -> how many other findings were made by the same input.   more: whether another page follows.
    """

    findings: Sequence[Attempt]
    statuses: Mapping[str, int]
    matching: int
    same: Mapping[str, int]
    more: bool


def page(store: Store, wanted: Wanted, skip: int = 0) -> Page:
    """Findings in the order that is wanted, `PAGE` of them after the first `skip`."""
    last = _last(wanted)
    c = last.c
    without = _conditions(replace(wanted, status=""), c, last)
    per_status = store.select(sql.select(c.status, sql.func.count()).where(*without).group_by(c.status))
    counts = {status: number for status, number in per_status}  # noqa: C416 - rows are no pairs to mypy
    severity = sql.func.coalesce(c.severity, 0)
    order = {"newest": (c.surfaced.desc(),), "oldest": (c.surfaced,)}.get(
        wanted.order, (severity.desc(), c.surfaced.desc())
    )
    chosen = sql.select(c.id, c.input).where(*_conditions(wanted, c, last)).order_by(*order, c.id)
    listed = store.select(chosen.offset(skip).limit(PAGE + 1))
    inputs = {finding_id: text for finding_id, text in listed[:PAGE]}  # noqa: C416
    records = {finding.id: finding for finding in attempts(store, ids=list(inputs))} if inputs else {}
    ordered = [records[finding_id] for finding_id in inputs if finding_id in records]
    alike = _alike(store, last, set(inputs.values()) - {_NO_INPUT})
    same = {name: alike[text] - 1 for name, text in inputs.items() if alike.get(text, 1) > 1}
    matching = counts.get(wanted.status, 0) if wanted.status else sum(counts.values())
    return Page(
        ordered, {name: counts[name] for name in STATUSES if name in counts}, matching, same, len(listed) > PAGE
    )


def _last(wanted: Wanted) -> sql.Subquery:
    """The columns of the last revision of each finding that the person may see. All that is read is in an index."""
    c, later = attempt.c, attempt.alias()
    names = ("id", "plan", "round", "layer", "harm", "tester", "verdict", "severity", "raters", "status", "owner",
             "run", "input", "surfaced")  # fmt: skip
    newer = sql.select(later.c.id).where(later.c.plan == c.plan, later.c.id == c.id, later.c.revision > c.revision)
    here = [c.plan == wanted.plan] if wanted.plan is not None else []
    here += [c.tester == wanted.only] if wanted.only else []
    chosen = sql.select(*(c[name] for name in names)).where(*here, c.verdict.in_(FINDINGS), ~newer.exists())
    return chosen.subquery()


def _conditions(wanted: Wanted, c: Any, last: sql.Subquery) -> list[Any]:
    """What a finding must be, as SQL."""
    conditions: list[Any] = []
    for name in ("status", "harm", "layer", "round", "tester"):
        if value := getattr(wanted, name):
            conditions.append(c[name] == value)
    if wanted.run:
        conditions.append(c.run.startswith(wanted.run, autoescape=True))
    if wanted.owner:
        conditions.append(c.owner == ("" if wanted.owner == NOBODY else wanted.owner))
    if wanted.severity:
        rated = int(wanted.severity) if wanted.severity in "1234" else None
        conditions.append(c.severity == rated if rated else c.severity.is_(None))
    if wanted.todo in WAITS_FOR:
        conditions += _todo(wanted.todo, c, last)
    return conditions


def _todo(todo: str, c: Any, last: sql.Subquery) -> list[Any]:
    if todo == "rate":
        return [c.severity.is_(None)]
    if todo == "second":
        return [c.severity >= SEVERE, c.raters < 2]
    if todo == "owner":
        return [c.owner == "", c.status.in_(OPEN)]
    every = last.alias().c
    again = sql.select(every.input).group_by(every.input).having(sql.func.count() > 1)
    return [c.input.in_(again), c.input != _NO_INPUT]


def _alike(store: Store, last: sql.Subquery, inputs: set[str]) -> dict[str, int]:
    """Of these inputs, how many findings each made."""
    if not inputs:
        return {}
    counted = sql.select(last.c.input, sql.func.count()).where(last.c.input.in_(inputs)).group_by(last.c.input)
    return {text: number for text, number in store.select(counted)}  # noqa: C416


def values(store: Store, wanted: Wanted, name: str) -> list[str]:
    """The values of a column that findings of the plan, or of all, have; "" is left out."""
    last = _last(Wanted(plan=wanted.plan, only=wanted.only))
    return [value for (value,) in store.select(sql.select(last.c[name]).distinct().order_by(last.c[name])) if value]
