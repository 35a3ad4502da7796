"""The explorer over a store: in this process, or on a real socket."""

import contextlib
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from withstand import api
from withstand.explorer.app import Explorer, make_app
from withstand.explorer.launch_process import Launcher
from withstand.explorer.security import Auth, Person, token_digest

HOST = "127.0.0.1:8765"
SPEC = {
    "suite": "kitchen", "limit": 12, "target": "scripted-kitchen", "attack": ["direct", "story"],
    "defense": ["none", "self_reminder"],
}  # fmt: skip


class Address(str):
    """Where the explorer is."""

    auth: Auth

    @property
    def entry(self) -> str:
        """The address that lets the next browser in, as the terminal prints it."""
        return f"{self}/?token={self.auth.entry}"


@contextlib.contextmanager
def explorer(
    path: Path, auth: Auth | None = None, launches: Path | None = None, most: int = 1, **options: Any
) -> Iterator[Explorer]:  # fmt: skip
    """launches: a folder for runs that pages start, `most` at once; what they started is not ended."""
    store = api.open_store(path, create=False)
    app = Explorer(store, auth or Auth("127.0.0.1", 8765, local="ana"), wait=60.0, **options)
    if launches:
        env = {**os.environ, "WITHSTAND_STORE": str(path)}
        app.launcher = Launcher(store, [sys.executable, "-m", "withstand"], env, launches, most)
    try:
        yield app
    finally:
        if app.launcher:
            app.launcher.close()
        app.index.close()
        store.close()


@contextlib.contextmanager
def client(path: Path, auth: Auth | None = None, **options: Any) -> Iterator[TestClient]:
    """A browser without a screen."""
    with explorer(path, auth, **options) as opened:
        web = TestClient(make_app(opened), base_url=f"http://{HOST}", follow_redirects=False)
        web.explorer = opened
        if opened.auth.entry:
            web.get(f"/?token={opened.auth.entry}")
        yield web


def csrf(web: TestClient, page: str = "/") -> str:
    match = re.search(r'name="csrf" value="([^"]+)"', web.get(page).text)
    assert match
    return match[1]


def post(web: TestClient, path: str, page: str = "/", **form: Any) -> Any:
    return web.post(path, data={"csrf": csrf(web, page), "next": page, **form})


def replayed(web: TestClient, search: str) -> str:
    """The page of a search after a click on its button."""
    return web.post(search, data={"csrf": csrf(web, search)}).text


def run_path(web: TestClient, name: str = "kitchen") -> str:
    match = re.search(rf'href="(/runs/[0-9a-f]+)">{name}<', web.get("/").text)
    assert match
    return match[1]


@contextlib.contextmanager
def served(path: Path, people: tuple[Person, ...] = (), **options: Any) -> Iterator["Address"]:
    """The explorer on a free port of loopback, for these people or for ana alone."""
    import uvicorn

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        free.listen()
        port = free.getsockname()[1]
        auth = Auth("127.0.0.1", port, people) if people else Auth("127.0.0.1", port, local="ana")
        with explorer(path, auth, **options) as opened:
            server = uvicorn.Server(uvicorn.Config(make_app(opened), log_level="error", lifespan="off"))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [free]}, daemon=True)
            thread.start()
            while not server.started:
                time.sleep(0.02)
            try:
                address = Address(f"http://127.0.0.1:{port}")
                address.auth = opened.auth
                yield address
            finally:
                server.should_exit = True
                thread.join(timeout=60)


# --- people ----------------------------------------------------------------------------------------------------

TOKENS = {"vera": "v" * 20, "lea": "l" * 20, "rosa": "r" * 20, "adam": "a" * 20}
PEOPLE = tuple(
    Person(name, role, token_digest(TOKENS[name]))
    for name, role in (("vera", "viewer"), ("lea", "labeler"), ("rosa", "runner"), ("adam", "admin"))
)


def auth():
    return Auth("127.0.0.1", 8765, PEOPLE)


def sign_in(web, name):
    return post(web, "/login", "/login", token=TOKENS[name])


# --- in Chromium ----------------------------------------------------------------------------------------------

HOSTILE = {
    "script": "<script>window.pwned=1</script>",
    "handler": '"><img src=x onerror="window.pwned=1"><b onmouseover=\'window.pwned=1\'>x</b>',
    "svg": '<svg onload=window.pwned=1><a xlink:href="javascript:window.pwned=1"><text>x</text></a></svg>',
    "data": '<iframe src="data:text/html,<script>parent.pwned=1</script>"></iframe> [x](javascript:window.pwned=1)',
    "htmx": '<div hx-get="/audit" hx-trigger="load" hx-on::load="window.pwned=1" data-hx-get=/>x</div>',
    "attribute": "' autofocus onfocus=window.pwned=1 x='",
    "template": "{{ 7*7 }}{% raw %}{{ config }}</textarea></title></style><script>pwned=1</script>",
    "comment": "--><script>window.pwned=1</script><!-- ]]> <![CDATA[",
    "remote": "<link rel=stylesheet href=//evil.invalid/x><img src=//evil.invalid/x><base href=//evil.invalid>",
    "direction": "abc\u202e\u2066txt.exe\u2069 \u200b\u200fhidden",
    "control": "a\x00b\x07c\x1b[31mred\x1b]0;title\x07\x9b2Jd\x7f\r\u2028e\u2029f\ufeffg\U000e0041",
    "surrogate": "lone \ud800 and \udfff here",
    "meta": '<meta http-equiv=refresh content="0;url=http://evil.invalid"><form action=//evil.invalid><button>x',
}


def opened(browser, base, **options):
    tab = browser.new_context(**options).new_page()
    tab.goto(base.entry)
    tab.messages, tab.asked = [], []
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.on("console", lambda message: tab.messages.append(message.text))
    tab.on("pageerror", lambda error: tab.messages.append(str(error)))
    tab.on("dialog", lambda dialog: tab.messages.append(f"dialog {dialog.message}"))
    return tab


def inert(tab, base):
    """That nothing ran, nothing was loaded from elsewhere, and no text became markup."""
    assert tab.evaluate(LOOK, [ACTS]) == {"pwned": None, "acts": []}
    assert tab.messages == []
    assert {re.match(r"\w+://[^/]+", url)[0] for url in tab.asked} == {base}


ACTS = ", ".join(
    (
        ".t *, .m script, h1 *, .case *",
        "iframe, object, embed, base, img, meta[http-equiv], [onerror], [onload], [onfocus]",
        "script:not([src^='/static/'])",
        "a[href^='javascript'], a[href^='data'], form[action^='//']",
    )
)
"""Elements that can only come from a text which became markup."""
LOOK = """([acts]) => (
    {pwned: window.pwned ?? null, acts: [...document.querySelectorAll(acts)].map(element => element.outerHTML)}
)"""
