"""Batches of logs become columns in other processes, in order, with few batches in flight: memory does not grow."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain

from withstand.core import WithstandError
from withstand.formats.traffic.log import Batch
from withstand.monitor.intake.columns import Columns, Maker, Recipe

MOST = 4
"""Processes: each takes some 150 MB."""

_maker: Maker | None = None
"""Of this process, where it is a worker."""


class Workers:
    """Makes columns. One batch is made in this process; the workers start with the second."""

    def __init__(self, recipe: Recipe, jobs: int = 0) -> None:
        self.recipe = recipe
        self.jobs = jobs or min(MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
        self.maker = Maker(recipe)
        self._pool: ProcessPoolExecutor | None = None

    def columns(self, batches: Iterator[Batch], alone: bool = False) -> Iterator[tuple[Batch, Columns]]:
        """Each batch with its columns, in order. alone: in this process, each before the next batch is awaited."""
        first = next(batches, None)
        if first is None:
            return
        second = None if alone or self.jobs < 2 else next(batches, None)
        if second is None:
            yield first, self.maker.columns(first)
            yield from ((batch, self.maker.columns(batch)) for batch in batches)
            return
        flight: deque[tuple[Batch, Future[Columns]]] = deque()
        try:
            for batch in chain((first, second), batches):
                flight.append((batch, self._started().submit(_columns, batch)))
                if len(flight) > self.jobs + 1:
                    yield flight[0][0], flight[0][1].result()
                    flight.popleft()
            while flight:
                yield flight[0][0], flight[0][1].result()
                flight.popleft()
        except BrokenProcessPool as error:
            hint = "run the same command again: what was written stands, and it goes on from there"
            raise WithstandError("a process that reads the logs was ended, perhaps for want of memory", hint) from error

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.jobs, context, initializer=_begin, initargs=(self.recipe,))
        return self._pool

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _begin(recipe: Recipe) -> None:
    """Set a worker up. Ctrl-C is for the process that writes; with it the worker ends too, however it ended."""
    global _maker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _maker = Maker(recipe)


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _columns(batch: Batch) -> Columns:
    assert _maker is not None
    return _maker.columns(batch)
