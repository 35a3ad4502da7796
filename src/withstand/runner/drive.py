"""The only concurrent code: many flows, few models, full batches, nothing lost.

One thread lets each flow run until it waits and hands all waiting rows over at once. Each lane of a place is a daemon
thread that calls the model with up to `width` rows of the place's longest queue. Answers are saved as they come; a flow
that was cut off replays from them without a model call.
"""

import json
import queue
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from withstand.core import (
    Ask,
    AskError,
    Chat,
    Completion,
    Flow,
    Json,
    Model,
    Sampling,
    StoreError,
    Work,
    Worked,
    digest,
    dumps,
    from_json,
    to_json,
)
from withstand.core.errors import DeviceError
from withstand.core.text import storable
from withstand.registry.find import describe
from withstand.runner.fatal import FatalErrors
from withstand.runner.lanes import Answered, Batch, Place, Queue, Waiting
from withstand.runner.tally import Caps, Tally, Used
from withstand.store.store import Failure, Row, Store


@dataclass(frozen=True, slots=True)
class Job:
    """A flow to run and the keys of the rows it makes: one, or one per behavior where it is joint.

    `flow_key` names the flow in its answers' keys. `remember` False: its answers need no table of their own, since
    the flow is one ask and its row holds the answer. `counted` False: its label is none of the tally's.
    """

    keys: tuple[str, ...]
    flow_key: str
    stage: int
    flow: Callable[[], Flow[tuple[Row, ...]]]
    remember: bool = True
    counted: bool = True


class _Live:
    """A running flow, and the item it waits for."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.flow = job.flow()
        self.seen: Counter[str] = Counter()
        self.item: Ask | Work
        self.queue: tuple[Any, Any] | None = None
        self.keys: list[str] = []
        self.answers: list[Any] = []
        self.missing = 0
        self.error: Exception | None = None
        self.send: Any = None

    def wait_for(self, item: Ask | Work) -> None:
        """Name each answer that `item` wants.

        The key holds the flow, the content and how often this flow has asked it before: thirty streams with one chat
        are thirty draws, and changed code never gets another question's answer.
        """
        if isinstance(item, Ask):
            sampling = to_json(item.sampling)
            contents = [[_digest(item.model), to_json(chat), sampling] for chat in item.chats]
            self.queue = (item.model, item.sampling)
        elif isinstance(item, Work):
            owner = getattr(item.do, "__self__", None)
            contents = [[_digest(item.model), describe(owner), item.do.__name__, item.part]]
            self.queue = (item.model, (owner, item.do.__name__))
        else:
            raise TypeError(f"a flow yielded {type(item).__name__}; it may yield Ask, Work and TestCase")
        hash(self.queue)  # an unhashable component fails its own flow
        self.item, self.keys, self.error = item, [], None
        for content in contents:
            content_key = digest(content)
            self.keys.append(digest([self.job.flow_key, content_key, self.seen[content_key]]))
            self.seen[content_key] += 1
        self.answers = [None] * len(contents)
        self.missing = len(contents)

    def take(self, place: int, answer: Any) -> None:
        """Put in one answer, or the exception that came instead of it."""
        self.missing -= 1
        if isinstance(answer, Exception):
            self.error = self.error or answer
        else:
            self.answers[place] = answer

    def advance(self) -> Any:
        """Let the flow run with its answers. Raises StopIteration with its row, or what the flow raises."""
        if self.error is not None:
            return self.flow.throw(self.error)
        return self.flow.send(self.send)

    def ready(self) -> None:
        self.send = self.answers if isinstance(self.item, Ask) else self.answers[0]


@cache
def _digest(model: Any) -> str:
    return digest(describe(model))


def drive(
    jobs: Iterable[Job],
    store: Store,
    tally: Tally,
    caps: Caps | None = None,
    window: int = 256,
    on_progress: Callable[[Tally], None] = lambda _: None,
) -> None:
    """Run jobs to their rows, at most `window` flows at a time.

    An exception ends its flow, as an entry of the failure log. A `StoreError` and a KeyboardInterrupt end all; what was
    saved until then stays. A cap, or a device that failed for good, ends the run once the calls in flight have come
    back: `tally.stopped` names it. So do errors of a model that all of its rows will meet, see `fatal`.
    """
    _Driver(iter(jobs), store, tally, caps or Caps(), window, on_progress).run()


def replay(job: Job, store: Store) -> bool:
    """Run a flow again from the answers in the store alone; False where it wants one that is not there.

    No model is asked and nothing is written. Raises what the flow raises.
    """
    live = _Live(job)
    while True:
        try:
            live.wait_for(live.advance())
        except StopIteration:
            return True
        answers = store.answers(live.keys)
        if any(key not in answers for key in live.keys):
            live.flow.close()
            return False
        for place, key in enumerate(live.keys):
            live.take(place, _decode(live, place, answers[key]))
        live.ready()


@dataclass(eq=False)
class _Driver:
    jobs: Iterator[Job]
    store: Store
    tally: Tally
    caps: Caps
    window: int
    on_progress: Callable[[Tally], None]
    live: int = 0
    ready: list[_Live] = field(default_factory=list)
    queues: dict[Any, Queue] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    done: Answered = field(default_factory=queue.SimpleQueue)
    rows: list[Row] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    fatal: FatalErrors = field(default_factory=FatalErrors)

    def run(self) -> None:
        try:
            while True:
                self.tally.stopped = self.tally.stopped or self.tally.over(self.caps)
                self.start()
                while self.ready:
                    self.look_up(self.advance())
                    if len(self.rows) >= 1_000:
                        self.flush()
                    self.start()
                self.flush()
                if not self.tally.stopped:
                    self.dispatch()
                if not any(place.busy for place in self.places.values()):
                    return
                self.receive()
        finally:
            for place in self.places.values():
                place.close()

    def start(self) -> None:
        """Fill the window with fresh flows."""
        while not self.tally.stopped and self.live < self.window and (job := next(self.jobs, None)) is not None:
            self.live += 1
            self.ready.append(_Live(job))

    def advance(self) -> list[_Live]:
        """Let each ready flow run until it waits; those that end leave a row or a failure."""
        ready, self.ready = self.ready, []
        waiting = []
        for live in ready:
            try:
                live.wait_for(live.advance())
                waiting.append(live)
            except StopIteration as end:
                self.end(live, end.value)
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001 - this is where a flow's failure is recorded
                self.fail(live, error)
        return waiting

    def end(self, live: _Live, rows: tuple[Row, ...]) -> None:
        try:
            dumps([row.value for row in rows])
        except (TypeError, ValueError) as error:  # NaN, a tensor: it must not end the other flows
            self.fail(live, error)
            return
        keys = {row.key for row in rows}
        if lacking := tuple(key for key in live.job.keys if key not in keys):
            none = AskError("the attack made no test case", hint="it made test cases for other behaviors of the suite")
            self.failures += failures(replace(live.job, keys=lacking), none)
            self.tally.failed += len(lacking)
        self.rows += rows
        self.fatal.sound.add(live.queue)
        self.tally.done += len(rows)
        for row in rows:
            self.tally.labels[row.label] += live.job.counted
        self.live -= 1

    def fail(self, live: _Live, error: Exception) -> None:
        self.failures += failures(live.job, error)
        self.tally.failed += len(live.job.keys)
        self.live -= 1
        why = self.fatal.failed(live.queue, error, own=live.error is not None)
        self.tally.stopped = self.tally.stopped or why

    def look_up(self, waiting: list[_Live]) -> None:
        """Answer what the store knows; queue the rest."""
        remembered = [live for live in waiting if live.job.remember]
        answers = self.store.answers(key for live in remembered for key in live.keys)
        for live in waiting:
            payloads = live.item.chats if isinstance(live.item, Ask) else [live.item.part]
            for place, key in enumerate(live.keys):
                if key in answers:
                    live.take(place, _decode(live, place, answers[key]))
                else:
                    self.queue_of(live).rows.append(Waiting(live, place, key, payloads[place]))
            if live.missing == 0:
                live.ready()
                self.ready.append(live)

    def queue_of(self, live: _Live) -> Queue:
        """One queue per model and sampling, or per model and `do`."""
        if live.queue not in self.queues:
            item = live.item
            model: Model = item.model  # type: ignore[assignment] # `defended` has resolved targets
            self.queues[live.queue] = Queue(model, item.sampling if isinstance(item, Ask) else item.do)
            self.places.setdefault(model.place, Place(model.place, model.lanes, self.done))
        return self.queues[live.queue]

    def dispatch(self, full: bool = False) -> None:
        """Give each free lane up to `width` rows of the longest queue of its place; with `full`, whole batches only."""
        for name, place in self.places.items():
            queues = [waiting for waiting in self.queues.values() if waiting.model.place == name]
            while place.busy < place.lanes:
                longest = max(queues, key=len)
                if len(longest) < (longest.width if full else 1):
                    break
                chats = isinstance(longest.how, Sampling)
                left = self.caps.asks - self.tally.asks if chats and self.caps.asks is not None else len(longest)
                if left <= 0:
                    self.tally.stopped = "--max-asks"
                    return
                rows = longest.take(left)
                place.submit(longest, rows)
                self.tally.asks += len(rows) if chats else 0

    def receive(self) -> None:
        """Wait for answers, save them all in one transaction, and hand them to their flows."""
        batches = [self._get()]
        while not self.done.empty():
            batches.append(self.done.get())
        for name, asked, _, answers in batches:
            self.places[name].busy -= 1
            if isinstance(answers, DeviceError):
                self.tally.stopped = str(answers)
                continue
            used = self.tally.used.setdefault(asked.model, Used())
            for answer in answers or ():
                if isinstance(answer, Completion):
                    self.tally.tokens += answer.tokens
                    self.tally.cost += answer.cost
                    used.asks += 1
                    used.tokens += answer.tokens
                    used.cost += answer.cost
        if not (self.tally.stopped or self.tally.over(self.caps)):
            self.dispatch(full=True)  # so that lanes work while these answers are saved and their flows continue
        answered = []
        for _, waiting, rows, answers in batches:
            if answers is None:
                waiting.split(rows)
            elif not isinstance(answers, DeviceError):
                answered += [(row, *_stored(row, answer)) for row, answer in zip(rows, answers, strict=True)]
        keep = {row.key: value for row, value, _ in answered if value is not None and row.flow.job.remember}
        standing = self.store.add(answers=keep) if keep else {}
        for row, _, read in answered:
            if not getattr(row.flow.item, "spared", False):
                self.tally.stopped = self.tally.stopped or self.fatal.answered(row.flow.item.model, read)
            first = standing.get(row.key)  # another writer's, where there is one
            row.flow.take(row.place, read if first is None else _decode(row.flow, row.place, first))
            if row.flow.missing == 0:
                row.flow.ready()
                self.ready.append(row.flow)

    def _get(self) -> Batch:
        while True:
            try:
                return self.done.get(timeout=0.5)
            except queue.Empty:
                self.on_progress(self.tally)

    def flush(self) -> None:
        """Write what has ended, in one transaction."""
        if self.rows or self.failures:
            self.store.add(rows=self.rows, failures=self.failures)
            self.tally.failures += self.failures
            self.rows, self.failures = [], []
        self.on_progress(self.tally)


def failures(job: Job, error: Exception) -> list[Failure]:
    """An exception as entries of the failure log, one for each row that it leaves lacking."""
    name = type(error).__name__
    message = storable((str(error) if isinstance(error, AskError) else f"{name}: {error}")[:2000])
    hint = storable(str(getattr(error, "hint", "")))
    trace = storable("".join(traceback.format_exception(error)[-8:])[-8000:])
    return [Failure(key, job.stage, message, hint, trace) for key in job.keys]


def _stored(row: Waiting, answer: Any) -> tuple[Json, Any]:
    """An answer as the store holds it, and as a replay will read it; None and what is wrong if it cannot be stored."""
    if isinstance(answer, Exception):
        return None, answer
    try:
        value = json.loads(dumps(value_of(answer)))
        return value, _decode(row.flow, row.place, value)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        return None, AskError(f"the answer is not JSON that can be stored: {error}")


def value_of(answer: Completion | Worked) -> Json:
    """An answer for the store; the chat of a completion is what was asked, so it is left out."""
    return {key: value for key, value in to_json(answer).items() if key != "chat"}


def completion_of(chat: Chat, value: Json) -> Completion:
    """The completion that was stored without its chat."""
    stored: Completion = from_json(Completion, {**value, "chat": []})
    return replace(stored, chat=chat)


def _decode(live: _Live, place: int, value: Json) -> Completion | Worked:
    if isinstance(live.item, Work):
        worked: Worked = from_json(Worked, value)
        return worked
    return completion_of(live.item.chats[place], value)
