"""How often the interval of a ratio of two rates lies on the wrong side of the true ratio: ours, and Koopman's alone.

Run: python bench/ratio.py. A few seconds on one core; `stats/ratio.py` quotes its output. Nothing is drawn: chances are
summed over all outcomes of two binomials, or all but those beyond nine standard deviations.
"""

import itertools
from statistics import NormalDist
from typing import Any

import numpy as np

from withstand.stats.ratio import MANY, score
from withstand.stats.special import binomial_pmf, binomial_sf

SIZES = itertools.product((10, 30, 100, 400), (30, 300, 3000))
RATES = (0.005, 0.02, 0.1, 0.3, 0.6, 0.9)
RATIOS = (0.5, 0.8, 1.0, 1.25, 2.0)
LEVELS = (0.95, 0.999, 0.9999)


def window(n: int, rate: float) -> Any:
    reach = 9 * (n * rate * (1 - rate)) ** 0.5 + 12
    return np.arange(max(0, int(n * rate - reach)), min(n, int(n * rate + reach)) + 1)


def wrong(n: int, base_n: int, base_rate: float, ratio: float) -> Any:
    """By level, the chance that ours and that Koopman's limits lie above the true ratio, and below it."""
    times, base_times = window(n, ratio * base_rate)[:, None], window(base_n, base_rate)[None]
    chance = binomial_pmf(times, n, ratio * base_rate) * binomial_pmf(base_times, base_n, base_rate)
    statistic = score(times, n, base_times, base_n, ratio)
    share = n * ratio / (n * ratio + base_n)  # of the events, in the first group
    total = times + base_times
    above, below = binomial_sf(times - 1, total, share), binomial_sf(base_times - 1, total, 1 - share)
    many = np.minimum(np.minimum(times, n - times), np.minimum(base_times, base_n - base_times)) >= MANY
    chances: list[float] = []
    for level in LEVELS:
        error = (1 - level) / 2
        critical = NormalDist().inv_cdf((1 + level) / 2)
        for koopman, exact in ((statistic > critical, above < error), (statistic < -critical, below < error)):
            chances += [chance[koopman & (many | exact)].sum() / error, chance[koopman].sum() / error]
    return np.array(chances).reshape(len(LEVELS), 2, 2)


def main() -> None:
    rows = np.array([
        wrong(n, base_n, rate, ratio)
        for (n, base_n), rate, ratio in itertools.product(SIZES, RATES, RATIOS)
        if ratio * rate < 1
    ])  # fmt: skip
    print(f"{len(rows)} designs")
    for place, level in enumerate(LEVELS):
        ours, koopman = rows[:, place, :, 0], rows[:, place, :, 1]
        print(f"{100 * level:g}%: ours {ours.mean():.2f}, at most {ours.max():.2f}; Koopman's {koopman.max():.1f}")


main()
