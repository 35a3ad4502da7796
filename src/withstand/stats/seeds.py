"""A mean over seeds of a training: its interval over seeds like these and behaviors like these. Pure functions.

Over `k` seeds of the same behaviors a mean errs by the behaviors, as the interval of `stats.paired` says, and by the
seeds, of which so few are told apart by Student's t with k - 1 degrees of freedom alone. The wider interval counts. A
bootstrap of three seeds covers 76 to 83%. `bench/seeds.py` measures the nominal 95% (56 behaviors, seed 20261129):

| seeds | ours, mean | lowest | most below | given the seeds, lowest | Student's t, lowest |
| --- | --- | --- | --- | --- | --- |
| 2 | 98.0% | 92.7% | 3.3% | 72.0% | 86.7% |
| 3 | 98.4% | 96.0% | 4.0% | 84.7% | 89.3% |
| 5 | 98.6% | 96.7% | 2.7% | 90.0% | 78.0% |

Most below: the truth lies above the interval, as where an audit falsely passes. Where one part is all there is, the
other pays for what it lacks; a sum of both (MOVER) covers 99% and is a seventh wider.
"""

import math
from collections.abc import Sequence

import numpy as np

from withstand.stats.special import Floats, t_quantile


def widened(
    mean: float, limits: tuple[float, float], seed_means: Sequence[float] | Floats, level: float = 0.95
) -> tuple[float, float]:
    """The wider of the limits of `mean` and those by its seeds. limits: given the seeds.   seed_means: of each seed,
    over the same behaviors. With one seed the limits stay: nothing shows what another would do."""
    means = np.asarray(seed_means, float)
    if len(means) < 2:
        return limits
    reach = t_quantile((1 + level) / 2, len(means) - 1) * float(means.std(ddof=1)) / math.sqrt(len(means))
    return min(limits[0], mean - reach), max(limits[1], mean + reach)
