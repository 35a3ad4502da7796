"""How often the intervals of the four statistics hold the true rate, and how often a gate passes what it should not.

Run: python bench/breaks.py [SEED]. Half a minute on one core; docs/statistics.md quotes its output. Points are random.
A draw breaks a behavior with a chance of its own (beta) times the strength of the attack; truths are integrals over
behaviors. `any_attack`, and `at_k` with all draws, are counts of behaviors, whose coverage is summed exactly.
"""

import sys

import numpy as np
from scipy.special import betaln
from scipy.stats import beta, binom

from withstand.stats import breaks, rates

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
        passed = []
        for _ in range(POINTS):
            behaviors, limit = int(rng.integers(35, 400)), float(rng.uniform(0.01, 0.5))
            _, high = ends(behaviors)
            chance = binom.pmf(np.arange(behaviors + 1), behaviors, min(1.0, above * limit))
            passed.append(float(chance[high <= limit].sum()))
        shares = f"mean {100 * np.mean(passed):.2f}%, most {100 * max(passed):.2f}%"
        print(f"false PASS at {above:g} x the limit, exact: {shares}")
    passed = []
    for _ in range(40):
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


def search(rng: np.random.Generator) -> None:
    """best_of_n with 16 draws at 8%: what a gate of 15% says by the mean, and by any_attack."""
    broken = rng.binomial(16, 0.08, (DRAWS, 56))
    full = np.full(broken.shape, 1 / 16)
    by_mean = rates._score(*rates._effective(broken / 16, full), 0.95)[1] <= 0.15
    _, high = ends(56)
    by_any = high[(broken > 0).sum(axis=1)] <= 0.15
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
