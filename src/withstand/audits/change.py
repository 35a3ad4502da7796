"""What a training did to a rate, a score or a loss, on the same prompts or texts, over seeds. Pure functions.

The interval of a rate is that of `stats.paired`: it keeps a width where no prompt changed, which a bootstrap would call
proof. Over several seeds it is widened by Student's t of their means (`stats.seeds`).
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from withstand.stats import paired, rates, seeds
from withstand.stats.special import Floats, t_quantile

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Change:
    """The rate after training minus the rate before, in [-1, 1], with its interval from `low` to `high`.

    n: prompts with both answers scored.   worse, better: prompts that changed in either direction, means over seeds.
    p: the exact McNemar test, two-sided, of the first seed.   before, after: the rates, after as the mean of the seeds.
    """

    change: float
    low: float
    high: float
    n: int
    worse: float
    better: float
    p: float
    seeds: int
    before: float = 0.0
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class MeanChange:
    """A mean after training minus the mean before, with its interval from `low` to `high`, in the units of what was
    measured (scores, or nats a token), of `n` prompts or texts."""

    change: float
    low: float
    high: float
    n: int


def rate_change(
    before: Mapping[Name, bool | None], after: Sequence[Mapping[Name, bool | None]], level: float = 0.95
) -> Change | None:
    """The change from `before` to the mean of `after`, one mapping per seed, by prompt.

    True shows the behavior; None has no verdict and leaves the prompt out. Returns None where no prompt has a verdict
    before and after in every seed.
    """
    names = [
        name for name, shown in before.items() if shown is not None and all(s.get(name) is not None for s in after)
    ]
    if not names or not after:
        return None
    start = np.array([bool(before[name]) for name in names], dtype=int)
    then = np.array([[bool(shown[name]) for name in names] for shown in after], dtype=int)
    single = np.ones_like(start)
    first = paired.difference(start, single, then[0], single)
    pooled = paired.difference(start, single, then.sum(axis=0), len(after) * single)
    assert first is not None  # every prompt has a verdict on both sides
    assert pooled is not None
    low, high = seeds.widened(pooled.difference, pooled.limits(level), (then - start).mean(axis=1), level)
    worse, better = (float((side > 0).sum()) / len(after) for side in (then - start, start - then))
    return Change(
        pooled.difference, max(low, -1.0), min(high, 1.0), len(names), worse, better, first.p, len(after),
        pooled.rate_a, pooled.rate_b,
    )  # fmt: skip


def worst_change(before: Mapping[Name, bool | None], after: Sequence[Mapping[Name, bool | None]]) -> Change | None:
    """The same if each prompt without a verdict showed the behavior after the training, and did not before."""
    start = {name: bool(shown) for name, shown in before.items()}
    return rate_change(start, [{name: shown.get(name) is not False for name in start} for shown in after])


def rate_of(shown: Sequence[Mapping[Name, bool | None]], level: float = 0.95) -> tuple[float, float, float, int] | None:
    """The mean rate over seeds, the ends of its interval, in [0, 1], and its number of prompts.

    The upper end is that if each prompt without a verdict showed the behavior. None without a verdict.
    """
    scored = [name for name in shown[0] if all(side.get(name) is not None for side in shown)]
    if not scored:
        return None
    rows = np.array([[bool(side[name]) for name in scored] for side in shown], dtype=int)
    every = np.array([[side.get(name) is not False for name in shown[0]] for side in shown], dtype=int)
    ends = [_rate_limits(matrix, level) for matrix in (rows, every)]
    return float(rows.mean()), ends[0][0], max(ends[0][1], ends[1][1]), len(scored)


def _rate_limits(shown: npt.NDArray[np.int64], level: float) -> tuple[float, float]:
    interval = rates.rate_interval(shown.sum(axis=0), np.full(shown.shape[1], len(shown)), level)
    assert interval is not None  # there is a prompt
    low, high = seeds.widened(float(shown.mean()), (interval.low, interval.high), shown.mean(axis=1), level)
    return max(low, 0.0), min(high, 1.0)


def score_change(before: Mapping[str, float], after: Sequence[Mapping[str, float]]) -> MeanChange | None:
    """Mean score after minus before, of the prompts that have both in every seed, by Student's t; None for fewer than
    two prompts. The limits have no width where no score changed: they are no proof of that."""
    names = [name for name in before if all(name in scores for scores in after)]
    if len(names) < 2 or not after:
        return None
    gaps = np.array([[scores[name] - before[name] for name in names] for scores in after])
    means = gaps.mean(axis=0)
    low, high = _t_limits(float(means.mean()), means - means.mean(), len(names))
    low, high = seeds.widened(float(gaps.mean()), (low, high), gaps.mean(axis=1))
    return MeanChange(float(gaps.mean()), low, high, len(names))


def loss_change(
    before: Sequence[tuple[float, float]], after: Sequence[tuple[float, float]], level: float = 0.95
) -> MeanChange | None:
    """Nats a token after minus before, over all tokens of the same texts: nats and tokens of each.

    None below two texts. level: of the interval, by the linearized variance between texts of a ratio of sums, and
    Student's t (Cochran 1977, "Sampling Techniques", section 2.11).
    """
    pairs = [(then - now, tokens) for (now, tokens), (then, _) in zip(before, after, strict=True) if tokens]
    if len(pairs) < 2:
        return None
    gaps, tokens = (np.array(column, float) for column in zip(*pairs, strict=True))
    change = float(gaps.sum() / tokens.sum())
    low, high = _t_limits(change, (gaps - change * tokens) / tokens.mean(), len(pairs), level)
    return MeanChange(change, low, high, len(pairs))


def _t_limits(mean: float, residuals: Floats, n: int, level: float = 0.95) -> tuple[float, float]:
    reach = t_quantile((1 + level) / 2, n - 1) * float(np.sqrt(np.square(residuals).sum() / (n - 1) / n))
    return mean - reach, mean + reach


def front(points: Mapping[str, Sequence[float]]) -> list[str]:
    """The names on the Pareto front: none is as good in everything and better in something. Less is better."""

    def beats(rival: Sequence[float], point: Sequence[float]) -> bool:
        pairs = list(zip(rival, point, strict=True))
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    return [name for name, point in points.items() if not any(beats(rival, point) for rival in points.values())]
