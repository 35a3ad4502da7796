"""A proxy from what its user decided: screeners, log, session and application."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from withstand.core import SpecError
from withstand.core.describe import models
from withstand.core.taxonomy import UNCOVERED
from withstand.monitor.intake.salt import Hasher, salt_of
from withstand.monitor.proxy.app import Proxy
from withstand.monitor.proxy.gate import Gate
from withstand.monitor.proxy.lanes import Lanes
from withstand.monitor.proxy.log import Log
from withstand.monitor.proxy.mode import Mode
from withstand.monitor.proxy.screens import Screens
from withstand.monitor.proxy.session import Session
from withstand.monitor.screen.labelers import Labeler, labelers_of
from withstand.monitor.settings import Screener, Settings
from withstand.redteam.policy.records import NO_RULE, Header, Policy
from withstand.runner.suites import own_hosts
from withstand.store.store import Store

NO_POLICY = Policy("", Header("no policy", ""), {UNCOVERED: NO_RULE}, (), (), "")
"""What judges of the command line label by: their flags have no category."""
SHORTEST = 16
"""Characters of a token."""


def screeners_of(judges: Sequence[str], settings: Settings) -> tuple[Screener, ...]:
    """The judges of the command line, each for prompts and for answers; without any the screeners of the settings."""
    return (
        tuple(
            Screener(f"judge-{number}-{reads}", judge, UNCOVERED, reads)
            for number, judge in enumerate(judges, 1)
            for reads in ("prompt", "completion")
        )
        or settings.screeners
    )


def build(
    mode: Mode, log: str, *, judges: Sequence[str] = (), settings: Settings | None = None, policy: Policy | None = None,
    store: Store | None = None, host: str = "127.0.0.1", token: str = "", salt: str = "", rotate: int = 0,
    processes: int = 2, threads: int = 0, now: Callable[[], float] = time.time,
    say: Callable[[str], None] = lambda _: None,
) -> Proxy:  # fmt: skip
    """The application, with its judges started. Raises `SpecError` for what does not go together.

    Without judges it only logs. A flag of a judge of the command line blocks; one of a screener of the settings where
    the policy's action for its category is block, suspend or escalate.
    """
    hosts = own_hosts(host)
    if hosts is None and not token:
        hint = "--token-env NAME names the variable with a token of 16 characters or more; or use 127.0.0.1"
        raise SpecError(f"others can reach {host}, and this proxy would ask nobody for a token", hint=hint)
    if token and len(token) < SHORTEST:
        hint = 'python -c "import secrets; print(secrets.token_urlsafe())" makes one'
        raise SpecError(f"the token is shorter than {SHORTEST} characters", hint=hint)
    settings, rules = settings or Settings(), policy or NO_POLICY
    labelers = labelers_of(screeners_of(judges, settings), rules, settings.file or "--judge")
    if not labelers and mode.does == "block":
        raise SpecError("--mode block needs a judge", hint="--judge SPEC, or --settings with a [[screener]]")
    mode = mode if labelers else replace(mode, does="log")
    actions = {UNCOVERED: "block"} if judges else {name: entry.action for name, entry in rules.categories.items()}
    lanes = Lanes(labelers, processes, threads)
    screens = Screens(labelers, actions, lanes, mode.timeout)
    _check_block(mode, screens)
    writer = Log(log, mode.text, rotate, say)
    names = Hasher(salt_of(writer.path.parent, salt))
    lanes.open()
    label = rules.header.version
    started = now()
    session = Session(
        f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(started))}-{secrets.token_hex(4)}", mode, labelers, label,
        settings.keeping.name, started, mode.sentence(bool(screens.stops("prompt"))), log,
    )  # fmt: skip
    return Proxy(session, Gate(mode, screens, writer), lanes, writer, names, hosts, token, store, now, say)


def _check_block(mode: Mode, screens: Screens) -> None:
    """Raise `SpecError` for a mode that would not do what it says."""
    if mode.does != "block":
        return
    prompts, answers = screens.stops("prompt"), screens.stops("completion")
    actions = "its category's action in the policy is to be block, suspend or escalate"
    if mode.answers != "stream" and not answers:
        raise SpecError(
            f"--answers {mode.answers}, but no screener of answers blocks: they would not wait for a verdict",
            hint=f"--answers stream, or a screener that reads the completion; {actions}",
        )
    if not prompts and not answers:
        raise SpecError("no screener blocks", hint=f"{actions}; or use --mode flag")
    if not prompts and mode.answers == "stream":
        raise SpecError(
            "no screener of prompts blocks, and answers stream through: nothing would be blocked",
            hint='--answers hold or window:N, or a screener with reads = "prompt"',
        )


def says(screens: Screens) -> list[str]:
    """What each screener's flag does, in words."""
    stopping = {labeler.screener.id for side in ("prompt", "completion") for labeler in screens.stops(side)}
    return [_says(labeler, labeler.screener.id in stopping) for labeler in screens.labelers.values()]


def _says(labeler: Labeler, stops: bool) -> str:
    screener = labeler.screener
    what = "can block" if stops else "flags only"
    hosts = sorted({host for model in models(labeler.judge) for host in model.hosts})
    sent = f" and sends it to {', '.join(hosts)}" if hosts else ""
    return f"{screener.id} ({screener.judge}, {screener.category}) reads the {screener.reads}{sent}: {what}"
