"""How much of the uncertainty of a rate comes from the behaviors, from the seeds of an attack, and from draws."""

import math
from dataclasses import dataclass

import numpy as np

from withstand.stats.rates import Counts, Floats, counted
from withstand.stats.special import f_quantile

ADDED = 0.5
"""Squared deviations added to those of draws: a few draws that are all alike do not show that all would be."""


@dataclass(frozen=True, slots=True)
class VarianceParts:
    """Shares of the variance of a rate, which add up to 1: how behaviors differ, how seeds do, and how draws of one
    behavior do. In draws is what a seed does to one behavior alone.

    interval: 95%, of what behaviors have of behaviors and draws together.   seeds: None with one seed.   number: seeds.
    """

    behaviors: float
    interval: tuple[float, float]
    draws: float
    seeds: float | None = None
    number: int = 1

    @property
    def mostly_behaviors(self) -> bool:
        """Whether the behaviors are shown to be more than half of it, so that more of them narrow the rate most."""
        others = self.seeds or 0.0
        return self.interval[0] * (1 - others) > 0.5


def variance_parts(successes: Counts, scored: Counts) -> VarianceParts | None:
    """The parts of one seed by one-way analysis of variance (Searle et al. 1992, "Variance Components", ch. 3).

    None with fewer than 2 behaviors, without a behavior of several draws, or where no draw differs from another. The
    interval is that of the ratio of both mean squares, which is F's where values are normal.
    """
    successes, scored = counted(successes, scored)
    hits, draws = (column[scored > 0].astype(float) for column in (successes, scored))
    behaviors, total = len(draws), draws.sum()
    if behaviors < 2 or total == behaviors or hits.sum() in (0, total):
        return None
    shares, mean = hits / draws, hits.sum() / total
    within = float(((hits * (draws - hits) / draws).sum() + ADDED) / (total - behaviors))
    between = float((draws * (shares - mean) ** 2).sum() / (behaviors - 1))
    ratio, freedom = between / within, (behaviors - 1, float(total - behaviors))
    share = max(0.0, 1 - 1 / ratio) if ratio else 0.0
    return VarianceParts(share, _interval(ratio, *freedom), 1 - share)


def parts_of_seeds(shares: Floats) -> VarianceParts | None:
    """The parts of several seeds by two-way analysis of variance. shares: of shape (behaviors, seeds), each in [0, 1].

    The mean over both has the variance B / behaviors + S / seeds + R / (behaviors * seeds), where B, S and R are the
    components of behaviors, of seeds, and the rest (Searle et al. 1992, ch. 4). None with fewer than 2 of either.
    """
    behaviors, seeds = shares.shape
    if behaviors < 2 or seeds < 2 or shares.min() == shares.max():
        return None
    rows, columns, mean = shares.mean(axis=1), shares.mean(axis=0), shares.mean()
    rest = shares - rows[:, None] - columns + mean
    freedom = (behaviors - 1) * (seeds - 1)
    residual = float((np.square(rest).sum() + ADDED) / freedom)
    of_rows = seeds * float(np.square(rows - mean).sum()) / (behaviors - 1)
    of_columns = behaviors * float(np.square(columns - mean).sum()) / (seeds - 1)
    parts = np.array([max(0.0, of_rows - residual), max(0.0, of_columns - residual), residual])  # each times B * S
    of_behaviors, of_seeds, of_draws = (parts / parts.sum()).tolist()
    interval = _interval(of_rows / residual, behaviors - 1, freedom)
    return VarianceParts(of_behaviors, interval, of_draws, of_seeds, seeds)


def _interval(ratio: float, first: float, second: float) -> tuple[float, float]:
    """Of 1 - 1 / (the true ratio of mean squares), in [0, 1]."""
    ends = (f_quantile(q, first, second) for q in (0.975, 0.025))
    low, high = (max(0.0, 1 - end / ratio) if ratio > end and math.isfinite(ratio) else 0.0 for end in ends)
    return low, high
