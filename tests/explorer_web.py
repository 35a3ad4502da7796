"""The explorer over a store: in this process, or on a real socket."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from withstand import api
from withstand.explorer.app import Explorer, make_app
from withstand.explorer.security import Auth

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
def explorer(path: Path, auth: Auth | None = None, **options: Any) -> Iterator[Explorer]:
    store = api.open_store(path, create=False)
    app = Explorer(store, auth or Auth("127.0.0.1", 8765, local="ana"), wait=60.0, **options)
    try:
        yield app
    finally:
        app.index.close()
        store.close()


@contextlib.contextmanager
def client(path: Path, auth: Auth | None = None, **options: Any) -> Iterator[TestClient]:
    """A browser without a screen."""
    with explorer(path, auth, **options) as opened:
        web = TestClient(make_app(opened), base_url=f"http://{HOST}", follow_redirects=False)
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
def served(path: Path, **options: Any) -> Iterator["Address"]:
    """The explorer on a free port of loopback."""
    import uvicorn

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        free.listen()
        port = free.getsockname()[1]
        with explorer(path, Auth("127.0.0.1", port, local="ana"), **options) as opened:
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
