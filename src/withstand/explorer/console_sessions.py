"""The sessions of a team: a list, and somebody's session to read and to go on from."""

from starlette.responses import Response

from withstand.explorer import console_desk as desk
from withstand.explorer.app import PageRequest
from withstand.explorer.console_view import exchange_view
from withstand.explorer.security import Refused
from withstand.redteam import peers
from withstand.redteam.plan import Plan
from withstand.redteam.session import Session
from withstand.redteam.session_rules import SEVERE
from withstand.redteam.session_state import State
from withstand.store.attempts import attempts


def listing(asked: PageRequest) -> Response:
    """The sessions that this person may read, the one with the last step first."""
    plan = _plan(asked)
    reader = desk.members(asked, plan)[0]
    listed = [s for s in peers.sessions(asked.explorer.store, plan) if peers.may_read(plan, reader, s)]
    return asked.page("console_sessions", plan=plan, listed=listed, people=desk.members(asked, plan))


def view(asked: PageRequest) -> Response:
    """A session to read. Its texts are hidden until somebody asks; severe findings in it count as exposure."""
    plan = _plan(asked)
    own, reader = desk.current(asked), desk.members(asked, plan)[0]
    reader = own.state.member if own else reader
    wanted = asked.request.path_params["name"]
    state = next((s for s in peers.sessions(asked.explorer.store, plan) if s.session == wanted), None)
    if state is None or not peers.may_read(plan, reader, state):
        raise Refused(404, "the plan has no such session", "the list has those that you may read")
    views = [exchange_view(asked, plan, state, entry, reader) for entry in state.exchanges]
    if own and any(entry.shown for entry in views):
        _see(asked, own, state, [entry.entry.number for entry in views if entry.shown])
    all_shown = asked.shows(f"probe/{state.session}")
    return asked.page("console_session", plan=plan, seen=state, views=views, own=own, all_shown=all_shown)


def _see(asked: PageRequest, own: Session, state: State, numbers: list[int]) -> None:
    """Count the severe findings among these exchanges. Raises `CapReachedError` at the cap, before they are shown."""
    ids = [state.marks[n].attempt for n in numbers if n in state.marks and (state.marks[n].severity or 0) >= SEVERE]
    for attempt in attempts(asked.explorer.store, ids=ids) if ids else ():
        own.see(attempt)


def _plan(asked: PageRequest) -> Plan:
    plan = desk.need(asked)
    if plan is None:
        raise Refused(404, "this explorer has no plan", "start it with --plan FILE")
    return plan


ROUTES = (
    ("/probe/sessions", listing, ["GET"]),
    ("/probe/sessions/{name}", view, ["GET"]),
)
