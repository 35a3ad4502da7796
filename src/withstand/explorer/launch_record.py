"""What the store keeps of a run that was started from the explorer: a record whose id is the key of the run."""

from collections.abc import Mapping
from dataclasses import dataclass

from withstand.core import Json, from_json
from withstand.core.shape import misfit
from withstand.explorer.launch_spec import Caps
from withstand.explorer.processes import Process
from withstand.results.cells import plain
from withstand.store.revisions import Record

KIND = "run-request"
STATES = WAITING, RUNNING, ENDED, DROPPED = "waiting", "running", "ended", "dropped"
NOT_STARTED = 127
ENDS = {
    0: "done",
    2: "refused: wrong spec, usage or store",
    3: "ended, but rows are missing: a cap stopped it, or rows ended in error",
    4: "ended by an internal error",
    NOT_STARTED: "could not be started",
    130: "stopped",
}  # fmt: skip
"""Exit codes of `withstand run`."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A run that somebody asked for, as its last revision says.

    key, run: of the run.   person: who asked.   token: of the explorer that took it.   process: of the run, or of the
    explorer while it waits.   code: its exit code, None where no explorer saw its end, negative for a signal.
    stopped: who stopped it.   at: seconds since 1970, of this state; asked: of the start.
    """

    key: str
    run: str
    state: str
    person: str
    spec: Mapping[str, Json]
    caps: Caps
    token: str
    process: Process
    asked: float
    at: float = 0.0
    revision: int = 0
    code: int | None = None
    stopped: str = ""

    @property
    def is_active(self) -> bool:
        return self.state in (WAITING, RUNNING)

    @property
    def word(self) -> str:
        """Its state as people say it."""
        if self.state == RUNNING:
            return "stopping" if self.stopped else "running"
        if self.state == DROPPED:
            return f"taken back by {self.stopped}" if self.stopped else "not started: its explorer ended before"
        if self.state == WAITING:
            return "waiting for its turn"
        if self.code is None:
            return "stopped" if self.stopped else "ended while no explorer watched"
        if self.code < 0:
            return f"{'stopped at once' if self.stopped else 'killed'} by signal {-self.code}"
        return ENDS.get(self.code, f"ended with exit code {self.code}")

    def value(self) -> Json:
        """What a record says beside its id, revision and time."""
        return {name: value for name, value in plain(self).items() if name not in ("key", "revision", "at")}

    @staticmethod
    def of(record: Record) -> "Launch | None":
        """None for a record that is none of ours, or whose texts were erased."""
        if not isinstance(record.value, dict):
            return None
        value = {**record.value, "key": record.id, "revision": record.revision, "at": record.created}
        try:
            launch: Launch | None = None if misfit(Launch, value) else from_json(Launch, value)
        except ValueError:
            return None
        return launch if launch and launch.state in STATES else None
