"""A finding: what was sent and answered, what became of it, and triage."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from starlette.responses import Response

from withstand.core import Json, SpecError
from withstand.core.text import count
from withstand.explorer import team
from withstand.explorer.app import PageRequest
from withstand.explorer.board import line_of, vocabulary
from withstand.explorer.numbers import whole
from withstand.explorer.read import part
from withstand.explorer.security import Refused
from withstand.redteam.findings import regression, triage
from withstand.redteam.plan.records import Plan
from withstand.redteam.replay import figures as replay_figures
from withstand.redteam.replay.asking import ReplayRow
from withstand.registry import find
from withstand.registry.grammar import spec_of
from withstand.runner.asking import Asking
from withstand.store.attempts import NEW_HARM, Attempt, attempts, history

SHOWN = (
    "verdict", "harm", "feature", "persona", "severity", "ratings", "status", "duplicate_of", "owner", "due",
    "sensitivity", "reproduced", "technique",
)  # fmt: skip
"""Fields whose values a history shows; of others, which may hold texts, it says that they changed."""
FORM = ("status", "owner", "due", "mitigation", "duplicate_of", "harm")
"""Fields of the form of triage, beside the severity."""


@dataclass(frozen=True, slots=True)
class Change:
    """A field that a revision changed; before and after are "" where they are not shown."""

    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision with what it changed."""

    it: Attempt
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Again:
    """A finding in a replay. created: seconds since 1970."""

    created: float
    judge: str
    row: ReplayRow


def page(asked: PageRequest) -> Response:
    """One finding, with its history."""
    return _page(asked, _finding(asked))


def _finding(asked: PageRequest) -> Attempt:
    listed = attempts(asked.explorer.store, ids=[asked.request.path_params["id"]])
    if not listed or not team.may_see(asked, listed[0]):
        raise Refused(404, "this store has no such finding", "the board lists those that you may see")
    return listed[0]


def _page(asked: PageRequest, it: Attempt, status: int = 200, **values: Any) -> Response:
    store, place = asked.explorer.store, f"finding/{it.id}"
    shown = asked.shows(place)
    hidden = team.why_hidden(asked, it, place) if shown else ""
    shown = shown and not hidden
    texts: list[tuple[str, str]] = [*((turn.role, turn.text) for turn in it.turns), ("assistant", it.output)]
    texts += [("written as", turn.original) for turn in it.turns if turn.converter]
    texts += [("what it was", it.output_description), ("note", it.notes)]
    run = next((run for run in asked.explorer.index.runs() if run.key == it.run), None)
    return asked.page(
        "finding", status, it=it, line=line_of(asked, it, team.acted_as(asked)), place=place, shown=shown,
        hidden=hidden,
        parts_shown=[part(role, text, shown) for role, text in texts if text], run=run,
        revisions=list(reversed(_revisions(history(store, it.id), shown))), again=_again(asked, it),
        caveat=replay_figures.CAVEAT, harms=_harms(asked, it), case=_case(asked, it),
        **{"typed": {}, **vocabulary(asked), **values},
    )  # fmt: skip


def _harms(asked: PageRequest, it: Attempt) -> list[tuple[str, str]]:
    """The harms that it may be of: those of the plan, and what it has."""
    plan = asked.explorer.plan
    listed = [(harm.id, harm.title or harm.id) for harm in plan.active] if plan and plan.id == it.plan else []
    return listed if not listed or it.harm in dict(listed) else [(it.harm, it.harm_name or "none"), *listed]


def _revisions(revisions: list[Attempt], shown: bool) -> list[Revision]:
    """The history of a finding, the first revision first."""
    listed = [Revision(revision, ()) for revision in revisions[:1]]
    for before, after in pairwise(revisions):
        changes = tuple(_change(*entry, shown) for entry in triage.differences(before, after))
        listed.append(Revision(after, changes))
    return listed


def _change(name: str, before: Json, after: Json, shown: bool) -> Change:
    words = str(before or "") + str(after or "")
    if name not in SHOWN or (name == "harm" and NEW_HARM in words and not shown):
        return Change(name, "", "")
    return Change(name, _written(name, before), _written(name, after))


def _written(name: str, value: Json) -> str:
    """The value of a field in words."""
    if name == "ratings":
        return ", ".join(f"{rating['rater']} {rating['severity']}" for rating in value or []) or "none"
    if name == "reproduced" and value:
        return "{} of {}".format(*value)
    return str(value) if value not in (None, "", [], {}) else "none"


def _again(asked: PageRequest, it: Attempt) -> list[Again]:
    """What became of it when it was sent again, the last replay first."""
    kept = replay_figures.results(asked.explorer.store, it.plan) if it.plan else []
    return [
        Again(result.created, result.judge, row)
        for result in reversed(kept)
        for row in result.rows
        if row.finding == it.id
    ]


# --- triage ------------------------------------------------------------------------------------------------------


def change(asked: PageRequest) -> Response:
    """Triage: the next revision, and this person's severity. Who is too late sees both versions."""
    asked.need("labeler")
    now = _finding(asked)
    if not now.is_finding:
        raise Refused(400, f"{now.id} is no finding", f"its verdict is {now.verdict}")
    form, store = asked.form, asked.explorer.store
    seen = whole(str(form.get("revision", ""))) or 0
    severity, rater = whole(str(form.get("severity", ""))) or None, team.rater_of(asked, now, team.acted_as(asked))
    try:
        plan = asked.explorer.plan if asked.explorer.plan and asked.explorer.plan.id == now.plan else None
        if severity is not None:
            triage.check(store, now, {"severity": severity}, None)
        new = triage.edit(store, now.id, asked.who, time.time(), _changes(now, seen, store, form), seen, plan)
        if severity is not None and triage.people(new).get(rater) != severity:
            new = triage.rate(store, now.id, rater, severity, time.time())
    except triage.ConflictError as conflict:
        both = [
            (name, _either(name, theirs), _either(name, yours))
            for name, theirs, yours in triage.differences(conflict.theirs, conflict.yours)
        ]
        return _page(asked, conflict.theirs, 409, problem=str(conflict), hint=conflict.hint, both=both, typed=form)
    except SpecError as error:
        return _page(asked, now, 400, problem=str(error), hint=error.hint, typed=form)
    if new.revision != now.revision:
        edits = ", ".join(name for name, *_ in triage.differences(now, new))
        asked.explorer.audit(asked.who, "triage", f"{new.id}, revision {new.revision}: {edits}")
    return asked.back(f"/findings/{new.id}")


def _either(name: str, value: Json) -> str:
    """A value of a conflict: both people need to read it."""
    return _written(name, value) if name in (*SHOWN, "mitigation") else count(len(str(value)), "character")


def _changes(now: Attempt, seen: int, store: Any, form: Mapping[str, Any]) -> dict[str, Any]:
    """What the form changes of the revision that the person saw: fields that it has, with another value."""
    base = now if seen == now.revision else next((r for r in history(store, now.id) if r.revision == seen), now)
    given = {name: str(form[name]).replace("\r\n", "\n").strip()[:10_000] for name in FORM if name in form}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value != getattr(base, name)}
    status, of = changes.get("status", base.status), changes.get("duplicate_of", base.duplicate_of)
    if "duplicate_of" in changes and of and "status" not in changes:
        changes["status"] = "duplicate"
    elif "status" in changes and status != "duplicate" and of == base.duplicate_of and of:
        changes["duplicate_of"] = ""
    return changes


# --- regression --------------------------------------------------------------------------------------------------


def _plan_of(asked: PageRequest, it: Attempt) -> Plan | None:
    plan = asked.explorer.plan
    return plan if plan is not None and plan.id == it.plan else None


def _case(asked: PageRequest, it: Attempt) -> str:
    """ "yes" where the finding is a regression case, "may" where this person may make it one; else "no"."""
    plan = _plan_of(asked, it)
    if plan is None or not it.is_finding or it.purged:
        return "no"
    try:
        if it.id in regression.cases(plan):
            return "yes"
    except SpecError:  # who adds to the file is told
        pass
    return "may" if asked.may_write("admin") else "no"


def regress(asked: PageRequest) -> Response:
    """Add the finding to the file beside the plan, which a gate runs on every build. Its judge is that of the suite
    that measures its harm, and asks no model: sending a text somewhere is the command's, which says where."""
    asked.need("admin")
    it = _finding(asked)
    plan = _plan_of(asked, it)
    try:
        if plan is None:
            raise SpecError(f"{it.id} is of no plan of this explorer", hint="start it with --plan FILE")
        label = regression.judge_of(plan, it)
        if next(iter(find.models(find.build("judge", spec_of(label)))), None) is not None:
            hint = f"`withstand plan findings regress {plan.path} {it.id}` asks it, and says where texts go"
            raise SpecError(f"the judge {label} asks a model", hint=hint)
        joined = regression.join(plan, [it], label, Asking(asked.explorer.store))
        if it.id in joined.left_out:
            raise SpecError(f"{it.id} is no case: {joined.left_out[it.id]}", hint="nothing was written")
    except SpecError as error:
        return _page(asked, it, 400, problem=str(error), hint=error.hint)
    asked.explorer.audit(asked.who, "regress", f"{it.id} to {joined.path.name}")
    return asked.back(f"/findings/{it.id}")


ROUTES = (
    ("/findings/{id}", page, ["GET"]),
    ("/findings/{id}/regress", regress, ["POST"]),
    ("/findings/{id}", change, ["POST"]),
)
