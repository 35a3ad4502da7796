"""The living list of harms, and the incidents: what testers propose, what was decided, what nothing measures."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.responses import Response

from withstand.core import SpecError, did_you_mean
from withstand.explorer import team
from withstand.explorer.app import PageRequest
from withstand.explorer.numbers import whole
from withstand.explorer.read import part
from withstand.explorer.security import Refused
from withstand.redteam.harms import kinds as harm_kinds
from withstand.redteam.harms import living as harms
from withstand.redteam.harms import tables as harm_tables
from withstand.redteam.harms.living import By, Changed
from withstand.redteam.harms.unmeasured import unmeasured
from withstand.redteam.incidents import records as incidents
from withstand.redteam.plan.records import Harm, Plan
from withstand.store.attempts import SEVERITIES


def page(asked: PageRequest) -> Response:
    """The harms of the plan."""
    return _page(asked, 200)


def _page(asked: PageRequest, status: int, **values: object) -> Response:
    plan, store = team.plan_of(asked), asked.explorer.store
    tables = [
        harm_tables.active(plan), harm_tables.gone(plan), harm_tables.to_measure(unmeasured(store, plan)),
        harm_tables.discovered(harm_kinds.discovery(store, plan)), harm_tables.grown(harms.by_round(store, plan)),
        harm_tables.decided(harms.history(store, plan)),
    ]  # fmt: skip
    return asked.page(
        "harms", status, plan=plan, tables=[table for table in tables if table.rows], severities=SEVERITIES,
        proposals=[] if team.only(asked) else harm_kinds.proposals(store, plan), may=_may_decide(asked, plan),
        last=harms.last_round(store, plan), categories=sorted({harm.category for harm in plan.harms} - {""}),
        **{"typed": {}, **values},
    )  # fmt: skip


def _may_decide(asked: PageRequest, plan: Plan) -> bool:
    """Whether this person may change the plan's file, and this process can."""
    return asked.may_write("admin") and os.access(plan.path, os.W_OK)


def decide(asked: PageRequest) -> Response:
    """Add, merge or retire a harm: a line or a table of the plan's file changes, and the history keeps who and why."""
    asked.need("admin")
    plan, form = team.plan_of(asked), asked.form
    if not _may_decide(asked, plan):
        raise Refused(403, f"{plan.path} cannot be written from here", "use `withstand plan harms` where it can")
    action = str(form.get("action", ""))
    if action not in DECISIONS:
        raise Refused(400, "this form decides nothing", did_you_mean(action, DECISIONS, "reload the page"))
    who = team.member_of(asked) or asked.who
    by = By(who, time.time(), str(form.get("round", "")), str(form.get("reason", "")).strip()[:2_000])
    try:
        changed = DECISIONS[action](asked, plan, by)
    except SpecError as error:
        return _page(asked, 400, problem=str(error), hint=error.hint, typed=form)
    harm = str(form.get("harm", ""))
    asked.explorer.audit(asked.who, "harm", f"{plan.id}: {action} {harm}, {len(changed.moved)} attempts given to it")
    return asked.to("/plan/harms")


def _findings(asked: PageRequest) -> list[str]:
    return [name for name in str(asked.form.get("findings", "")).split(",") if name]


def _add(asked: PageRequest, plan: Plan, by: By) -> Changed:
    form = asked.form
    harm = Harm(
        str(form.get("harm", "")).strip()[:60], str(form.get("title", "")).strip()[:200],
        str(form.get("definition", "")).strip()[:2_000], severity=whole(str(form.get("severity", ""))) or 2,
        likelihood=whole(str(form.get("likelihood", ""))) or 2, category=str(form.get("category", "")).strip()[:100],
    )  # fmt: skip
    for name in ("id", "title", "definition", "category"):
        if not getattr(harm, name):
            raise SpecError(f"the new harm has no {name}", hint="say it, so that two people would agree what is in")
    return harms.add(asked.explorer.store, plan, harm, _findings(asked), by)


def _merge(asked: PageRequest, plan: Plan, by: By) -> Changed:
    into, what = str(asked.form.get("into", "")), _findings(asked) or [str(asked.form.get("harm", ""))]
    return harms.merge(asked.explorer.store, plan, into, what, by)


def _retire(asked: PageRequest, plan: Plan, by: By) -> Changed:
    return harms.retire(asked.explorer.store, plan, str(asked.form.get("harm", "")), by)


DECISIONS: dict[str, Callable[[PageRequest, Plan, By], Changed]] = {"add": _add, "merge": _merge, "retire": _retire}
"""What a form may ask for."""


def listed(asked: PageRequest) -> Response:
    """The incidents of the store, the last one first; `withstand incident` enters and edits them."""
    today = datetime.now(UTC).date()
    entries = []
    for incident in sorted(incidents.incidents(asked.explorer.store), key=lambda entry: entry.opened, reverse=True):
        place = f"incident/{incident.id}"
        shown = asked.shows(place)
        text = part("what happened", incident.harm_described, shown)
        entries.append({"it": incident, "place": place, "shown": shown, "text": text, "late": incident.overdue(today)})
    return asked.page("incidents", entries=entries, severities=SEVERITIES)


ROUTES = (
    ("/plan/harms", page, ["GET"]),
    ("/plan/harms", decide, ["POST"]),
    ("/incidents", listed, ["GET"]),
)
