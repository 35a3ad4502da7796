"""How often a watched cell is decided wrongly, and how many behaviors it asks: `stop_when_decided`.

Run: python bench/watched.py [SEED]. A minute on one core; docs/statistics.md quotes its output. One case per behavior
is summed exactly. Several cases, and shares that are not counts, are drawn: the boundaries are exact for coins alone.
"""

import sys

import numpy as np
from scipy.stats import binom

from withstand.stats.group_sequential import Watch

DRAWS = 4000


def exact(rng: np.random.Generator) -> None:
    worst, lost, points = 0.0, 0.0, 0
    for _ in range(150):
        limit, n = float(rng.uniform(0.01, 0.6)), int(rng.integers(10, 500))
        watch, counts = Watch(limit, n), np.arange(n + 1)
        single = (binom.cdf(counts, n, limit) <= 0.025) | (binom.sf(counts - 1, n, limit) <= 0.025)
        worst = max(worst, *watch.chances(limit)[:2])
        for rate in rng.uniform(0, min(1, 2.5 * limit), 8):
            lost = max(lost, binom.pmf(counts, n, rate)[single].sum() - sum(watch.chances(float(rate))[:2]))
            points += 1
    print(f"coins, exact: largest error {100 * worst:.2f}% of 2.5%; decided less often than one look: {100 * lost:.2f} "
          f"points at most over {points} points")  # fmt: skip


def shares(rng: np.random.Generator, kind: str, mean: float, size: tuple[int, int]) -> np.ndarray:
    """Rates of behaviors with this mean, in [0, 1]."""
    if kind == "2 to 8 cases, alike":
        k, concentration = rng.integers(2, 9), rng.uniform(0.3, 5)
        p = rng.beta(mean * concentration, (1 - mean) * concentration, size)
        return rng.binomial(k, p) / k
    if kind == "2 to 8 cases, independent":
        k = rng.integers(2, 9)
        return rng.binomial(k, mean, size) / k
    top = rng.uniform(mean, 1)  # 0 or one share
    return top * (rng.random(size) < mean / top)


def drawn(rng: np.random.Generator) -> None:
    for kind in ("2 to 8 cases, alike", "2 to 8 cases, independent", "0 or one share"):
        errors = []
        for _ in range(25):
            limit, n = float(rng.uniform(0.03, 0.5)), int(rng.integers(20, 300))
            watch = Watch(limit, n)
            answers = [watch.outcome(path).answer for path in np.minimum(shares(rng, kind, limit, (DRAWS, n)), 1.0)]
            errors += [answers.count("below") / DRAWS, answers.count("above") / DRAWS]
        print(f"{kind}, drawn at the limit: mean error {100 * np.mean(errors):.2f}%, largest {100 * max(errors):.2f}%")


def together(rng: np.random.Generator, attacks: int = 3, points: int = 40) -> None:
    """What any of several attacks broke, where they go on until it is decided, and where each stops by itself."""
    lost, alone, errors = [], [], []
    for _ in range(points):
        limit, n = float(rng.uniform(0.05, 0.4)), int(rng.integers(40, 300))
        watch, rate = Watch(limit, n), limit * float(rng.choice([0.3, 0.5, 0.7, 1.0, 1.5]))
        broken = rng.random((attacks, DRAWS, n)) < 1 - (1 - rate) ** (1 / attacks)
        looks, answers = zip(*(_answers(paths, watch) for paths in (*broken, broken.any(axis=0))), strict=True)
        single = (broken.any(axis=0).sum(axis=1)[:, None] == np.arange(n + 1)).astype(float) @ (
            (binom.cdf(np.arange(n + 1), n, limit) <= 0.025) | (binom.sf(np.arange(n + 1) - 1, n, limit) <= 0.025)
        )
        lost.append(single.mean() - np.mean(answers[-1] != 0))
        alone.append(single.mean() - np.mean((answers[-1] != 0) & (looks[-1] <= np.min(looks[:-1], axis=0))))
        errors += [np.mean(answers[-1] == -1)] if rate == limit else []
    print(f"any of {attacks} attacks, drawn: PASS at the limit in {100 * np.mean(errors):.2f}%; decided less often "
          f"than by one look: {100 * max(lost):.1f} points at most, {100 * max(alone):.0f} if each alone")  # fmt: skip


def _answers(paths: np.ndarray, watch: Watch) -> tuple[np.ndarray, np.ndarray]:
    """Of each row of behaviors the look at which it ended, and -1 for below, 1 for above, 0 for neither."""
    totals = paths.cumsum(axis=1)
    look, answer = np.full(len(paths), len(watch.looks) - 1), np.zeros(len(paths), int)
    for at, (n, (low, high)) in enumerate(zip(watch.looks, watch.bounds, strict=True)):
        new = (answer == 0) & ((totals[:, n - 1] <= low) | (totals[:, n - 1] >= high))
        look[new], answer[new] = at, np.where(totals[new, n - 1] <= low, -1, 1)
    return look, answer


if __name__ == "__main__":
    seed = int(sys.argv[1]) if sys.argv[1:] else 20261128
    exact(np.random.default_rng(seed))
    drawn(np.random.default_rng(seed + 1))
    together(np.random.default_rng(seed + 2))
