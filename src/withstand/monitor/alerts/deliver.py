"""Alerts go out: as lines of a file, and to a webhook. Whatever fails is kept and sent with the next run.

No text of an exchange leaves: a line holds figures, ids and what to do. Each delivery is a record of the store, so that
nothing is sent twice and nothing is lost; a line is written before its record, and looked up before it is written, so
that a kill between the two does no harm. A server that hangs takes `PATIENCE` seconds of a run, once.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from withstand.core import Json, SpecError, dumps
from withstand.monitor.alerts.records import Alert, alerts
from withstand.runner.suites import loopback
from withstand.store.revisions import append, records
from withstand.store.store import Store

KIND = "alert-delivery"
FILE = "alerts.jsonl"
TRIES = 3
PATIENCE = 5.0
"""Seconds that a request may take."""
Send: TypeAlias = Callable[[str, bytes], int]
"""URL and body -> status; raises `OSError` where nobody answers."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What went out in a run. failed: why the webhook took no more, "" if it took all.   waiting: alerts it lacks.
    unwritten: why the file could not be written, or ""."""

    lines: int
    posted: int
    failed: str
    waiting: int
    unwritten: str = ""


def payload(alert: Alert) -> dict[str, Json]:
    """What leaves the machine of an alert: no text, no account, no id of the log."""
    series = alert.series
    return {
        "schema": "withstand.alert/1", "id": alert.id, "monitor": alert.monitor, "rule": alert.rule,
        "also": list(alert.also), "rule_version": alert.version, "budgeted": alert.budgeted, "kind": series.kind,
        "category": series.category, "side": series.side, "labeler": series.labeler, "start": alert.start,
        "end": alert.end, "clear_at": alert.at, "observed": alert.observed, "expected": alert.expected,
        "times": alert.times, "low": alert.low, "high": alert.high, "accounts": alert.accounts,
        "exchanges": len(alert.evidence), "policy": alert.policy, "action": alert.action, "owner": alert.owner,
        "state": alert.state,
    }  # fmt: skip


def deliver(
    store: Store, monitor: str, folder: Path, now: float, file: str = "", url: str = "", send: Send | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Delivered:  # fmt: skip
    """Write and post the alerts that were not yet. now: seconds, of the traffic.   file: instead of `FILE` in `folder`.

    Raises `SpecError` for a URL that is neither https nor of this machine, before anything goes out.
    """
    if url:
        check(url)
    listed = alerts(store, monitor)
    lines, unwritten = 0, ""
    try:
        lines = _write(Path(file) if file else folder / FILE, listed)
    except OSError as error:
        unwritten = f"{type(error).__name__}: {error}"
    sent = {record.id for record in records(store, KIND, monitor) if record.value["ok"]}
    left = [alert for alert in listed if alert.id not in sent and alert.pending] if url else []
    posted, failed = 0, ""
    for alert in left:
        failed = _post(url, alert, send or _send, pause)
        value = {"ok": not failed, "error": failed, "host": urlsplit(url).hostname}
        append(store, KIND, alert.id, monitor, now, value)
        if failed:
            break  # the next would wait as long: all of them go out with the next run
        posted += 1
    return Delivered(lines, posted, failed, len(left) - posted, unwritten)


def check(url: str) -> None:
    """Raise `SpecError` for a webhook that would send over an open line."""
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme not in ("http", "https"):
        raise SpecError("the webhook is no URL", hint="its variable holds https://HOST/PATH")
    if parts.scheme == "http" and not loopback(parts.hostname):
        raise SpecError(f"the webhook at {parts.hostname} is not https", hint="write https://; http is for loopback")


def _write(path: Path, listed: Sequence[Alert]) -> int:
    """Append the alerts that the file lacks; a line cut by a kill is ended first."""
    content = path.read_bytes() if path.exists() else b""
    there = set()
    for line in content.splitlines():
        try:
            there.add(json.loads(line)["id"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # cut by a kill: its alert is written anew
    new = [alert for alert in listed if alert.id not in there]
    if new:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as out:
            out.write(b"\n" if content and not content.endswith(b"\n") else b"")
            out.writelines(dumps(payload(alert)).encode() + b"\n" for alert in new)
    return len(new)


def _post(url: str, alert: Alert, send: Send, pause: Callable[[float], None]) -> str:
    """Post an alert, at most `TRIES` times; why it failed, or ""."""
    body, failed = dumps(payload(alert)).encode(), ""
    for attempt in range(TRIES):
        if attempt:
            pause(2.0 ** (attempt - 1))
        try:
            status = send(url, body)
        except OSError as error:
            failed = type(error).__name__ if not str(error) else f"{type(error).__name__}: {error}"[:200]
            continue
        if 200 <= status < 300:
            return ""
        failed = f"HTTP {status}"
        if 400 <= status < 500 and status not in (408, 429):
            break  # it will say so again
    return failed


def _send(url: str, body: bytes) -> int:
    import httpx

    try:
        headers = {"Content-Type": "application/json"}
        return httpx.post(url, content=body, headers=headers, timeout=PATIENCE, follow_redirects=False).status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OSError(type(error).__name__) from error  # its text may hold the URL, and the URL a secret
