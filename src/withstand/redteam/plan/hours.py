"""The time that members worked, by the steps of their sessions."""

from collections.abc import Mapping

import sqlalchemy as sql

from withstand.store.store import Store
from withstand.store.tables import event

IDLE = 900.0
"""Seconds: a step that comes later than this after the one before stands for a break that nobody marked."""
STOPS = ("pause", "end")
"""Kinds of steps after which the time until the next step is no work."""


def active(store: Store, plan: str) -> Mapping[tuple[str, str], float]:
    """(round, member) -> seconds of work: of all sessions, without pauses; of a longer silence the first `IDLE`."""
    step, after = event.c, event.alias()
    same = sql.and_(after.c.plan == step.plan, after.c.session == step.session)
    gap = after.c.created - step.created
    worked = sql.case((step.kind.in_(STOPS), 0.0), (gap > IDLE, IDLE), (gap < 0, 0.0), else_=gap)
    chosen = sql.select(step.round, step.member, sql.func.sum(worked)).where(step.plan == plan)
    joined = chosen.join(after, sql.and_(same, after.c.number == step.number + 1)).group_by(step.round, step.member)
    return {(round_id, member): total for round_id, member, total in store.select(joined)}


def last_steps(store: Store, plan: str, round_id: str) -> Mapping[str, float]:
    """Member -> their last step in a round, in seconds since 1970."""
    c = event.c
    chosen = sql.select(c.member, sql.func.max(c.created)).where(c.plan == plan, c.round == round_id)
    return dict(store.select(chosen.group_by(c.member)))
