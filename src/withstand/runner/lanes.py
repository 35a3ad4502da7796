"""The threads that call models: each lane of a place answers one batch at a time."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from withstand.core import AskError, Completion, Model, Sampling, Worked
from withstand.core.device import taken
from withstand.core.errors import DeviceError, dead_device
from withstand.core.notice import Step, watching
from withstand.core.optional import optional

MOST_COUNTED = 10**9
"""Tokens, seconds or US dollars that one answer can have: sums of them fit every database."""


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """One answer that a flow waits for: its place in the flow's item, its key, and the chat or part to send."""

    flow: Any
    place: int
    key: str
    payload: Any


@dataclass(slots=True)
class Queue:
    """What waits for one model with one sampling, or with one `do`."""

    model: Model
    how: Sampling | Callable[[Any, Sequence[Any]], list[Any]]
    rows: deque[Waiting] = field(default_factory=deque)
    halves: deque[Sequence[Waiting]] = field(default_factory=deque)  # of batches that raised: tried again apart

    def __len__(self) -> int:
        return len(self.rows) + sum(map(len, self.halves))

    def take(self, most: int) -> list[Waiting]:
        """The next batch, of up to `most` rows."""
        if self.halves:
            half = self.halves.popleft()
            if len(half) > most:
                self.halves.appendleft(half[most:])
            return list(half[:most])
        return [self.rows.popleft() for _ in range(min(most, self.width, len(self.rows)))]

    @property
    def width(self) -> int:
        """Most rows of one call: of chats what the model takes, of work what is done together before it is saved."""
        parts = None if isinstance(self.how, Sampling) else optional(getattr(self.how, "__self__", None), "parts")
        return min(self.model.width, parts or self.model.width)

    def split(self, rows: Sequence[Waiting]) -> None:
        """Try the rows of a batch that raised again, in halves: so one bad row of n costs about 2 log n calls."""
        middle = len(rows) // 2
        self.halves += [rows[:middle], rows[middle:]]

    def answer(self, rows: Sequence[Waiting]) -> list[Any] | DeviceError | None:
        """An answer or an exception for each row; None for a batch that raised, to be split.

        A `DeviceError` where the device failed for good: no row is to blame.
        """
        taken()
        start = time.perf_counter()
        payloads = [row.payload for row in rows]
        try:
            if isinstance(self.how, Sampling):
                seeds = [int(row.key[:8], 16) >> 1 for row in rows]  # 31 bits, which every server takes
                answers: Sequence[Any] = self.model.generate(payloads, self.how, seeds)
            else:
                with watching(lambda step: _show(rows, step)):
                    answers = self.how(self.model, payloads)
            if len(answers) != len(rows):
                raise AskError(f"{self.model.place} gave {len(answers)} answers to {len(rows)} rows")
        except BaseException as error:  # noqa: BLE001 - it ends the flow that asked, and is logged with it
            if dead_device(error):
                return DeviceError(f"{self.model.place} failed: {type(error).__name__}: {str(error)[:300]}")
            if len(rows) > 1:
                return None
            return [error if isinstance(error, Exception) else AskError(f"{type(error).__name__}: {error}")]
        seconds, flops = (time.perf_counter() - start) / len(rows), taken()
        shares = _shares(answers)
        return [
            self._stamped(answer, seconds, None if flops is None else flops * share)
            for answer, share in zip(answers, shares, strict=True)
        ]

    def _stamped(self, answer: Any, seconds: float, flops: float | None) -> Any:
        if not isinstance(self.how, Sampling):
            return Worked(answer, seconds, flops or 0.0)  # of a model of this process: where none passed, none was done
        if isinstance(answer, AskError):
            return answer
        if not isinstance(answer, Completion):
            return AskError(f"{self.model.place} answered with {type(answer).__name__} instead of a Completion")
        if not isinstance(answer.text, str):
            return AskError(f"{self.model.place} answered with {type(answer.text).__name__} instead of text")
        if wrong := _wrong_count(answer):
            return AskError(f"{self.model.place} gave {wrong} that is no number from 0 to {MOST_COUNTED:,}")
        return replace(answer, seconds=answer.seconds or seconds, flops=flops)


def _show(rows: Sequence[Waiting], step: Step) -> None:
    """Give a step to those who watch the pieces of work."""
    for row in rows:
        if row.flow.item.watch:
            row.flow.item.watch(step)


def _wrong_count(answer: Completion) -> str:
    """The name of an answer's count that cannot be one; "" for none."""
    for name in ("prompt_tokens", "answer_tokens", "reasoning_tokens", "cost", "seconds"):
        count = getattr(answer, name)
        if not isinstance(count, (int, float)) or not 0 <= count <= MOST_COUNTED:
            return name
    return ""


def _shares(answers: Sequence[Any]) -> list[float]:
    """What part of a batch's operations each answer bears: by its tokens, where they are known."""
    tokens = [answer.tokens if isinstance(answer, Completion) else 0 for answer in answers]
    whole = sum(tokens)
    return [count / whole if whole else 1 / len(answers) for count in tokens]


Batch: TypeAlias = tuple[str, Queue, Sequence[Waiting], list[Any] | DeviceError | None]
"""What a lane has done: the place's name, the queue, its rows and what `Queue.answer` gave for them."""

Answered: TypeAlias = "queue.SimpleQueue[Batch]"


class Place:
    """The lanes of one place: daemon threads that start as they are needed and end with the drive or the process."""

    def __init__(self, name: str, lanes: int, answered: Answered) -> None:
        self.name = name
        self.lanes = lanes
        self.busy = 0
        self._threads = 0
        self._todo: queue.SimpleQueue[tuple[Queue, Sequence[Waiting]] | None] = queue.SimpleQueue()
        self._answered = answered

    def submit(self, waiting: Queue, rows: Sequence[Waiting]) -> None:
        self.busy += 1
        if self.busy > self._threads:
            self._threads += 1
            threading.Thread(target=self._lane, daemon=True, name=f"{self.name}-{self._threads}").start()
        self._todo.put((waiting, rows))

    def close(self) -> None:
        """Let the lanes end; one that waits for its model ends when that answers, or with the process."""
        for _ in range(self._threads):
            self._todo.put(None)

    def _lane(self) -> None:
        while (task := self._todo.get()) is not None:
            waiting, rows = task
            self._answered.put((self.name, waiting, rows, waiting.answer(rows)))
