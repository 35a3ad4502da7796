"""The explorer as an application: who asks, what they get, and the headers that every answer has."""

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlencode

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from withstand.core import SpecError, StoreError, WithstandError, digest
from withstand.core.text import count
from withstand.explorer.alike import Alike
from withstand.explorer.index import WAIT, Index, RunIndex
from withstand.explorer.launch_process import Launcher
from withstand.explorer.numbers import whole
from withstand.explorer.security import HEADERS, Auth, Refused, Session, cookie_name, read_form
from withstand.monitor.audit.queue import WORDS
from withstand.monitor.report import record as monitor_record
from withstand.redteam.console import peers
from withstand.redteam.plan.records import Plan, read_plan
from withstand.report.shell import environment, style
from withstand.results.cases import CaseResult, Spot, picked
from withstand.results.cells import COUNTED, OUTCOME_WORDS
from withstand.runner.review import BehaviorFile
from withstand.store.revisions import plans
from withstand.store.store import RunRow, Store

HERE = Path(__file__).parent
STYLE = "/static/report.css"
PARTIAL = ("runs", "run", "cases", "calibration", "launch", "findings")
"""Pages with a part that updates itself: the template of that part has an underscore before its name."""


@dataclass
class Explorer:
    """An open store with what the pages share.

    reveal: texts are shown without being asked for. with_text: exports may hold texts. own_code: components that runs
    name by module:Class or function may be imported. offline: probes reach this machine alone. behaviors: a file of
    generated behaviors to review. chromium: a browser that prints reports; "" finds one. plan_file: the
    plan of a red team, "" for none. launcher: starts runs; None: no run is started from here.
    """

    store: Store
    auth: Auth
    read_only: bool = False
    reveal: bool = False
    with_text: bool = False
    own_code: bool = False
    offline: bool = False
    behaviors: BehaviorFile | None = None
    wait: float = WAIT
    chromium: str = ""
    plan_file: str = ""
    launcher: Launcher | None = None
    printing: threading.Lock = field(default_factory=threading.Lock)
    transcripts: dict[Any, Any] = field(default_factory=dict)
    alike: Alike = field(default_factory=Alike)

    @property
    def plan(self) -> Plan | None:
        """The plan of a red team, as its file is now; None without one. Raises `SpecError`."""
        if not self.plan_file:
            return None
        try:
            return plan_of(self.plan_file, Path(self.plan_file).stat().st_mtime_ns)
        except OSError as error:
            raise SpecError(f"cannot read {self.plan_file}: {error.strerror}", hint="put the plan back") from error

    @property
    def audits(self) -> list[str]:
        """The monitors of whose traffic people label exchanges."""
        return plans(self.store, WORDS)

    @property
    def monitors(self) -> list[str]:
        """The monitors that have kept a report in the store."""
        return plans(self.store, monitor_record.KIND)

    @cached_property
    def index(self) -> Index:
        from withstand.explorer.label import ready

        return Index(self.store, self.wait, ready, self.forget)

    def forget(self) -> None:
        """Drop the texts that pages and sessions hold, since some were erased from the store."""
        self.transcripts.clear()
        peers.forget()
        self.alike.clear()
        self.auth.forget()
        if self.launcher:
            self.launcher.forget()

    def audit(self, who: str, action: str, subject: str) -> None:
        """Keep who did what; without it, it is not done."""
        if self.read_only:
            raise Refused(403, "this explorer is read-only, so it cannot record who did this")
        self.store.add_audit(who, action, subject)


@lru_cache(maxsize=4)
def plan_of(path: str, changed: int) -> Plan:  # noqa: ARG001 - an edit of the file makes another call
    """The plan in a file that changed last then."""
    return read_plan(path)


@dataclass
class PageRequest:
    """A request with its session, and the ways to answer it."""

    explorer: Explorer
    request: Request
    session: Session
    form: Mapping[str, Any]

    @property
    def who(self) -> str:
        return self.session.person.name if self.session.person else ""

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    @property
    def partial(self) -> bool:
        """Whether htmx wants a part of the page."""
        return self.request.headers.get("hx-request") == "true" and "hx-boosted" not in self.request.headers

    def number(self, name: str) -> int:
        """A whole number of the query, at least 0; 0 where it is none."""
        return whole(self.query.get(name, "")) or 0

    def run(self, key: str = "") -> RunRow:
        """The run in the path, or the one whose key begins so, with 12 digits or more."""
        wanted = key or self.request.path_params["run"]
        for run in self.explorer.index.runs():
            if run.key.startswith(wanted) and len(wanted) >= 12:
                return run
        raise Refused(404, "this store has no such run")

    def indexed(self, texts: bool = True, run: RunRow | None = None) -> RunIndex:
        """What the index holds of the run: all, or with `texts` False its rates. Raises `StillReading` until then."""
        run = run or self.run()
        entry = self.explorer.index.of_run(run)
        if entry is None or (texts and not entry.table):
            raise StillReading(run, entry, self.explorer.index.error)
        return entry

    def spot(self, text: str = "") -> Spot:
        """The case in the path, or in a text such as 0.11.0.2."""
        match = re.fullmatch(
            r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})", text or self.request.path_params["spot"]
        )
        if not match:
            raise Refused(404, "this run has no such case")
        return int(match[1]), int(match[2]), int(match[3]), int(match[4])

    def case(self, run: RunRow, spot: Spot) -> CaseResult:
        """A case with its texts."""
        records = picked(self.explorer.store, run, [spot])
        if not records:
            raise Refused(404, "this run has no such case")
        return records[0]

    def shows(self, place: str = "") -> bool:
        """Whether the text of a case, or all texts, may be sent to this browser."""
        return self.explorer.reveal or self.session.reveal or place in self.session.revealed

    def may(self, role: str) -> bool:
        """Whether the person has this role, or one that may do more."""
        return self.session.person is not None and self.session.person.may(role)

    def may_write(self, role: str) -> bool:
        """`may`, where this explorer writes at all."""
        return self.may(role) and not self.explorer.read_only

    def need(self, role: str) -> None:
        if not self.may(role):
            raise Refused(403, f"this needs the role {role}", "the tokens file gives each person a role")

    def run_page(self, template: str, indexed: RunIndex, **values: Any) -> Response:
        """A page about a run."""
        return self.page(template, run=indexed.run, indexed=indexed, **values)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page, or the part of it that htmx wants."""
        template = f"_{template}" if self.partial and template in PARTIAL else template
        text = templates().get_template(f"{template}.html.j2").render(asked=self, session=self.session, **values)
        return HTMLResponse(text.encode("utf-8", "replace"), status)

    def to(self, path: str, **query: Any) -> Response:
        return RedirectResponse(path + (f"?{urlencode(query)}" if query else ""), 303)

    def back(self, otherwise: str = "/") -> Response:
        """To the page that the form names, if it is one of ours."""
        return self.to(own_path(str(self.form.get("next", "")), otherwise))


def own_path(address: str, otherwise: str = "/") -> str:
    """An address if it is of a page of ours, wherever it came from."""
    return address if re.match(r"/(?![/\\])", address) and address.isprintable() else otherwise


class StillReading(Exception):  # noqa: N818 - no error
    """The run is still being read."""

    def __init__(self, run: RunRow, indexed: RunIndex | None, error: str) -> None:
        super().__init__(run.name)
        self.run, self.indexed, self.error = run, indexed, error


Page: TypeAlias = Callable[[PageRequest], Response]


def make_app(explorer: Explorer) -> Starlette:
    """The application. It closes its index when the server ends."""
    from withstand.explorer import (
        behaviors,
        board,
        compare,
        console,
        console_sessions,
        downloads,
        finding,
        findings,
        gates,
        label,
        labelers,
        launch,
        monitor,
        monitor_audit,
        people,
        plan_harms,
        plan_pages,
        plan_report,
        read,
        search,
    )

    of_runs = (read, downloads, search, compare, gates, launch, label)
    of_team = (console, console_sessions, plan_pages, plan_harms, plan_report, findings, board, finding)
    routes: list[BaseRoute] = []
    for pages in (*of_runs, *of_team, monitor, monitor_audit, labelers, people, behaviors):
        for path, page, methods in pages.ROUTES:
            routes.append(Route(path, _endpoint(explorer, page), methods=methods))
    routes.append(Route(STYLE, lambda _: Response(style(), media_type="text/css")))
    routes.append(Mount("/static", StaticFiles(directory=HERE / "static")))

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        yield
        if (refused := explorer.auth.wrong.rest()) and not explorer.read_only:
            explorer.store.add_audit("", "refused", refused)
        if explorer.launcher:
            explorer.launcher.close()
        explorer.index.close()

    return Starlette(routes=routes, lifespan=life, middleware=[Middleware(Headers)])


@cache
def static(path: str) -> str:
    """The address of a static file, with the digest of its content: browsers keep it until another one is asked for."""
    content = style() if path == STYLE else (HERE / path.removeprefix("/")).read_text("utf-8")
    return f"{path}?v={digest(content)[:12]}"


class Headers:
    """Puts `HEADERS` on every answer, whoever gave it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        address = f"{path}?{scope.get('query_string', b'').decode('latin-1')}"

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if message["status"] == 200 and path.startswith("/static/") and address == static(path):
                    headers["Cache-Control"] = "max-age=31536000, immutable"
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, with_headers)


def _endpoint(explorer: Explorer, page: Page) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        session, is_new = Session("", None), False
        try:
            session, is_new = explorer.auth.session(request.headers, request.cookies)
            form = await read_form(request) if request.method == "POST" else {}
            asked = PageRequest(explorer, request, session, form)
            if request.method == "POST":
                explorer.auth.check_write(session, request.headers, form)
            answer = await run_in_threadpool(_answered, asked, page)
        except Refused as error:
            asked = PageRequest(explorer, request, session, {})
            answer = asked.page("message", error.status, title=error.why, hint=error.hint)
        session = getattr(answer, "session", session)
        if is_new or getattr(answer, "session", None):
            secure = explorer.auth.secure(request.url.scheme, request.headers)
            name = cookie_name(request.headers.get("host", ""))
            answer.set_cookie(name, session.id, httponly=True, samesite="strict", secure=secure, path="/")
        await asyncio.sleep(getattr(answer, "delay", 0.0))
        return answer

    return endpoint


def _answered(asked: PageRequest, page: Page) -> Response:
    """The page, or what stands in its place."""
    from withstand.explorer.people import opened

    path = asked.request.url.path
    if asked.request.method == "GET" and asked.explorer.auth.local and "token" in asked.query:
        return opened(asked)
    if asked.session.person is None and path not in ("/login",):
        if asked.request.method == "GET" and not asked.partial and not asked.explorer.auth.proxy_header:
            return asked.to("/login", next=path)
        raise Refused(
            401, "you are not signed in", "sign in, or send your token in the header Authorization: Bearer TOKEN"
        )
    replays = path.startswith("/runs/") and path.endswith("/search")  # a POST, as it builds components; writes nothing
    writes = asked.request.method == "POST" and path not in ("/login", "/logout") and not replays
    if writes and asked.explorer.read_only:
        raise Refused(403, "this explorer is read-only", "start it without --read-only")
    try:
        return page(asked)
    except StillReading as reading:
        return asked.page("reading", 503, run=reading.run, indexed=reading.indexed, error=reading.error)
    except (SpecError, StoreError) as error:
        return asked.page("message", 400, title=str(error), hint=error.hint)
    except WithstandError as error:
        return asked.page("message", 500, title=str(error), hint=error.hint)


@cache
def templates() -> Environment:
    """The explorer's templates, in the environment that disarms what every page prints."""
    pages = environment(HERE / "templates")
    pages.filters.update(ago=ago, moment=moment, digest=digest)
    pages.globals.update(OUTCOMES=OUTCOME_WORDS, COUNTED=COUNTED, urlencode=urlencode, count=count, static=static)
    return pages


def ago(seconds: float) -> str:
    """A time of the past, as people say it."""
    passed = max(0.0, time.time() - seconds)
    for size, name in ((86_400.0, "day"), (3_600.0, "hour"), (60.0, "minute")):
        if passed >= size:
            return f"{count(int(passed / size), name)} ago"
    return "just now"


def moment(seconds: float) -> str:
    """A time to the second, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def plain(text: str, name: str) -> Response:
    """Text as a file to keep, never as a page."""
    return PlainTextResponse(text.encode("utf-8", "replace"), headers=attachment(name))


def attachment(name: str) -> dict[str, str]:
    """The header by which a browser keeps an answer under a name, and never shows it as a page."""
    return {"Content-Disposition": f'attachment; filename="{re.sub(r"[^A-Za-z0-9._-]", "-", name)}"'}
