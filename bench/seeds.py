"""How often the interval of a change over several seeds covers the true one: ours, and each of its two parts.

Run: python bench/seeds.py [SEED]. A few minutes on one core; `stats/seeds.py` quotes its output for seed 20261129. A
point has behaviors that differ, seeds that differ, and what a seed does to one behavior, as normal terms of a logit.
The truth is the mean over all behaviors and all seeds. Before the training there is one model; after it, k seeds.
"""

import itertools
import sys
from typing import Any

import numpy as np

from withstand.stats import paired, seeds

BEHAVIORS, DRAWS = 56, 150
SEEDS = (2, 3, 5)
SHIFTS = ((-4.0, 2.0), (-2.0, 1.0))
"""Logit of the harmfulness rate before, and how far the training moves it."""
BETWEEN_SEEDS = (0.3, 1.0)
WITHIN = ((1.0, 0.0), (2.0, 1.0))
"""Standard deviations between behaviors, and of one seed on one behavior."""


def shares(rng: Any, shape: tuple[int, int], logits: Any, seed: float, own: float) -> Any:
    terms = rng.normal(0, seed, (shape[0], 1)) + rng.normal(0, own, shape)
    return 1 / (1 + np.exp(-(logits + terms)))


def covered(rng: Any, k: int, point: Any) -> Any:
    """How often ours, the limits given the seeds, and Student's t of the seeds cover the truth; and ours lies below."""
    (base, shift), seed, (spread, own) = point
    many = rng.normal(0, spread, 200_000)
    after = 1 / (1 + np.exp(-(base + shift + many + rng.normal(0, seed, many.shape) + rng.normal(0, own, many.shape))))
    truth = float((after - 1 / (1 + np.exp(-(base + many)))).mean())
    hits = np.zeros(4)
    single = np.ones(BEHAVIORS, int)
    for _ in range(DRAWS):
        behaviors = rng.normal(0, spread, BEHAVIORS)
        start = (rng.random(BEHAVIORS) < 1 / (1 + np.exp(-(base + behaviors)))).astype(int)
        chance = shares(rng, (k, BEHAVIORS), base + shift + behaviors, seed, own)
        then = (rng.random(chance.shape) < chance).astype(int)
        pair = paired.difference(start, single, then.sum(axis=0), k * single)
        assert pair is not None
        given, means = pair.limits(), (then - start).mean(axis=1)
        ours = seeds.widened(pair.difference, given, means)
        by_t = seeds.widened(pair.difference, (pair.difference, pair.difference), means)
        hits += [*(low <= truth <= high for low, high in (ours, given, by_t)), ours[1] < truth]
    return hits / DRAWS


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 20261129
    rng = np.random.default_rng(seed)
    print("| seeds | ours, mean | lowest | most below | given the seeds, lowest | Student's t, lowest |")
    print("| --- | --- | --- | --- | --- | --- |")
    for k in SEEDS:
        points = np.array([covered(rng, k, point) for point in itertools.product(SHIFTS, BETWEEN_SEEDS, WITHIN)])
        figures = [points[:, 0].mean(), points[:, 0].min(), points[:, 3].max(), points[:, 1].min(), points[:, 2].min()]
        print(f"| {k} | " + " | ".join(f"{100 * value:.1f}%" for value in figures) + " |", flush=True)


if __name__ == "__main__":
    main()
