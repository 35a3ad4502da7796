"""The Python API: `run(spec) -> Run`, `load(name) -> Run`. The command line is a thin layer over it."""

import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from withstand import __version__
from withstand.core import Json
from withstand.core.device import device_name
from withstand.results.cases import cases, labeled, learned
from withstand.results.success_by_budget import within
from withstand.results.summary import RunSummary, find_run, summarize
from withstand.runner import stopping
from withstand.runner.begin import begin, planned
from withstand.runner.plan import Plan
from withstand.runner.rejudge import by_people
from withstand.runner.spec import RunSpec, read_spec, run_spec
from withstand.runner.stages import Running, execute
from withstand.runner.tally import Caps, Tally
from withstand.store.store import RunRow, Store

if TYPE_CHECKING:
    import pandas

STORE = "withstand.db"
LIBRARIES = ("inspect-ai", "numpy", "openai", "pydantic", "sqlalchemy", "torch", "transformers", "vllm")


class Run:
    """A run in a store, finished or not.

    `cells` is the list of cells of the JSON report; `cases()` yields every case; `tally` is of the call that ran it.
    """

    def __init__(self, store: Store, row: RunRow, tally: Tally | None = None) -> None:
        self.store = store
        self.row = row
        self.tally = tally

    @property
    def name(self) -> str:
        return self.row.name

    @cached_property
    def result(self) -> RunSummary:
        """The summary as a record. Read once; `load` again after more was run."""
        return summarize(self.store, self.row)

    @cached_property
    def summary(self) -> Json:
        """What `withstand report --format json` prints. Read once, as `result` is."""
        return self.result.to_json()

    @property
    def cells(self) -> list[dict[str, Any]]:
        """One dict per suite, target, defense and attack; rates in [0, 1] or None."""
        cells: list[dict[str, Any]] = self.summary["cells"]
        return cells

    def cases(self, per_cell: int | None = None) -> Iterator[dict[str, Any]]:
        """Every case: behavior, chat, completion, outcome, error; at most `per_cell` of each cell."""
        return (case.to_json() for case in cases(self.store, self.row, per_cell))

    def within(self, by: Literal["asks", "tokens", "seconds", "flops"] = "asks") -> list[dict[str, Any]]:
        """Success against budget: the points of each cell's curve, rates in [0, 1] with their 95% interval."""
        return list(within(self.store, self.row, by))

    def learned(self) -> list[Json]:
        """What the run's attacks have learned: with it as a JSON file, a later one starts (`library`)."""
        return learned(self.store, self.row)

    def to_pandas(self) -> "pandas.DataFrame":
        """The cases as a frame, with the labels of their cell. Needs pandas."""
        import pandas

        return pandas.DataFrame(list(labeled(self.result.cells, cases(self.store, self.row))))

    def __repr__(self) -> str:
        return f"<Run {self.name}: {len(self.row.plan['cells'])} cells in {self.store.where}>"


def open_store(where: str | Path = STORE, create: bool = True, reuse: str = "own") -> Store:
    """A store with this process's provenance: versions, machine."""
    return Store(str(where), writer_info=_me(), create=create, reuse=reuse)


def run(
    spec: str | Path | Mapping[str, Any] | RunSpec,
    *,
    store: str | Path | Store = STORE,
    name: str = "",
    fresh: bool = False,
    shard: tuple[int, int] = (1, 1),
    max_asks: int | None = None,
    max_cost: float | None = None,
    max_time: float | None = None,
    offline: bool = False,
    reuse: Literal["own", "all"] | None = None,
    on_start: Callable[[Plan, RunRow], None] = lambda _plan, _run: None,
    on_progress: Callable[[Tally, int], None] = lambda _tally, _total: None,
) -> Run:
    """Run what is missing of `spec` (a TOML file, a dict or a `RunSpec`) and return the run.

    An equal spec continues where it stopped. `fresh` asks everything again, as a new run. `shard` (i, n) does the i-th
    of n parts. `max_asks` (chats sent), `max_cost` (US dollars) and `max_time` (s) cap this call. `reuse`: count rows
    of the user and of writers whom the user trusts ("own", the default), or "all". Raises `SpecError` before anything
    is asked, `ForeignRowsError` where rows of others would be reused, `StoreError` when the store cannot be written;
    failed rows are in the failure log.
    """
    checked = (
        spec if isinstance(spec, RunSpec) else run_spec(spec if isinstance(spec, Mapping) else read_spec(str(spec)))
    )
    if fresh:
        checked = checked.model_copy(update={"fresh": f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {os.urandom(4).hex()}"})
    where = store if isinstance(store, Store) else open_store(store)
    with where.reusing(reuse or where.reuse):
        return _run(checked, where, name, shard, Caps(max_asks, max_cost, max_time), offline, on_start, on_progress)


def _run(
    checked: RunSpec, where: Store, name: str, shard: tuple[int, int], caps: Caps, offline: bool,
    on_start: Callable[[Plan, RunRow], None], on_progress: Callable[[Tally, int], None],
) -> Run:  # fmt: skip
    if checked.stop_when_decided is not None:
        stopping.check(planned(checked, where, offline), shard)  # before the run is recorded
    part = (shard[0] - 1, shard[1])
    plan, row = begin(checked, where, name, offline, part)
    on_start(plan, row)
    running = Running(plan, where, row, caps, part, on_progress)
    if checked.stop_when_decided is None:
        tally = execute(running)
    else:
        tally = stopping.until_decided(running, checked.stop_when_decided)
    by_people(where, row)
    return Run(where, row, tally)


def load(name: str = "", store: str | Path | Store = STORE) -> Run:
    """An earlier run by name; the newest without one."""
    where = store if isinstance(store, Store) else open_store(store, create=False)
    return Run(where, find_run(where, name))


@cache
def _versions() -> dict[str, str]:
    """The installed of `LIBRARIES` with their versions, read from the disk once."""
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _me() -> Json:
    """The process that writes: what may explain a difference between machines."""
    return {
        "withstand": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device_name(),
        "libraries": _versions(),
        "argv0": Path(sys.argv[0]).name if sys.argv else "",
    }
