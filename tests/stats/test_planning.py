"""Plans for a limit: the gate's own cutoffs, exact power, and what an undecided gate says it takes."""

import math

import numpy as np
import pytest
from scipy.stats import beta, binom, chi2

from withstand.stats import paired, planning
from withstand.stats.breaks import Attempts, estimate


def test_cutoffs_are_those_of_the_interval_and_the_power_is_exact():
    for n, limit in ((3, 0.6), (20, 0.1), (36, 0.1), (35, 0.1), (56, 0.2), (100, 0.01), (120, 0.5)):
        one, most, fewest = np.ones(n, int), planning.most_to_pass(n, limit), planning.fewest_to_fail(n, limit)
        for k in {max(most, 0), most + 1, fewest - 1, min(fewest, n)}:  # the limits rise with k
            low, high = estimate("any_attack", [Attempts((np.arange(n) < k).astype(int), 0 * one, one)]).limits
            assert (high <= limit, low > limit) == (k <= most, k >= fewest)
        assert planning.pass_power(n, 0.03, limit) == pytest.approx(
            binom.cdf(planning.most_to_pass(n, limit), n, 0.03), abs=1e-12
        )
    for limit in (
        0.0005,
        0.013,
        0.1,
        0.37,
        0.592,
        0.97,
    ):  # Wilson's passes 3 at 59.2% in 6.8%
        for n in (1, 3, 10, 56, 381, 2000):
            counts = np.arange(n + 1)
            assert planning.most_to_pass(n, limit) == (binom.cdf(counts, n, limit) <= 0.025).sum() - 1
            assert planning.fewest_to_fail(n, limit) == (binom.sf(counts - 1, n, limit) >= 0.025).sum()


def test_a_plan_is_the_least_with_its_power_and_stays_near_it():
    for rate, limit, cells in ((0, 0.1, 1), (0.01, 0.1, 1), (0.01, 0.1, 100), (0.05, 0.1, 1), (0.01, 0.05, 20)):
        n = planning.behaviors_to_pass(rate, limit, 0.8, cells)
        assert planning.pass_power(n, rate, limit) ** cells >= 0.8
        ahead = [planning.pass_power(n + more, rate, limit) for more in range(math.ceil(1 / limit))]
        assert min(ahead) >= 0.8 ** (1 / cells) - 0.025
    assert planning.behaviors_to_pass(0, 0.1) == 36
    assert planning.behaviors_to_pass(0.1, 0.1) is None


def test_what_a_pilot_leaves_open_is_in_its_plan():
    believed = planning.Posterior.of(2, 56)
    assert believed.below(0.1) == pytest.approx(beta.cdf(0.1, 2.5, 54.5), abs=0.005)
    n = planning.behaviors_to_pass_after(2, 56, 56, 0.1)
    rate = beta.rvs(2.5, 54.5, size=20000, random_state=4)
    assert np.mean(binom.cdf(planning.most_to_pass(n, 0.1), n, rate)) == pytest.approx(0.8, abs=0.02)
    assert n > planning.behaviors_to_pass(2 / 56, 0.1)
    assert planning.behaviors_to_pass_after(4, 56, 56, 0.1) is None  # it is above the limit with more than 20%
    assert planning.behaviors_to_pass_after(2, 56, 112, 0.1) == pytest.approx(2 * n, abs=2)  # as clustered as that
    for df in (5, 55):
        assert planning.sd_limit(df + 1) == pytest.approx(math.sqrt(df / chi2.ppf(0.2, df)), rel=3e-3)


def test_that_many_behaviors_decide_it_in_four_of_five():
    """Of undecided gates, the rates drawn evenly. The n of an interval that ends at the limit does so in 6 of 10."""
    rng = np.random.default_rng(11)
    n, limit = 56, 0.1
    low, high = planning.most_to_pass(n, limit), planning.fewest_to_fail(n, limit)
    needed = {k: planning.behaviors_to_decide(k, n, n, limit) for k in range(low + 1, high)}
    rate = rng.uniform(0, 0.4, 20000)
    seen = rng.binomial(n, rate)
    undecided = (seen > low) & (seen < high)
    rate, seen = rate[undecided], seen[undecided]
    total = np.array([needed[k] for k in seen])
    final = seen + rng.binomial(total - n, rate)
    sizes, of = np.unique(total, return_inverse=True)
    most, fewest = (
        np.array([f(m, limit) for m in sizes])[of] for f in (planning.most_to_pass, planning.fewest_to_fail)
    )
    assert np.mean((final <= most) | (final >= fewest)) >= 0.8
    assert planning.behaviors_to_decide(10, 100, 100, 0) is None


def test_so_many_behaviors_decide_a_difference():
    rng = np.random.default_rng(5)
    n, sd, limit = 60, 0.4, 0.05
    gap = rng.uniform(-0.2, 0.3, 4000)
    seen, reach = rng.normal(gap, sd / math.sqrt(n)), 1.96 * sd / math.sqrt(n)
    open_ = abs(seen - limit) < reach
    kept = []
    for true, mean in zip(gap[open_][:400], seen[open_][:400], strict=True):
        total = planning.behaviors_to_exclude(mean, (mean - reach, mean + reach), n, limit)
        final = (n * mean + rng.normal((total - n) * true, sd * math.sqrt(total - n))) / total
        kept.append(abs(final - limit) > 1.96 * sd / math.sqrt(total))
    assert np.mean(kept) >= 0.8
    assert planning.behaviors_to_exclude(0.1, (0.1, 0.1), n, limit) is None


def test_several_cases_show_a_difference_with_the_power_that_was_planned():
    """Behaviors whose chances rise. With what a normal approximation takes it was 61% to 80% (`bench/plans.py`)."""
    rng = np.random.default_rng(8)

    def chances(n):
        base = rng.beta(1, 1, n)
        return np.stack([base, np.clip(base + 0.16 + rng.normal(0, 0.15, n), 0, 1)])

    many = chances(200_000)
    gap, between = float(np.mean(many[1] - many[0])), float(np.var(many[1] - many[0]))
    within = float(2 * np.mean(many * (1 - many)))
    n = planning.behaviors_to_show(gap, math.sqrt(between + within / 5), math.sqrt(between + within))
    shown = []
    for _ in range(150):
        a, b = rng.binomial(5, chances(n))
        shown.append(paired.difference(a, np.full(n, 5), b, np.full(n, 5)).p <= 0.05)
    assert np.mean(shown) == pytest.approx(0.8, abs=0.08)
    # with changes that never vary within a behavior, Student's t is near the normal: (1.96 + 0.84)^2 sd^2 / d^2 = 196.2
    assert planning.behaviors_to_show(0.1, 0.5, 0.5) == pytest.approx(200, abs=3)
    with pytest.raises(ValueError, match="must not be 0"):
        planning.behaviors_to_show(0, 0.5, 0.5)


def test_what_cannot_be_planned():
    with pytest.raises(ValueError, match="must lie in"):
        planning.behaviors_to_pass(0.1, 1.0)
    with pytest.raises(ValueError, match="successes among"):
        planning.Posterior.of(3, 2)


def test_behaviors_that_show_a_rate_did_not_rise():
    least = planning.behaviors_to_keep(0.05)
    assert 0.95**least <= 0.025 < 0.95 ** (least - 1)  # no change among so many has that chance, at 5 points
    likely = planning.behaviors_to_keep(0.05, 0.01)
    assert planning.keep_power(likely, 0.05, 0.01) >= 0.8 > planning.keep_power(least, 0.05, 0.01)
    rng = np.random.default_rng(3)
    drawn = rng.multinomial(likely, [0.01, 0.01, 0.98], 400)
    kept = [
        paired.difference(
            [0] * worse + [1] * better + [0] * same, [1] * likely, [1] * worse + [0] * (better + same), [1] * likely
        ).limits()[1] <= 0.05
        for worse, better, same in np.unique(drawn, axis=0)
    ]  # fmt: skip
    shares = np.unique(drawn, axis=0, return_counts=True)[1] / 400
    assert float(shares @ kept) == pytest.approx(planning.keep_power(likely, 0.05, 0.01), abs=0.06)
    with pytest.raises(ValueError, match=r"changing is 0\.5"):
        planning.behaviors_to_keep(0.05, 0.5)
