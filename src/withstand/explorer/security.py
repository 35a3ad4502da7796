"""Who may do what in the explorer, and what a browser may do with its pages.

On loopback without tokens, who opens the address that the terminal printed is admin: it holds a token that works once.
Else each person has a token of their own or is named by a trusted proxy. A session is a random cookie, and what it may
do is kept here, not in the cookie. A browser in which nobody signed in has a cookie too, of which nothing is kept here.
"""

import hashlib
import hmac
import math
import re
import secrets
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from withstand.core import SpecError, bounded
from withstand.core.text import count
from withstand.runner.suites import is_own, loopback, own_hosts
from withstand.store import files

ROLES = ("viewer", "labeler", "runner", "admin")
"""Each may do what those before it may: read; label and record findings; start and stop runs; probe, store
calibrations, read the audit."""

SESSIONS = 1_000
OWN_SESSIONS = 50
"""Sessions of a person: who opens more ends the oldest of them."""
IDLE = 1_800.0
"""Seconds after which an unused session may end for somebody else's."""
BODY = 256 * 1024
"""Bytes of a form."""
UPLOAD = "/probe/shot"
"""Where a picture may be sent to."""
SHORTEST = 16
"""Characters of a token."""
NAMELESS = ("root", "local")
"""Users of a machine that are no person."""
MINUTE = 60.0
"""Seconds between two rows of the audit about wrong tokens."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class Refused(Exception):  # noqa: N818 - an answer, not an error
    """A request that is not served: the status and why."""

    def __init__(self, status: int, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.status, self.why, self.hint = status, why, hint


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who uses the explorer. `digest`: SHA-256 of their token in hex, "" where a proxy names them."""

    name: str
    role: str = "viewer"
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > 100 or not self.name.isprintable():
            raise SpecError(f"{self.name!r} is not a person's name", hint="1 to 100 printable characters")
        if self.role not in ROLES:
            raise SpecError(f"{self.name} has the role {self.role!r}", hint=f"roles: {', '.join(ROLES)}")

    def may(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


def read_people(path: str) -> tuple[Person, ...]:
    """The people of a tokens file: TOML, a [[person]] each with name, role and token, or sha256 of the token in hex.

    Raises `SpecError` for a file that others can read, a short or shared token, or two people of one name.
    """
    file = Path(path).expanduser()
    try:
        if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SpecError(f"other users can read {path}", hint=f"chmod 600 {path}")
        content = bounded.read_toml(file)
    except (OSError, SpecError) as error:
        raise SpecError(f"cannot read {path}: {error}", hint="TOML: [[person]] with name, role and token") from error
    people = []
    for number, entry in enumerate(content.get("person", []), 1):
        if not isinstance(entry, dict) or set(entry) - {"name", "role", "token", "sha256"} or "name" not in entry:
            raise SpecError(f"{path}: person {number} is not name, role and token", hint="or sha256 of the token")
        people.append(Person(str(entry["name"]), str(entry.get("role", "viewer")), _digest_of(entry, path)))
    if not people:
        raise SpecError(f"{path} names nobody", hint='[[person]], name = "ada", role = "admin", token = "..."')
    names, digests = [p.name for p in people], [p.digest for p in people if p.digest]
    if len(set(names)) < len(names) or len(set(digests)) < len(digests):
        raise SpecError(
            f"{path}: two people have the same name or the same token", hint="labels and the audit carry the name"
        )
    return tuple(people)


def _digest_of(entry: Mapping[str, Any], path: str) -> str:
    if "sha256" in entry:
        digest = str(entry["sha256"]).lower()
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise SpecError(f"{path}: sha256 of {entry['name']} is not 64 hexadecimal digits")
        return digest
    if "token" not in entry:
        return ""
    if len(str(entry["token"])) < SHORTEST:
        hint = 'python -c "import secrets; print(secrets.token_urlsafe())" makes one'
        raise SpecError(f"{path}: the token of {entry['name']} is shorter than {SHORTEST} characters", hint=hint)
    return token_digest(str(entry["token"]))


def token_digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def cookie_name(host: str) -> str:
    """The name of the session's cookie at an address. Browsers send a cookie to all ports of a host, so the port is in
    the name: two explorers in a browser do not end each other's sessions."""
    port = re.search(r":([0-9]{1,5})$", host)
    return f"withstand_session_{port[1] if port else 'default'}"


@dataclass
class Session:
    """One browser. `csrf`: what its forms send. `revealed`: the cases whose text was asked for; `searched`: the
    runs and words of searches that the audit has, `downloaded`: the runs and files; `probe`: the session of the
    console; `confirmed`: the hosts and variables that it may send to.

    `bearer`: a program that shows its token with each request, which no other site can make a browser do.
    `used`: when its cookie last came back, by the clock of `Auth`; None for never.
    """

    id: str
    person: Person | None
    csrf: str = ""
    reveal: bool = False
    revealed: set[str] = field(default_factory=set)
    searched: set[tuple[str, str]] = field(default_factory=set)
    downloaded: set[tuple[str, str]] = field(default_factory=set)
    probe: str = ""
    confirmed: set[str] = field(default_factory=set)
    bearer: bool = False
    used: float | None = None


class WrongTokens:
    """Counts wrong tokens, so that who tries many fills no audit: it gets one row a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._last = -math.inf
        self.waiting = 0

    def add(self, host: str) -> str:
        """What the audit records now that one more came from `host`; "" for nothing yet."""
        with self._lock:
            if self._clock() - self._last < MINUTE:
                self.waiting += 1
                return ""
            tokens, self.waiting, self._last = self.waiting + 1, 0, self._clock()
        return f"a wrong token, from {host}" if tokens == 1 else f"{tokens} wrong tokens, the last from {host}"

    def rest(self) -> str:
        """What the audit records at the end; "" for nothing."""
        with self._lock:
            tokens, self.waiting = self.waiting, 0
        return f"{count(tokens, 'more wrong token')}" if tokens else ""


class Auth:
    """Lets requests in. people: with tokens, or named by the proxy's header; local: who works here without either.

    entry: the token of the next browser that `local` opens; `on_entry` is called when it was used, and is another.
    """

    def __init__(
        self,
        host: str,
        port: int,
        people: tuple[Person, ...] = (),
        proxy_header: str = "",
        local: str = "local",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.people = {person.name: person for person in people}
        self.proxy_header = proxy_header
        self.local = None if people or proxy_header else Person(local, "admin")
        if self.local and not loopback(host):
            raise SpecError(
                f"others can reach {host}, and the explorer would ask nobody for a token",
                hint="--tokens FILE gives people tokens; --proxy-header NAME trusts a proxy; or use 127.0.0.1",
            )
        if people and not proxy_header and not any(person.digest for person in people):
            raise SpecError("the tokens file has no token", hint="give each person a token, or name --proxy-header")
        self.hosts = None if proxy_header else own_hosts(host)
        self.port = port
        self.wrong = WrongTokens()
        self.entry = secrets.token_urlsafe(24) if self.local else ""
        self.on_entry: Callable[[], None] = lambda: None
        self._secret = secrets.token_bytes(32)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock, self._clock = threading.Lock(), clock

    # --- sessions ---

    def forget(self) -> None:
        """Leave the sessions of the console, whose texts were erased."""
        for session in list(self._sessions.values()):
            session.probe = ""

    def session(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> tuple[Session, bool]:
        """The session of a request, and whether it is new. Raises `Refused` for a host that is not ours."""
        self.check_host(headers.get("host", ""))
        named = self._by_proxy(headers)
        token = headers.get("authorization", "").removeprefix("Bearer ")
        bearer = self.by_token(token) if token and not named else None
        given = cookies.get(cookie_name(headers.get("host", "")), "")
        with self._lock:
            current = self._sessions.get(given)
            if current and named and current.person != named:
                current = None  # the proxy now says somebody else
            if current:
                self._sessions.move_to_end(current.id)
                current.used = self._clock()
                return current, False
        if bearer:  # a program that shows its token each time needs no session
            return Session("", bearer, bearer=True), False
        if named:
            return self._kept(named), True
        was_given = re.fullmatch(r"[A-Za-z0-9_-]{43}", given)  # nothing is kept of who did not sign in
        anonymous = given if was_given else secrets.token_urlsafe(32)
        return Session(anonymous, None, self._csrf(anonymous)), not was_given

    def _csrf(self, session: str) -> str:
        return hmac.new(self._secret, session.encode(), hashlib.sha256).hexdigest()

    def _kept(self, person: Person) -> Session:
        """A new session of a person, which is kept. Of too many of one person the oldest ends; of too many in all, one
        that nobody came back to, or that is unused for long. Raises `Refused` where all are in use.
        """
        name = secrets.token_urlsafe(32)
        session = Session(name, person, self._csrf(name))
        with self._lock:
            own = [kept.id for kept in self._sessions.values() if kept.person and kept.person.name == person.name]
            if len(own) >= OWN_SESSIONS:
                self._sessions.pop(own[0])
            if len(self._sessions) >= SESSIONS:
                self._sessions.pop(self._unused())
            self._sessions[name] = session
        return session

    def _unused(self) -> str:
        """The session that ends for a new one: whoever names many people does not end one that is in use."""
        kept = [*self._sessions.values()]  # the one that was used last comes last
        for session in (*(session for session in kept if session.used is None), kept[0]):
            if session.used is None or self._clock() - session.used > IDLE:
                return session.id
        raise Refused(503, f"{SESSIONS:,} people use this explorer now", f"try again in {IDLE / 60:.0f} minutes")

    def enter(self, session: Session, token: str, name: str = "") -> Session | None:
        """A new session for who has this token; None for nobody. The old one ends, so that its cookie opens nothing.

        name: of who works at this machine, if it is not the user's name.
        """
        person = self.by_token(token) or self._by_entry(token, name)
        if person is None:
            return None
        self.leave(session)
        return self._kept(person)

    def leave(self, session: Session) -> None:
        with self._lock:
            self._sessions.pop(session.id, None)

    def by_token(self, token: str) -> Person | None:
        """In the same time for every token."""
        digest, match = token_digest(token), None
        for person in self.people.values():
            if person.digest and hmac.compare_digest(person.digest, digest):
                match = person
        return match

    def _by_entry(self, token: str, name: str) -> Person | None:
        if self.local is None:
            return None
        person = Person(name, "admin") if name else self.local
        with self._lock:
            if not hmac.compare_digest(token_digest(token), token_digest(self.entry)):
                return None
            self.entry = secrets.token_urlsafe(24)
        self.on_entry()
        return person

    def _by_proxy(self, headers: Mapping[str, str]) -> Person | None:
        if not self.proxy_header:
            return None
        name = headers.get(self.proxy_header.lower(), "")
        if not name:
            return None
        try:
            return self.people.get(name) or Person(name)
        except SpecError as error:
            raise Refused(400, str(error)) from error

    # --- checks ---

    def secure(self, scheme: str, headers: Mapping[str, str]) -> bool:
        """Whether the browser speaks TLS, so that its cookie must not travel without. The proxy that ends TLS says so;
        who says so falsely harms only the cookie of this very request."""
        by_proxy = headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower() if not self.local else ""
        return "https" in (scheme, by_proxy)

    def check_host(self, host: str) -> None:
        """Raise `Refused` for the name of another server."""
        if not is_own(host, self.hosts):
            raise Refused(421, f"this server is not {host[:100]!r}", "open the address that the server printed")

    def check_write(self, session: Session, headers: Mapping[str, str], form: Mapping[str, Any]) -> None:
        """That a write comes from a page of ours: same origin, and the session's own token."""
        if session.bearer:
            return
        site = headers.get("sec-fetch-site", "")
        if site and site not in ("same-origin", "none"):
            raise Refused(403, "this request came from another site")
        origin = headers.get("origin", "")
        if origin and urlsplit(origin).netloc != headers.get("host", "") and not self.proxy_header:
            raise Refused(403, "this request came from another site")
        token = headers.get("x-csrf", "") or str(form.get("csrf", ""))
        if not hmac.compare_digest(token.encode(), session.csrf.encode()):
            raise Refused(403, "this page is out of date", "reload it and try again")


async def read_form(request: Any) -> dict[str, Any]:
    """A form of at most `BODY` bytes, urlencoded; a name that comes several times is a list under NAME + "[]".

    At `UPLOAD` a picture may come instead, as "file"; what it is its content says.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if request.url.path == UPLOAD and kind in files.SIGNS:
        return {"file": await _body(request, files.LARGEST, "a picture")}
    if kind != "application/x-www-form-urlencoded":
        raise Refused(415, "a form must be urlencoded")
    body = await _body(request, BODY, "a form")
    try:
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=200)
    except ValueError as error:
        raise Refused(400, "this form has too many fields") from error
    form: dict[str, Any] = {}
    for name, value in pairs:
        form[name] = value
        form.setdefault(f"{name}[]", []).append(value)
    return form


async def _body(request: Any, most: int, what: str) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise Refused(413, f"{what} has at most {most // 1024:,} KiB")
        parts.append(part)
    return b"".join(parts)
