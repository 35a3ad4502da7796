"""Who a signed-in person is in the team of a plan: whose findings they see, in whose name they rate, what they read."""

import re
import time
from functools import lru_cache

import sqlalchemy as sql

from withstand.explorer.app import PageRequest
from withstand.explorer.security import Refused
from withstand.redteam.console.peers import hidden_harms
from withstand.redteam.dates import DAY
from withstand.redteam.plan.records import Plan, slug
from withstand.results.exposure import Reader, reader
from withstand.store.attempts import SEVERE, Attempt
from withstand.store.revisions import Event, add_event, events
from withstand.store.tables import audit


def plan_of(asked: PageRequest) -> Plan:
    """The plan of this explorer. Raises `Refused` where it has none."""
    if (plan := asked.explorer.plan) is None:
        raise Refused(404, "this explorer has no plan", "start it with --plan FILE")
    return plan


def member_of(asked: PageRequest) -> str:
    """The member whom the person's name names; "" for none."""
    plan = asked.explorer.plan
    return _member(tuple(m.id for m in plan.members), asked.who) if plan else ""


@lru_cache(maxsize=256)
def _member(ids: tuple[str, ...], who: str) -> str:
    return next((name for name in (who, slug(who)) if name in ids), "")


def only(asked: PageRequest) -> str:
    """The tester whose findings alone this person sees, "" for all: members, where the plan does not share them."""
    plan = asked.explorer.plan
    return member_of(asked) if plan and not plan.recording.shared else ""


def may_see(asked: PageRequest, finding: Attempt) -> bool:
    """Whether this person sees a finding at all."""
    plan, own = asked.explorer.plan, only(asked)
    return not own or plan is None or finding.plan != plan.id or finding.tester == own


def acted_as(asked: PageRequest) -> frozenset[str]:
    """The members in whose names this person probed, by the audit."""
    plan, c = asked.explorer.plan, audit.c
    if plan is None or member_of(asked):
        return frozenset()
    acted = sql.and_(c.person == asked.who, c.action == "probe", c.subject.startswith(f"{plan.id} ", autoescape=True))
    subjects = asked.explorer.store.select(sql.select(c.subject).distinct().where(acted))
    names = (re.match(r"\S+ \S* as (.+?): ", subject) for (subject,) in subjects)
    return frozenset(match[1] for match in names if match)


def rater_of(asked: PageRequest, finding: Attempt, acted: frozenset[str]) -> str:
    """In whose name this person rates a finding: their member's, or else their own.

    acted: in whose names they probed. Who probed in the tester's name is the tester: nobody is the second rater of what
    they recorded.
    """
    return member_of(asked) or (finding.tester if finding.tester in acted else asked.who)


def reader_at(asked: PageRequest, where: str) -> Reader:
    """This person at work, by the settings of the store and the plan. where: as `exposure.reader` takes it."""
    plan = asked.explorer.plan
    who = member_of(asked) or asked.who
    return reader(asked.explorer.store, who, where, plan.purpose.exposure_cap if plan else None)


def why_hidden(asked: PageRequest, finding: Attempt, place: str) -> str:
    """Why the texts of a finding stay hidden although somebody asked for them; "" where they are shown.

    What a member reads of others' severe findings counts as exposure of the day, as in the console.
    """
    plan, name = asked.explorer.plan, member_of(asked)
    if plan is None or not name or finding.tester == name or asked.explorer.read_only:
        return ""
    if finding.harm in hidden_harms(asked.explorer.store, plan, name) and place not in asked.session.revealed:
        return "You opted out of this harm, or did not choose it: its texts show if you ask for this finding alone."
    if (finding.rated or 0) < SEVERE:
        return ""
    store, now = asked.explorer.store, time.time()
    session = f"reading-{name}-{int(now // DAY)}"
    for _ in range(9):  # another window may write the next step first
        seen = events(store, plan.id, session=session)
        if any(step.value["attempt"] == finding.id for step in seen):
            return ""
        if reader_at(asked, "").at_cap:
            return "You met as many severe items today as one day allows: go on tomorrow."
        value = {"attempt": finding.id}
        if add_event(store, Event(session, len(seen), "seen", plan.id, "", name, now, value)):
            return ""
    return "It could not be counted that you read this: reload the page."
