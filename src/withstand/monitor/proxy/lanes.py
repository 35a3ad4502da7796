"""Where judges work, so that none stalls another request: rules in processes of their own, models in threads.

A rule holds the interpreter's lock while it reads, a regular expression for as long as it searches. So rules run in
other processes, and one that takes too long is killed with its process; the next text gets a new one.
"""

import asyncio
import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler
from typing import Any

from withstand.core import Ask, AskError, Flow, Model, SpecError, Verdict, Work, Worked, answered, digest, to_json
from withstand.core.describe import models
from withstand.monitor.screen.hidden import Pairs, both_ways, highest
from withstand.monitor.screen.labelers import Labeler, score_of
from withstand.monitor.screen.rules import scores

START = 60.0
"""Seconds that a process has to import its judges."""
FEWEST_THREADS, MOST_THREADS = 4, 64
"""For judges that ask models."""
SMALL = 64 * 1024
"""Bytes that a pipe takes at once: more are sent from a thread."""


class LateError(Exception):
    """A judge that gave no verdict in time."""


_places: dict[str, threading.Semaphore] = {}
_adding = threading.Lock()


def _turn(model: Model) -> threading.Semaphore:
    """What lets as many calls at once into a model's place as it has lanes: one, for a model of this machine."""
    with _adding:
        return _places.setdefault(model.place, threading.Semaphore(model.lanes))


def settled(flow: Flow[list[Verdict]]) -> list[Verdict]:
    """What a judge's flow ends with: its models are asked here and now, in this thread. Raises what they raise."""
    try:
        item = next(flow)
        while True:
            if isinstance(item, Ask):
                model: Any = item.model
                answers: list[Any] = []
                for start in range(0, len(item.chats), model.width):
                    chats = item.chats[start : start + model.width]
                    seeds = [int(digest(to_json(chat))[:8], 16) >> 1 for chat in chats]
                    with _turn(model):
                        answers += answered(model.generate(chats, item.sampling, seeds))
                item = flow.send(answers)
            elif isinstance(item, Work):
                with _turn(item.model):
                    worked = Worked(item.do(item.model, [item.part])[0])
                item = flow.send(worked)
            else:
                raise AskError(f"a judge's flow yielded {type(item).__name__}")
    except StopIteration as end:
        verdicts: list[Verdict] = end.value
        return verdicts


def by_model(labeler: Labeler, pairs: Pairs) -> list[float | None]:
    """The scores of a judge that asks models. Raises what it raises."""
    texts, owners = both_ways(pairs)
    verdicts = settled(labeler.judge.grade(labeler.behavior, [labeler.completion(*pair) for pair in texts]))
    if len(verdicts) != len(texts):
        raise AskError(f"{labeler.screener.judge} gave {len(verdicts)} verdicts on {len(texts)} texts")
    return highest([score_of(verdict) for verdict in verdicts], owners)


def _scores(labelers: Mapping[str, Labeler], names: Sequence[str], pairs: Pairs) -> list[list[float | None]]:
    """The scores of all texts by each of these rules."""
    texts, owners = both_ways(pairs)
    return [highest(scores(labelers[name], texts), owners) for name in names]


def _work(pipe: Any, labelers: Sequence[Labeler]) -> None:
    """The body of a process: scores what comes, until nobody is there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    by_id = {labeler.screener.id: labeler for labeler in labelers}
    pipe.send("ready")
    with contextlib.suppress(EOFError, OSError):
        while True:
            names, pairs = pipe.recv()
            pipe.send(_scores(by_id, names, pairs))


class Lane:
    """A process that scores texts by rules, started anew when it was killed."""

    def __init__(self, labelers: Sequence[Labeler]) -> None:
        self._labelers = labelers
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self._labelers), daemon=True)
        self._process.start()
        theirs.close()
        self._ready = False

    def wait(self, seconds: float) -> None:
        """Block until it is ready. Raises `LateError`."""
        if not self._pipe.poll(seconds):
            raise LateError("it did not start in time")
        self._ready = self._pipe.recv() == "ready"

    async def score(self, names: Sequence[str], pairs: Pairs, deadline: float) -> list[list[float | None]]:
        """The scores of all texts by each rule. deadline: of the loop's clock.

        Raises `LateError`, after which another process begins, as it does for one that died.
        """
        try:
            async with asyncio.timeout_at(deadline):
                if not self._ready:
                    self._ready = await self._receive() == "ready"
                message = bytes(ForkingPickler.dumps((tuple(names), tuple(pairs))))
                if len(message) > SMALL:
                    await asyncio.to_thread(self._pipe.send_bytes, message)
                else:
                    self._pipe.send_bytes(message)
                values: list[list[float | None]] = await self._receive()
        except (TimeoutError, OSError, EOFError) as error:
            if self._ready or not self._process.is_alive():  # one that still starts is let start
                await asyncio.to_thread(self._renew)
            late = isinstance(error, TimeoutError)
            raise LateError("no verdict in time" if late else "its process died") from error
        return values

    async def _receive(self) -> Any:
        loop, pipe, came = asyncio.get_running_loop(), self._pipe.fileno(), asyncio.Event()
        try:
            loop.add_reader(pipe, came.set)
        except NotImplementedError:  # the loop of Windows watches no pipe
            await asyncio.to_thread(self._pipe.poll, None)
            return self._pipe.recv()
        try:
            await came.wait()
        finally:
            loop.remove_reader(pipe)
        return self._pipe.recv()

    def _renew(self) -> None:
        self.close()
        self._start()

    def close(self) -> None:
        self._process.kill()
        self._process.join(5)
        self._pipe.close()


class Lanes:
    """All lanes: `processes` for rules (0: threads of this one), `threads` for judges that ask models (0: as many as
    their models bear). `open` starts them.
    """

    def __init__(self, labelers: Sequence[Labeler], processes: int = 2, threads: int = 0) -> None:
        self._rules = [labeler for labeler in labelers if labeler.is_rule]
        self._processes = processes if self._rules else 0
        self._free: asyncio.Queue[Lane] = asyncio.Queue()
        self._lanes: list[Lane] = []
        self._asking: set[asyncio.Task[list[list[float | None]]]] = set()
        lanes = [model.lanes for labeler in labelers for model in models(labeler.judge)]
        self.models = ThreadPoolExecutor(threads or min(MOST_THREADS, max([FEWEST_THREADS, *lanes])), "judges")

    def open(self) -> None:
        """Start them, and wait until rules can be asked. Raises `SpecError`."""
        self._lanes = [Lane(self._rules) for _ in range(self._processes)]
        for lane in self._lanes:
            try:
                lane.wait(START)
            except (LateError, EOFError, OSError) as error:
                self.close()
                raise SpecError(f"a process for rules did not start: {error}", hint="see above") from error
            self._free.put_nowait(lane)

    async def score(self, names: Sequence[str], pairs: Pairs, deadline: float) -> list[list[float | None]]:
        """`Lane.score`, of the next free lane."""
        if not self._lanes:
            labelers = {labeler.screener.id: labeler for labeler in self._rules}
            return await asyncio.to_thread(_scores, labelers, names, pairs)
        # whose client leaves must not leave a lane with an answer that is taken for the next one's
        asking = asyncio.ensure_future(self._ask(names, pairs, deadline))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        asking.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(asking)

    async def _ask(self, names: Sequence[str], pairs: Pairs, deadline: float) -> list[list[float | None]]:
        try:
            async with asyncio.timeout_at(deadline):
                lane = await self._free.get()
        except TimeoutError as error:
            raise LateError("no process was free in time") from error
        try:
            return await lane.score(names, pairs, deadline)
        finally:
            self._free.put_nowait(lane)

    def close(self) -> None:
        """End the processes; a thread in a call of a model ends with that."""
        for lane in self._lanes:
            lane.close()
        self.models.shutdown(wait=False, cancel_futures=True)
