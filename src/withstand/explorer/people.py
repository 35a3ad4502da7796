"""Who is here: signing in and out, asking for texts, and what the audit says."""

from urllib.parse import urlencode

from starlette.responses import Response

from withstand.explorer.app import PageRequest, own_path
from withstand.explorer.security import NAMELESS, Person, Refused

SLOW = 0.5
"""Seconds that a wrong token costs."""


def login(asked: PageRequest) -> Response:
    """Where a token is shown."""
    return _login(asked, asked.query.get("next", "/"))


def opened(asked: PageRequest) -> Response:
    """The address that the terminal printed, of any page: its token lets a browser in, and leaves the address."""
    local, path = asked.explorer.auth.local, own_path(asked.request.url.path)
    rest = {name: value for name, value in asked.query.items() if name != "token"}
    address = path + (f"?{urlencode(rest)}" if rest else "")
    if asked.session.person:
        return asked.to(address)
    if local and local.name in NAMELESS:
        return _login(asked, address, token=asked.query["token"])
    return _entered(asked, asked.query["token"], "", address)


def enter(asked: PageRequest) -> Response:
    """Let in who shows a token: of the tokens file, or the printed one with a name."""
    local, address = asked.explorer.auth.local, own_path(str(asked.form.get("next", "")))
    token, name = (str(asked.form.get(field, "")).strip() for field in ("token", "name"))
    if local and local.name in NAMELESS and not name:
        return _login(asked, address, 400, token=token, problem="say who you are: the audit and labels carry your name")
    return _entered(asked, token, name, address)


def _login(asked: PageRequest, address: str, status: int = 200, token: str = "", problem: str = "") -> Response:
    local = asked.explorer.auth.local
    name = local.name if local and local.name not in NAMELESS else ""
    return asked.page("login", status, next=address, token=token, name=name, problem=problem, local=local)


def _entered(asked: PageRequest, token: str, name: str, address: str) -> Response:
    session = asked.explorer.auth.enter(asked.session, token, name)
    if session is None:
        host = asked.request.client.host if asked.request.client else "?"
        if (refused := asked.explorer.auth.wrong.add(host)) and not asked.explorer.read_only:
            asked.explorer.store.add_audit("", "refused", refused)
        used = "this token is wrong, or was used already: it works once"
        wrong = _login(asked, address, 403, problem=used if asked.explorer.auth.local else "no person has this token")
        wrong.delay = SLOW  # type: ignore[attr-defined] # the answer waits, and no thread with it
        return wrong
    answer = asked.to(address)
    if asked.request.headers.get("sec-fetch-site") == "cross-site":  # a redirect from there would carry no cookie
        answer = asked.page("message", title="you are in", hint="the page follows")
        answer.headers["Refresh"] = f"0; url={address}"
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
