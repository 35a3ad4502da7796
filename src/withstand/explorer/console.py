"""The console for manual probing: a conversation by hand with a target, recorded step by step.

With a plan (`serve --plan`) its members probe the layers of a round; without one an admin probes what runs of the store
have named, and nothing else: a browser chooses from a list and names no component.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.responses import HTMLResponse, JSONResponse, Response

from withstand.core import SpecError
from withstand.explorer import console_desk as desk
from withstand.explorer import team
from withstand.explorer.app import PageRequest
from withstand.explorer.choices import choices
from withstand.explorer.console_desk import Unconfirmed
from withstand.explorer.console_view import beside_view, session_view
from withstand.explorer.numbers import whole
from withstand.explorer.security import Refused
from withstand.redteam.console import peers
from withstand.redteam.console.compared import compare
from withstand.redteam.console.marking import VERDICTS, Mark, is_restricted
from withstand.redteam.console.rules import CapReachedError, OvertakenError
from withstand.redteam.console.session import Session
from withstand.redteam.console.state import Context
from withstand.redteam.findings.similar import sent
from withstand.store import files
from withstand.store.attempts import NEW_HARM, SEVERE, SEVERITIES

CONTEXT = ("layer", "feature", "persona", "harm")
SIMILAR, NEEDS = 5, 5
"""Attempts that are shown as alike, and cells that lack some."""


def page(asked: PageRequest) -> Response:
    """The console of a session; where there is none, what begins one."""
    plan = desk.need(asked)
    session = None if plan and asked.query.get("start") else desk.current(asked)
    if session is None and plan is not None:
        return _start(asked, now=asked.query)
    return _console(asked, session)


def _start(asked: PageRequest, status: int = 200, **values: Any) -> Response:
    """Choose member, round and layer; or go on with a session that is open."""
    plan = desk.need(asked)
    assert plan is not None
    people = desk.members(asked, plan)
    open_ = [s for s in peers.sessions(asked.explorer.store, plan) if s.member in people and not s.ended]
    cap = team.reader_at(asked, "").cap
    return asked.page("console_start", status, plan=plan, people=people, open=open_, cap=cap, **values)


def _console(asked: PageRequest, session: Session | None, status: int = 200, **values: Any) -> Response:
    options = choices(asked)
    others = sum(not run.is_trusted for run in asked.explorer.index.runs())
    shown: dict[str, Any] = {"views": [], "aside": [], "plan": None, "state": None, "head": None}
    if session is not None:
        shown = session_view(asked, session)
        shown["beside"] = beside_view(asked, session, asked.query.get("beside", ""))
        shown["now"] = _last_settings(session)
        if edited := session.state.exchange(whole(asked.query.get("edit", "")) or 0):
            shown |= {"edited": edited, "draft": edited.turn.original or edited.turn.text}
        elif not session.state.draft.key or session.state.draft.error:
            shown["draft"] = session.state.draft.text
    shown |= {"now": shown.get("now") or {}, "choices": options, "others": others, "where": asked.explorer.store.where}
    return asked.page("console", status, **{**shown, "severities": SEVERITIES, "verdicts": VERDICTS, **values})


def _last_settings(session: Session) -> dict[str, Any]:
    """What the form says at first: as the last exchange was sent."""
    last = session.state.exchange(session.state.head) or next(iter(session.state.exchanges[-1:]), None)
    if last is None:
        return {}
    judges = [verdict["judge"] for verdict in last.judged]
    of_last = {"target": last.label, "defense": last.mitigations or "none", "judges": judges, "behavior": last.behavior}
    return of_last | {
        name: value for name, value in (last.params or {}).items() if name in ("temperature", "max_tokens")
    }


# --- what a form does --------------------------------------------------------------------------------------------


def act(asked: PageRequest) -> Response:
    """Do what a form of the console says. What cannot be done is said above the form, which keeps its texts."""
    plan, form = desk.need(asked), asked.form
    name = str(form.get("action") or ("new" if form.get("new") else "send"))
    if name == "begin":
        return _begin(asked)
    session = desk.current(asked)
    if session is None and plan is not None:
        return _start(asked, 409, problem="this session has ended, or is not here", hint="begin a new one")
    if session is None:
        if name != "send":
            return asked.to("/probe")
        session = Session.begin(asked.explorer.store, None, "", asked.who, Context())
        session.offline = asked.explorer.offline
        asked.session.probe = session.state.session
    if name not in ACTIONS:
        raise Refused(400, "this form says nothing that the console does", "reload the page")
    texts = {key: str(form[key]) for key in ("output", "endpoint", "description", "notes") if key in form}
    shown: dict[str, Any] = {"now": {**form, "judges": form.get("judge[]", [])}, "typed": texts}
    if "prompt" in form:
        shown["draft"] = str(form["prompt"])
    try:
        step = whole(str(form.get("step", "")))
        if step is not None:
            session.at(step)
        query = ACTIONS[name](asked, session) or {}
    except Unconfirmed as error:
        session.keep_draft(str(form.get("prompt", "")))
        return _console(asked, session, 409, **shown, confirm=str(error))
    except OvertakenError as error:
        return _console(asked, session, 409, **shown, problem=str(error), hint=error.hint)
    except (SpecError, CapReachedError) as error:
        return _console(asked, session, 400, **shown, problem=str(error), hint=error.hint)
    if session.state.ended:
        asked.session.probe = ""
        return asked.to("/probe")
    return asked.to("/probe", **({"session": session.state.session} if plan else {}), **query)


def _begin(asked: PageRequest) -> Response:
    plan = desk.need(asked)
    if plan is None:
        raise Refused(400, "this explorer has no plan", "start it with --plan FILE")
    member, form = str(asked.form.get("member", "")), asked.form
    if member not in desk.members(asked, plan):
        raise Refused(403, f"you are not {member!r}", "a person's name is the id of a member")
    of_round, store = str(form.get("round", "")), asked.explorer.store
    try:
        context = peers.first_context(store, plan, of_round, member, str(form.get("layer", "")))
        chosen = {name: str(form[name]) for name in CONTEXT if form.get(name)}
        session = Session.begin(store, plan, of_round, member, replace(context, **chosen))
    except SpecError as error:
        return _start(asked, 400, problem=str(error), hint=error.hint, now=form)
    asked.session.probe = session.state.session
    return asked.to("/probe", session=session.state.session)


def _send(asked: PageRequest, session: Session) -> None:
    form = asked.form
    goes_on = asked.explorer.plan is not None or bool(form.get("go_on"))
    text, system = str(form.get("prompt", "")), str(form.get("system", "")).strip()
    origin = whole(str(form.get("origin", ""))) or 0
    edited = session.state.exchange(origin)
    parent = edited.parent if edited else session.state.head if goes_on else 0
    if "system" in form and not parent:
        session.change(system=system)
    probe = desk.probe_of(asked, session)
    behavior = str(form.get("behavior", "")).strip()[:2_000]
    entry = session.send(text, probe, str(form.get("converter", "")), behavior, parent, origin)
    _audit(asked, session, entry.label)


def _retry(asked: PageRequest, session: Session) -> None:
    times = min(whole(str(asked.form.get("times", "1"))) or 1, 10)
    for entry in session.retry(times, desk.probe_of(asked, session)):
        _audit(asked, session, entry.label)


def _compare(asked: PageRequest, session: Session) -> dict[str, str]:
    layers = [str(asked.form.get(name, "")) for name in ("first", "second")]
    ends = compare(session, layers, lambda layer: desk.probe_of(asked, session, layer))
    for entry in ends:
        _audit(asked, session, entry.label)
    return {"beside": ".".join(str(entry.number) for entry in ends)}


def _audit(asked: PageRequest, session: Session, label: str) -> None:
    state = session.state
    defense = state.exchanges[-1].mitigations
    place = f"{state.plan} {state.round} as {state.member}: " if state.plan else ""
    asked.explorer.audit(asked.who, "probe", f"{place}{label}" + (f", defense {defense}" if defense else ""))


def _by_hand(asked: PageRequest, session: Session) -> None:
    form = asked.form
    texts = [str(form.get(name, "")).replace("\r\n", "\n") for name in ("prompt", "output", "description", "endpoint")]
    session.record_by_hand(*texts)
    _audit(asked, session, "by hand")  # who recorded it is no second rater of it
    session.keep_draft("")


def _mark(asked: PageRequest, session: Session) -> None:
    form = asked.form
    harm, words = str(form.get("harm", "")), str(form.get("new_harm", "")).strip()[:200]
    severity = whole(str(form.get("severity", "")))
    session.mark(
        Mark(
            str(form.get("verdict", "")),
            f"{NEW_HARM}{words}" if words else harm,
            severity or None,
            str(form.get("notes", "")).strip()[:10_000],
            str(form.get("description", "")).strip()[:10_000],
            str(form.get("technique", "")).strip()[:100],
            "not_stored" if form.get("not_stored") else "",
        ),
        whole(str(form.get("number", ""))) or 0,
    )


def _context(asked: PageRequest, session: Session) -> None:
    session.change(**{name: str(asked.form[name]) for name in CONTEXT if name in asked.form})


def _branch(asked: PageRequest, session: Session) -> None:
    number, source = whole(str(asked.form.get("number", ""))) or 0, str(asked.form.get("from", ""))
    if not source:
        return session.branch(number)
    plan = asked.explorer.plan
    state = peers.readable(session.store, plan, session.state.member, source) if plan else None
    if state is None:
        raise SpecError(f"there is no session {source!r} to read", hint="choose one from the list")
    return session.branch_from(state, number)


def _note(asked: PageRequest, session: Session) -> None:
    if text := str(asked.form.get("text", "")).strip()[:10_000]:
        session.note(text, "access" if asked.form.get("about") == "access" else "question")


Action = Callable[[PageRequest, Session], dict[str, str] | None]
ACTIONS: dict[str, Action] = {
    "send": _send,
    "retry": _retry,
    "compare": _compare,
    "by_hand": _by_hand,
    "mark": _mark,
    "context": _context,
    "branch": _branch,
    "note": _note,
    "new": lambda _, session: session.new(),
    "undo": lambda _, session: session.undo(),
    "pause": lambda _, session: session.pause(),
    "resume": lambda _, session: session.resume(),
    "skip": lambda asked, session: session.skip(str(asked.form.get("reason", ""))[:2_000]),
    "end": lambda _, session: session.end(),
}
"""What a form may ask for; each may add to the address of the page that follows."""


# --- what a script of the page asks --------------------------------------------------------------------------------


def draft(asked: PageRequest) -> Response:
    """Keep the text that is being written."""
    desk.need(asked)
    session = desk.current(asked)
    if session is None:
        return JSONResponse({"saved": False}, 404)
    session.keep_draft(str(asked.form.get("prompt", "")), str(asked.form.get("converter", "")))
    return JSONResponse({"saved": True})


def shot(asked: PageRequest) -> Response:
    """Keep a picture for the next record."""
    desk.need(asked)
    session = desk.current(asked)
    if session is None or "file" not in asked.form:
        return JSONResponse({"error": "there is no session, or no picture"}, 400)
    try:
        kept = files.keep(asked.explorer.store, asked.form["file"])
    except SpecError as error:
        return JSONResponse({"error": f"{error}; {error.hint}"}, 400)
    session.attach(kept)
    return JSONResponse({"name": kept.name})


def picture(asked: PageRequest) -> Response:
    """A picture that was attached, once this person asked for it alone, which a page lets them after they saw the text:
    to show all texts shows no picture."""
    desk.need(asked)
    name = asked.request.path_params["name"]
    if f"shot/{name}" not in asked.session.revealed and not (asked.explorer.reveal and asked.explorer.read_only):
        raise Refused(403, "this picture was not revealed", "reveal it on the page of its finding, below the text")
    found_file = files.read(asked.explorer.store, name) if re.fullmatch("[0-9a-f]{64}", name) else None
    if found_file is None:
        raise Refused(404, "this store has no such picture")
    return Response(found_file[0], media_type=found_file[1])


def similar(asked: PageRequest) -> Response:
    """What others recorded that reads like the text at hand, before it is recorded."""
    plan = desk.need(asked)
    session = desk.current(asked)
    if plan is None or session is None or not (head := session.state.exchange(session.state.head)):
        return HTMLResponse("")
    state = session.state
    text = head.turn.original or head.turn.text
    alike = []
    for match in peers.similar(session.store, plan, text, state.member, state.session, SIMILAR):
        attempt = match.attempt
        shown = not is_restricted(plan, attempt.harm) and (attempt.rated or 0) < SEVERE
        if shown and attempt.tester != state.member and not asked.shows(f"finding/{attempt.id}"):
            asked.explorer.audit(asked.who, "reveal", f"finding/{attempt.id}, alike to a probe")
            asked.session.revealed.add(f"finding/{attempt.id}")
        alike.append((attempt, sent(attempt.turns), not shown))
    return asked.page("_similar", alike=alike)


def needs(asked: PageRequest) -> Response:
    """The cells of the round that lack attempts, for a part of the page that comes later."""
    plan = desk.need(asked)
    session = desk.current(asked)
    if plan is None or session is None:
        return HTMLResponse("")
    cells = peers.needs(session.store, plan, session.state.round, session.state.member, NEEDS)
    return asked.page("_needs", cells=cells, state=session.state)


ROUTES = (
    ("/probe", page, ["GET"]),
    ("/probe", act, ["POST"]),
    ("/probe/draft", draft, ["POST"]),
    ("/probe/shot", shot, ["POST"]),
    ("/probe/shots/{name}", picture, ["GET"]),
    ("/probe/similar", similar, ["GET"]),
    ("/probe/needs", needs, ["GET"]),
)
