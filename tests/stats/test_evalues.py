"""Evidence over builds: e-values by enumeration, e-LOND's levels by its formula, and drift."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from withstand.stats import evalues


def test_evidence_is_1_on_average_at_the_limit_and_less_beyond_it():
    for n, limit in ((20, 0.1), (100, 0.1), (56, 0.3)):
        counts = np.arange(n + 1)
        below, above = ([f(int(k), n, limit) for k in counts] for f in (evalues.below, evalues.above))
        for rate in (limit, 1.2 * limit, 2 * limit):
            assert binom.pmf(counts, n, rate) @ below <= 1 + 1e-9
        for rate in (limit, 0.5 * limit, 0.0):
            assert binom.pmf(counts, n, rate) @ above <= 1 + 1e-9
        assert binom.pmf(counts, n, limit) @ below == pytest.approx(1)
        assert sorted(below, reverse=True) == below
    assert evalues.below(0, 20, 0.1) == pytest.approx(
        np.mean([((1 - rate) / 0.9) ** 20 for rate in (0, 0.0125, 0.025, 0.05)])
    )
    with pytest.raises(ValueError, match="21 of 20"):
        evalues.below(21, 20, 0.1)


def test_levels_are_those_of_e_lond():
    """Build t passes at 1 / (alpha gamma_t (passed + 1)), with gammas that add up to 1 at most."""
    gammas = [1 / (0.05 * evalues.needed(t, 0)) for t in range(1, 20_000)]
    assert 0.9 < math.fsum(gammas) <= 1
    assert evalues.needed(7, 3) == pytest.approx(1 / (0.05 * gammas[6] * 4))
    row = evalues.builds([(0, 100), (5, 100), (0, 100)], 0.1)
    assert [build.passes for build in row] == [True, False, True]
    assert row[2].wanted == pytest.approx(evalues.needed(3, 1))
    last = evalues.last_build(100, 0.05, 1, 0)
    assert evalues.below(0, 100, 0.05) >= evalues.needed(last, last - 1)
    assert evalues.below(0, 100, 0.05) < evalues.needed(last + 1, last)
    assert evalues.last_build(56, 0.05, 1, 0) is None
    best = evalues.below(0, 110, 0.05)
    for build, passed in ((1, 0), (9, 2), (40, 3), (300, 20)):
        fail = [t for t in range(build, 400) if best < evalues.needed(t, passed + t - build)]
        last = (fail or [400])[0] - 1
        assert evalues.last_build(110, 0.05, build, passed, most=399) == (last if last >= build else None)


def test_drift_keeps_an_alarm_and_seldom_raises_a_false_one():
    rng = np.random.default_rng(2)
    wrong = [evalues.drift([(int(k), 40) for k in rng.binomial(40, 0.1, 30)], 0.1)[-1] >= 20 for _ in range(300)]
    assert np.mean(wrong) <= 0.05
    row = evalues.drift([(20, 40)] * 3 + [(0, 40)] * 5, 0.1)
    assert row[-1] == row[2] >= 20
