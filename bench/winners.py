"""How often the interval shown for the highest of several attacks holds that attack's true rate.

Run: python bench/winners.py [SEED]. A minute or two on one core; docs/statistics.md quotes its output. Points are drawn
at random: attacks, behaviors, cases of one, how alike they are, and how far attacks share what they break.
"""

import sys
from functools import cache

import numpy as np

from withstand.stats import rates
from withstand.stats.winners import clopper_pearson, level_of_each

POINTS, DRAWS = 30, 150


@cache
def limits(successes: float, n: float, attacks: int) -> tuple[float, float]:
    return clopper_pearson(min(successes, n), n, level_of_each(attacks))


def drawn(
    rng: np.random.Generator, attacks: int, n: int, cases: int, rate: float, alike: float, shared: float
) -> np.ndarray:
    """Successes of shape (attacks, behaviors): each behavior has a chance, in part common to the attacks."""
    common = rng.random(n) < shared
    if alike <= 0:
        chance = np.full((attacks, n), rate)
    else:
        a, b = rate * (1 - alike) / alike, (1 - rate) * (1 - alike) / alike
        chance = np.where(common, rng.beta(a, b, n), rng.beta(a, b, (attacks, n)))
    return rng.binomial(cases, chance)


def point(rng: np.random.Generator) -> tuple[str, float, float]:
    attacks, n, cases = int(rng.choice([2, 5, 20, 40])), int(rng.integers(20, 300)), int(rng.choice([1, 1, 2, 5]))
    rate, alike, shared = (
        float(rng.uniform(0.01, 0.6)),
        float(rng.choice([0.05, 0.3, 0.7])),
        float(rng.choice([0, 0.5, 1])),
    )
    own = together = 0
    for _ in range(DRAWS):
        hits = drawn(rng, attacks, n, cases, rate, alike, shared)
        best = hits[hits.sum(axis=1).argmax()]
        scored = np.full(n, cases)
        ends = rates.rate_interval(best, scored)
        effective = rates.effective_cases(best, scored)
        if ends is None or effective is None:
            continue
        rate_seen, size = effective
        low, high = limits(round(rate_seen * size, 6), round(size, 6), attacks)
        own += ends.low <= rate <= ends.high
        together += low <= rate <= high
    name = f"{attacks} attacks at {100 * rate:.0f}%, {n} behaviors, {cases} cases, alike {alike}, shared {shared}"
    return name, own / DRAWS, together / DRAWS


if __name__ == "__main__":
    generator = np.random.default_rng(int(sys.argv[1]) if sys.argv[1:] else 20261128)
    points = [point(generator) for _ in range(POINTS)]
    own, together = (np.array([entry[place] for entry in points]) for place in (1, 2))
    print(f"{POINTS} points, {DRAWS} draws each")
    for name, covered in (("its own interval", own), ("that of all attacks together", together)):
        print(f"{name}: {100 * covered.mean():.1f}% on average, {100 * covered.min():.1f}% at the lowest")
    print("lowest:", min(points, key=lambda entry: entry[2]))
