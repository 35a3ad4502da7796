"""What the others of a team did: alike findings, cells that lack somebody, sessions to read."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sql

from withstand.redteam.console.state import Context, State, state_of, value_of
from withstand.redteam.coverage.cells import Cell, asks_for_harms, coverage
from withstand.redteam.coverage.numbers import suggest
from withstand.redteam.findings.similar import Match, Similar
from withstand.redteam.plan.assign import assignment
from withstand.redteam.plan.matching import Task
from withstand.redteam.plan.opted import with_choices
from withstand.redteam.plan.records import Plan
from withstand.results.exposure import Settings, read_settings
from withstand.store.attempts import Attempt, attempts
from withstand.store.revisions import events
from withstand.store.store import Store
from withstand.store.tables import attempt, event

LATE = 900.0
"""Seconds that an attempt may be written after its time: clocks of two machines differ."""
_indexes: dict[tuple[str, str], tuple[Similar, float]] = {}
"""Store and plan -> an index of its attempts, and the time of the last of them."""
_indexing = threading.Lock()


def similar(store: Store, plan: Plan, text: str, reader: str, session: str = "", most: int = 5) -> list[Match]:
    """Attempts of the plan that read like a text, the likest first: those that a member may see, of other sessions."""
    hidden = hidden_harms(store, plan, reader)
    matches = [m for m in _index(store, plan.id).matches(text, most * 4) if m.attempt.session != session or not session]
    return [m for m in matches if may_read(plan, reader, m.attempt.tester) and m.attempt.harm not in hidden][:most]


def _index(store: Store, plan: str) -> Similar:
    """The index of a plan's attempts, with what was written since it was asked last."""
    with _indexing:
        index, until = _indexes.get((store.where, plan), (Similar(), 0.0))
        new = attempts(store, plan, since=until - LATE)
        for entry in new:
            index.add(entry)
        _indexes[store.where, plan] = index, max([until, *(entry.created for entry in new)])
        return index


def forget() -> None:
    """Drop the texts that are held, since some were erased."""
    with _indexing:
        _indexes.clear()


def needs(store: Store, plan: Plan, round_id: str, member: str, most: int = 8) -> list[Cell]:
    """The cells of a round to test next that the member can test: opt-outs, mindsets, languages. In an open round those
    with fewest attempts."""
    hidden, tester = hidden_harms(store, plan, member), plan.member(member)
    own = {p.id for p in plan.personas if p.mindset in tester.mindset and p.language in tester.languages} | {""}
    of = coverage(store, plan, round_id)
    here = tuple(cell for cell in of.cells if cell.harm not in hidden and cell.persona in own)
    if asks_for_harms(plan.round(round_id)):
        return suggest(replace(of, cells=here), plan, most)
    thin = [cell for cell in here if cell.state in ("empty", "thin", "stale")]
    enough = had_enough(store, plan, member)
    return sorted(thin, key=lambda cell: (bool(enough) and cell.harm == enough, cell.tally.attempts))[:most]


def tasks(store: Store, plan: Plan, round_id: str, member: str) -> list[Task]:
    """What a member was assigned in a round, without what they skipped and layers that cannot be reached; what they had
    enough of (`had_enough`) comes last."""
    blocked = [layer.id for layer in plan.layers if layer.blocked]
    skipped = [
        value_of(step, "harm") for step in events(store, plan.id, kind="skip", member=member) if step.round == round_id
    ]
    own = [task for task in assignment(store, plan, round_id) if task.member == member]
    left = [task for task in own if task.layer not in blocked and not (task.harm and task.harm in skipped)]
    enough = had_enough(store, plan, member)
    return sorted(left, key=lambda task: bool(enough) and task.harm == enough)


def had_enough(store: Store, plan: Plan, member: str) -> str:
    """The harm of all of a member's last findings, as many as `rotate` of the settings says; "" where they differ."""
    rotate = (read_settings(store) or Settings()).rotate
    marks = sorted(events(store, plan.id, kind="mark", member=member), key=lambda step: (step.created, step.number))
    last = {attempt.id: attempt for step in marks if (attempt := value_of(step, "attempt", Attempt)).is_finding}
    harms = [attempt.harm for attempt in list(last.values())[-rotate:]]
    return harms[0] if len(harms) == rotate and len(set(harms)) == 1 else ""


def first_context(store: Store, plan: Plan, round_id: str, member: str, layer: str = "") -> Context:
    """What a session begins with: the first task (on a layer, if one is named) of which the member recorded nothing."""
    c = attempt.c
    own_attempts = sql.select(c.harm, c.layer).where(c.plan == plan.id, c.tester == member, c.round == round_id)
    tried = {(harm, layer) for harm, layer in store.select(own_attempts)}
    own = [task for task in tasks(store, plan, round_id, member) if task.layer == layer or not layer]
    task = next((task for task in own if (task.harm, task.layer) not in tried), None)
    if task is None:
        return Context(layer or plan.round(round_id).layers[0])
    return Context(task.layer, task.feature, task.persona, task.harm)


@dataclass(frozen=True, slots=True)
class Listed:
    """A session in a list. last: when its last step came, in seconds since 1970.   recorded: marks."""

    session: str
    round: str
    member: str
    last: float
    exchanges: int
    recorded: int
    ended: bool


def sessions(store: Store, plan: Plan, round_id: str = "", member: str = "") -> list[Listed]:
    """The sessions of a plan (of a round, of a member), the one with the last step first."""
    c = event.c
    kinds = [sql.func.sum(sql.case((c.kind == kind, 1), else_=0)) for kind in ("turn", "mark", "end")]
    chosen = sql.select(c.session, c.round, c.member, sql.func.max(c.created), *kinds).where(c.plan == plan.id)
    for column, wanted in ((c.round, round_id), (c.member, member)):
        chosen = chosen.where(column == wanted) if wanted else chosen
    begun = sql.func.sum(sql.case((c.kind == "begin", 1), else_=0)) > 0
    listed = store.select(chosen.group_by(c.session, c.round, c.member).having(begun))
    entries = [
        Listed(name, of_round, by, last, exchanges, recorded, bool(ends))
        for name, of_round, by, last, exchanges, recorded, ends in listed
    ]
    return sorted(entries, key=lambda entry: -entry.last)


def readable(store: Store, plan: Plan, reader: str, session: str) -> State | None:
    """A session that a member may read: their own, or any where the plan shares them; None for none."""
    state = state_of(events(store, plan.id, session))
    return state if state and may_read(plan, reader, state.member) else None


def may_read(plan: Plan, reader: str, member: str) -> bool:
    """Whether a member may read another's sessions."""
    return plan.recording.shared or member == reader


def hidden_harms(store: Store, plan: Plan, member: str) -> Sequence[str]:
    """The harms whose texts a member does not see in others' sessions: those that they opted out of, or would have to
    choose."""
    reader = next((entry for entry in with_choices(store, plan).members if entry.id == member), None)
    return [harm.id for harm in plan.harms if reader and reader.opts_out(harm)]
