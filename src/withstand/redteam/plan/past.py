"""What members did with harms so far, for the assignment of a round: what they tested, and what they skipped."""

from collections import defaultdict
from collections.abc import Mapping

import sqlalchemy as sql

from withstand.redteam.coverage.cells import became, latest
from withstand.redteam.plan.matching import Task
from withstand.redteam.plan.records import Plan
from withstand.store.revisions import events
from withstand.store.store import Store


def tested(store: Store, plan: Plan) -> Mapping[str, list[Task]]:
    """Round -> what members recorded of harms in it, assigned or not, as tasks without minutes."""
    into = became(plan)
    c = latest(plan.id).subquery().c
    done: dict[str, list[Task]] = defaultdict(list)
    for round_id, member, harm, layer, mindset in store.select(
        sql.select(c.round, c.tester, c.harm, c.layer, c.mindset).distinct()
    ):
        if harm in into:
            done[round_id].append(Task(member, layer, 0.0, into[harm], mindset=mindset))
    return done


def skipped(store: Store, plan: Plan) -> frozenset[tuple[str, str]]:
    """(member, harm) that a member left to others, and recorded nothing of since then."""
    steps = events(store, plan.id, kind="skip")
    if not steps:
        return frozenset()
    c = latest(plan.id).subquery().c
    chosen = sql.select(c.tester, c.harm, sql.func.max(c.surfaced)).group_by(c.tester, c.harm)
    since = {(member, harm): surfaced for member, harm, surfaced in store.select(chosen)}
    return frozenset(
        (step.member, step.value["harm"])
        for step in steps
        if since.get((step.member, step.value["harm"]), 0.0) <= step.created
    )
