"""The sessions of a team: a list, and somebody's session to read and to go on from."""

from starlette.responses import Response

from withstand.explorer import console_desk as desk
from withstand.explorer import team
from withstand.explorer.app import PageRequest
from withstand.explorer.console_view import exchange_view
from withstand.explorer.security import Refused
from withstand.redteam.console import peers


def listing(asked: PageRequest) -> Response:
    """The sessions that this person may read, the one with the last step first."""
    desk.need(asked)
    plan = team.plan_of(asked)
    reader = desk.members(asked, plan)[0]
    listed = [s for s in peers.sessions(asked.explorer.store, plan) if peers.may_read(plan, reader, s.member)]
    return asked.page("console_sessions", plan=plan, listed=listed, people=desk.members(asked, plan))


def view(asked: PageRequest) -> Response:
    """A session to read. Its texts are hidden until somebody asks; severe findings in it count as exposure."""
    desk.need(asked)
    plan = team.plan_of(asked)
    own, reader = desk.current(asked), desk.members(asked, plan)[0]
    reader = own.state.member if own else reader
    state = peers.readable(asked.explorer.store, plan, reader, asked.request.path_params["name"])
    if state is None:
        raise Refused(404, "the plan has no such session", "the list has those that you may read")
    views = [exchange_view(asked, plan, state, entry, reader) for entry in state.exchanges]
    if own is None and not asked.may("admin") and any(entry.shown for entry in views):
        raise Refused(403, "begin a session first", "the severe findings that you read are counted in it")
    if own:
        own.see(state, [entry.entry.number for entry in views if entry.shown])
    all_shown = asked.shows(f"probe/{state.session}")
    return asked.page("console_session", plan=plan, seen=state, views=views, own=own, all_shown=all_shown)


ROUTES = (
    ("/probe/sessions", listing, ["GET"]),
    ("/probe/sessions/{name}", view, ["GET"]),
)
