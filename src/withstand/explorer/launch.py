"""Pages that start a run, watch it and stop it: what `withstand run` does, in a process of its own."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from withstand.core import Json, SpecError, digest
from withstand.explorer.app import PageRequest
from withstand.explorer.index import RunIndex
from withstand.explorer.launch_process import Launcher
from withstand.explorer.launch_record import Launch
from withstand.explorer.launch_spec import (
    ASKS,
    BEHAVIORS,
    COST,
    MINUTES,
    Caps,
    Offered,
    caps_of,
    checked,
    file_of,
    of_form,
    of_text,
    offered,
)
from withstand.explorer.security import Refused
from withstand.registry.grammar import to_toml

LONGEST_NAME = 100
SETTLED = 600.0
"""Seconds after its end in which the page of a run updates itself until all rows are read."""


def _launcher(asked: PageRequest, role: str = "runner") -> Launcher:
    asked.need(role)
    if asked.explorer.read_only:
        raise Refused(403, "this explorer is read-only", "start it without --read-only")
    if asked.explorer.launcher is None:
        raise Refused(403, "this explorer starts no runs", "start it with --runs 1")
    return asked.explorer.launcher


def page(asked: PageRequest) -> Response:
    """The form, the text area, and what was started from here."""
    launcher = _launcher(asked)
    return _form(asked, launcher, offered(asked.explorer.index.runs()))


def _form(asked: PageRequest, launcher: Launcher, offers: Offered, status: int = 200, **values: Any) -> Response:
    """The page of a new run, with what was typed."""
    form = values.setdefault("form", {})
    default = {"max_asks": ASKS, "max_cost": f"{COST:g}", "max_minutes": MINUTES, "limit": BEHAVIORS}
    return asked.page(
        "launches", status, offers=offers, launches=launcher.launches(), launcher=launcher, longest=LONGEST_NAME,
        now=default | dict(form), **values,
    )  # fmt: skip


def send(asked: PageRequest) -> Response:
    """Show the plan of what the form or the text asks for; start it where its plan was seen and confirmed."""
    launcher, form = _launcher(asked), asked.form
    offers = offered(asked.explorer.index.runs())
    try:
        caps, name = caps_of(form), str(form.get("name", "")).strip()
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise SpecError("the name is too long, or not printable", hint=f"at most {LONGEST_NAME} characters")
        written = of_text(str(form["spec"])) if form.get("how") == "text" else of_form(form, offers)
        spec = checked(written, offers, asked.may("admin"))
        plan = launcher.plan(spec, caps, name)
        if caps.cost is None and plan["destination"] and _is_priced(launcher, spec, caps, name):
            raise SpecError("prices are known for what this run asks", hint="give a cap in US dollars")
    except SpecError as error:
        return _form(asked, launcher, offers, 400, form=form, problem=str(error), hint=error.hint)
    seen, where = _seen(spec, caps, plan), str(plan["destination"])
    confirmed = not where or form.get("confirm") == where
    if form.get("seen") != seen or not confirmed:
        return _plan(asked, plan, spec, caps, seen, 409 if form.get("seen") else 200)
    asked.explorer.audit(asked.who, "start", f"{plan['run']['name']}, {_limits(caps)}{where and f', to {where}'}")
    launch, is_new = launcher.start(plan, spec, caps, asked.who)
    return asked.to(f"/launches/{launch.key}", **({} if is_new else {"twice": "1"}))


def _is_priced(launcher: Launcher, spec: Json, caps: Caps, name: str) -> bool:
    """Whether `withstand run` would take a cap in dollars for what it can plan without one."""
    try:
        launcher.plan(spec, replace(caps, cost=COST), name)
    except SpecError:
        return False
    return True


def _seen(spec: Json, caps: Caps, plan: Json) -> str:
    """What a person saw before they pressed the button: another plan is shown anew."""
    return digest([file_of(spec), caps.flags, plan["run"]["key"], plan["destination"], plan["asks"]])[:32]


def _plan(asked: PageRequest, plan: Json, spec: Json, caps: Caps, seen: str, status: int) -> Response:
    return asked.page(
        "launch_plan", status, plan=plan, caps=caps, spec=to_toml(spec), seen=seen, limits=_limits(caps),
        old=asked.explorer.launcher and asked.explorer.launcher.launch(plan["run"]["key"]),
    )  # fmt: skip


def _limits(caps: Caps) -> str:
    cost = "no cap on dollars" if caps.cost is None else f"${caps.cost:g}"
    return f"at most {caps.asks:,} asks, {cost}, {caps.minutes:g} minutes"


# --- watched -----------------------------------------------------------------------------------------------------


def watch(asked: PageRequest) -> Response:
    """A run that was started from here: how far it is, its rates so far, and its log."""
    if asked.explorer.launcher is None:
        raise Refused(404, "this explorer starts no runs", "start it with --runs 1")
    launcher = asked.explorer.launcher
    launch = _of(asked, launcher)
    place = f"launch/{launch.key[:16]}"
    run = next((run for run in asked.explorer.index.runs() if run.key == launch.key), None)
    indexed = asked.explorer.index.of_run(run) if run else None
    is_read = indexed is not None and (indexed.complete or indexed.at >= launch.at)
    behind = run is not None and not is_read and time.time() - launch.at < SETTLED
    return asked.page(
        "launch", launch=launch, indexed=indexed, behind=behind, far=_far(indexed),
        progress=launcher.progress(launch.key), log=launcher.log(launch.key),
        place=place, shown=asked.shows(place), limits=_limits(launch.caps),
        spec=to_toml(launch.spec), here=launcher.is_here(launch),
        elsewhere=launcher.is_elsewhere(launch), twice=asked.query.get("twice") == "1",
    )  # fmt: skip


def _of(asked: PageRequest, launcher: Launcher) -> Launch:
    launch = launcher.launch(str(asked.request.path_params["key"]))
    if launch is None:
        raise Refused(404, "no such run was started from an explorer")
    return launch


def _far(indexed: RunIndex | None) -> Mapping[str, Any]:
    """What came of it so far: harmful cases scored and broken, chats sent, US dollars."""
    if indexed is None:
        return {}
    cells = indexed.summary.cells
    harmful = [cell for cell in cells if not cell.benign]
    return {
        "broken": sum(cell.success for cell in harmful), "scored": sum(cell.scored for cell in harmful),
        "asks": sum(cell.asks for cell in cells), "cost": sum(cell.cost or 0.0 for cell in cells),
    }  # fmt: skip


def stop(asked: PageRequest) -> Response:
    """Interrupt it as Ctrl-C does, kill it, or say that it no longer runs on a machine that is gone."""
    launcher = _launcher(asked, "admin" if asked.form.get("how") == "lost" else "runner")
    launch, how = _of(asked, launcher), str(asked.form.get("how", ""))
    words = {"now": "stop at once", "lost": "no longer running"}.get(how, "stop")
    asked.explorer.audit(asked.who, words, launch.run)
    if how == "lost":
        launcher.lost(launch.key)
    else:
        launcher.stop(launch.key, asked.who, at_once=how == "now")
    return asked.to(f"/launches/{launch.key}")


ROUTES = (
    ("/launches", page, ["GET"]),
    ("/launches", send, ["POST"]),
    ("/launches/{key}", watch, ["GET"]),
    ("/launches/{key}/stop", stop, ["POST"]),
)
