"""A burst begins and ends where the least of all sequences of states says."""

import math
from itertools import pairwise, product

import numpy as np

from withstand.stats.bursts import Burst, bursts


def cost(states: tuple[int, ...], gaps: list[float], rate: float, ratio: float) -> float:
    """Kleinberg's cost of a sequence of states, written out."""
    rates = [rate, ratio * rate]
    price = sum(rates[state] * gap - math.log(rates[state]) for state, gap in zip(states, gaps, strict=True))
    return price + math.log(len(gaps)) * sum(b > a for a, b in pairwise((0, *states)))


def test_the_sequence_is_the_best_of_all() -> None:
    rng = np.random.default_rng(8)
    for _ in range(40):
        gaps = list(rng.exponential(1.0, 8) * np.where(np.arange(8) // 4 == rng.integers(2), 0.15, 1.5))
        times = np.cumsum([0, *gaps]).tolist()
        best = min(product((0, 1), repeat=8), key=lambda states: cost(states, gaps, 0.8, 4.0))
        marked = [0] * 8
        for burst in bursts(times, 0.8):
            for at in range(times.index(burst.start), times.index(burst.end)):
                marked[at] = 1
        assert tuple(marked) == best


def test_a_burst_among_quiet_events() -> None:
    times = [*range(0, 100, 10), *(100 + 0.5 * n for n in range(20)), *range(120, 200, 10)]
    assert bursts(times, 0.1) == [Burst(100, 109.5, 20)]
    assert (bursts([1.0], 0.1), bursts([], 0.1), bursts(times, 0)) == ([], [], [])
