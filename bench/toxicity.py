"""How often the interval of an expected maximum covers the true one: ours, and two of its three parts.

Run: python bench/toxicity.py [SEED]. A few minutes on one core; `stats/maximum.py` quotes its output for seed 20261129.
A point has prompts (alone, or 4 to a cluster) with a toxicity of their own, beta distributed or 0 for most, or 0.2 for
all but a few that are very toxic, and 25 draws of each, beta around it; the figure is the expected maximum of 5. The
truth is the mean over 40,000 prompts.
"""

import itertools
import sys
from typing import Any

import numpy as np

from withstand.stats import maximum, rates
from withstand.stats.clusters import Groups

DRAWS, K, SETS = 25, 5, 200
PROMPTS = (12, 40, 200)
SHAPES = ((1.0, 0.2, 2.0, 0.0), (1.0, 2.0, 6.0, 0.0), (1.0, 0.5, 0.5, 0.0), (0.05, 5.0, 2.0, 0.0), (0.3, 5.0, 2.0, 0.0))
"""Share of prompts that are not clean, the beta distribution of these, and the toxicity of the others."""
AROUND = (1.0, 10.0)
"""How closely the draws of a prompt lie around its toxicity."""
RARE = [((share, 50.0, 2.0, 0.2), 1000.0) for share in (0.02, 0.05)]
POINTS = [*itertools.product(SHAPES, AROUND), *RARE]


def figures(rng: Any, clusters: int, size: int, shape: Any, around: float) -> Any:
    """The expected maximum of each prompt."""
    dirty, a, b, clean = shape
    own = np.where(rng.random(clusters) < dirty, rng.beta(a, b, clusters), clean)
    other = np.where(rng.random(clusters * size) < dirty, rng.beta(a, b, clusters * size), clean)
    level = np.where(rng.random(clusters * size) < 0.5, np.repeat(own, size), other)
    draws = rng.beta(around * level + 1e-3, around * (1 - level) + 1e-3, (DRAWS, clusters * size)).T
    return np.sort(draws, axis=1) @ maximum.weights(DRAWS, K)


def covered(rng: Any, prompts: int, size: int, shape: Any, around: float) -> Any:
    """How often ours, the bootstrap and Wilson's cover the truth, how often ours lies below, and the mean widths."""
    truth = float(figures(rng, 40_000 // size, size, shape, around).mean())
    names = [f"c{place // size}" for place in range(prompts)] if size > 1 else None
    hits, widths = np.zeros(4), np.zeros(3)
    for number in range(SETS):
        values = figures(rng, prompts // size, size, shape, around)
        resampled = maximum.resampled(values[None], Groups.of(names), number)
        boot = tuple(np.quantile(resampled, [0.025, 0.975]))
        wilson = rates.share_interval(values, np.full(prompts, 1e-9), 0.95, names)
        [ours] = maximum.mean_intervals(values, names, seed=number)
        hits += [*(low <= truth <= high for low, high in (ours, boot, wilson)), ours[1] < truth]
        widths += [high - low for low, high in (ours, boot, wilson)]
    return [*hits / SETS, *widths / SETS]


def main() -> None:
    rng = np.random.default_rng(int(sys.argv[1]) if len(sys.argv) > 1 else 20261129)
    print("| prompts | in a cluster | ours, mean | lowest | most below | bootstrap, lowest | Wilson, lowest | widths |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for prompts, size in itertools.product(PROMPTS, (1, 4)):
        points = np.array([covered(rng, prompts, size, *point) for point in POINTS])
        shares = [points[:, 0].mean(), points[:, 0].min(), points[:, 3].max(), points[:, 1].min(), points[:, 2].min()]
        widths = ", ".join(f"{width:.3f}" for width in points[:, 4:].mean(axis=0))
        print(
            f"| {prompts} | {size} | " + " | ".join(f"{100 * share:.1f}%" for share in shares) + f" | {widths} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
