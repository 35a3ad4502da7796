"""Who is here: signing in and out, asking for texts, and what the audit says."""

from starlette.responses import Response

from withstand.explorer.app import PageRequest
from withstand.explorer.security import Person, Refused

SLOW = 0.5
"""Seconds that a wrong token costs."""


def login(asked: PageRequest) -> Response:
    """Where a token is shown."""
    return asked.page("login", next=asked.query.get("next", "/"), problem="")


def enter(asked: PageRequest) -> Response:
    """Let in who shows a token of the tokens file."""
    session = asked.explorer.auth.enter(asked.session, str(asked.form.get("token", "")).strip())
    if session is None:
        host = asked.request.client.host if asked.request.client else "?"
        if (refused := asked.explorer.auth.wrong.add(host)) and not asked.explorer.read_only:
            asked.explorer.store.add_audit("", "refused", refused)
        wrong = asked.page("login", 403, next=str(asked.form.get("next", "/")), problem="no person has this token")
        wrong.delay = SLOW  # type: ignore[attr-defined] # the answer waits, and no thread with it
        return wrong
    answer = asked.back()
    answer.session = session  # type: ignore[attr-defined] # its cookie goes with the answer
    return answer


def leave(asked: PageRequest) -> Response:
    asked.explorer.auth.leave(asked.session)
    return asked.to("/")


def reveal(asked: PageRequest) -> Response:
    """Show texts: of one case, or all of this session; or hide them again. Who asked is kept."""
    session, place = asked.session, str(asked.form.get("place", ""))[:200]
    show = asked.form.get("show") != "0"
    if place:
        if show:
            asked.explorer.audit(asked.who, "reveal", place)
            session.revealed.add(place)
        else:
            session.revealed.discard(place)
    else:
        if show:
            asked.explorer.audit(asked.who, "reveal", "all texts, for the session")
        session.reveal = show
        if not show:
            session.revealed.clear()
    return asked.back()


def audit(asked: PageRequest) -> Response:
    """Who revealed, exported, purged or was refused what."""
    asked.need("admin")
    return asked.page("audit", entries=asked.explorer.store.audits(500), waiting=asked.explorer.auth.wrong.waiting)


def name(asked: PageRequest) -> Response:
    """At this machine, without tokens, people say who they are, so that labels carry it."""
    auth, given = asked.explorer.auth, str(asked.form.get("name", "")).strip()
    if auth.local is None:
        raise Refused(403, "your name comes from your token")
    asked.session.person = Person(given, "admin")
    return asked.back()


ROUTES = (
    ("/login", login, ["GET"]),
    ("/login", enter, ["POST"]),
    ("/logout", leave, ["POST"]),
    ("/reveal", reveal, ["POST"]),
    ("/name", name, ["POST"]),
    ("/audit", audit, ["GET"]),
)
