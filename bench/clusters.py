"""How often intervals of behaviors in clusters hold the truth, and how often a gate passes what it should not.

Run: python bench/clusters.py [SEED]. Two minutes on one core; docs/statistics.md quotes its output for the seed 17.
The chance of a cluster is beta with the correlation between two of its behaviors; with 0 all chances are equal, with 1
a cluster is broken or held as a whole. A false PASS is an upper limit below the true rate, or the true difference.
"""

import sys
from collections import defaultdict
from typing import Any

import numpy as np
from scipy.stats import beta

from withstand.stats import paired, rates, score
from withstand.stats.clusters import Groups

CLUSTERS, CORRELATIONS, RATES = (5, 10, 20, 40), (0.0, 0.3, 1.0), (0.02, 0.1, 0.5)
SIZES = ("2", "5", "10", "2 to 10", "one of half", "a quarter of 8")
DRAWS, PAIRS, WORST, AGAIN = 2000, 100, 8, 1500


def sizes_of(rng: np.random.Generator, kind: str, clusters: int) -> Any:
    if kind.isdigit():
        return np.full(clusters, int(kind))
    if kind == "2 to 10":
        return rng.integers(2, 11, clusters)
    big = 1 if kind == "one of half" else max(2, clusters // 4)
    small = np.full(clusters - big, 2 if kind == "one of half" else 1)
    return np.concatenate([np.full(big, small.sum() if kind == "one of half" else 8), small])


def chances(rng: np.random.Generator, rate: float, correlation: float, shape: tuple[int, int]) -> Any:
    """Of clusters to be broken."""
    if correlation == 0:
        return np.full(shape, rate)
    if correlation == 1:
        return (rng.random(shape) < rate).astype(float)
    size = (1 - correlation) / correlation
    return rng.beta(rate * size, (1 - rate) * size, shape)


def of_rate(shares: Any, groups: Groups, level: float) -> tuple[Any, Any]:
    """`rates.share_interval` for shares of shape (draws, behaviors), one case each, with scipy's quantiles."""
    rate, cases = shares.mean(axis=1), shares.shape[1]
    number = rates._in_clusters(shares, cases, groups, level)
    hits, held = rate * number, (1 - rate) * number
    error = (1 - level) / 2
    low = np.where(hits > 1e-9, beta.ppf(error, np.maximum(hits, 1e-9), held + 1), 0)
    high = np.where(held > 1e-9, beta.isf(error, hits + 1, np.maximum(held, 1e-9)), 1)
    ends = rates._score(rate, cases, level)
    return np.minimum(low, ends[0]), np.maximum(high, ends[1])


def rate_part(rng: np.random.Generator) -> None:
    covered: dict[float, list[Any]] = defaultdict(list)
    without, wider = [], defaultdict(list)
    for clusters in CLUSTERS:
        for kind in SIZES:
            sizes = sizes_of(rng, kind, clusters)
            numbers = np.repeat(np.arange(clusters), sizes)
            groups = Groups(numbers, sizes)
            for correlation in CORRELATIONS:
                for rate in RATES:
                    chance = chances(rng, rate, correlation, (DRAWS, clusters))
                    shares = (rng.random((DRAWS, len(numbers))) < chance[:, numbers]).astype(float)
                    point = f"{clusters} clusters of {kind}, correlation {correlation:g}, rate {rate:g}"
                    for level in (0.95, 0.99):
                        low, high = of_rate(shares, groups, level)
                        covered[level].append((np.mean((low <= rate) & (rate <= high)), np.mean(high < rate), point))
                        ends = rates._score(shares.mean(axis=1), len(numbers), level)
                        if level == 0.95:
                            without.append(np.mean((ends[0] <= rate) & (rate <= ends[1])))
                        if level == 0.95 and kind == "5":
                            wider[clusters, correlation].append(np.mean(high - low) / np.mean(ends[1] - ends[0]))
    for level, points in covered.items():
        print(f"rate at {level:.0%}: {summary(points)}")
    print(f"without clusters: mean {np.mean(without):.1%}, lowest {min(without):.1%}")
    for clusters in CLUSTERS:
        of = ", ".join(f"{np.mean(wider[clusters, correlation]):.1f}" for correlation in CORRELATIONS)
        print(f"width of {clusters} clusters of 5 in widths without them, by correlation {CORRELATIONS}: {of}")


def paired_point(
    rng: np.random.Generator, sizes: Any, correlation: float, worse: float, better: float, draws: int
) -> Any:
    """How often the interval holds the difference and lies below it, and p is up to .05. A cluster has its own chances
    to get worse and to get better."""
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    names, ones = [f"c{number}" for number in numbers], np.ones(len(numbers), int)
    held = above = alarms = 0
    for _ in range(draws):
        move = np.array([worse, better, 1 - worse - better])
        if correlation == 0:
            by_cluster = np.tile(move, (len(sizes), 1))
        elif correlation == 1:
            by_cluster = rng.multinomial(1, move, len(sizes)).astype(float)
        else:
            by_cluster = rng.dirichlet(np.maximum(move, 1e-12) * (1 - correlation) / correlation, len(sizes))
        ends, u = by_cluster.cumsum(axis=1)[numbers], rng.random(len(numbers))
        up, down = u < ends[:, 0], (u >= ends[:, 0]) & (u < ends[:, 1])
        seen = paired.difference(down.astype(int), ones, up.astype(int), ones, clusters=names)
        assert seen is not None
        over = all(score.low_tail(*count, worse - better) <= 0.025 for count in seen._counts(careful=True))
        under = all(score.high_tail(*count, worse - better) <= 0.025 for count in seen._counts(careful=True))
        held, above = held + (not over and not under), above + over
        alarms += worse == better and seen.p <= 0.05
    return held / draws, above / draws, alarms / draws


def paired_part(rng: np.random.Generator) -> None:
    """The worst points are drawn again, since the worst of many is low by luck."""
    points = []
    for clusters in CLUSTERS:
        for kind in ("5", "2 to 10", "a quarter of 8"):
            sizes = sizes_of(rng, kind, clusters)
            for correlation in CORRELATIONS:
                for worse, better in ((0.05, 0.0), (0.2, 0.05), (0.1, 0.1)):
                    name = f"{clusters} clusters of {kind}, correlation {correlation:g}, {worse:g} up {better:g} down"
                    at = (sizes, correlation, worse, better)
                    points.append((*paired_point(rng, *at, PAIRS), name, at))
    again = sorted(points, key=lambda point: (point[0], -point[1]))[:WORST]
    kept = [point for point in points if all(point is not other for other in again)]
    kept += [(*paired_point(rng, *point[4], AGAIN), *point[3:]) for point in again]
    print(f"difference at 95%: {summary([(p[0], p[1], p[3]) for p in kept])}")
    alarms = [point[2] for point in kept if point[4][2] == point[4][3]]
    print(f"p <= 0.05 without a difference: mean {np.mean(alarms):.1%}, most {max(alarms):.1%}")


def summary(points: list[Any]) -> str:
    covered = [point[0] for point in points]
    least, most = min(points), max(points, key=lambda point: point[1])
    return (
        f"{len(points)} points, mean {np.mean(covered):.1%}, lowest {least[0]:.1%} ({least[2]}); "
        f"false PASS at most {most[1]:.1%} ({most[2]})"
    )


if __name__ == "__main__":
    source = np.random.default_rng(int(sys.argv[1]) if sys.argv[1:] else 17)
    rate_part(source)
    paired_part(source)
