"""The rule `rise`: a CUSUM of each series' days, for what no single day shows.

A flag count is taken per exchange, for a service that grows has more of everything; volume has a series of its own.
What is usual is estimated from days that ended two weeks before the day, or before scores began to add up, up to six
weeks: a slow rise does not become usual while it is looked for. A day that goes with the day before counts for less:
scores are those of a first-order autoregression. Limits know that the mean is an estimate, which makes them higher with
a short past.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from withstand.monitor.alerts.budget import Budget
from withstand.monitor.alerts.detect import Alarm
from withstand.monitor.series.panel import BLIND, Name, Panel
from withstand.stats import counts, cusum
from withstand.stats.counts import FEWEST_DAYS, WEEK
from withstand.stats.special import Floats

GAP, LONGEST, PAST = 14, 42, 112
"""Days before a day that are not asked what is usual, at most so many while scores add up, and how many before them
are at most."""
_PRIOR, _PRIOR_DAYS = 0.3, 28
"""The correlation of neighboring days before they are seen, and how many days it weighs."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Days x series, the last series being the tokens of an account. value: the count per usual volume, or the mean.

    usual: what was expected.   score: normal score, NaN where it has no past or the day was not seen.   past: days
    behind it.   spread: relative variance of a value.
    """

    names: tuple[Name, ...]
    value: Floats
    usual: Floats
    score: Floats
    past: Floats
    spread: Floats


def daily_scores(panel: Panel) -> Scores:
    """How unusual each day that is over was, in standard deviations."""
    days, series = panel.days, len(panel.names)
    daily = panel.hours.sum(axis=1)
    seen, measured = panel.whole_days, panel.alive & ((~panel.sees).sum(axis=1) < BLIND)[:, None]
    value, usual, score, past, spread = (np.full((days, series + 1), np.nan) for _ in range(5))
    volume = panel.names.index(Name("volume"))
    total, since = np.zeros(series), np.full(series, FEWEST_DAYS)
    per_volume = np.array([name.kind in ("category", "refused") for name in panel.names])
    for day in range(FEWEST_DAYS, panel.over):
        age = panel.age(day)
        gaps = np.clip(np.maximum(GAP, np.minimum(day - since, LONGEST)), 0, np.maximum(age - FEWEST_DAYS, 0))
        low = max(0, day - LONGEST - PAST)
        weights = (seen[low:day] & (np.arange(low, day)[:, None] < day - gaps)).astype(float)
        weights *= np.arange(low, day)[:, None] >= day - gaps - PAST
        n = weights.sum(axis=0)
        tested = np.flatnonzero((n >= FEWEST_DAYS) & measured[day])
        if not len(tested):
            continue
        weekday = panel.weekday[low:day]
        ratio = _per_volume(daily[low : day + 1, volume], weights[:, volume], weekday, int(panel.weekday[day]))
        scaled = np.where(per_volume, daily[low : day + 1] * ratio[:, None], daily[low : day + 1])[:, tested]
        fit = counts.forecast(scaled[:-1, None], weekday, int(panel.weekday[day]), weights[:, None, tested])
        value[day, tested], usual[day, tested], spread[day, tested] = scaled[-1], fit.mean[0], fit.spread[0]
        score[day, tested] = counts.scores(scaled[-1], fit.mean[0], fit.spread[0])
        past[day, tested] = n[tested]
        total = np.maximum(0.0, total + np.nan_to_num(score[day, :-1]) - cusum.SLACK)
        since = np.where(total == 0, day + 1, since)
    _token_scores(panel, value, usual, score, past, spread)
    return Scores((*panel.names, Name("tokens")), value, usual, score, past, spread)


def _per_volume(volume: Floats, weights: Floats, weekday: npt.NDArray[np.int64], of: int) -> Floats:
    """What each day's counts are multiplied by to be those of a day of usual volume: between 1/4 and 4."""
    same = np.append(weekday, of)[:, None] == np.arange(WEEK)
    weight = np.append(weights, 0.0)[:, None] * same
    total, level = weight.sum(axis=0), (weights @ volume[:-1] + 1) / (weights.sum() + 1)
    means = (volume @ weight + level) / (total + 1)
    return np.asarray(np.clip(means[np.append(weekday, of)] / np.maximum(volume, 1.0), 0.25, 4.0))


def _token_scores(panel: Panel, value: Floats, usual: Floats, score: Floats, past: Floats, spread: Floats) -> None:
    logs = np.log(panel.tokens)
    there = np.isfinite(logs)
    for day in range(FEWEST_DAYS, panel.over):
        gap = int(np.clip(there[:day].sum() - FEWEST_DAYS, 0, GAP))
        behind = slice(max(0, day - gap - PAST), day - gap)
        fit = counts.usual_level(logs[behind], panel.weekday[behind], int(panel.weekday[day]))
        if fit is None or not there[day]:
            continue
        mean, deviation, _ = fit
        value[day, -1], usual[day, -1] = panel.tokens[day], np.exp(mean)
        score[day, -1] = np.clip((logs[day] - mean) / max(deviation, 1e-9), -8, 8)
        past[day, -1], spread[day, -1] = there[behind].sum(), deviation**2


def whitened(score: Floats) -> Floats:
    """Scores without what the day before says of them: e = (z - r z') / sqrt(1 - r^2).

    r is that of the days up to two weeks before, drawn to `_PRIOR`, and 0 or more.
    """
    z = np.nan_to_num(score)
    before = np.vstack([np.zeros(z.shape[1:]), z[:-1]])
    products, squares = np.cumsum(z * before, axis=0), np.cumsum(before**2, axis=0)
    late = np.maximum(np.arange(len(z)) - GAP, 0)
    r = (products[late] + _PRIOR * _PRIOR_DAYS) / (squares[late] + _PRIOR_DAYS)
    r = np.clip(r, 0, 0.8)
    return np.asarray(np.where(np.isnan(score), np.nan, (score - r * before) / np.sqrt(1 - r**2)))


def rises(panel: Panel, budget: Budget, scores: Scores) -> Iterator[Alarm]:
    """The alarms of `rise`, in the order of their days."""
    score = whitened(scores.score)
    scored = np.isfinite(score)
    total, since = np.zeros(score.shape[1]), np.zeros(score.shape[1], int)
    for day in range(FEWEST_DAYS, panel.over):
        alpha = budget.alpha("rise", int(scored[day].sum()))
        for at in np.flatnonzero(scored[day]):
            n = int(scores.past[day, at])
            limit = cusum.limit(alpha, error=round(n**-0.5, 2), df=float(max(n - WEEK, 5)))
            total[at] = max(0.0, total[at] + score[day, at] - cusum.SLACK)
            if total[at] == 0:
                since[at] = day + 1
            if total[at] >= limit:
                yield _alarm(panel, scores, int(at), int(since[at]), day, alpha)
                total[at], since[at] = 0.0, day + 1


def _alarm(panel: Panel, scores: Scores, at: int, since: int, day: int, alpha: float) -> Alarm:
    there = np.flatnonzero(np.isfinite(scores.score[since : day + 1, at])) + since
    mean = scores.names[at].kind == "tokens"
    observed, expected = float(scores.value[there, at].sum()), float(scores.usual[there, at].sum())
    # of a mean over these days, about a mean over the days before
    spread = float(scores.spread[there, at].mean()) * (1 / len(there) + 1 / float(scores.past[there, at].mean()))
    days = len(there) if mean else 1
    times = counts.rate_ratio(observed / days, expected / days, spread)
    end = panel.at(day + 1)
    return Alarm("rise", scores.names[at], panel.at(since), end, end, observed / days, expected / days, *times,
                 alpha, alpha)  # fmt: skip
