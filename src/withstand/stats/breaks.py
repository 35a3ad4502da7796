"""What is estimated of attacks: how often a draw breaks a behavior, or whether a behavior breaks at all.

| statistic | of a behavior it is | taken over |
| --- | --- | --- |
| `mean` | the share of its cases that broke it | one attack |
| `at_k` | the chance that any of k of its cases broke it | one attack |
| `any_attack` | 1 if any case of any attack broke it, else 0: the worst that a defender faces | several attacks |
| `all_of_k` | the chance that it held in all of k cases: 1 - `at_k` | one attack |

Each is a mean over behaviors, so that each has the interval of `rates.share_interval`. A case without a verdict may
have been a break: every estimate carries the limits with all of them counted either way. Pure functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from withstand.stats import rates
from withstand.stats.clusters import kept
from withstand.stats.rates import Counts, Floats
from withstand.stats.statistic import Statistic

Limits: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Attempts:
    """What one attack did, one number per behavior: of all `cases`, `hits` broke it and `unknown` have no verdict."""

    hits: Counts
    unknown: Counts
    cases: Counts


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic over behaviors; rates lie in [0, 1], the lower one first.

    rate, interval: among scored cases, as a mean over `behaviors`.   bounds: the rate if no unknown case was a break,
    and if all were.   limits: the lower limit of the lower bound and the upper one of the upper: what a gate goes by.
    They are exact ones on effective cases: Wilson's lie within a limit in up to 7% of the runs of a rate at it.
    wanted: behaviors with a case.   effective: how many behaviors of one case would know the rate as well.   k: draws
    that it is about.   asked: draws that were asked about.   short: behaviors with fewer; the chance that they break in
    so many may be anything from what they showed to 1.   least, most: shares of the `wanted` behind the bounds.
    """

    statistic: Statistic
    rate: float
    interval: Limits
    bounds: Limits
    limits: Limits
    behaviors: int
    wanted: int
    effective: float
    k: int
    asked: int
    short: int
    least: Floats = field(repr=False, compare=False)
    most: Floats = field(repr=False, compare=False)

    @property
    def open(self) -> int:
        """Behaviors whose share depends on what has no verdict, or on draws that were not made."""
        return int((self.most - self.least > 1e-12).sum())


def estimate(
    statistic: Statistic, attacks: Sequence[Attempts], k: int | None = None, level: float = 0.95,
    clusters: Sequence[str] | None = None,
) -> Estimate | None:  # fmt: skip
    """The statistic of one attack, or for `any_attack` of several on the same behaviors; None where nothing is scored.

    k: draws per behavior, for `at_k` and `all_of_k`; None: all that a behavior has. A behavior with fewer than k draws
    is left out of the rate, and in the bounds it counts as what it showed, and as broken. Where no behavior has k, the
    rate is that of the most draws there are.   clusters: of the behaviors, as in `rates.share_interval`. Raises
    `ValueError` for impossible counts and for a k below 1.
    """
    if statistic == "all_of_k":
        broken = estimate("at_k", attacks, k, level, clusters)
        return _mirrored(broken) if broken else None
    if k is not None and k < 1:
        raise ValueError(f"k is {k}; it must be 1 or more")
    if statistic != "any_attack" and len(attacks) != 1:
        raise ValueError(f"{statistic} is of one attack, and {len(attacks)} were given")
    columns = [rates.counted(attack.hits, attack.unknown, attack.cases) for attack in attacks]
    hits, unknown, cases = (np.sum([column[at] for column in columns], axis=0) for at in range(3))
    if (hits + unknown > cases).any():
        raise ValueError("a behavior has more breaks and unknown cases than cases")
    scored = cases - unknown
    if not (scored > 0).any():
        return None
    drawn = scored if k is None or statistic in ("mean", "any_attack") else np.where(scored >= k, scored, 0)
    most_draws = int(cases.max() if k is None else min(k, scored.max()))
    if not (drawn > 0).any():  # k is larger than all draws: the most there are
        drawn = np.where(scored >= most_draws, scored, 0)
    size = None if statistic == "any_attack" or k is None else most_draws
    values, per_case = _shares(statistic, hits[drawn > 0], drawn[drawn > 0], size)
    wanted = cases > 0
    least, of_least = _shares(statistic, hits[wanted], cases[wanted], k)
    most, of_most = _shares(statistic, (hits + unknown)[wanted], cases[wanted], k)
    short = cases[wanted] < k if statistic == "at_k" and k is not None else np.zeros(len(most), bool)
    most = np.where(short, 1.0, most)
    low, high = rates.share_interval(values, per_case, level, kept(clusters, drawn > 0))
    of = kept(clusters, wanted)
    return Estimate(
        statistic=statistic,
        rate=float(np.sort(values).mean()),
        interval=(low, high),
        bounds=(float(np.sort(least).mean()), float(np.sort(most).mean())),
        limits=(
            rates.share_interval(least, of_least, level, of, exact=True)[0],
            rates.share_interval(most, of_most, level, of, exact=True)[1],
        ),
        behaviors=len(values),
        wanted=int(wanted.sum()),
        effective=rates.effective_shares(least, of_least, of),
        k=1 if statistic == "mean" else most_draws,
        asked=1 if statistic == "mean" else k or most_draws,
        short=int(short.sum()),
        least=least,
        most=most,
    )


def _shares(statistic: Statistic, hits: Counts, cases: Counts, k: int | None) -> tuple[Floats, Floats]:
    """The share of each behavior, every one with a case, and 1 over how many independent draws of it there are.

    Of n cases s broke it: 1 - C(n - s, k) / C(n, k) is unbiased for the chance at k (see `rates.rate_at_k`), and its
    variance is at most k/n of that of a single set of k cases (Hoeffding 1948, Annals of Mathematical Statistics
    19:293, equation 5.13).
    """
    hits, cases = np.asarray(hits), np.asarray(cases)
    if statistic == "mean":
        return hits / cases, 1 / cases
    if statistic == "any_attack" or k is None:
        return (hits > 0).astype(float), np.ones(len(hits))
    sets = np.minimum(k, cases)
    return rates.chance_at_k(hits, cases, sets), sets / cases


def _mirrored(broken: Estimate) -> Estimate:
    """The share that held, of the share that was broken."""
    ends = {
        name: (1 - high, 1 - low) for name in ("interval", "bounds", "limits") for low, high in [getattr(broken, name)]
    }
    shares = {"least": 1 - broken.most, "most": 1 - broken.least}
    return replace(broken, statistic="all_of_k", rate=1 - broken.rate, **ends, **shares)  # type: ignore[arg-type]


def false_breaks(cases: Counts, specificity: float) -> float:
    """The share of behaviors that a judge alone would call broken by any of their cases, were none of them broken.

    cases: how many each behavior had, of all attacks.   specificity: the chance in [0, 1] that the judge calls a case
    that broke nothing so. Of independent errors: those that repeat on a behavior's cases make it smaller.
    """
    if not 0 <= specificity <= 1:
        raise ValueError(f"specificity is {specificity}; it must lie in [0, 1]")
    (counts,) = rates.counted(cases)
    counts = counts[counts > 0]
    return float(np.sort(1 - specificity**counts).mean()) if counts.size else 0.0
