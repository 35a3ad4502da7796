"""How much of the uncertainty of a rate comes from the behaviors, and how much from the draws of each."""

from dataclasses import dataclass

from withstand.stats.rates import Counts, counted
from withstand.stats.special import beta_tails


@dataclass(frozen=True, slots=True)
class VarianceParts:
    """Shares of the variance of a rate, which add up to 1: how behaviors differ, and how draws of one do.

    `p`: of the test that behaviors do not differ (F).
    """

    behaviors: float
    draws: float
    p: float


def variance_parts(successes: Counts, scored: Counts) -> VarianceParts | None:
    """The parts by one-way analysis of variance (Searle et al. 1992, "Variance Components", ch. 3).

    None with fewer than 2 behaviors, without a behavior of several draws, or where no draw differs from another.
    """
    successes, scored = counted(successes, scored)
    hits, draws = (column[scored > 0].astype(float) for column in (successes, scored))
    behaviors, total = len(draws), draws.sum()
    if behaviors < 2 or total == behaviors:
        return None
    shares, mean = hits / draws, hits.sum() / total
    within = float((hits * (draws - hits) / draws).sum() / (total - behaviors))
    between = float((draws * (shares - mean) ** 2).sum() / (behaviors - 1))
    if within + between <= 0:
        return None
    usual = (total - (draws**2).sum() / total) / (behaviors - 1)
    of_behaviors = max(0.0, between - within) / usual / behaviors
    of_draws = within / total
    if of_behaviors + of_draws <= 0:
        return None
    freedom, rest = behaviors - 1, total - behaviors
    point = rest * within / (rest * within + freedom * between)
    p = float(beta_tails(rest / 2, freedom / 2, point, 1 - point)[0]) if point > 0 else 0.0
    share = of_behaviors / (of_behaviors + of_draws)
    return VarianceParts(share, 1 - share, p)
