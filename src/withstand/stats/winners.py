"""Intervals where the highest of several rates is named. Pure functions.

The highest of many equal rates is high by luck, and its own interval then lies above the true rate. Intervals that hold
for all rates at once hold for whichever is named (Sidak 1967, JASA 62:626). At these levels Wilson's is too short near
0 and 1, so that the limits are exact ones (Clopper and Pearson 1934, Biometrika 26:404).
"""

from withstand.stats.special import beta_quantile


def clopper_pearson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Exact limits of a binomial proportion, in [0, 1]. Effective counts need not be whole."""
    if not 0 <= successes <= n or not n or not 0 < level < 1:
        raise ValueError(f"{successes} successes among {n} cases at level {level}")
    error, held = (1 - level) / 2, n - successes
    low = beta_quantile(error, successes, held + 1) if successes > 0 else 0.0
    return low, 1 - beta_quantile(error, held, successes + 1) if held > 0 else 1.0


def level_of_each(rivals: int, level: float = 0.95) -> float:
    """The level of each of so many intervals, 1 or more, that all hold together with `level`.

    Exact for independent rates. Rates on the same behaviors go up and down together, and then it is a little wide.
    """
    return float(level ** (1 / rivals))
