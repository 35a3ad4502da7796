"""How often a training without effect is called HARDENED: the null of `audits.harden.verdicts`, at its least careful.

    python bench/hardened.py [--runs 600]

Each behavior has its own chance to be broken, drawn from Beta(1.2, 0.8), and the training leaves it as it is but for a
shift of its log odds that is the seed's own where there are several. No case of the base is sent again: that would only
add breaks. A run is wrong if any of its families is HARDENED: they are judged together.
"""

import argparse
from itertools import product

import numpy as np

from withstand.audits.harden.fall import SEEDS
from withstand.stats import gains
from withstand.stats.breaks import Attempts

SEED = 20261129


def wrong(rng: np.random.Generator, behaviors: int, families: int, seeds: int, spread: float) -> bool:
    """Whether one training without effect is called HARDENED against any family. spread: of a seed's log odds."""
    level, ones, zeros = gains.together(families), np.ones(behaviors, int), np.zeros(behaviors, int)
    shifts = rng.normal(0, spread, seeds)
    for _ in range(families):
        chance = rng.beta(1.2, 0.8, behaviors).clip(1e-9, 1 - 1e-9)
        odds = np.log(chance / (1 - chance))
        after = [rng.random(behaviors) < 1 / (1 + np.exp(-odds - shift)) for shift in shifts]
        bare = Attempts((rng.random(behaviors) < chance).astype(int), zeros, ones)
        seen = gains.over_seeds(bare, [Attempts(hits.astype(int), zeros, ones) for hits in after], level, None, SEEDS)
        if seen is not None and seen.interval[0] > 0:
            return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=600)
    runs = parser.parse_args().runs
    rng = np.random.default_rng(SEED)
    print("behaviors families seeds spread | wrongly HARDENED")
    for behaviors, families, (seeds, spread) in product((20, 56), (1, 4), ((1, 0.0), (3, 0.5), (3, 1.0))):
        share = sum(wrong(rng, behaviors, families, seeds, spread) for _ in range(runs)) / runs
        print(f"{behaviors:9} {families:8} {seeds:5} {spread:6} | {share:.1%}", flush=True)


if __name__ == "__main__":
    main()
