"""How often the intervals of the four statistics hold the true rate, and how often a gate passes what it should not.

Run: python bench/breaks.py [SEED]. Half a minute on one core; docs/statistics.md quotes its output. Points are random.
A draw breaks a behavior with a chance of its own (beta) times the strength of the attack; truths are integrals over
behaviors. `any_attack`, and `at_k` with all draws, are counts of behaviors, whose coverage is summed exactly.
"""

import sys

import numpy as np
from scipy.special import betaln
from scipy.stats import beta, binom

from withstand.stats import breaks, planning, rates, special

DRAWS, POINTS = 2000, 250
GRID = (np.arange(2000) + 0.5) / 2000
"""Quantiles of the behaviors, for integrals over them."""


def ends(behaviors: int) -> tuple[np.ndarray, np.ndarray]:
    """The limits of 0, 1, ... of so many behaviors broken."""
    both = np.array([rates.wilson(k, behaviors) for k in range(behaviors + 1)])
    return both[:, 0], both[:, 1]


def spread(rng: np.random.Generator, mean: float) -> tuple[float, float]:
    """Parameters of a beta distribution with this mean: behaviors from much alike to nearly all or nothing."""
    size = float(np.exp(rng.uniform(np.log(0.1), np.log(30))))
    return mean * size, (1 - mean) * size


def any_attack(rng: np.random.Generator) -> None:
    covered = []
    for _ in range(POINTS):
        behaviors, attacks = int(rng.integers(20, 400)), int(rng.integers(1, 21))
        chances = beta.ppf(GRID, *spread(rng, rng.uniform(0.01, 0.5)))
        held = np.ones_like(GRID)
        for strength, draws in zip(rng.uniform(0, 1, attacks), rng.integers(1, 17, attacks), strict=True):
            held *= (1 - strength * chances) ** draws
        truth = float(1 - held.mean())
        low, high = ends(behaviors)
        chance = binom.pmf(np.arange(behaviors + 1), behaviors, truth)
        covered.append(float(chance[(low <= truth) & (truth <= high)].sum()))
    print(f"any_attack, and at_k or all_of_k with all draws, exact: {summary(covered)}")


def at_k(rng: np.random.Generator, ragged: bool) -> None:
    covered, means = [], []
    for _ in range(POINTS):
        behaviors, most, mean = int(rng.integers(20, 201)), int(rng.integers(2, 17)), float(rng.uniform(0.02, 0.9))
        k = int(rng.integers(1, most))
        a, b = spread(rng, mean)
        draws = rng.integers(k, most + 1, behaviors) if ragged else np.full(behaviors, most)
        broken = rng.binomial(draws, rng.beta(a, b, (DRAWS, behaviors)))
        shares = rates.chance_at_k(broken.ravel(), np.tile(draws, DRAWS), np.full(DRAWS * behaviors, k))
        for truth, of, per, into in (
            (1 - np.exp(betaln(a, b + k) - betaln(a, b)), shares.reshape(broken.shape), k / draws, covered),
            (mean, broken / draws, 1 / draws, means),
        ):
            low, high = rates._score(*rates._effective(of, np.broadcast_to(per, of.shape)), 0.95)
            into.append(float(np.mean((low <= truth) & (truth <= high))))
    kind = "of unequal draws" if ragged else "of equal draws"
    print(f"at_k or all_of_k with k below the draws, {kind}, drawn: {summary(covered)}")
    print(f"mean, {kind}, drawn: {summary(means)}")


def false_pass(rng: np.random.Generator) -> None:
    """At the limit and above it; with the breaks hidden by missing verdicts as often as a point says."""
    for above in (1.0, 1.1, 1.25, 1.5):
        passed, by_wilson = [], []
        for _ in range(POINTS):
            behaviors, limit = int(rng.integers(5, 400)), float(rng.uniform(0.01, 0.6))
            _, high = ends(behaviors)
            chance = binom.pmf(np.arange(behaviors + 1), behaviors, min(1.0, above * limit))
            passed.append(float(chance[: planning.most_to_pass(behaviors, limit) + 1].sum()))
            by_wilson.append(float(chance[high <= limit].sum()))
        shares = ", ".join(
            f"{name} mean {100 * np.mean(of):.2f}%, most {100 * max(of):.2f}%"
            for name, of in (("the gate", passed), ("by Wilson's", by_wilson))
        )
        print(f"false PASS at {above:g} x the limit, exact: {shares}")
    for statistic in ("mean", "at_k"):
        passed = [_clustered(rng, statistic) for _ in range(POINTS)]
        shares = f"mean {100 * np.mean(passed):.2f}%, most {100 * max(passed):.2f}%"
        print(f"false PASS of {statistic} with several cases, drawn at the limit: {shares}")
    passed = []
    for _ in range(15):
        behaviors, limit, hidden = int(rng.integers(35, 200)), float(rng.uniform(0.05, 0.4)), float(rng.uniform(0, 1))
        runs = 400
        broken = rng.random((runs, behaviors)) < limit
        unknown = broken & (rng.random(broken.shape) < hidden)
        one = np.ones(behaviors, int)
        gates = (
            breaks.estimate("any_attack", [breaks.Attempts((b & ~u).astype(int), u.astype(int), one)])
            for b, u in zip(broken, unknown, strict=True)
        )
        passed.append(sum(seen is not None and seen.limits[1] <= limit for seen in gates) / runs)
    print(f"false PASS at the limit, breaks without a verdict, drawn: mean {100 * np.mean(passed):.2f}%")


def _clustered(rng: np.random.Generator, statistic: str) -> float:
    """How often a gate whose limit is the true rate passes, of behaviors of 2 to 10 draws that are alike in part."""
    behaviors, draws, mean = int(rng.integers(20, 200)), int(rng.integers(2, 11)), float(rng.uniform(0.02, 0.5))
    k = int(rng.integers(1, draws)) if statistic == "at_k" else 1
    a, b = spread(rng, mean)
    limit = float(1 - np.exp(betaln(a, b + k) - betaln(a, b)))
    broken = rng.binomial(draws, rng.beta(a, b, (DRAWS, behaviors)))
    size = broken.size
    shares = rates.chance_at_k(broken.ravel(), np.full(size, draws), np.full(size, k)).reshape(broken.shape)
    rate, cases = rates._effective(shares, np.full(shares.shape, k / draws))
    return float(np.mean(special.binomial_cdf(rate * cases, cases, limit) <= 0.025))  # the upper limit is within it


def search(rng: np.random.Generator) -> None:
    """best_of_n with 16 draws at 8%: what a gate of 15% says by the mean, and by any_attack."""
    broken = rng.binomial(16, 0.08, (DRAWS, 56))
    rate, cases = rates._effective(broken / 16, np.full(broken.shape, 1 / 16))
    by_mean = special.binomial_cdf(rate * cases, cases, 0.15) <= 0.025
    by_any = (broken > 0).sum(axis=1) <= planning.most_to_pass(56, 0.15)
    print(f"16 draws at 8%, {100 * np.mean(broken > 0):.0f}% of behaviors broken: PASS of 15% by the mean in "
          f"{100 * by_mean.mean():.1f}%, by any_attack in {100 * by_any.mean():.1f}%")  # fmt: skip


def summary(covered: list[float]) -> str:
    few = sum(value < 0.92 for value in covered)
    return (
        f"{len(covered)} points, mean {100 * np.mean(covered):.1f}%, lowest {100 * min(covered):.1f}%, {few} below 92%"
    )


if __name__ == "__main__":
    source = np.random.default_rng(int(sys.argv[1]) if sys.argv[1:] else 17)
    any_attack(source)
    at_k(source, ragged=False)
    at_k(source, ragged=True)
    false_pass(source)
    search(source)
