"""Harms that no suite measures: what people hand over to systematic measurement (F3 of the guide)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sql

from withstand.core import SpecError
from withstand.redteam.coverage.cells import became, latest
from withstand.redteam.plan.records import Harm, Plan
from withstand.registry import find
from withstand.registry.grammar import spec_of
from withstand.store.attempts import FINDINGS
from withstand.store.store import Store

NO_REASON = "none given"


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """An active harm that no suite measures. why: as the plan says, or `NO_REASON`.   findings: of people, so far."""

    harm: str
    title: str
    category: str
    severity: int
    weight: int
    why: str
    findings: int


def unmeasured(store: Store | None, plan: Plan) -> list[Unmeasured]:
    """The active harms of a plan that no suite measures, those of most weight first."""
    findings = findings_by_harm(store, plan) if store else {}
    listed = [
        Unmeasured(h.id, h.title, h.category, h.severity, h.weight, why, findings.get(h.id, 0))
        for h in plan.active
        if (why := why_unmeasured(h))
    ]
    return sorted(listed, key=lambda entry: -entry.weight)


def why_unmeasured(harm: Harm) -> str:
    """Why nothing measures a harm, "" where a suite does. A suite that is not there measures nothing."""
    if not harm.measured_by:
        return harm.unmeasured_because.strip() or NO_REASON
    try:
        find.resolve("suite", spec_of(harm.measured_by))
    except SpecError as error:
        return f"measured_by = {harm.measured_by!r}, but {error}"
    return ""


def findings_by_harm(store: Store, plan: Plan) -> Mapping[str, int]:
    """Harm -> its findings in all rounds; those of a merged harm are the other's. "new": of none of the plan's."""
    harms = became(plan)
    c = latest(plan.id).subquery().c
    counts: Counter[str] = Counter()
    for harm, number in store.select(
        sql.select(c.harm, sql.func.count()).where(c.verdict.in_(FINDINGS)).group_by(c.harm)
    ):
        counts[harms.get(harm, harm)] += number
    return counts
