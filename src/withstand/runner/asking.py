"""Asking before a run, as a run asks: lanes, answers, rows, caps and failures are those of `drive`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from withstand.core import Flow, digest, from_json, to_json
from withstand.core.content import Json
from withstand.registry import find
from withstand.runner.drive import Job, drive
from withstand.runner.tally import Caps, Tally
from withstand.runner.writing import VERSION, Draft
from withstand.store.store import Row, Store
from withstand.store.tables import CASES

INTERRUPTED = "interrupted"
"""What stands in the tally after Ctrl-C."""


@dataclass
class Asking:
    """Where is asked, and what has been so far. store: None where no model is asked. on_progress: gets the tally and
    how many rows are wanted. window: flows at a time, of which those that wait for one model are saved together."""

    store: Store | None
    caps: Caps = field(default_factory=Caps)
    on_progress: Callable[[Tally, int], None] = lambda _tally, _total: None
    tally: Tally = field(default_factory=lambda: Tally(stage=CASES))
    window: int = 256

    def rows(self, jobs: Sequence[Job], stage: int) -> dict[str, Row]:
        """The rows of these jobs, as far as they came to an end. Ctrl-C ends the asking, and nothing else."""
        assert self.store is not None
        keys = [job.keys[0] for job in jobs]
        have = self.store.have(keys)
        self.tally.stage, self.tally.done, self.tally.failed = stage, len(have), 0
        lacking = {job.keys[0]: job for job in jobs if job.keys[0] not in have}
        total = len(have) + len(lacking)
        try:
            drive(
                lacking.values(),
                self.store,
                self.tally,
                self.caps,
                self.window,
                on_progress=lambda tally: self.on_progress(tally, total),
            )
        except KeyboardInterrupt:
            self.tally.stopped = INTERRUPTED
        return {key: row for key, row in self.store.reused(keys).items() if not row.purged}

    def drafts(self, flows: Mapping[str, Callable[[], Flow[Draft]]]) -> dict[str, Draft]:
        """The drafts that these flows end with, by their keys; one that lacks was not answered."""
        jobs = [Job((key,), key, CASES, _rowed(key, flow), counted=False) for key, flow in flows.items()]
        return {key: from_json(Draft, row.value) for key, row in self.rows(jobs, CASES).items()}


def draft_key(writer: object, seed: int, *parts: Json) -> str:
    """The key of a draft: by its writer, the texts that ask for it, the seed, and what it is made from."""
    return digest(["generate", VERSION, find.describe(writer), seed, *map(to_json, parts)])


def _rowed(key: str, flow: Callable[[], Flow[Draft]]) -> Callable[[], Flow[tuple[Row, ...]]]:
    def run() -> Flow[tuple[Row, ...]]:
        draft = yield from flow()
        return (Row(key, "generated", to_json(draft), refused=draft.refused, malformed=draft.malformed),)

    return run
