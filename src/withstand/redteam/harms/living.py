"""The living list of harms: what testers propose, what a person makes of it, and the history of both.

A decision changes the plan's file (`plan_edit`), gives the attempts that it is about their harm, and is kept as a
record of the kind `harm`: who decided what, in which round, why, and by which findings.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import sqlalchemy as sql

from withstand.core import Json, SpecError, from_json, to_json
from withstand.core.text import series
from withstand.redteam.coverage.cells import latest, opened
from withstand.redteam.coverage.numbers import priority
from withstand.redteam.findings.triage import edit as edit_attempt
from withstand.redteam.plan.edit import Draft, edit
from withstand.redteam.plan.records import Harm, Plan
from withstand.store.attempts import Attempt, attempts
from withstand.store.revisions import append, revisions
from withstand.store.store import Store

Action: TypeAlias = Literal["add", "merge", "retire", "split"]
KIND = "harm"


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided of a harm. findings: that it came from, or that were given to it.   into: what it became.

    created: seconds since 1970.
    """

    action: Action
    harm: str
    by: str
    created: float
    round: str = ""
    reason: str = ""
    findings: tuple[str, ...] = ()
    into: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class By:
    """Who decides, when (seconds since 1970), in which round ("" before the first) and why."""

    who: str
    at: float
    round: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Changed:
    """A plan after a decision. moved: attempts that have another harm now.   waiting: attempts that a split left
    without a harm.   order: how the harms of the round are tested now, first to last, and before."""

    plan: Plan
    moved: tuple[str, ...]
    waiting: int
    order: tuple[tuple[str, int], ...]
    order_before: tuple[tuple[str, int], ...]


def history(store: Store, plan: Plan) -> list[Decision]:
    """All decisions of a plan, the first one first."""
    kept = sorted(revisions(store, KIND, plan.id), key=lambda entry: (entry.created, entry.id, entry.revision))
    return [from_json(Decision, {**entry.value, "created": entry.created}) for entry in kept]


# --- decisions ------------------------------------------------------------------------------------------------------


def add(store: Store, plan: Plan, harm: Harm, findings: Sequence[str], by: By) -> Changed:
    """Add a harm that findings showed, or an incident, or that was forgotten at first; the findings become its own.

    Raises `SpecError` for an id that is there, and for findings that are not the plan's.
    """
    if harm.id in {own.id for own in plan.harms}:
        raise SpecError(f"the plan has a harm {harm.id!r}", hint="`withstand plan harms merge` gives findings to it")
    sources = _attempts(store, plan, findings)
    if sources:
        of = next((r for r in plan.rounds if r.id == sources[0].round), None)
        mode = "open-ended" if of is None or of.mode == "open" else "guided"
        harm = replace(harm, source=f"{mode}:{sources[0].id}")
        by = replace(by, round=by.round or (of.id if of else ""))
    decisions = [_decision("add", harm.id, by, findings=findings)]
    return _decide(store, plan, by, decisions, lambda draft: draft.add("harm", _table(harm)), {harm.id: sources})


def merge(store: Store, plan: Plan, into: str, what: Sequence[str], by: By) -> Changed:
    """Make harms part of another one, or give findings to it. what: ids of harms and of attempts.

    Raises `SpecError` for what is neither, and for a harm that is not active.
    """
    _active(plan, into)
    harms = [name for name in what if name in {harm.id for harm in plan.harms}]
    if into in harms:
        raise SpecError(f"{into} cannot become part of itself", hint="name it once: the harm that stays")
    for name in harms:
        _active(plan, name)
    findings = [name for name in what if name not in harms]
    moved = _attempts(store, plan, findings)
    decisions = [_decision("merge", name, by, into=[into]) for name in harms]
    decisions += [_decision("merge", into, by, findings=findings)] if findings else []

    def change(draft: Draft) -> None:
        for name in harms:
            draft.set("harm", name, {"status": "merged", "merged_into": into, **_reason(by)})

    return _decide(store, plan, by, decisions, change, {into: moved})


def retire(store: Store, plan: Plan, harm: str, by: By) -> Changed:
    """Test a harm no more. Raises `SpecError` where no reason is given."""
    _active(plan, harm)
    if not by.reason.strip():
        raise SpecError(f"{harm} cannot be retired without a reason", hint='--reason "..."')

    def change(draft: Draft) -> None:
        draft.set("harm", harm, {"status": "retired", **_reason(by)})

    return _decide(store, plan, by, [_decision("retire", harm, by)], change, {})


def split(store: Store, plan: Plan, harm: str, parts: Sequence[Harm], by: By) -> Changed:
    """Make two or more harms of one, which is retired. Its attempts wait until `merge` gives them to a part.

    parts: with an id, a title and a definition; what they do not say is as of the whole.
    """
    whole = _active(plan, harm)
    ids = [part.id for part in parts]
    if len(parts) < 2:
        raise SpecError(f"{harm} cannot be split into {len(parts)}", hint="name two parts or more: --into ID=TITLE")
    if taken := sorted({own.id for own in plan.harms} & set(ids)):
        raise SpecError(f"the plan has a harm {taken[0]!r}", hint="give the part another id")
    by = replace(by, reason=f"split into {series(ids)}" + (f": {by.reason}" if by.reason else ""))
    decisions = [_decision("split", harm, by, into=ids), *(_decision("add", name, by) for name in ids)]

    def change(draft: Draft) -> None:
        draft.set("harm", harm, {"status": "retired", **_reason(by)})
        for part in parts:
            own = replace(whole, id=part.id, title=part.title, definition=part.definition, examples=(), near_misses=())
            draft.add("harm", _table(own))

    changed = _decide(store, plan, by, decisions, change, {})
    return replace(changed, waiting=sum(a.harm == harm for a in attempts(store, plan.id)))


def _decide(
    store: Store, plan: Plan, by: By, decisions: Iterable[Decision], change: Callable[[Draft], None],
    given: Mapping[str, Sequence[Attempt]],
) -> Changed:  # fmt: skip
    """Change the plan's file, keep the decisions, and give attempts to their harms; nothing where the file refuses."""
    if by.round:
        plan.round(by.round)

    def keep() -> None:
        for decision in decisions:
            _keep(store, plan, decision)

    after = edit(plan.path, change, keep)
    moved = []
    for harm, sources in given.items():
        for source in sources:
            edit_attempt(store, source.id, by.who, by.at, {"harm": harm}, plan=after)
            moved.append(source.id)
    of = after.round(by.round) if by.round else next(iter(after.in_order), None)
    order, before = (tuple(priority(of, stage).items()) for stage in (after, plan))
    return Changed(after, tuple(moved), 0, order, before)


def _keep(store: Store, plan: Plan, decision: Decision) -> None:
    """Keep a decision as the next revision of its harm's record, behind what others decide meanwhile."""
    value: dict[str, Json] = to_json(decision)
    append(store, KIND, f"{plan.id}/{decision.harm}", plan.id, value.pop("created"), value)


def _decision(
    action: Action, harm: str, by: By, findings: Iterable[str] = (), into: Iterable[str] = ()
) -> Decision:  # fmt: skip
    return Decision(action, harm, by.who, by.at, by.round, by.reason, tuple(findings), tuple(into))


def _reason(by: By) -> dict[str, str]:
    return {"reason": by.reason} if by.reason else {}


def _table(harm: Harm) -> dict[str, Json]:
    """A harm as a table of the plan: what it says, severity and likelihood always."""
    shown: dict[str, Json] = to_json(harm)
    shown.pop("map", None)
    return shown | {"severity": harm.severity, "likelihood": harm.likelihood}


def last_round(store: Store, plan: Plan) -> str:
    """The last round of a plan in which something was recorded, "" where there is none."""
    c = latest(plan.id).subquery().c
    tried = {name for (name,) in store.select(sql.select(c.round).distinct())}
    return next((r.id for r in reversed(plan.in_order) if r.id in tried), "")


def _active(plan: Plan, name: str) -> Harm:
    harm = plan.harm(name)
    if harm.status != "active":
        where = f" into {harm.merged_into}" if harm.merged_into else ""
        raise SpecError(f"{name} is {harm.status}{where}", hint="only an active harm can be changed")
    return harm


def _attempts(store: Store, plan: Plan, names: Sequence[str]) -> list[Attempt]:
    """These attempts of a plan, in this order. Raises `SpecError` for one that is not there, or was erased."""
    listed = {a.id: a for a in attempts(store, plan.id, ids=names)} if names else {}
    for name in names:
        if name not in listed:
            hint = "`withstand plan harms` lists harms, and what testers propose with its findings"
            raise SpecError(f"{name} is neither a harm nor an attempt of {plan.id}", hint=hint)
        if listed[name].purged:
            raise SpecError(f"the texts of {name} were erased", hint="leave it out: it can be read, and not edited")
    return [listed[name] for name in names]


# --- how the list grew ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Count:
    """Active harms at the end of a round, of one source: initial, open-ended, guided or incident."""

    round: str
    source: str
    harms: int


def by_round(store: Store | None, plan: Plan) -> list[Count]:
    """The number of harms by round and by where they came from, for a chart; rounds in order."""
    order = {r.id: at for at, r in enumerate(plan.in_order)}
    begun = {harm: order[name] for harm, name in opened(store, plan).items()}
    ended: dict[str, int] = {}
    for decision in history(store, plan) if store else ():
        gone = decision.action in ("retire", "split") or (decision.action == "merge" and bool(decision.into))
        if gone:
            ended[decision.harm] = order.get(decision.round, 0)
    counts = []
    for name, at in order.items():
        here = [h for h in plan.harms if begun.get(h.id, 0) <= at and (h.status == "active" or ended.get(h.id, 0) > at)]
        sources = Counter(harm.source.partition(":")[0] for harm in here)
        counts += [Count(name, source, number) for source, number in sorted(sources.items())]
    return counts
