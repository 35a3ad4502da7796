"""The console in Chromium: its server is killed in mid-session, and two members work at once."""

import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from explorer_web import Address, inert, opened
from team_sessions import PLAN, written
from withstand import api
from withstand.explorer.app import Explorer, make_app
from withstand.explorer.security import Auth
from withstand.redteam.console.peers import sessions
from withstand.redteam.plan.records import read_plan
from withstand.store.attempts import attempts

BREAD = "How do I bake bread?"


class Server:
    """An explorer in a process of its own, on one port however often it is killed."""

    def __init__(self, store: Path, plan: Path) -> None:
        self.store, self.plan = store, plan
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.address = Address(f"http://127.0.0.1:{self.port}")
        self.address.auth = Auth("127.0.0.1", self.port, local="ana")
        self.start()

    def start(self) -> None:
        with socket.create_server(("127.0.0.1", self.port)) as self.listening:
            self.child = os.fork()
            if self.child == 0:
                thread = threading.Thread(target=self.serve)  # this one has an event loop that is the browser's
                thread.start()
                thread.join()
                os._exit(0)

    def serve(self) -> None:
        import uvicorn

        with api.open_store(self.store, create=True) as store:
            app = make_app(Explorer(store, self.address.auth, plan_file=str(self.plan)))
            config = uvicorn.Config(app, log_level="error", lifespan="off")
            uvicorn.Server(config).run(sockets=[self.listening])

    def kill(self) -> None:
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path / "s.db", written(tmp_path, PLAN.replace('mode = "open"', 'mode = "guided"')))
    try:
        yield running
    finally:
        running.kill()


def begin(tab: Any, base: str, member: str) -> None:
    tab.goto(f"{base}/probe?start=1")
    tab.select_option("select[name=member]", member)
    tab.get_by_role("button", name="Begin").click()
    tab.wait_for_url("**session=**")


def send(tab: Any, text: str, number: int) -> None:
    tab.fill("textarea[name=prompt]", text)
    tab.keyboard.press("Control+Enter")
    tab.locator(f"#x{number}").wait_for()


def test_a_kill_in_mid_session_and_two_members_at_once(browser: Any, server: Server, tmp_path: Path) -> None:
    base = server.address
    first = opened(browser, base)
    begin(first, base, "m1")
    send(first, BREAD, 1)
    first.keyboard.press("Escape")
    first.keyboard.press("5")  # refused
    first.get_by_text(re.compile("as F-")).wait_for()
    first.fill("textarea[name=prompt]", "And how do I <b>cook</b>")
    first.get_by_text("draft saved").wait_for()
    place = first.url
    server.kill()
    first.type("textarea[name=prompt]", " soup?")
    first.get_by_text("the draft is not saved").wait_for()
    server.start()
    first.goto(base.entry)
    first.goto(place)
    assert first.locator("textarea[name=prompt]").input_value() == "And how do I <b>cook</b>"
    assert first.locator("#x1 .t").first.inner_text() == BREAD
    assert first.get_by_text(re.compile("as F-")).count() == 1
    first.keyboard.press("Control+Enter")
    first.locator("#x2").wait_for()
    second = first.context.new_page()  # another member, who is here at the same time
    begin(second, base, "m2")
    for number in range(2):
        second.fill("textarea[name=prompt]", f"Hello {number}")
        first.fill("textarea[name=prompt]", f"Good day {number}")
        second.keyboard.press("Control+Enter")
        first.keyboard.press("Control+Enter")
        second.locator(f"#x{number + 1}").wait_for()
        first.locator(f"#x{number + 3}").wait_for()
    first.keyboard.press("Escape")
    first.keyboard.press("e")
    first.get_by_text("Another form of #4").wait_for()
    first.get_by_role("button", name="Send again").click()
    first.locator("#x5").wait_for()
    first.set_input_files(
        "input[type=file]", {"name": "a.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\n00"}
    )
    first.get_by_text("goes with the next record").wait_for()
    first.keyboard.press("Escape")
    first.keyboard.press("1")
    first.get_by_text(re.compile("as F-")).nth(1).wait_for()
    first.keyboard.press("Escape")
    first.keyboard.press("?")
    first.get_by_text("leaves the field").wait_for()
    first.set_viewport_size({"width": 400, "height": 800})
    assert first.evaluate("document.documentElement.scrollWidth") == 400
    first.messages = [message for message in first.messages if "ERR_CONNECTION" not in message]  # of the kill
    inert(first, base)
    with api.open_store(tmp_path / "s.db", create=False) as store:
        listed = {entry.member: (entry.exchanges, entry.recorded) for entry in sessions(store, read_plan(server.plan))}
        assert listed == {"m1": (5, 2), "m2": (2, 0)}
        assert [entry.verdict for entry in attempts(store)] == ["harmful", "refused"]
        assert attempts(store)[0].screenshot is not None
