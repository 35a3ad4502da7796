"""CUSUM and EWMA by hand, and their run lengths against published tables and the exact chain."""

import math

import numpy as np
import pytest

from withstand.stats import cusum


def test_paths_by_hand() -> None:
    scores = np.array([1.0, 2.0, np.nan, -3.0, 4.0, 2.0])
    assert cusum.cusum(scores).tolist() == [0.5, 2.0, 2.0, 0.0, 3.5, 5.0]
    assert cusum.cusum(scores, limits=3.0).tolist() == [0.5, 2.0, 2.0, 0.0, 3.5, 1.5]  # begins anew after the alarm
    path, deviation = cusum.ewma(np.array([1.0, 1.0]), weight=0.2)
    assert path == pytest.approx([0.2, 0.36])
    assert deviation == pytest.approx([0.2, math.sqrt(0.04 * (1 + 0.64))])


def chain(limit: float, drift: float, states: int = 200) -> float:
    """The mean run length as Brook and Evans 1972, Biometrika 59:539: a Markov chain over the sums below the limit."""
    width = 2 * limit / (2 * states - 1)
    normal = np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)))
    gaps = np.arange(states)[None, :] - np.arange(states)[:, None]
    moves = normal((gaps + 0.5) * width - drift) - normal((gaps - 0.5) * width - drift)
    moves[:, 0] = normal((0.5 - np.arange(states)) * width - drift)
    return float(np.linalg.solve(np.eye(states) - moves, np.ones(states))[0])


def test_run_lengths_are_those_of_the_chain_and_of_a_published_table() -> None:
    # Montgomery, "Introduction to Statistical Quality Control", table 9.3: two-sided, k = 0.5, h = 5: 465 in control,
    # 10.4 at one standard deviation
    assert chain(5, -0.5) / 2 == pytest.approx(465, rel=0.01)
    assert cusum.run_length(5, 0.5) == pytest.approx(10.4, rel=0.02)
    for limit, drift in ((5, -0.5), (4, -0.5), (8, -0.25), (4, 0.0), (5, 0.5)):
        assert cusum.run_length(limit, drift) == pytest.approx(chain(limit, drift), rel=0.03)


def test_the_limit_keeps_its_rate_of_alarms_where_the_mean_is_an_estimate() -> None:
    assert cusum.limit(1 / 931) == pytest.approx(5, abs=0.02)
    rng = np.random.default_rng(3)
    draws = rng.normal(size=(400, 4000))
    alpha, error, df = 1 / 200, 0.15, 50
    height = cusum.limit(alpha, error=error, df=df)
    spread = np.sqrt(rng.chisquare(df, 4000) / df)
    estimated = (draws + error * rng.normal(size=4000)) / spread
    rate = (cusum.cusum(estimated, limits=height) >= height).mean()
    naive = cusum.limit(alpha)
    assert 0.75 * alpha < rate < 1.1 * alpha
    assert (cusum.cusum(estimated, limits=naive) >= naive).mean() > 1.3 * alpha
    with pytest.raises(ValueError, match="alpha is 0"):
        cusum.limit(0)
