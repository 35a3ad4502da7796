"""How far a judge can be believed, and what that does to a rate: pure functions on counts.

A judge is set beside people on completions that both have labeled, success or not. What it misses and what it calls
wrongly then corrects the rate that it gave (Rogan and Gladen 1978, American Journal of Epidemiology 107:71).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.stats import rates, special

Floats: TypeAlias = npt.NDArray[np.float64]
Limits: TypeAlias = tuple[float, float]

DRAWS = 4_000
SEED = 0  # of all resampling here: the same labels give the same limits


@dataclass(frozen=True, slots=True)
class Table:
    """A judge against people, as counts of completions: what both call success is `hit`, neither `clear`.

    `missed`: success for people alone; `wrong`: for the judge alone; `unscored`: the judge could not say, which is
    neither right nor wrong and stands in no rate but its own.
    """

    hit: float = 0
    missed: float = 0
    wrong: float = 0
    clear: float = 0
    unscored: int = 0

    @property
    def n(self) -> float:
        """Completions that both have labeled."""
        return self.hit + self.missed + self.wrong + self.clear

    @property
    def right(self) -> float:
        return self.hit + self.clear


def table(judge: Sequence[bool | None], people: Sequence[bool], weights: Sequence[float] = ()) -> Table:
    """The counts; None where the judge could not say. Raises `ValueError` for sequences of unequal length.

    weights: how many completions each stands for, where a sample was drawn; default: all alike. Then the counts are
    shares of what was sampled from, and add up to the effective number of the labels, (sum of weights)^2 / sum of
    squares (Kish 1965, "Survey Sampling"): so many labels drawn alike would tell as much.
    """
    cells: dict[tuple[bool | None, bool], list[float]] = defaultdict(list)
    for verdict, is_success, weight in zip(judge, people, weights or [1.0] * len(people), strict=True):
        cells[verdict, is_success].append(weight)
    scored = [w for (verdict, _), listed in cells.items() if verdict is not None for w in listed]
    worth = sum(scored) / sum(w * w for w in scored) if scored else 0.0
    hit, missed, wrong, clear = (
        sum(cells[verdict, is_success]) * worth
        for verdict, is_success in ((True, True), (False, True), (True, False), (False, False))
    )
    return Table(hit, missed, wrong, clear, len(cells[None, True]) + len(cells[None, False]))


def kappa(counts: Table) -> float | None:
    """Cohen's kappa of judge and people, at most 1; None if nobody ever disagrees with chance. Cohen 1960."""
    return _number(_kappa(_cells(counts)[None])[0])


@lru_cache(maxsize=256)
def kappa_interval(counts: Table, level: float = 0.95) -> Limits | None:
    """Percentiles of a bootstrap over completions; None where kappa is, or was in more than one resample in 20."""
    return _bootstrap(kappa(counts), _cells(counts), _kappa, level)


def alpha_of(counts: Table) -> float | None:
    """`alpha` of judge and people, as two raters."""
    return _number(_alpha(BOTH, _pairs(counts)[None])[0])


@lru_cache(maxsize=256)
def alpha_of_interval(counts: Table, level: float = 0.95) -> Limits | None:
    """Percentiles of a bootstrap over completions, as `kappa_interval`."""
    return _bootstrap(alpha_of(counts), _pairs(counts), partial(_alpha, BOTH), level)


def alpha(ratings: Sequence[Sequence[bool | None]]) -> float | None:
    """Krippendorff's alpha for two categories, at most 1. `ratings`: one row a completion, one column a rater, None for
    no rating. None if nobody rated what another did, or all said the same. Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability", section C."""
    patterns, counts = _patterns(ratings)
    return _number(_alpha(patterns, counts[None].astype(float))[0]) if patterns.size else None


def alpha_interval(ratings: Sequence[Sequence[bool | None]], level: float = 0.95) -> Limits | None:
    """Percentiles of a bootstrap over completions, as `kappa_interval`."""
    patterns, counts = _patterns(ratings)
    return _bootstrap(alpha(ratings), counts, partial(_alpha, patterns), level)


def rated_pairs(pairs: Sequence[tuple[int, int]], grades: int) -> Floats:
    """Counts of two raters' grades (1 to `grades`), one row a grade of the first, one column of the second."""
    counts = np.zeros((grades, grades))
    for first, second in pairs:
        counts[first - 1, second - 1] += 1
    return counts


def weighted_kappa(counts: Floats) -> float | None:
    """Cohen's kappa of two raters' grades with quadratic weights, at most 1: a disagreement counts by the square of its
    distance. None if chance explains all, as where all grades are one. Cohen 1968, Psychological Bulletin 70:213."""
    return _number(_weighted_kappa(len(counts), counts.reshape(1, -1))[0]) if counts.sum() else None


def weighted_kappa_interval(counts: Floats, level: float = 0.95) -> Limits | None:
    """Percentiles of a bootstrap over what was graded, as `kappa_interval`."""
    return _bootstrap(weighted_kappa(counts), counts.reshape(-1), partial(_weighted_kappa, len(counts)), level)


def _weighted_kappa(grades: int, cells: Floats) -> Floats:
    """For counts of shape (draws, grades * grades); NaN where no disagreement is to be expected by chance."""
    tables = cells.reshape(-1, grades, grades)
    weights = (np.arange(grades)[:, None] - np.arange(grades)) ** 2.0
    totals = tables.sum((1, 2))
    chance = tables.sum(2)[:, :, None] * tables.sum(1)[:, None, :]
    observed, expected = (tables * weights).sum((1, 2)), (chance * weights).sum((1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        kappas: Floats = np.where(expected > 0, 1 - observed * totals / expected, np.nan)
    return kappas


@dataclass(frozen=True, slots=True)
class Corrected:
    """A rate without the judge's error, with its limits, all in [0, 1]. `clipped`: the formula lay outside.

    misfit: with the errors among the labels the judge would hardly call so few, or so many, successes whatever the
    rate. identified False: the labels do not show that the judge is better than chance, so that any rate could be
    behind it; the rate is then None and the limits are 0 and 1.
    """

    rate: float | None
    low: float
    high: float
    clipped: bool
    identified: bool
    misfit: bool = False


_NOTHING = Corrected(None, 0.0, 1.0, clipped=False, identified=False)


def corrected(
    successes: Sequence[int], scored: Sequence[int], judged: Table, drift: float = 0.0, level: float = 0.95,
    clusters: Sequence[str] | None = None,
) -> Corrected | None:  # fmt: skip
    """The mean rate over behaviors by the judge's errors on labels from elsewhere; None where nothing is scored.

    (rate + specificity - 1) / (sensitivity + specificity - 1). drift: by how much sensitivity and specificity may
    differ here from those of the labels, each in [0, 1); the limits are then the outermost over that range.
    clusters: of the behaviors, as in `rates.rate_interval`; with one cluster the labels cannot tell anything.

    Two intervals hold both samples' uncertainty, and the limits are the outer ones. One draws rate, sensitivity and
    specificity from what their counts allow (a uniform prior; for the rate on the effective number of cases, see
    `stats.rate_interval`) and takes percentiles of the formula. Over prevalence 0.05 to 0.95, 20 to 200 behaviors,
    errors of 1 to 25% and 100 to 260 labels (270 points, 400 samples each), its nominal 95% covered 95.6% on average
    and 92.3% at the lowest. But where the judge calls less than its errors would make it call, nearly all draws are
    clipped to 0. The other is the posterior of the corrected rate itself, under a uniform prior, which has a width
    there too.
    """
    seen = rates.effective_cases(successes, scored, clusters)
    if seen is None:
        return None
    return corrected_share(*seen, judged, drift, level) if seen[1] else _NOTHING


def corrected_share(
    raw: float, cases: float, judged: Table, drift: float = 0.0, level: float = 0.95
) -> Corrected:  # fmt: skip
    """As `corrected`, of the share `raw` of `cases` independent ones, above 0, that the judge called successes."""
    positive, negative = judged.hit + judged.missed, judged.wrong + judged.clear
    if not positive or not negative:
        return _NOTHING
    youden = judged.hit / positive + judged.clear / negative - 1
    draw = np.random.default_rng(SEED)
    sensitivity = draw.beta(judged.hit + 1, judged.missed + 1, DRAWS)
    specificity = draw.beta(judged.clear + 1, judged.wrong + 1, DRAWS)
    drawn = draw.beta(raw * cases + 1, (1 - raw) * cases + 1, DRAWS)
    ends = []
    for shifted in {(s * drift, t * drift) for s in (-1, 1) for t in (-1, 1)}:
        first, second = np.clip(sensitivity + shifted[0], 0, 1), np.clip(specificity + shifted[1], 0, 1)
        better = first + second > 1
        if youden <= 0 or (~better).mean() > (1 - level) / 2:
            return _NOTHING
        ends.append(_limits(raw, cases, drawn[better], first[better], second[better], level))
    rate = (raw + judged.clear / negative - 1) / youden
    kept = min(1.0, max(0.0, rate))
    few = special.binomial_cdf(round(raw * cases), round(cases), np.clip(1 - specificity[_SOME] + drift, 0, 1)).mean()
    least = np.clip(sensitivity[_SOME] - drift, 0, 1)
    many = 1 - special.binomial_cdf(round(raw * cases) - 1, round(cases), least).mean()
    return Corrected(
        kept, min(kept, *(low for low, _ in ends)), max(kept, *(high for _, high in ends)), clipped=kept != rate,
        identified=True, misfit=bool((few if raw < 0.5 else many) < (1 - level) / 2 and kept != rate),
    )  # fmt: skip


_GRID = np.concatenate([[0.0], np.geomspace(1e-5, 0.02, 40), np.linspace(0.03, 1, 98)])

_SOME = slice(None, None, 10)
"""Draws that are enough for a mean."""


def _limits(raw: float, cases: float, drawn: Floats, sensitivity: Floats, specificity: Floats, level: float) -> Limits:
    """The outer limits of percentiles of the formula and of the posterior, see `corrected`."""
    ends = [(1 - level) / 2, (1 + level) / 2]
    formula = np.quantile(np.clip((drawn + specificity - 1) / (sensitivity + specificity - 1), 0, 1), ends)
    called = _GRID[:, None] * sensitivity[_SOME] + (1 - _GRID[:, None]) * (1 - specificity[_SOME])
    called = np.clip(called, 1e-12, 1 - 1e-12)
    log = raw * cases * np.log(called) + (1 - raw) * cases * np.log1p(-called)
    likelihood = np.exp(log - log.max()).mean(axis=1)
    below = np.concatenate([[0.0], ((likelihood[1:] + likelihood[:-1]) / 2 * np.diff(_GRID)).cumsum()])
    posterior = np.interp(ends, below / below[-1], _GRID)
    return float(min(formula[0], posterior[0])), float(max(formula[1], posterior[1]))


def _cells(counts: Table) -> Floats:
    return np.array([counts.hit, counts.missed, counts.wrong, counts.clear], float)


BOTH = np.array([[0, 2], [2, 0], [1, 1]])
"""(no, yes) counts of two raters: both yes, both no, one each."""


def _pairs(counts: Table) -> Floats:
    return np.array([counts.hit, counts.clear, counts.missed + counts.wrong], float)


def _kappa(cells: Floats) -> Floats:
    """For counts of shape (draws, 4): hit, missed, wrong, clear; NaN where chance explains all."""
    hit, missed, wrong, clear = np.moveaxis(cells, -1, 0)
    n = hit + missed + wrong + clear
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = (hit + clear) / n
        chance = ((hit + missed) * (hit + wrong) + (wrong + clear) * (missed + clear)) / n**2
        kappas: Floats = np.where(chance < 1, (observed - chance) / (1 - chance), np.nan)
    return kappas


def _patterns(ratings: Sequence[Sequence[bool | None]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The different (no, yes) counts of the rows with two ratings or more, and how often each occurs."""
    counted = Counter((sum(r is False for r in row), sum(r is True for r in row)) for row in ratings)
    usable = sorted((pattern, times) for pattern, times in counted.items() if sum(pattern) > 1)
    return np.array([pattern for pattern, _ in usable]), np.array([times for _, times in usable])


def _alpha(patterns: npt.NDArray[np.int64], times: Floats) -> Floats:
    """For `times` of shape (draws, patterns); NaN where only one category occurs."""
    no, yes = patterns.T.astype(float)
    pairs = no + yes - 1
    mixed = times @ (no * yes / pairs)
    of_no = times @ (no * (no - 1) / pairs) + mixed
    of_yes = times @ (yes * (yes - 1) / pairs) + mixed
    with np.errstate(divide="ignore", invalid="ignore"):
        alphas: Floats = np.where(of_no * of_yes > 0, 1 - (of_no + of_yes - 1) * mixed / (of_no * of_yes), np.nan)
    return alphas


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _bootstrap(
    estimate: float | None, counts: npt.NDArray[Any], statistic: Callable[[Floats], Floats], level: float
) -> Limits | None:
    """Percentiles of the statistic over resamples of the counts; None where it has no value, or often none."""
    if estimate is None:
        return None
    n = counts.sum()
    draws = statistic(np.random.default_rng(SEED).multinomial(round(n), counts / n, DRAWS).astype(float))
    kept = draws[~np.isnan(draws)]
    if len(kept) < 0.95 * len(draws):
        return None
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
