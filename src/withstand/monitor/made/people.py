"""Who comes when: accounts with heavy tails, daily and weekly cycles, busy and quiet hours, sessions."""

import math
from dataclasses import dataclass
from typing import Any

from withstand.monitor.made.plants import DAY, HOUR, Frame

TURNS = 2.4
"""Mean exchanges of a session."""
GAP = 70.0
"""Median seconds between two exchanges of a session."""
LONGEST = 3_000.0
"""A session ends within so many seconds, so that an hour's exchanges hang on it and the hour before alone."""
HEAVY = 0
"""The account of a menu office: it translates menus all working day, more than anybody else, and breaks no rule."""
HEAVY_SHARE = 0.04
DAILY = (
    0.35, 0.22, 0.16, 0.14, 0.18, 0.32, 0.6, 0.85, 0.95, 1.0, 1.15, 1.5,
    1.6, 1.3, 1.05, 1.0, 1.2, 1.6, 2.0, 2.0, 1.65, 1.25, 0.85, 0.55,
)  # fmt: skip
WEEKLY = (0.9, 0.88, 0.92, 1.0, 1.15, 1.15, 1.0)
"""Shares of an average hour of the day, and of an average day from Monday."""
SWINGS, MEMORY, JITTER = 0.12, 0.8, 0.15
"""Hours are busier or quieter together: standard deviation and hourly memory of the log of the rate, and what each
hour adds of its own."""


@dataclass(frozen=True, slots=True)
class People:
    """rates: sessions expected in each hour of the log.   heavy: the menu office's exchanges in each.

    first: the hour in which each account first comes, rising.   cumulated: of their weights.
    """

    frame: Frame
    rates: Any
    heavy: Any
    first: Any
    cumulated: Any


def draw_people(frame: Frame) -> People:
    """The people of a log, all from its seed."""
    import numpy as np

    rng = np.random.default_rng([frame.seed, 1])
    hours = frame.days * 24
    clock = np.arange(hours)
    weekday = ((frame.start // DAY + clock // 24 + 3) % 7).astype(int)
    cycle = np.array(DAILY)[clock % 24] * np.array(WEEKLY)[weekday] / (np.mean(DAILY) * np.mean(WEEKLY))
    swing, level = np.empty(hours), 0.0
    for hour, noise in enumerate(rng.standard_normal(hours)):
        level = MEMORY * level + SWINGS * (1 - MEMORY**2) ** 0.5 * noise
        swing[hour] = level
    busy = np.exp(swing - SWINGS**2 / 2) * rng.gamma(1 / JITTER**2, JITTER**2, hours)
    mean = frame.per_day / 24
    working = (clock % 24 >= 7) & (clock % 24 < 18) & (weekday < 5)
    heavy = np.where(working, mean * HEAVY_SHARE * 168 / 55, 0.0)
    weights = rng.lognormal(0, 1.4, frame.accounts)
    first = np.sort(np.where(rng.random(frame.accounts) < 0.7, 0, rng.integers(0, hours, frame.accounts)))
    return People(frame, mean * (1 - HEAVY_SHARE) / TURNS * cycle * busy, heavy, first, np.cumsum(weights))


def daily_swing() -> float:
    """Standard deviation of a day's rate as a share of it, cycles aside."""
    variance = (SWINGS**2 * (1 + MEMORY) / (1 - MEMORY) + JITTER**2) / 24
    return math.sqrt(variance)


def arrivals(people: People, hour: int) -> tuple[Any, Any, Any, Any]:
    """Times, accounts, numbers of sessions and of turns in them of the exchanges that begin in an hour of the log."""
    import numpy as np

    begin = people.frame.start + hour * HOUR
    pieces = []
    for source in (hour - 1, hour):
        if source < 0:
            continue
        rng = np.random.default_rng([people.frame.seed, 2, source])
        count = rng.poisson(people.rates[source])
        turns = np.minimum(rng.geometric(1 / TURNS, count), 30)
        present = max(int(np.searchsorted(people.first, source, "right")), 1)
        sums = people.cumulated[:present]
        guests = np.searchsorted(sums, rng.random(count) * sums[-1], "right")
        starts = people.frame.start + (source + rng.random(count)) * HOUR
        session = np.repeat(np.arange(count), turns)
        turn = np.arange(len(session)) - np.repeat(np.cumsum(turns) - turns, turns)
        gaps = np.where(turn > 0, rng.lognormal(np.log(GAP), 0.8, len(session)), 0.0)
        passed = np.cumsum(gaps)
        passed -= np.repeat(passed[np.cumsum(turns) - turns], turns) if len(turns) else 0
        ts = starts[session] + passed
        own = (ts >= begin) & (ts < begin + HOUR) & (passed < LONGEST)
        pieces.append((ts[own], guests[session[own]] + 1, source * 1_000_000 + session[own], turn[own]))
    rng = np.random.default_rng([people.frame.seed, 3, hour])
    count = rng.poisson(people.heavy[hour])
    office = (begin + rng.random(count) * HOUR, np.full(count, HEAVY), np.full(count, -1 - hour), np.zeros(count, int))
    pieces.append(office)
    ts, account, session, turn = (np.concatenate(columns) for columns in zip(*pieces, strict=True))
    order = np.argsort(ts, kind="stable")
    return ts[order], account[order], session[order], turn[order]
