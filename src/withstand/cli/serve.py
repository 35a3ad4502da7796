"""The commands of the explorer: `withstand serve`, and `withstand purge`, which erases texts for good."""

import getpass
import socket
from pathlib import Path

import click

from withstand.cli.options import CONTEXT, json_option, store_option
from withstand.core import SpecError


@click.command(context_settings=CONTEXT)
@click.argument("name", metavar="[RUN]", default="")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8765, show_default=True, metavar="N",
              help="0 takes a free one.")  # fmt: skip
@store_option
@click.option("--read-only", is_flag=True, help="Write nothing: no labels, findings, probes; texts stay hidden.")
@click.option("--reveal", is_flag=True, help="Show prompts and completions without being asked.")
@click.option("--with-text", is_flag=True, help="Let an admin export texts; without it exports hold digests.")
@click.option("--tokens", metavar="FILE", help="TOML, a [[person]] each: name, role (viewer, labeler, admin), token.")
@click.option("--proxy-header", default="", metavar="NAME", help="A header in which a trusted proxy names the person.")
@click.option("--own-code", is_flag=True, help="Let pages import components that runs name by module:Class.")
@click.option("--offline", is_flag=True, help="Probes reach this machine alone.")
def serve(
    name: str, host: str, port: int, store: str, read_only: bool, reveal: bool, with_text: bool, tokens: str | None,
    proxy_header: str, own_code: bool, offline: bool,
) -> int:  # fmt: skip
    """Look at runs in a browser: cases, searches, comparisons; label, probe by hand, keep findings."""
    from withstand import api
    from withstand.cli import console

    try:
        import uvicorn

        from withstand.explorer import security
        from withstand.explorer.app import Explorer, make_app
    except ImportError as error:
        raise SpecError(f"the explorer needs {error.name}", hint='pip install "withstand[serve]"') from error
    people = security.read_people(tokens) if tokens else ()
    opened = api.open_store(store, create=False)
    door = security.Door(host, port, people, proxy_header, me())
    first = api.load(name, opened).row if name else None
    explorer = Explorer(opened, door, read_only, reveal, with_text, own_code, offline)
    if loose := _readable(opened.path):
        console.say(f"note: {loose}")
    if reveal and not read_only:
        opened.add_audit(me(), "reveal", "all texts, for everyone: --reveal")
    listening = _socket(host, port)
    shown = f"[{host}]" if ":" in host else host
    where = f"http://{shown}:{listening.getsockname()[1]}"
    if first is not None:
        explorer.index.known(first, wait=0)
    console.put(f"{where}/{f'runs/{first.key[:16]}' if first else ''}")
    console.say("Ctrl-C ends it")
    config = uvicorn.Config(
        make_app(explorer), log_level="warning", server_header=False, proxy_headers=False, timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=64 * 1024,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])
    return 0


def me() -> str:
    """Who works at this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "local"


def _readable(path: str) -> str:
    """What to say of a store that others of this machine can read."""
    if path and Path(path).stat().st_mode & 0o077:
        return f"others at this machine can read {path}: chmod 600 {path}"
    return ""


def _socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise SpecError(
            f"cannot listen on {host}:{port}: {error.strerror}", hint="--port 0 takes a free one"
        ) from error
    made.listen(128)
    return made


@click.command(context_settings=CONTEXT)
@click.argument("name", metavar="RUN")
@click.option(
    "--text",
    is_flag=True,
    required=True,
    expose_value=False,
    help="Say that texts are to be erased: it cannot be undone.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_option
@json_option
def purge(name: str, yes: bool, store: str, as_json: bool) -> int:
    """Erase the texts of a run: prompts, completions, answers, reasons, labels' copies. Verdicts and digests stay.

    Rows that other runs share lose their texts there too. The one exception to a store that only grows.
    """
    import json

    from withstand import api
    from withstand.cli import console
    from withstand.store.purge import purge as erase

    with api.open_store(store, create=False) as opened:
        run = api.load(name, opened).row
        if not yes:
            click.confirm(f"erase the texts of {console.line(run.name)} for good?", abort=True, err=True)
        done = erase(opened, run, me())
    if as_json:
        click.echo(json.dumps(done))
        return 0
    kinds = ("rows", "answers", "labels", "findings", "behaviors", "failures")
    console.put(f"erased the texts of {run.name}: {', '.join(f'{done[kind]} {kind}' for kind in kinds)}")
    if done["shared"]:
        console.say(f"these runs shared some of them: {', '.join(done['shared'])}")
    return 0
