"""Intervals where the highest of several rates is named. Pure functions.

The highest of many equal rates is high by luck, and its own interval then lies above the true rate. Intervals that hold
for all rates at once hold for whichever is named (Sidak 1967, JASA 62:626). At these levels Wilson's is too short near
0 and 1, so that the limits are exact ones (Clopper and Pearson 1934, Biometrika 26:404).
"""

from withstand.stats.special import beta_tails

_HALVINGS = 36


def clopper_pearson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Exact limits of a binomial proportion, in [0, 1]. Effective counts need not be whole."""
    if not 0 <= successes <= n or not n or not 0 < level < 1:
        raise ValueError(f"{successes} successes among {n} cases at level {level}")
    return _lower(successes, n, (1 - level) / 2), 1 - _lower(n - successes, n, (1 - level) / 2)


def _lower(successes: float, n: float, error: float) -> float:
    """Where `successes` or more have the chance `error`."""
    low, high = 0.0, successes / n
    for _ in range(_HALVINGS if successes > 0 else 0):
        middle = (low + high) / 2
        above = float(beta_tails(successes, n - successes + 1, middle, 1 - middle)[0])
        low, high = (middle, high) if above < error else (low, middle)
    return low


def level_of_each(rivals: int, level: float = 0.95) -> float:
    """The level of each of so many intervals, 1 or more, that all hold together with `level`.

    Exact for independent rates. Rates on the same behaviors go up and down together, and then it is a little wide.
    """
    return float(level ** (1 / rivals))
