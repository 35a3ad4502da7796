"""Whether many accounts act at the same times more than the traffic around them does.

Pairs of exchanges of two accounts that lie within a window are counted (the statistic of Knox 1964, in time alone).
What chance gives is counted on the same exchanges after each account's own times, all of them together, were moved by a
random share of the traffic: daily and weekly cycles, and how each account bunches its requests, stay as they are.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from withstand.core import rng

Floats = npt.NDArray[np.float64]

WINDOWS = (600.0, 3_600.0, 86_400.0)
"""Seconds. The largest excess of the three is tested at once."""
DRAWS, MORE_DRAWS = 199, 999
"""Moves at first, and where none of the first ones reached the observed excess."""
EULER = 0.577_215_664_9


@dataclass(frozen=True, slots=True)
class Profile:
    """How traffic is spread over time. edges: of its bins, seconds.   shares: traffic up to each edge, from 0 to 1."""

    edges: Floats
    shares: Floats

    @staticmethod
    def of(edges: Floats, counts: Floats) -> "Profile":
        """The profile of counts in bins, one fewer than edges. A little is added to each bin, so that none is empty."""
        smooth = counts + max(1e-9, counts.sum()) * 1e-6
        return Profile(edges, np.r_[0.0, np.cumsum(smooth) / smooth.sum()])

    def moved(self, times: Floats, shares: Floats) -> Floats:
        """The times after these shares of the traffic have passed, behind the end from the start on."""
        places = (np.interp(times, self.edges, self.shares) + shares) % 1.0
        return np.asarray(np.interp(places, self.shares, self.edges), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Tightness:
    """pairs, expected: of exchanges of two accounts within `window` seconds, and their mean by chance.

    p: one-sided, that chance gives as many.
    """

    pairs: int
    expected: float
    window: float
    p: float

    @property
    def times(self) -> float:
        """How many times as many pairs as by chance; at least one pair is taken to be expected."""
        return self.pairs / max(1.0, self.expected)


def tightness(times: Floats, accounts: npt.NDArray[np.int64], profile: Profile, seed: int) -> Tightness:
    """How tight the times of these accounts (whole numbers from 0) lie in a profile."""
    order = np.lexsort((times, accounts))
    times, accounts = times[order], accounts[order]
    draw: Any = np.random.default_rng(rng("tight", seed).getrandbits(64))
    observed = _pairs(times[None, :], accounts)
    by_chance = np.zeros((len(WINDOWS), 0))
    for draws in (DRAWS, MORE_DRAWS):
        part = max(1, 1_000_000 // len(times))
        moved = [by_chance]
        while (drawn := sum(block.shape[1] for block in moved)) < draws:
            shares = draw.random((min(part, draws - drawn), int(accounts.max()) + 1))
            moved.append(_pairs(profile.moved(np.broadcast_to(times, (len(shares), len(times))), shares[:, accounts]),
                                accounts))  # fmt: skip
        by_chance = np.concatenate(moved, axis=1)
        spread = np.sqrt(np.maximum(by_chance.var(axis=1), np.maximum(1.0, by_chance.mean(axis=1))))[:, None]
        center = by_chance.mean(axis=1)[:, None]
        excess, most = (observed - center) / spread, ((by_chance - center) / spread).max(axis=0)
        p = (1 + int((most >= excess.max()).sum())) / (1 + by_chance.shape[1])
        if p > 1 / (1 + draws):
            break
    else:
        p = min(p, _beyond(float(excess.max()), most))
    best = int(excess[:, 0].argmax())
    return Tightness(int(observed[best, 0]), float(center[best, 0]), WINDOWS[best], p)


def _beyond(value: float, draws: Floats) -> float:
    """The chance of a value that no draw reached, by the Gumbel distribution with the draws' mean and spread: its tail
    falls more slowly than a normal one."""
    scale = float(draws.std()) * np.sqrt(6) / np.pi
    place = (value - float(draws.mean())) / scale + EULER if scale else np.inf
    return float(-np.expm1(-np.exp(-min(place, 700.0))))


def _pairs(times: Floats, accounts: npt.NDArray[np.int64]) -> Floats:
    """Pairs of exchanges of two accounts within each window, [windows, rows]. times: [rows, exchanges]."""
    rows, number = times.shape
    start, reach = times.min(), float(times.max() - times.min()) + 2 * WINDOWS[-1]
    along = times - start + WINDOWS[-1]  # away from the ends of its row, whatever is rounded
    row = np.arange(rows)[:, None] * reach
    own = np.sort((along + row + accounts[None, :] * (rows * reach)).ravel())
    together = np.sort((along + row).ravel())
    counts = np.empty((len(WINDOWS), rows))
    for at, window in enumerate(WINDOWS):
        near = np.searchsorted(together, together + window, side="right") - np.arange(1, together.size + 1)
        same = np.searchsorted(own, own + window, side="right") - np.arange(1, own.size + 1)
        counts[at] = near.reshape(rows, number).sum(axis=1)
        counts[at] -= np.bincount((own % (rows * reach) // reach).astype(np.int64), weights=same, minlength=rows)[:rows]
    return counts
