"""`withstand monitor proxy`: in front of a model."""

import os
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import command, options, store_option
from withstand.core import SpecError
from withstand.core.text import count

if TYPE_CHECKING:
    import socket

    from withstand.monitor.proxy.app import Proxy

ADDRESS = options(
    click.option("--to", required=True, metavar="URL",
                 help="The OpenAI-compatible server behind, as http://127.0.0.1:8000/v1."),
    click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on."),
    click.option("--port", type=click.IntRange(0, 65_535), default=8766, show_default=True, metavar="N",
                 help="Port to listen on; 0 takes a free one."),
    click.option("--token-env", default="", metavar="NAME",
                 help="Variable with the token that clients send as X-Withstand-Token; needed where others can reach "
                 "--host."),
)  # fmt: skip
JUDGING = options(
    click.option("--policy", metavar="FILE",
                 help="Policy whose categories screeners label, and whose actions decide what is blocked."),
    click.option("--settings", metavar="FILE", help="The monitor.toml with the screeners."),
    click.option("--judge", "-j", "judges", multiple=True, metavar="SPEC",
                 help="Judge of prompts and answers, in place of screeners; can be repeated."),
    click.option("--mode", type=click.Choice(["flag", "block"]), default="flag", show_default=True,
                 help="Flag what judges find, or block it."),
    click.option("--answers", default="stream", show_default=True, metavar="HOW",
                 help="With --mode block: stream (flagged after), hold, or window:N, of N tokens."),
    click.option("--fail", type=click.Choice(["open", "closed"]), default=None,
                 help="With --mode block: what cannot be judged passes (open), or not (closed)."),
    click.option("--blocked", type=click.Choice(["error", "refusal"]), default="error", show_default=True,
                 help="What a client gets that is blocked: an error 403, or a refusal as an answer."),
    click.option("--timeout", type=click.FloatRange(0.01, 600), default=5.0, show_default=True, metavar="SECONDS",
                 help="Longest judging of a prompt, and of an answer or window."),
    click.option("--processes", type=click.IntRange(1, 64), default=2, show_default=True, metavar="N",
                 help="Processes in which rules judge."),
)  # fmt: skip
LOGGING = options(
    click.option("--log", default="monitor/proxy.jsonl", show_default=True, metavar="FILE",
                 help="Log that `withstand monitor run` reads; the salt of its pseudonyms lies beside it."),
    click.option("--text", type=click.Choice(["redacted", "full", "none"]), default="redacted", show_default=True,
                 help="How the log keeps texts."),
    click.option("--rotate-mb", type=click.IntRange(0), default=0, metavar="MB",
                 help="Rename the log to FILE.1, FILE.2, ... at this size; 0 never does."),
    click.option("--account-header", default="", metavar="NAME",
                 help="Header that names who asks, before the body's fields."),
    click.option("--max-body-mb", type=click.IntRange(1, 1_024), default=32, show_default=True, metavar="MB",
                 help="Largest request."),
)  # fmt: skip


@command()
@ADDRESS
@JUDGING
@LOGGING
@store_option
def proxy(
    to: str, host: str, port: int, token_env: str, policy: str | None, settings: str | None, judges: tuple[str, ...],
    mode: str, answers: str, fail: str | None, blocked: str, timeout: float, processes: int, log: str, text: str,
    rotate_mb: int, account_header: str, max_body_mb: int, store: str,
) -> None:  # fmt: skip
    """Stand before a model: log its traffic, flag or block it by judges.

    Point clients at the address that is printed in place of the server's. Without a judge it only logs. The API keys of
    clients go to --to alone, and are never written. Accounts are named in the log by a keyed hash of --account-header,
    else of the request's safety_identifier or user, else of its key.
    """
    from withstand import api

    try:
        import orjson  # noqa: F401 - before anything is made
        import uvicorn  # noqa: F401

        from withstand.monitor.proxy.build import build, says
        from withstand.monitor.proxy.mode import Mode, answers_of
        from withstand.monitor.settings import read_settings
        from withstand.redteam.policy.records import read_policy
    except ImportError as error:
        raise SpecError(f"the proxy needs {error.name}", hint='pip install "withstand[monitor]"') from error
    from withstand.cli.serve import listen

    if settings and not policy:
        raise SpecError("--settings needs --policy", hint="screeners label categories of a policy")
    token = os.environ.get(token_env, "") if token_env else ""
    if token_env and not token:
        raise SpecError(f"the variable {token_env} is empty", hint="put the token into it")
    how, window = answers_of(answers)
    decided = Mode(
        to, mode, how, window, fail or "", blocked, timeout, body=max_body_mb * 1024 * 1024, text=text,  # type: ignore[arg-type] # click checked them
        account=account_header,
    )  # fmt: skip
    rules = read_policy(policy) if policy else None
    chosen = read_settings(settings, rules) if settings and rules else None
    opened = api.open_store(store, create=True)
    listening = listen(host, port)
    application = build(
        decided, log, judges=judges, settings=chosen, policy=rules, store=opened, host=host, token=token,
        salt=os.environ.get(chosen.keeping.salt_env if chosen else "WITHSTAND_MONITOR_SALT", ""),
        rotate=rotate_mb * 1024 * 1024, processes=processes, say=console.say,
    )  # fmt: skip
    console.put(f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/v1")
    console.say(f"in front of {to}. {application.session.says}")
    for line in says(application.gate.screens):
        console.say(line)
    if decided.clear:
        console.say(f"note: keys of clients go to {decided.host} unencrypted; --to https://... stops that")
    console.say(f"The log is {log}. Ctrl-C stops the proxy.")
    _serve(application, listening)
    opened.close()


def _serve(application: "Proxy", listening: "socket.socket") -> None:
    """Serve until Ctrl-C; then say what was counted."""
    import uvicorn

    config = uvicorn.Config(
        application, http="h11", ws="none", lifespan="on", log_level="critical", access_log=False, server_header=False,
        date_header=False, proxy_headers=False, timeout_graceful_shutdown=3, timeout_keep_alive=75,
        h11_max_incomplete_event_size=64 * 1024,
    )  # fmt: skip
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        counts = application.session.counts
        console.say(
            f"{count(counts['exchanges'], 'exchange')}: {counts['flagged']} flagged, {counts['blocked']} blocked, "
            f"{counts['failed_open']} failed open, {counts['failed_closed']} failed closed, {counts['unjudged']} "
            f"unjudged, {counts['unlogged']} not logged"
        )
