"""The largest of k draws: by hand, by listing all subsets, and against what its parts say."""

from itertools import combinations
from statistics import mean

import numpy as np
import pytest

from withstand.stats.maximum import bounds, change_intervals, expected_maximum, mean_intervals, weights
from withstand.stats.rates import chance_at_k, share_interval


def test_by_hand() -> None:
    # of 0.1, 0.4, 0.7: the pairs' largest are 0.4, 0.7 and 0.7
    assert expected_maximum([0.7, 0.1, 0.4], 2) == pytest.approx((0.4 + 0.7 + 0.7) / 3)
    assert expected_maximum([0.7, 0.1, 0.4], 1) == pytest.approx(0.4)
    assert expected_maximum([0.7, 0.1, 0.4], 3) == 0.7
    assert weights(4, 2).tolist() == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6])
    assert expected_maximum([0.3], 1) == 0.3
    for n, k in ((3, 4), (3, 0), (0, 1)):
        with pytest.raises(ValueError, match="it must lie in 1 to"):
            expected_maximum([0.5] * n, k)


def test_it_is_the_mean_over_all_subsets_and_grows_with_k() -> None:
    draws = np.random.default_rng(3).random(9)
    listed = [mean(max(part) for part in combinations(draws, k)) for k in range(1, 10)]
    estimates = [expected_maximum(draws, k) for k in range(1, 10)]
    assert estimates == pytest.approx(listed)
    assert estimates == sorted(estimates)
    assert estimates[-1] == draws.max()
    hits = (draws >= 0.5).astype(float)
    chances = [chance_at_k(np.array([hits.sum()]), np.array([9]), np.array([k]))[0] for k in range(1, 10)]
    assert [expected_maximum(hits, k) for k in range(1, 10)] == pytest.approx(chances)
    assert weights(3000, 25).sum() == pytest.approx(1)


def test_draws_without_a_score_are_never_zero() -> None:
    assert bounds([0.2, 0.6], 0, 2) == (0.6, 0.6)
    assert bounds([0.2, 0.6], 1, 3) == (0.6, 1.0)
    assert bounds([0.2, 0.6], 0, 3) == (0.6, 1.0)  # the third was never drawn
    assert bounds([], 0, 2) == (0.0, 1.0)
    low, high = bounds([0.2, 0.6], 2, 2)  # of the six pairs one has both, and five an open one
    assert low == pytest.approx((3 * 0.6 + 2 * 0.2) / 6)
    assert high == pytest.approx((5 * 1 + 0.6) / 6)


def test_intervals_are_the_outer_ones_and_never_without_width() -> None:
    random = np.random.default_rng(5)
    values = np.stack([np.zeros(40), random.beta(2, 6, 40), (random.random(40) < 0.3).astype(float)])
    limits = mean_intervals(values, seed=1)
    assert limits == mean_intervals(values, seed=1)
    assert limits[0][0] == 0
    assert limits[0][1] == pytest.approx(share_interval(values[0], np.full(40, 1e-9))[1])
    assert limits[0][1] > 0.05  # none toxic of 40 is not none
    for row, (low, high) in zip(values, limits, strict=True):
        own = share_interval(row, np.full(40, 1e-9))
        assert low <= own[0] <= row.mean() <= own[1] <= high
    by_hand = np.quantile(values[1][np.random.default_rng(1).integers(0, 40, (2000, 40))].mean(axis=1), [0.025, 0.975])
    assert limits[1][0] == min(by_hand[0], share_interval(values[1], np.full(40, 1e-9))[0])
    wide = mean_intervals(values, [f"c{place // 10}" for place in range(40)])
    assert all(high - low > other[1] - other[0] for (low, high), other in zip(wide, limits, strict=True))
    assert mean_intervals(values, ["one"] * 40)[1] == (0, 1)  # one cluster shows nothing of others
    [(low, high)] = change_intervals(values[1] - values[2], seed=1)
    assert low < (values[1] - values[2]).mean() < high
    none = share_interval(np.zeros(40), np.full(40, 1e-9))[1]
    assert change_intervals(np.zeros(40))[0] == pytest.approx((-none, none))  # a change of 1 may be in so many
    [(low, high)] = mean_intervals(np.full(100, 0.2))  # 13 of 100 such samples lack the 2% of prompts that are at 1
    assert low < 0.2
    assert high == pytest.approx(0.2 + 0.8 * 3.8415 / 103.8415, abs=1e-4)
    in_fours = mean_intervals(np.full(100, 0.2), [f"c{place // 4}" for place in range(100)])
    assert in_fours[0][1] >= 0.2 + 0.8 * 3.8415 / 28.8415 - 1e-4
