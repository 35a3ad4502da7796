"""`withstand serve`: the explorer."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import command, options, run_argument, store_option
from withstand.cli.purge import user_name
from withstand.core import SpecError
from withstand.core.home import home_dir

if TYPE_CHECKING:
    import socket

    from withstand.explorer.launch_process import Launcher
    from withstand.store.store import Store

ADDRESS = options(
    click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on."),
    click.option("--port", type=click.IntRange(0, 65_535), default=8765, show_default=True, metavar="N",
                 help="Port to listen on; 0 takes a free one."),
)  # fmt: skip
ACCESS = options(
    click.option("--read-only", is_flag=True, help="Write no labels, findings or probes; texts stay hidden."),
    click.option("--reveal", is_flag=True, help="Show prompts and completions without a click."),
    click.option("--with-text", is_flag=True, help="Let an admin export texts; without it, exports hold digests."),
    click.option("--tokens", metavar="FILE",
                 help="TOML file of people: a [[person]] each, with name, role (viewer, labeler, runner, admin) and "
                 "token."),
    click.option("--proxy-header", default="", metavar="NAME",
                 help="HTTP header in which a trusted proxy names the person."),
    click.option("--own-code", is_flag=True, help="Let pages import components that runs name by module:Class."),
    click.option("--offline", is_flag=True, help="Let probes reach this machine only."),
    click.option("--plan", "plan_file", metavar="FILE",
                 help="Plan of a red team: its members probe its layers, and record what they find."),
    click.option("--runs", type=click.IntRange(0, 64), default=1, show_default=True, metavar="N",
                 help="Most runs under way at once that pages start, each a process; 0 starts none."),
    click.option("--behaviors", metavar="FILE",
                 help="Review the behaviors that `withstand generate behaviors` wrote: accept, edit or drop each."),
)  # fmt: skip


@command()
@run_argument
@ADDRESS
@store_option
@ACCESS
def serve(
    name: str, host: str, port: int, store: str, read_only: bool, reveal: bool, with_text: bool, tokens: str | None,
    proxy_header: str, own_code: bool, offline: bool, plan_file: str | None, runs: int, behaviors: str | None,
) -> None:  # fmt: skip
    """Look at runs in a browser, label cases, probe by hand.

    The pages show cases, searches and comparisons, and keep findings. With --behaviors they show a file of generated
    behaviors, with --plan the console of a red team, before the first run too.
    """
    from withstand import api

    try:
        import uvicorn

        from withstand.explorer import security
        from withstand.explorer.app import Explorer, make_app
        from withstand.redteam.plan.records import read_plan
        from withstand.runner.review import BehaviorFile
    except ImportError as error:
        raise SpecError(f"the explorer needs {error.name}", hint='pip install "withstand[serve]"') from error
    people = security.read_people(tokens) if tokens else ()
    file = BehaviorFile(Path(behaviors)) if behaviors else None
    if file:
        file.rows()  # raises what is wrong with it
    if plan_file:
        read_plan(plan_file)  # raises what is wrong with it
    opened = api.open_store(store, create=file is not None or plan_file is not None)
    auth = security.Auth(host, port, people, proxy_header, user_name())
    first = api.load(name, opened).row if name else None
    explorer = Explorer(
        opened, auth, read_only, reveal, with_text, own_code, offline, file, chromium=os.environ.get("CHROMIUM", ""),
        plan_file=plan_file or "",
        launcher=None if read_only or not runs else _launcher(opened, store, runs, offline),
    )  # fmt: skip
    if Path(opened.path).is_file() and Path(opened.path).stat().st_mode & 0o077:
        console.say(f"note: other users of this machine can read {opened.path}; `chmod 600 {opened.path}` stops that")
    if reveal and not read_only:
        opened.add_audit(user_name(), "reveal", "all texts, for everyone: --reveal")
    listening = listen(host, port)
    auth.port = listening.getsockname()[1]
    root = f"http://{f'[{host}]' if ':' in host else host}:{auth.port}/"
    if first is not None:
        explorer.index.of_run(first, wait=0)
    token = f"?token={auth.entry}" if auth.entry else ""
    page = f"runs/{first.key[:16]}" if first else "behaviors" if file else "probe" if plan_file else ""
    console.put(f"{root}{page}{token}")
    console.say("Ctrl-C stops the explorer.")
    auth.on_entry = lambda: console.say(f"A browser is in. For another one: {root}?token={auth.entry}")
    config = uvicorn.Config(
        make_app(explorer), log_level="warning", server_header=False, proxy_headers=False, timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=64 * 1024,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])


def _launcher(opened: "Store", store: str, runs: int, offline: bool) -> "Launcher":
    """What starts runs of this store: the command itself, which takes the store from the environment, where a
    password may be."""
    from withstand.explorer.launch_process import Launcher

    where = store if "://" in store else str(Path(opened.path).absolute())
    env = {**os.environ, "WITHSTAND_STORE": where}
    if home := os.environ.get("WITHSTAND_HOME"):
        env["WITHSTAND_HOME"] = str(Path(home).absolute())  # they work in another folder
    command = [sys.executable, "-m", "withstand"]
    return Launcher(opened, command, env, home_dir("launches"), runs, offline)


def listen(host: str, port: int) -> "socket.socket":
    """A socket that listens on an address; port 0 takes a free one. Raises `SpecError`."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # its protocol is named, or asyncio would leave Nagle's algorithm on, and a small answer would wait 40 ms
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise SpecError(
            f"cannot listen on {host}:{port}: {error.strerror}", hint="--port 0 takes a free port"
        ) from error
    listening.listen(128)
    return listening
