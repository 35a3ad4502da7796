"""Runs as processes of their own: the command `withstand run`, started, watched and stopped.

Each is recorded in the store, as revisions of a record whose id is the key of the run: of two starts of one run, one
stands. The process leads a group of its own and outlives the explorer. Its identity (number, start, machine) lies in
the user's own folder, and only a process that this file names is ever signaled: a store names none.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from withstand.core import Json, SpecError, WithstandError, bounded
from withstand.explorer.launch_record import DROPPED, ENDED, KIND, NOT_STARTED, RUNNING, WAITING, Launch
from withstand.explorer.launch_spec import Caps, file_of
from withstand.explorer.processes import Process, machine
from withstand.store.revisions import Record, add_record, append, records, revisions
from withstand.store.store import Store

PLANNING = 180.0
"""Seconds that a plan may take: it may fetch weights."""
TICK = 0.3
"""Seconds between two looks at the processes."""
TAIL = 16_000
"""Bytes of a log that are shown, from its end."""
PROGRESS = re.compile(r"(?:test cases|completions|verdicts) [0-9]+/[0-9]+ .*")
"""A line of the log that says how far the run is; it holds no text of a model."""


class Launcher:
    """Starts runs of a store, at most `most` at once.

    command: what stands before `run`.   env: of the processes; it names the store, so that no password is an argument.
    folder: of the user, where specs, logs and identities of processes lie.
    """

    def __init__(
        self, store: Store, command: Sequence[str], env: Mapping[str, str], folder: Path, most: int = 1,
        offline: bool = False,
    ) -> None:  # fmt: skip
        self.store, self.most = store, most
        self._command, self._env, self._folder = [*command], dict(env), folder.absolute()
        self._flags = ["--offline"] if offline else []
        self._token = secrets.token_hex(8)
        self._lock, self._planning = threading.RLock(), threading.Lock()
        self._own: dict[str, subprocess.Popen[bytes]] = {}
        self._waiting: dict[str, Launch] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def close(self) -> None:
        """End the watching; what runs goes on, and what waits is not started."""
        self._closed.set()
        if self._thread:
            self._thread.join(timeout=10)

    # --- before a start ---

    def plan(self, spec: Json, caps: Caps, name: str = "") -> Json:
        """What `withstand run --dry-run` says of a spec; one at a time. Raises `SpecError` with what is wrong."""
        if not self._planning.acquire(timeout=PLANNING):
            raise SpecError("other plans are being made", hint="try again in a minute")
        try:
            return self._planned(spec, caps, name)
        finally:
            self._planning.release()

    def _planned(self, spec: Json, caps: Caps, name: str) -> Json:
        with tempfile.TemporaryDirectory(prefix="withstand-") as folder:  # mode 0700
            _write(Path(folder, "spec.toml"), file_of(spec))
            command = [*self._run(spec, caps, name), "--dry-run", "--json"]
            try:
                done = subprocess.run(
                    command, cwd=folder, env=self._env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                    errors="replace", timeout=PLANNING, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired as error:
                hint = "try it on the command line: withstand run SPEC.toml --dry-run"
                raise SpecError(f"the plan took more than {PLANNING:.0f} s", hint=hint) from error
        if done.returncode:
            raise _mistake(done.stderr, done.returncode)
        plan: Json = bounded.parse_json("the plan", done.stdout)
        return plan

    def _run(self, spec: Json, caps: Caps, name: str) -> list[str]:
        of = [f"--cases-from={cases}"] if (cases := spec.get("cases_from")) else []
        named = [f"--name={name}"] if name else []
        return [*self._command, "run", "spec.toml", *caps.flags, *named, *of, *self._flags]

    # --- what is there ---

    def launches(self) -> list[Launch]:
        """All that was asked for, the newest first."""
        with self._lock:
            listed = [launch for record in records(self.store, KIND) if (launch := Launch.of(record))]
            return sorted(map(self._seen, listed), key=lambda launch: launch.asked, reverse=True)

    def launch(self, key: str) -> Launch | None:
        """What was asked for of one run."""
        with self._lock:
            entries = revisions(self.store, KIND, record_id=key)
            launch = Launch.of(entries[-1]) if entries else None
            return self._seen(launch) if launch else None

    def is_here(self, launch: Launch) -> bool:
        """Whether it can be stopped from here: it waits in this queue, or this user started it on this machine."""
        return launch.key in self._waiting if launch.state == WAITING else self._process(launch.key) == launch.process

    def is_elsewhere(self, launch: Launch) -> bool:
        """Whether it is on another machine, of which nothing can be seen."""
        return launch.process.host != machine()[0]

    def progress(self, key: str) -> str:
        """The last line of the log that says how far the run is; "" for none."""
        lines = [line for line in self.log(key).splitlines() if PROGRESS.fullmatch(line)]
        return lines[-1] if lines else ""

    def log(self, key: str) -> str:
        """The end of what the process printed, which may quote models."""
        try:
            with (self._home(key) / "log.txt").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def forget(self) -> None:
        """Empty all logs, since texts were erased from the store."""
        for log in self._folder.glob("*/log.txt"):
            with suppress(OSError):
                os.truncate(log, 0)  # a process that still writes appends

    # --- start and stop ---

    def start(self, plan: Json, spec: Json, caps: Caps, person: str) -> tuple[Launch, bool]:
        """Start a run, or put it in the queue. Returns it, and whether this call did so: a run that is under way, or
        that somebody else started a moment ago, is not started twice."""
        if not hasattr(os, "killpg"):
            raise SpecError("runs are not started on this system", hint="use `withstand run` on the command line")
        key, now = str(plan["run"]["key"]), time.time()
        with self._lock:
            old = self.launch(key)
            if old and old.is_active:
                return old, False
            revision = old.revision if old else len(revisions(self.store, KIND, record_id=key))
            new = Launch(
                key, str(plan["run"]["name"]), WAITING, person, spec, caps, self._token, Process.of(os.getpid()), now,
                at=now, revision=revision + 1,
            )  # fmt: skip
            if not add_record(self.store, Record(KIND, key, new.revision, "", now, new.value())):
                if (standing := self.launch(key)) is None:
                    raise SpecError("the start could not be recorded", hint="try again")
                return standing, False
            self._waiting[key] = new
            self._next()
            return self.launch(key) or new, True

    def stop(self, key: str, person: str, at_once: bool = False) -> Launch:
        """Interrupt a run as Ctrl-C does, or with `at_once` kill it; of one that waits, drop it. Rows stay.

        Raises `SpecError` where it does not run here.
        """
        with self._lock:
            launch = self.launch(key)
            if launch is None or not launch.is_active:
                raise SpecError("this run is not under way", hint="reload the page")
            if launch.state == WAITING:
                if key not in self._waiting:
                    raise SpecError("another explorer has this run in its queue", hint="cancel it in that explorer")
                del self._waiting[key]
                return self._changed(launch, state=DROPPED, stopped=person)
            process = self._process(key)
            if process is None or not process.is_alive or process.pid != launch.process.pid:
                raise SpecError(
                    f"this run is on {launch.process.host}, and was not started from here", hint="stop it there"
                )
            # SIGTERM ends the command as Ctrl-C does; SIGINT is ignored by who is started in the background of a script
            os.killpg(process.pid, signal.SIGKILL if at_once else signal.SIGTERM)
            return self._changed(launch, stopped=person)

    def lost(self, key: str) -> Launch:
        """Record that a run of another machine is no longer under way, so that it can be started here."""
        with self._lock:
            launch = self.launch(key)
            if launch is None or not launch.is_active or not self.is_elsewhere(launch):
                raise SpecError("this run is not on another machine", hint="reload the page")
            return self._changed(launch, state=ENDED if launch.state == RUNNING else DROPPED)

    def _next(self) -> None:
        """Start what waits, as far as there is room, and watch."""
        while self._waiting and self._running() < self.most:
            self._spawn(next(iter(self._waiting)))
        if not self._closed.is_set() and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._watch, name="launches", daemon=True)
            self._thread.start()

    def _running(self) -> int:
        """Runs of this store that run on this machine, whoever started them."""
        return sum(launch.state == RUNNING and launch.process.is_here for launch in self.launches())

    def _spawn(self, key: str) -> None:
        """Start what waits first, as it was checked: whoever writes to the store changes nothing of it."""
        launch, home = self._waiting[key], self._home(key)
        try:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(home / "spec.toml", file_of(launch.spec))
            _write(home / "log.txt", "")
            with (home / "log.txt").open("ab") as log:
                process = subprocess.Popen(
                    self._run(launch.spec, launch.caps, launch.run), cwd=home, env=self._env,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
            self._own[key] = process
            identity = Process.of(process.pid)
            _write(home / "process.json", json.dumps(identity.json()))
            self._changed(launch, state=RUNNING, process=identity)
        except OSError:
            self._changed(launch, state=ENDED, code=NOT_STARTED)
        finally:
            del self._waiting[key]

    def _watch(self) -> None:
        """Record what ended and start what waits, as long as there is any; a store that is away is tried again."""
        while not self._closed.wait(TICK):
            with self._lock, suppress(WithstandError):
                self._bury()
                if self._waiting:
                    self._next()
                elif not self._own:
                    self._thread = None
                    return

    def _bury(self) -> None:
        """Record the end of own processes that have ended, with their exit codes."""
        for key, process in [*self._own.items()]:
            if process.poll() is None:
                continue
            launch = self.launch(key)  # which records the end
            if launch and launch.state == ENDED and launch.code is None:  # another explorer was faster
                self._changed(launch, code=process.returncode)
            self._own.pop(key, None)

    # --- records ---

    def _seen(self, launch: Launch) -> Launch:
        """The launch, its end recorded where it has ended since."""
        if self.is_elsewhere(launch):
            return launch
        if launch.state == RUNNING and not launch.process.is_alive:
            own = self._own.get(launch.key)
            ended = self._changed(launch, state=ENDED, code=own.wait() if own else None)
            self._own.pop(launch.key, None)
            return ended
        if launch.state == WAITING and launch.key not in self._waiting:
            running = self._process(launch.key)
            if running and running.is_alive:  # its explorer ended between its start and the record of it
                return self._changed(launch, state=RUNNING, process=running)
            if launch.token == self._token or not launch.process.is_alive:
                return self._changed(launch, state=DROPPED)
        return launch

    def _changed(self, launch: Launch, **changes: Any) -> Launch:
        """The launch with what became of it, recorded behind whatever another explorer has recorded meanwhile."""
        new = replace(launch, **changes, at=time.time(), token=self._token)
        return replace(new, revision=append(self.store, KIND, new.key, "", new.at, new.value()))

    # --- files ---

    def _home(self, key: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{16,64}", key):
            raise SpecError("this is no run", hint="choose one from the list")
        return self._folder / key

    def _process(self, key: str) -> Process | None:
        """The process that this user's explorer last started for a run, by the user's own file."""
        try:
            return Process(**bounded.parse_json("process.json", bounded.read_text(self._home(key) / "process.json")))
        except (OSError, SpecError, TypeError):
            return None


def _write(path: Path, text: str) -> None:
    """A new file for its owner alone."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _mistake(output: str, code: int) -> SpecError:
    """What `withstand` printed about a mistake."""
    if match := re.search(r"^error: (.*)(?:\n  -> (.*))?", output, re.MULTILINE):
        return SpecError(match[1], hint=match[2] or "")
    return SpecError(f"the plan ended with exit code {code}", hint=" ".join(output.splitlines()[-3:])[:500])
