"""How fast a server is asked: as many requests at once as it handles, and no more per minute than it allows. Ours.

`AdaptiveLimit` adapts the number of connections: it raises the number while that gives more answers per second, and
halves it when the server reports that it is busy (the rule of TCP: Chiu and Jain 1989, Computer Networks 17:1).
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

FIRST = 16
"""Connections at the start, if that many are allowed."""
GAIN = 0.1
"""Twice the connections must raise the answers per second by this share, or they are too many. Smaller steps must raise
them in proportion; fewer connections may lower them by as much."""
CALM = 8
"""Rounds without a trial after a trial that failed or a refusal of the server."""
SLOWER = 2.0
"""If the answers per second fall by this factor at an unchanged number of connections, the number is lowered."""
BURST = 6.0
"""Seconds of the minute's requests and tokens that may be used at once."""


@dataclass(slots=True)
class AdaptiveLimit:
    """The number of connections at once, `limit`, from 1 to `most`. A round is `limit` answers.

    `stood`: the last number of connections that was accepted, and `rate` its answers per second; a different `limit` is
    on trial. Times are seconds of any clock.
    """

    most: int
    limit: int = field(init=False)
    stood: int = field(init=False)
    rate: float = 0.0
    calm: int = 0
    doubling: bool = True
    since: float | None = None
    answers: int = 0
    full: bool = False
    stale: int = 0

    def __post_init__(self) -> None:
        self.limit = self.stood = min(FIRST, self.most)

    def asked(self, now: float, running: int) -> None:
        """`running` connections are in use now. A round that never used all of them does not test the limit."""
        if self.since is None:
            self.since = now
        self.full |= running >= self.limit

    def answered(self, now: float) -> None:
        self.stale = max(0, self.stale - 1)
        self.answers += 1
        if self.since is not None and self.answers >= self.limit:
            if self.full and now > self.since:
                self._learn(self.answers / (now - self.since))
            self._round(now)

    def refused(self, now: float, running: int) -> None:
        """The server is busy. The `running` other requests were sent before it said so: their refusals do not count."""
        self.stale -= 1
        if self.stale < 0:
            self.stale = running
            self.limit = self.stood = max(1, self.limit // 2)
            self.rate, self.calm, self.doubling = 0.0, CALM, False
            self._round(now)

    def _round(self, now: float) -> None:
        self.since, self.answers, self.full = now, 0, False

    def _learn(self, rate: float) -> None:
        if rate < self.rate * (1 + GAIN * (self.limit / self.stood - 1)) and self.limit != self.stood:
            self.limit, self.calm, self.doubling = self.stood, CALM, False
            return
        fewer = self.limit < self.stood or rate < self.rate / SLOWER
        self.stood, self.rate = self.limit, rate
        if fewer:
            self.limit, self.doubling = max(1, self.limit * 3 // 4), False
            return
        self.calm -= 1
        if self.calm < 0:
            self.limit = min(self.most, 2 * self.limit if self.doubling else self.limit + max(1, self.limit // 8))


@dataclass(slots=True)
class Allowance:
    """At most `a_minute` units per minute. Up to `BURST` seconds' worth is saved; units used in excess are owed."""

    a_minute: float
    at: float = 0.0
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.a_minute / 60 * BURST

    def seconds(self, now: float) -> float:
        """Seconds from `now` until a unit is available."""
        a_second = self.a_minute / 60
        self.left = min(a_second * BURST, self.left + (now - self.at) * a_second)
        self.at = now
        return 0.0 if self.left > 0 else 1e-3 - self.left / a_second


class Turn:
    """One request under way. Its caller sets the `tokens` of the answer, or `busy` if the server says that it is."""

    def __init__(self) -> None:
        self.tokens = 0
        self.busy = False
        self.pause = 0.0


class Pace:
    """Makes each thread wait until it may send its request. Models that share a server's limits share one pace."""

    def __init__(self, lanes: int, rpm: float, tpm: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.connections = AdaptiveLimit(lanes)
        self.requests = Allowance(rpm, clock()) if rpm else None
        self.tokens = Allowance(tpm, clock()) if tpm else None
        self.running = 0
        self._mean = 0.0
        self._until = 0.0
        self._clock = clock
        self._changed = threading.Condition()

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        held = self._enter()
        turn = Turn()
        try:
            yield turn
        finally:
            self._leave(turn, held)

    def _enter(self) -> float:
        with self._changed:
            while True:
                now = self._clock()
                pause = max(0.0, self._until - now, *(a.seconds(now) for a in (self.requests, self.tokens) if a))
                if self.running < self.connections.limit and pause == 0:
                    break
                self._changed.wait(pause or None)
            self.running += 1
            self.connections.asked(now, self.running)
            if self.requests:
                self.requests.left -= 1
            if self.tokens:
                self.tokens.left -= self._mean
            return self._mean

    def _leave(self, turn: Turn, held: float) -> None:
        with self._changed:
            now = self._clock()
            self.running -= 1
            if turn.busy:
                self._until = max(self._until, now + turn.pause)
                self.connections.refused(now, self.running)
            else:
                self.connections.answered(now)
            if self.tokens:
                self.tokens.left -= turn.tokens - held
                if turn.tokens:
                    self._mean += (turn.tokens - self._mean) / 8 if self._mean else turn.tokens
            self._changed.notify_all()


@cache
def pace_of(place: str, lanes: int, rpm: float, tpm: float) -> Pace:
    """The pace of a server, by its address and the model's name there."""
    del place  # only the cache tells them apart
    return Pace(lanes, rpm, tpm)
