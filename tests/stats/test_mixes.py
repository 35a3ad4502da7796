"""Distances of mixes against scipy and by hand, and permutation against every division."""

import math
from itertools import permutations

import numpy as np
import pytest
from scipy.spatial import distance

from withstand.stats import mixes


def test_distances_by_hand_and_by_scipy() -> None:
    before, after = np.array([30, 60, 10]), np.array([10, 60, 30])
    assert mixes.jensen_shannon(before, after) == pytest.approx(distance.jensenshannon(before, after, base=2) ** 2)
    assert (mixes.jensen_shannon([1, 0], [0, 5]), mixes.jensen_shannon([1, 2], [2, 4])) == (1, 0)
    p, q = (before + 0.5) / 101.5, (after + 0.5) / 101.5
    by_hand = 2 * (q[0] - p[0]) * math.log(q[0] / p[0])
    assert mixes.psi(before, after) == pytest.approx(abs(by_hand))
    assert mixes.psi(before, after) > mixes.LARGE > mixes.psi(before, before) == 0


def test_all_divisions_are_counted_where_they_are_few_else_some_are_drawn() -> None:
    before, after = np.array([[3, 0], [2, 1], [4, 0]]), np.array([[0, 3], [1, 2]])
    units = np.vstack([before, after])
    seen = mixes.jensen_shannon(before.sum(axis=0), after.sum(axis=0))
    orders = [units[list(order)] for order in permutations(range(5))]
    far = [mixes.jensen_shannon(o[:3].sum(axis=0), o[3:].sum(axis=0)) >= seen - 1e-12 for o in orders]
    assert mixes.permuted_p(before, after, 10, "a") == pytest.approx(np.mean(far))
    # alike but for chance, in clumps of 10 by account: single events would cry wolf, whole accounts do not
    rng = np.random.default_rng(5)
    clumps = [10 * np.eye(2)[rng.integers(2, size=30)] for _ in range(60)]
    ps = [mixes.permuted_p(a[:20], a[20:], 199, str(at)) for at, a in enumerate(clumps)]
    assert np.mean(np.array(ps) <= 0.05) <= 0.12
    assert mixes.permuted_p(np.tile([5, 1], (40, 1)), np.tile([1, 5], (9, 1)), 999, "b") == 1 / 1000
