"""How often intervals of a mitigation's effect hold the truth, and how often an account is an alarm without cause.

Run: python bench/monitor_effects.py [DRAWS]. A minute on one core. 95% are meant throughout; docs/statistics.md and the
docstring of `stats.regression.interrupted` quote its output.
"""

import sys

import numpy as np

from withstand.stats.beta_binomial import fit
from withstand.stats.experiments import NEVER, Panel, arm, arms_differ, staged
from withstand.stats.multiple import benjamini_hochberg
from withstand.stats.regression import interrupted
from withstand.stats.special import binomial_sf


def series(rng: np.random.Generator, days: int, related: float, weekly: bool, draws: int) -> tuple[float, float]:
    """Flags of a day: binomial about a rate whose logit drifts from day to day; no effect. Ours, and Newey-West."""
    after, ours, usual = np.arange(days) - days // 2, 0, 0
    season = (after % 7) if weekly else None
    for _ in range(draws):
        drift = rng.normal(size=days + 50)
        for day in range(1, days + 50):
            drift[day] += related * drift[day - 1]
        level = -2.5 + 0.15 * drift[50:] * np.sqrt(1 - related**2) + weekly * 0.3 * np.sin(after * 2 * np.pi / 7)
        requests = rng.poisson(2_000 * (1 + 0.3 * weekly * np.cos(after * 2 * np.pi / 7)))
        flags = rng.binomial(requests, 1 / (1 + np.exp(-level)))
        got = interrupted(flags / requests, requests.astype(float), after, season)
        low, high = got.average.limits()
        ours += low <= 0 <= high
        usual += abs(got.average.difference) <= 1.96 * got.newey_west
    return ours / draws, usual / draws


def arms(rng: np.random.Generator, units: int, tail: float, rate: float, draws: int) -> tuple[float, float]:
    """Two arms of accounts with Pareto volumes and beta rates; no effect. Ours, and a test on requests."""
    ours = naive = 0
    for _ in range(draws):
        n = np.ceil(np.minimum(rng.pareto(tail, 2 * units) * 10 + 1, 20_000))
        sums = rng.binomial(n.astype(int), rng.beta(1, 1 / rate - 1, 2 * units)).astype(float)
        one, two = (arm(sums[side], n[side], True) for side in (slice(units), slice(units, None)))
        low, high = arms_differ(one, two).limits()
        ours += low <= 0 <= high
        error = np.sqrt(sum(max(side.rate * (1 - side.rate), 1e-12) / side.outcomes for side in (one, two)))
        naive += abs(one.rate - two.rate) <= 1.96 * error
    return ours / draws, naive / draws


def stages(rng: np.random.Generator, units: int, draws: int) -> float:
    """Three dates and units that are never treated; volumes, levels and days of their own, effect -0.03."""
    first = np.repeat([3, 4, 6, NEVER], units)
    after = np.arange(8) >= first[:, None]
    unit, period = (part.ravel() for part in np.indices(after.shape))
    covered = 0
    for _ in range(draws):
        n = rng.poisson(rng.gamma(0.5, 40, len(first))[:, None] + 1.0, after.shape).astype(float)
        rate = np.clip(rng.beta(2, 18, len(first))[:, None] + rng.normal(0, 0.01, 8) + 0.05, 0.04, 1) - 0.03 * after
        sums = rng.binomial(n.astype(int), rate).astype(float)
        keep = n.ravel() > 0
        panel = Panel(unit[keep], period[keep], sums.ravel()[keep], n.ravel()[keep], first)
        low, high = staged(panel).average.limits()
        covered += low <= -0.03 <= high
    return covered / draws


def accounts(rng: np.random.Generator, bad: int, draws: int) -> tuple[float, float]:
    """2,000 accounts at 1% on average, `bad` of them at 20%: the share of alarms that are at accounts below 5%, and how
    many bad ones with 50 requests or more are none."""
    wrong = right = missed = 0
    for _ in range(draws):
        n = rng.geometric(1 / 40, 2_000)
        rate = rng.beta(1, 99, 2_000)
        rate[:bad] = 0.2
        k = rng.binomial(n, rate)
        prior = fit(k, n)
        tested = n >= 20
        q = benjamini_hochberg(
            [float(p) if at else None for p, at in zip(binomial_sf(k - 1, n, 0.05), tested, strict=True)]
        )
        alarm = (prior.above(k, n, 0.05) > 0.99) & np.array([value is not None and value <= 0.05 for value in q])
        wrong += int((alarm & (rate <= 0.05)).sum())
        right += int((alarm & (rate > 0.05)).sum())
        missed += int((~alarm[:bad] & (n[:bad] >= 50)).sum())
    return wrong / max(1, wrong + right), missed / draws


def main(draws: int) -> None:
    rng = np.random.default_rng(0)
    for days, weekly in ((28, False), (28, True), (56, True), (112, True)):
        for related in (0.0, 0.4, 0.7):
            ours, usual = series(rng, days, related, weekly, draws)
            print(
                f"series of {days:3} days, weekly {weekly!s:5}, related {related}: {ours:.1%}; Newey-West {usual:.1%}"
            )
    for units, tail, rate in ((20, 3, 0.1), (50, 1.5, 0.1), (200, 1.2, 0.02), (1000, 1.2, 0.005)):
        ours, naive = arms(rng, units, tail, rate, draws)
        print(f"two arms of {units:4} accounts, tail {tail}, rate {rate}: {ours:.1%}; a test on requests {naive:.1%}")
    for units in (3, 5, 20, 60):
        print(f"staged, {units:2} units a date: {stages(rng, units, draws):.1%}")
    for bad in (0, 5, 50):
        wrong, missed = accounts(rng, bad, draws // 10)
        print(f"accounts, {bad:2} bad of 2,000: {wrong:.1%} of the alarms false, {missed:.2f} bad ones missed a time")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 400)
