"""Two rates on the same behaviors: their difference with its uncertainty, and what it takes to see one. Pure functions.

B is compared with A: a difference is B's rate minus A's, above 0 where B was broken more often. Every argument holds
one number per behavior, and behavior number i is the same in all of them. Nothing to compare gives None.

The interval holds every difference that the score test of `stats.score` does not reject: on the behaviors where each
has one case, and on an effective number of behaviors where some have several. It leaves out 0 just where p does, of the
score test and of McNemar's exact test, or of a permutation of behaviors where some have several cases: their false
alarms never exceed the level, whatever the number of behaviors and of changes. So p and interval always say the same.
The price is power; `behaviors_needed` counts it in.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from withstand.stats.clusters import Groups, effective, kept
from withstand.stats.rates import Counts, Floats, counted, normal_limit
from withstand.stats.score import high_tail, low_tail, upper_limit
from withstand.stats.special import binomial_cdf, binomial_pmf, binomial_sf

ADDED = 0.5
"""Pairs added in each direction where few say little: to a pilot's changes, and to the variances of several cases."""

UNSEEN = -math.log(0.025)
"""Behaviors that change altogether and that a run misses in 2.5%, however many it has (Poisson): 3.7. The limits add so
many to both variances of several cases. With half a pair, `bench/paired.py` had false passes in 10%."""

Method = Literal["exact McNemar", "paired permutation of behaviors", "paired permutation of clusters"]

_NORMAL = NormalDist()
_LATTICE = 20_000
"""Steps that the changes of several cases are rounded to, all behaviors together, for the permutation test."""


@dataclass(frozen=True)
class Difference:
    """Mean over behaviors of B's rate minus A's, in [-1, 1], among the `behaviors` with a scored case in both.

    rate_a, rate_b: means over these behaviors, in [0, 1].   worse, better: behaviors broken more often, and less often,
    in B.   gained, lost: the share of cases that are broken in B alone, and in A alone, of each behavior paired with
    each other; `gained - lost` is the difference.   effective: how many behaviors of one case would know it as well;
    careful: how many would, if some that changed altogether were missed.
    rates_a, rates_b: of each behavior, shape (behaviors,).   groups, plain: their clusters, and what would be effective
    and careful without these; every limit and p is the more careful one of both. With one cluster nothing can be told.
    """

    rate_a: float
    rate_b: float
    behaviors: int
    worse: int
    better: int
    gained: float
    lost: float
    effective: float
    careful: float
    method: Method
    rates_a: Floats = field(repr=False, compare=False)
    rates_b: Floats = field(repr=False, compare=False)
    groups: Groups | None = field(repr=False, compare=False)
    plain: tuple[float, float]

    @cached_property
    def p(self) -> float:
        """Two-sided p of no difference: by `method`, or of the score test where that is larger."""
        if not self.effective:
            return 1.0
        changes = self.rates_b - self.rates_a
        if self.method == "exact McNemar":
            exchanged = mcnemar(self.worse, self.better)
        else:
            exchanged = permuted(self.groups.sums(changes) if self.groups else changes)
        score = max(2 * min(low_tail(*counts, 0.0), high_tail(*counts, 0.0)) for counts in self._counts(careful=False))
        return max(exchanged, min(1.0, score))

    @property
    def difference(self) -> float:
        return self.rate_b - self.rate_a

    def limits(self, level: float = 0.95) -> tuple[float, float]:
        """The interval of the difference, in [-1, 1]. It holds 0 just if p is above 1 - level.

        It keeps a width where nothing changed: then it ends where so many behaviors without a change have a chance of
        (1 - level) / 2.
        """
        normal_limit(level)  # checks it
        if not self.effective:
            return -1.0, 1.0
        shown, change = self.p <= 1 - level, self.difference
        most = (0.0 if shown and change < 0 else 1.0), (0.0 if shown and change > 0 else 1.0)
        high = max(upper_limit(worse, better, n, level, most[0]) for worse, better, n in self._counts(careful=True))
        low = -max(upper_limit(better, worse, n, level, most[1]) for worse, better, n in self._counts(careful=True))
        low, high = min(low, change), max(high, change)
        if not shown:
            return min(low, 0.0), max(high, 0.0)
        beside = math.ulp(0.0)  # the limits add more than p does and may end at 0, which p leaves out
        return (max(low, beside), high) if change > 0 else (low, min(high, -beside))

    def unchanged(self, margin: float) -> float:
        """The p of a difference of `margin` or more: up to 0.05, the 95% interval lies within -margin to margin.

        Two one-sided tests (Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15:657), each at half the level.
        Without a change, 5 points need 72 behaviors.
        """
        if not 0 < margin < 1:
            raise ValueError(f"margin is {margin}; it must lie in (0, 1)")
        if not self.effective:
            return 1.0
        counts = self._counts(careful=True)
        above = 2 * max(low_tail(*of, margin) for of in counts)
        below = 2 * max(high_tail(*of, -margin) for of in counts)
        if self.difference:  # what excludes 0 excludes the margin beyond it
            above, below = (min(above, self.p), below) if self.difference < 0 else (above, min(below, self.p))
        return min(1.0, max(above, below))

    def _counts(self, careful: bool) -> list[tuple[float, float, int]]:
        """Behaviors changed for the worse, for the better, and all, as if each had one case; without clusters too."""
        sizes = {int(number[careful] + 1e-6) for number in ((self.effective, self.careful), self.plain)}
        return [(n * self.gained, n * self.lost, n) for n in sizes]


def difference(
    successes_a: Counts,
    scored_a: Counts,
    successes_b: Counts,
    scored_b: Counts,
    differing: Floats | None = None,
    *,
    clusters: Sequence[str] | None = None,
) -> Difference | None:
    """B's rate minus A's over the behaviors with a scored case in both; None if there are none.

    differing: of each behavior, the share of its cases that are a hit on one side alone, each paired with the case of
    the other side that it belongs to. None: no case belongs to one of the other side, so that all are paired with all;
    then draws that are equal by the same seed pass for luck, and the interval is too narrow.
    clusters: as in `difference_of_rates`. Raises `ValueError` for impossible counts and for columns of different
    lengths.
    """
    columns = (successes_a, scored_a, successes_b, scored_b)
    a, n_a, b, n_b = counted(*(np.asarray(column, dtype=np.int64) for column in columns))
    if (a > n_a).any() or (b > n_b).any():
        raise ValueError("a behavior has more successes than scored cases")
    both = (n_a > 0) & (n_b > 0)
    a, n_a, b, n_b = a[both], n_a[both], b[both], n_b[both]
    apart = unpaired(a / n_a, b / n_b) if differing is None else np.asarray(differing, float)[both]
    return difference_of_rates(a / n_a, b / n_b, apart, np.maximum(1 / n_a, 1 / n_b), clusters=kept(clusters, both))


def unpaired(rates_a: Any, rates_b: Any) -> Any:
    """The chance that a case of A and one of B differ, if they have nothing in common but their rates."""
    return rates_a * (1 - rates_b) + rates_b * (1 - rates_a)


def difference_of_rates(
    rates_a: Floats, rates_b: Floats, differing: Floats, share: Floats, *, clusters: Sequence[str] | None = None
) -> Difference | None:
    """The same from the rates of the behaviors, each in [0, 1] and scored in both; None without a behavior.

    differing: as in `difference`; of a mean over attacks, its mean.   share: 1 / cases of a behavior, of the side that
    has fewer: 1 for one case. A mean over `k` attacks of so many cases each has the mean of their shares, divided by k.
    clusters: the name of each behavior's cluster, "" for one of its own; clusters then change together
    (`stats.clusters`), and the permutation test exchanges A and B in whole ones.
    """
    if not rates_a.size:
        return None
    gained, lost, *plain = effective_pairs(rates_a, rates_b, differing, share)
    single = bool((share == 1).all() and np.isin(rates_a, (0, 1)).all() and np.isin(rates_b, (0, 1)).all())
    groups, most = Groups.of(clusters), math.inf
    if groups:
        most = effective(rates_b - rates_a, gained + lost - (gained - lost) ** 2, groups)
    method: Method = "paired permutation of clusters" if groups else "paired permutation of behaviors"
    return Difference(
        rate_a=float(np.sort(rates_a).mean()),
        rate_b=float(np.sort(rates_b).mean()),
        behaviors=len(rates_a),
        worse=int((rates_b > rates_a).sum()),
        better=int((rates_b < rates_a).sum()),
        gained=float(gained),
        lost=float(lost),
        effective=float(min(plain[0], most)),
        careful=float(min(plain[1], most)),
        method="exact McNemar" if single and not groups else method,
        rates_a=rates_a,
        rates_b=rates_b,
        groups=groups,
        plain=(float(plain[0]), float(plain[1])),
    )


def effective_pairs(rates_a: Floats, rates_b: Floats, differing: Floats, share: Floats) -> tuple[Any, Any, Any, Any]:
    """`gained`, `lost`, `effective` and `careful` of `Difference`, for rates of shape (..., behaviors).

    differing: as in `difference`.   share: 1 / cases of a behavior, of the side that has fewer, shape (behaviors,).
    The effective number is that of the behaviors times the variance that changes of one case have over the variance of
    the behaviors' changes (the design effect of clustered pairs; Durkalski et al. 2003, Statistics in Medicine
    22:2417), both with `ADDED`, or `UNSEEN`, added; at most what independent cases would give. Where no case
    changed it is the number of behaviors, however many cases each has: they show nothing but that they are alike. With
    one case per behavior it is so too, and the interval is Tango's own.
    """
    behaviors = rates_a.shape[-1]
    changes = rates_b - rates_a
    differing = np.maximum(differing, np.abs(changes))  # where cases on one side only lend it more
    gained = np.sort((differing + changes) / 2, axis=-1).mean(axis=-1)  # sorted: alike in any order of behaviors
    lost = np.sort((differing - changes) / 2, axis=-1).mean(axis=-1)
    changes = np.sort(changes, axis=-1)
    seen = np.square(changes - changes.mean(axis=-1, keepdims=True)).sum(axis=-1)
    single = behaviors * (gained + lost - np.square(gained - lost))
    independent = behaviors**2 / np.sort(share).sum()
    numbers = (np.minimum(behaviors * (single + added) / (seen + added), independent) for added in (ADDED, UNSEEN))
    return gained, lost, *numbers


def mcnemar(worse: int, better: int) -> float:
    """Exact two-sided p that a change is as likely in either direction. McNemar 1947, Psychometrika 12:153."""
    return min(1.0, 2 * float(binomial_cdf(min(worse, better), worse + better, 0.5)))


def permuted(changes: Floats) -> float:
    """p of the mean of `changes` if each had either sign by chance: A and B exchanged within behaviors, exactly.

    McNemar's idea for clusters; Fisher 1935, "The Design of Experiments", section 21. All 2^n ways are counted by the
    Fourier transform of their sum, on changes that are rounded to a lattice. Rounding keeps the test exact, since it
    does not look at the sign.
    """
    changes = changes[np.abs(changes) > 1e-12]
    if not changes.size:
        return 1.0
    steps = max(60, _LATTICE // changes.size // 60 * 60)  # a multiple of 60: exact for 2 to 6 cases, and for 10
    sizes = np.maximum(1, np.rint(np.abs(changes) * steps)).astype(np.int64)
    sizes //= np.gcd.reduce(sizes)
    observed, total = abs(int((np.sign(changes) * sizes).sum())), int(sizes.sum())
    angle = np.pi * np.arange((total + 1) // 2 + 1) / (total + 1)
    transform = np.exp(-1j * angle * total)
    for size, times in zip(*np.unique(sizes, return_counts=True), strict=True):
        transform *= np.cos(angle * size) ** times
    chance = np.fft.irfft(transform, total + 1)  # of the sum of the changes that are for the worse
    beyond = np.abs(2 * np.arange(total + 1) - total) >= observed
    return float(min(1.0, max(chance[beyond].sum(), 2.0 ** (1 - changes.size))))


# --- planning ----------------------------------------------------------------------------------------------------


def discordance(asr: float, difference: float, alike: float = 0.0) -> float:
    """The share of behaviors broken in one of A and B alone, in [0, 1], with one case per behavior.

    asr: A's rate; B's is asr - difference.   alike: correlation of A and B within a behavior; 0: they share nothing,
    the most careful assumption unless one attack breaks what the other cannot.
    """
    a, b = asr, asr - difference
    if not (0 <= a <= 1 and 0 <= b <= 1):
        raise ValueError(f"rates of {a} and {b}; they must lie in [0, 1]")
    shared = a * b + alike * math.sqrt(a * (1 - a) * b * (1 - b))
    return max(abs(difference), a + b - 2 * shared)


def behaviors_needed(difference: float, discordant: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """How many behaviors of one case show a difference with this power, by the exact McNemar test, two-sided.

    difference: of the rates, not 0, in (-1, 1).   discordant: share broken in one alone, at least |difference|.

    The least n from which the exact power stays at or above `power`, searched from the normal approximation (Connor
    1987, Biometrics 43:207), which is a little low since the exact test is conservative.
    """
    delta = abs(difference)
    if not 0 < delta <= discordant <= 1:
        raise ValueError(f"difference {difference} and discordance {discordant}: 0 < |difference| <= discordance <= 1")
    if not (0 < power < 1 and 0 < alpha < 1):
        raise ValueError(f"power {power} and alpha {alpha} must lie in (0, 1)")
    spread = _NORMAL.inv_cdf(1 - alpha / 2) * math.sqrt(discordant)
    rough = (spread + _NORMAL.inv_cdf(power) * math.sqrt(discordant - delta**2)) ** 2 / delta**2
    n = max(4, int(rough))
    step = max(1, n // 200)  # of thousands the last digits say nothing
    rejects = _rejects(2 * n + 100, delta, discordant, alpha)
    while _power(n, discordant, rejects) < power:
        n += step
        if n >= len(rejects):
            rejects = _rejects(2 * n, delta, discordant, alpha)
    return n


def mcnemar_power(n: int, difference: float, discordant: float, alpha: float = 0.05) -> float:
    """The chance that the exact McNemar test on n behaviors has p <= alpha: a sum over what can be drawn."""
    return _power(n, discordant, _rejects(n, difference, discordant, alpha))


def _power(n: int, discordant: float, rejects: Floats) -> float:
    return float(binomial_pmf(np.arange(n + 1), n, discordant) @ rejects[: n + 1])


def _rejects(most: int, difference: float, discordant: float, alpha: float) -> Floats:
    """The chance that the test rejects given 0, 1, ..., `most` changed behaviors."""
    changed = np.arange(most + 1)
    upward = (discordant + difference) / (2 * discordant)
    few = _rejected_up_to(changed, alpha / 2)  # rejects at most so many, or all but these
    chance = binomial_cdf(few, changed, upward) + binomial_sf(changed - few - 1, changed, upward)
    return np.where(few >= 0, chance, 0.0)


def _rejected_up_to(changed: npt.NDArray[np.int64], share: float) -> npt.NDArray[np.int64]:
    """The largest number whose chance, or that of fewer, is at most `share` < 1/2 of so many fair coins; -1: none."""
    share *= 1 + 1e-12  # a share that is reached exactly, such as 1/16 by four coins, must not be lost by rounding
    few = np.floor((changed + _NORMAL.inv_cdf(share) * np.sqrt(changed) - 1) / 2).astype(np.int64)
    few = np.maximum(few, -1)
    below = binomial_cdf(few, changed, 0.5)
    while (over := below > share).any():
        below = np.where(over, below - binomial_pmf(few, changed, 0.5), below)
        few = few - over
    while (under := (further := below + binomial_pmf(few + 1, changed, 0.5)) <= share).any():
        few, below = few + under, np.where(under, further, below)
    return few


@dataclass(frozen=True, slots=True)
class Spread:
    """How the change of a behavior varies: `between` behaviors, and `within` one from case to case (variances)."""

    between: float
    within: float

    def sd(self, cases: int) -> float:
        """Of the change of one behavior with so many cases in A and in B."""
        return math.sqrt(self.between + self.within / cases)


def spread(successes_a: Counts, scored_a: Counts, successes_b: Counts, scored_b: Counts) -> Spread | None:
    """The two variances in a pilot, None with fewer than 2 behaviors scored in both.

    Of one behavior, `within` is a(1 - a) + b(1 - b) of its chances in A and B; the variance seen between behaviors
    holds that of the cases too, which is taken off (Searle et al. 1992, "Variance Components", ch. 3).
    With one case in A and B alike the two cannot be told apart, and all of it is `between`.
    """
    a, n_a, b, n_b = (np.asarray(column, float) for column in (successes_a, scored_a, successes_b, scored_b))
    both = (n_a > 0) & (n_b > 0)
    if both.sum() < 2:
        return None
    a, n_a, b, n_b = a[both], n_a[both], b[both], n_b[both]
    seen = float(np.var(b / n_b - a / n_a, ddof=1))
    several = (n_a > 1) & (n_b > 1)
    if not several.any():
        return Spread(seen, 0.0)
    noise = np.zeros(len(a))
    for s, n in ((a, n_a), (b, n_b)):
        noise += np.where(several, s * (n - s) / (n * np.maximum(n - 1, 1)), 0.0)
    cases = 2 / float(np.mean(1 / n_a[several] + 1 / n_b[several]))
    within = float(noise[several].mean())
    return Spread(max(0.0, seen - within / cases), within)
