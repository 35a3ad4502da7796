"""`withstand monitor`: misuse in logs."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import CONTEXT, Commands, Result, command, store_file_option
from withstand.core import SpecError
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.monitor.run import Job
    from withstand.monitor.section import Section
    from withstand.monitor.settings import Settings
    from withstand.store.store import Store

DAY = 86_400
STALE = 2 * DAY
"""Seconds behind this machine's clock from which on traffic is said to have ended."""
out_option = click.option(
    "--out", "folder", default="monitor", show_default=True, metavar="DIR", help="Folder of the monitor."
)


@click.group(cls=Commands, context_settings=CONTEXT)
def monitor() -> None:
    """Watch a model's traffic for misuse."""


@command(group=monitor, json=True)
@click.argument("logs", nargs=-1, required=True)
@click.option("--policy", "policy_file", required=True, metavar="FILE", help="Policy whose categories are watched.")
@click.option("--settings", "settings_file", default="", metavar="FILE", help="Screeners, retention and alerts.")
@out_option
@click.option("--form", default="auto", metavar="F", help="Form of the logs; told from their first lines by default.")
@click.option(
    "--column", "columns", multiple=True, metavar="FIELD=COLUMN", help="Where a field is in a log of no form."
)
@click.option("--follow", is_flag=True, help="Go on as the logs grow and are rotated.")
@click.option("--every", default="60s", show_default=True, metavar="SPAN", help="With --follow: how often to say it.")
@click.option("--no-text", is_flag=True, help="Keep no texts, not even redacted ones.")
@click.option(
    "--retention", type=click.IntRange(min=0), default=None, metavar="DAYS",
    help="Delete exchanges that are older, by the log's own time; 0 keeps all.",
)  # fmt: skip
@store_file_option("Store of alerts, labels and what a run said.")
def run(
    logs: tuple[str, ...], policy_file: str, settings_file: str, folder: str, form: str, columns: tuple[str, ...],
    follow: bool, every: str, no_text: bool, retention: int | None, store_file: str,
) -> Result:  # fmt: skip
    """Read LOGS ("-": stdin) and say what is seen in them.

    The same command goes on where it was left, also after it was killed. Names of accounts are hashed, and texts are
    redacted, before they are kept.
    """
    from withstand import api
    from withstand.monitor import run as running
    from withstand.monitor.settings import Settings, read_settings
    from withstand.redteam.policy.records import read_policy

    policy = read_policy(policy_file)
    settings = read_settings(settings_file, policy) if settings_file else Settings()
    settings = running.with_flags(settings, not no_text, retention, columns)
    webhook, salt = _webhook(settings), os.environ.get(settings.keeping.salt_env, "")
    job = running.Job(logs, policy, settings, Path(folder), form, salt=salt)
    seen: list[Section] = []
    with api.open_store(store_file) as store:
        for seen in running.run(job, store, console.say, _seconds(every) if follow else None):
            _deliver(store, job, webhook)
            _warn_of_silence(seen, time.time())
            if follow:
                _show(seen)
    value = {"schema": 1, "folder": folder, "sections": [running.plain(section) for section in seen]}

    def show() -> None:
        if not follow:
            _show(seen)
        console.put(f"report: {Path(folder) / 'report.html'}")

    return Result(value, show)


def _webhook(settings: "Settings") -> str:
    """The URL that alerts are posted to, "" for none; checked before a log is read."""
    from withstand.monitor.alerts.deliver import check

    name = settings.alarms.webhook_env
    if not name:
        return ""
    url = os.environ.get(name, "")
    if url:
        check(url)
    else:
        console.say(f"warning: {name}, the variable of the alerts' webhook, is empty: alerts wait for a later run")
    return url


def _deliver(store: "Store", job: "Job", webhook: str) -> None:
    """Send what is new; a failure is said, and tried again by the next run."""
    from withstand.monitor.alerts.deliver import deliver

    settings = job.settings
    sent = deliver(store, settings.keeping.name, job.folder, time.time(), settings.alarms.file, webhook)
    if sent.unwritten:
        console.say(f"warning: the file of the alerts cannot be written ({sent.unwritten}); the next run tries again")
    if sent.failed:
        waiting = count(sent.waiting, "alert")
        console.say(f"warning: the webhook took no alert ({sent.failed}): {waiting} to be sent by the next run")


def _warn_of_silence(seen: "Sequence[Section]", now: float) -> None:
    """Sections know the log's time alone: that it ended days ago, as where its writer died, is said here."""
    from withstand.redteam.dates import minute_of

    end = next((section.value["end"] for section in seen if section.id == "happened" and "end" in section.value), now)
    if now - end > STALE:
        days = count(int((now - end) // DAY), "day")
        console.say(f"warning: the last exchange is of {minute_of(end)} UTC, {days} ago: what came since is not known")


def _seconds(span: str) -> float:
    from withstand.redteam.dates import length_of

    if not (length := length_of(span)):
        raise SpecError(f"--every {span!r} is no span of time", hint="write 30s, 5m or 1h")
    return length


def _show(seen: "list[Section]") -> None:
    """The sections in short: state, answer, advice."""
    for section in seen:
        console.put(f"{section.question} [{section.state}] {section.answer}")
        for text in section.advice:
            console.put(f"  -> {text}")
