"""When a burst began and ended: the gaps between events as those of a quiet and a busy state. Pure functions.

Kleinberg 2003, "Bursty and Hierarchical Structure in Streams", Data Mining and Knowledge Discovery 7:373, with his two
states: gaps are exponential, at the usual rate or at `ratio` times that, and entering the busy state costs
`cost` log n.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

RATIO = 4.0
COST = 1.0


@dataclass(frozen=True, slots=True)
class Burst:
    """The busy gaps in a row. start, end: times of the first and last event.   events: how many, both included."""

    start: float
    end: float
    events: int


def bursts(times: Sequence[float], rate: float) -> list[Burst]:
    """The bursts of the least total cost. times: ascending.   rate: usual events per unit of time, above 0."""
    gaps = [later - earlier for earlier, later in pairwise(times)]
    if not gaps or rate <= 0:
        return []
    enter, calm, busy = COST * math.log(len(gaps)), 0.0, math.inf
    came: list[tuple[bool, bool]] = []
    for gap in gaps:
        price_calm = rate * gap - math.log(rate)
        price_busy = RATIO * rate * gap - math.log(RATIO * rate)
        came.append((busy < calm, busy <= calm + enter))  # of each state: whether it came from the busy one
        calm, busy = min(calm, busy) + price_calm, min(busy, calm + enter) + price_busy
    state, states = busy < calm, []
    for from_calm, from_busy in reversed(came):
        states.append(state)
        state = from_busy if state else from_calm
    return _runs(times, states[::-1])


def _runs(times: Sequence[float], states: Sequence[bool]) -> list[Burst]:
    listed: list[Burst] = []
    start: int | None = None
    for at, is_busy in enumerate([*states, False]):
        if is_busy and start is None:
            start = at
        elif not is_busy and start is not None:
            listed.append(Burst(times[start], times[at], at - start + 1))
            start = None
    return listed
