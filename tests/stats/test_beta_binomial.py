"""A common prior of many rates: parity with scipy, and the two accounts of the reference."""

import numpy as np
import pytest
from scipy import optimize, stats

from withstand.stats.beta_binomial import STRONGEST, Prior, fit


def likelihood(alpha, beta, hits, trials):
    return stats.betabinom.logpmf(hits, trials, alpha, beta).sum()


def drawn(seed, alpha, beta, units=400):
    draw = np.random.default_rng(seed)
    trials = 1 + draw.geometric(1 / 40, units)
    return draw.binomial(trials, draw.beta(alpha, beta, units)), trials


def test_the_prior_is_the_one_of_most_likelihood():
    for seed, shape in enumerate([(1, 99), (0.05, 0.5), (3, 4), (20, 400)]):
        hits, trials = drawn(seed, *shape)
        prior = fit(hits, trials)
        best = optimize.minimize(
            lambda logs, hits=hits, trials=trials: -likelihood(*np.exp(logs), hits, trials), np.log(shape),
            method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9},
        )  # fmt: skip
        assert likelihood(prior.alpha, prior.beta, hits, trials) >= -best.fun - 1e-6
        assert (prior.alpha, prior.beta) == pytest.approx(tuple(np.exp(best.x)), rel=1e-3)


def test_units_that_do_not_differ_give_the_strongest_prior_and_nothing_to_learn_from_a_weak_one():
    alike = fit([5] * 40, [100] * 40)
    assert alike.strength == pytest.approx(STRONGEST)
    assert alike.mean == pytest.approx(0.05, rel=1e-3)
    for hits, trials in (([0, 0], [9, 40]), ([3], [4]), ([1, 0, 1], [1, 1, 1]), ([4, 5], [4, 5])):
        pooled = fit(hits, trials)
        assert pooled.method == "pooled"
        assert pooled.strength == 1
    assert fit([0, 3, 0], [0, 4, 9]).units == 2
    with pytest.raises(ValueError, match="between 0"):
        fit([5], [4])


def test_the_two_accounts_of_the_reference():
    """openai-lessons 4.4: prior Beta(1, 99); 3 of 4 has the mean 3.8%, 40 of 200 has 13.7%."""
    prior = Prior(1, 99)
    small, large = prior.posterior_mean([3, 40], [4, 200])
    assert (round(100 * small, 1), round(100 * large, 1)) == (3.8, 13.7)
    below, above = prior.above([3, 40], [4, 200], 0.05)
    assert below == pytest.approx(stats.beta.sf(0.05, 4, 100), abs=1e-12)
    assert below < 0.99 < above
    low, high = prior.quantiles([3, 40], [4, 200], 0.05)
    assert low < high


def test_quantiles_are_those_of_scipy():
    draw = np.random.default_rng(5)
    trials = draw.integers(0, 4000, 300)
    hits = draw.binomial(trials, draw.beta(0.2, 3, 300))
    for prior in (Prior(1, 99), Prior(0.05, 0.5), Prior(100, 9_900)):
        ours = prior.quantiles(hits, trials, 0.05)
        peer = stats.beta.ppf(0.05, prior.alpha + hits, prior.beta + trials - hits)
        assert ours == pytest.approx(peer, abs=2e-9)
    assert prior.quantiles([], [], 0.05).shape == (0,)
