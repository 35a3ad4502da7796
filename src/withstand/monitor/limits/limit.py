"""A limit such as 20/day, and three ways to enforce it: when does it next admit a request?"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import floor
from typing import Literal, TypeAlias

from withstand.core import SpecError
from withstand.redteam.dates import DAY, HOUR, WEEK

Kind: TypeAlias = Literal["fixed", "sliding", "bucket"]
KINDS: tuple[Kind, ...] = ("fixed", "sliding", "bucket")
UNITS = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": HOUR, "hour": HOUR, "day": DAY, "week": WEEK}
TEXT = re.compile(rf"([0-9_]+)/({'|'.join(UNITS)})")
NEAR = 1e-9
"""What a bucket may lack of a whole request: it is a rounding."""


@dataclass(frozen=True, slots=True)
class Limit:
    """So many requests, or tokens, in so many seconds."""

    number: int
    seconds: int

    @staticmethod
    def read(text: str) -> "tuple[Limit, ...]":
        """Of a text such as `100/min`, or `100/min+20/day`: limits that hold together. Raises `SpecError`."""
        parts = [TEXT.fullmatch(part.strip()) for part in text.split("+")]
        limits = [Limit(int(part[1]), UNITS[part[2]]) for part in parts if part]
        if len(limits) < len(parts) or not all(limit.number for limit in limits):
            hint = f"write a number above 0 and a unit, such as 20/day or 100/min+1000/day; units: {', '.join(UNITS)}"
            raise SpecError(f"limit {text!r} is none", hint=hint)
        return tuple(limits)


class Gate:
    """Enforces a limit for one actor, asked in order of time. tokens: a request costs its tokens, which are known only
    after it was admitted, so that it is admitted while the limit is not used up."""

    def __init__(self, limit: Limit, tokens: bool) -> None:
        self.number, self.seconds, self.need = limit.number, limit.seconds, NEAR if tokens else 1.0

    def opens(self, ts: float) -> float:
        """The earliest time from `ts` on at which a request is admitted."""
        raise NotImplementedError

    def take(self, ts: float, cost: float) -> None:
        """Admit a request."""
        raise NotImplementedError


class Fixed(Gate):
    """Windows aligned to UTC: the number begins anew at each full minute, hour or day."""

    window, used = 0, 0.0

    def opens(self, ts: float) -> float:
        window = floor(ts / self.seconds)
        if window != self.window:
            self.window, self.used = window, 0.0
        return ts if self.used + self.need <= self.number else float((window + 1) * self.seconds)

    def take(self, ts: float, cost: float) -> None:
        self.used += cost


class Sliding(Gate):
    """The last so many seconds before each request."""

    def __init__(self, limit: Limit, tokens: bool) -> None:
        super().__init__(limit, tokens)
        self.recent: deque[tuple[float, float]] = deque()
        self.used = 0.0

    def opens(self, ts: float) -> float:
        while self.recent and self.recent[0][0] + self.seconds <= ts:
            self.used -= self.recent.popleft()[1]
        left = self.used
        for since, cost in self.recent:
            if left + self.need <= self.number:
                break
            left -= cost
            ts = since + self.seconds
        return ts

    def take(self, ts: float, cost: float) -> None:
        self.recent.append((ts, cost))
        self.used += cost


class Bucket(Gate):
    """A token bucket: full at first, refilled evenly by the number in the limit's time, holds at most the number."""

    def __init__(self, limit: Limit, tokens: bool) -> None:
        super().__init__(limit, tokens)
        self.level, self.last = float(limit.number), float("-inf")

    def opens(self, ts: float) -> float:
        rate = self.number / self.seconds
        self.level, self.last = min(float(self.number), self.level + (ts - self.last) * rate), ts
        lacking = self.need - self.level
        return ts if lacking <= NEAR / 2 else ts + lacking / rate

    def take(self, ts: float, cost: float) -> None:
        self.level -= cost


GATES: dict[Kind, type[Gate]] = {"fixed": Fixed, "sliding": Sliding, "bucket": Bucket}


@dataclass(slots=True)
class Replay:
    """An actor's requests under limits that hold together. stopped: each that was refused.

    served: when each would be answered if it queued instead, in order.
    """

    stopped: list[bool] = field(default_factory=list)
    served: list[float] = field(default_factory=list)


def enforced(
    times: Sequence[float], costs: Sequence[float], limits: Sequence[Limit], kind: Kind, tokens: bool
) -> Replay:
    """Both ends: stopped requests never come again and use up nothing, or they wait in a queue, first come first
    served. times: seconds since 1970, ascending."""
    result = Replay()
    gates = [GATES[kind](limit, tokens) for limit in limits]
    for ts, cost in zip(times, costs, strict=True):
        admitted = all(gate.opens(ts) <= ts for gate in gates)
        result.stopped.append(not admitted)
        if admitted:
            for gate in gates:
                gate.take(ts, cost)
    if not any(result.stopped):
        result.served = list(times)
        return result
    gates, clock = [GATES[kind](limit, tokens) for limit in limits], float("-inf")
    for ts, cost in zip(times, costs, strict=True):
        clock = max(clock, ts)
        while (later := max(gate.opens(clock) for gate in gates)) > clock:
            clock = later
        for gate in gates:
            gate.take(clock, cost)
        result.served.append(clock)
    return result
