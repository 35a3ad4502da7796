"""Prevalence from labels of people in strata of screeners' scores: pure functions on counts.

Two-phase sampling: a screener has scored all exchanges, and people labeled some of each band of scores. It is PPI++
(Angelopoulos et al. 2023, arXiv:2311.01453) where the prediction is the band's own mean; no screener need be right.
See `stats.labeled` for the interval and `bench/monitor_prevalence.py` for its coverage.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from withstand.stats import labeled
from withstand.stats.agreement import Corrected, Table, corrected_share

Bin: TypeAlias = tuple[int, int]
"""A week and a band of scores, see `audit.frame`."""
ENOUGH = 30
"""Labels from which on a rate is stated."""
BASE = 20
"""Labels that the band with most exchanges must have: what is not flagged is where misses lie."""
GROUP = 5
"""Labels of a band, below which it is taken together with the next."""
MANY = 50_000
"""Exchanges from which on their number makes no difference for the size of a sample."""
FLAGGED_FROM = 3
"""Bands from this one on are above a score of 1/2."""


@dataclass(frozen=True, slots=True)
class Population:
    """The exchanges of a bin. size: how many.   weight: sum of 1 over the number of exchanges of each one's account."""

    size: int
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Labeled:
    """An exchange that people labeled. violating: None where they were unsure or split, or passed it over.
    requests: exchanges of its account."""

    bin: Bin
    violating: bool | None
    requests: int = 1


@dataclass(frozen=True, slots=True)
class Stratum:
    """Bands that are taken together. share: of the exchanges, in [0, 1].   violating of labels.   most: where none of
    them violates, the largest rate that 95% of such samples would still show, 3 / labels; else None."""

    bands: tuple[int, ...]
    share: float
    size: int
    labels: int
    violating: int

    @property
    def most(self) -> float | None:
        return min(1.0, 3 / self.labels) if self.labels and not self.violating else None


@dataclass(frozen=True, slots=True)
class Prevalence:
    """A share of exchanges (or a mean over accounts of theirs) in [0, 1], with its 95% limits.

    labels: decided ones; unclear: where they were unsure or split, or passed it over, which the limits take for either.
    unlabeled: share of exchanges in weeks of which no label is.
    """

    rate: float
    low: float
    high: float
    labels: int
    violating: int
    unclear: int
    unlabeled: float
    strata: tuple[Stratum, ...]


def prevalence(
    population: Mapping[Bin, Population], labels: Sequence[Labeled], by_account: bool = False
) -> Prevalence | None:
    """The share of violating exchanges; by_account: the mean over accounts of each one's own share.

    None where there are too few labels to say: in all, or in the band of most exchanges. The limits are of this
    traffic, whoever sent it: exchanges of one account are alike, but all of its exchanges are in the strata.
    """
    decided = [label for label in labels if label.violating is not None]
    counts = Counter(label.bin[1] for label in decided)
    sizes: Counter[int] = Counter()
    for (_, band), part in population.items():
        sizes[band] += part.size
    if len(decided) < ENOUGH or not sizes or counts[max(sizes, key=lambda band: (sizes[band], -band))] < BASE:
        return None
    groups = grouped(sizes, counts)
    at = _stated(population, labels, groups, by_account)
    weeks = {label.bin[0] for label in decided}
    total = sum(sizes.values())
    return Prevalence(
        at.rate, at.low, at.high, len(decided), sum(bool(label.violating) for label in decided),
        len(labels) - len(decided),
        sum(part.size for (week, _), part in population.items() if week not in weeks) / total,
        tuple(_stratum(bands, sizes, total, decided) for bands in groups),
    )  # fmt: skip


def flagged_rate(population: Mapping[Bin, Population], labels: Sequence[Labeled]) -> tuple[float, float, float] | None:
    """The share of violating exchanges among those that a screener flags, with its limits; None with too few labels.

    population, labels: of flagged exchanges alone.
    """
    if sum(label.violating is not None for label in labels) < BASE:
        return None
    at = _stated(population, labels, [tuple({band for _, band in population})], by_account=False)
    return at.rate, at.low, at.high


def _stated(
    population: Mapping[Bin, Population], labels: Sequence[Labeled], groups: Sequence[tuple[int, ...]], by_account: bool
) -> labeled.LabeledRate:
    """The rate by the decided labels; the limits take the others for either answer."""
    fillings: list[Sequence[Labeled]] = [[label for label in labels if label.violating is not None]]
    if len(fillings[0]) < len(labels):
        fillings += [
            [Labeled(x.bin, answer if x.violating is None else x.violating, x.requests) for x in labels]
            for answer in (False, True)
        ]
    sides = tuple(_estimate(population, filling, groups, by_account) for filling in fillings)
    return labeled.LabeledSide(sides).at()


def grouped(sizes: Mapping[int, int], counts: Mapping[int, int]) -> list[tuple[int, ...]]:
    """Bands in groups of neighbors with enough labels, the highest first; which labels they are has no say.

    A band with few labels goes with the next lower one, which is larger, and the lowest ones with the next higher.
    """
    groups: list[list[int]] = [[]]
    for band in sorted(sizes, reverse=True):
        groups[-1].append(band)
        if sum(counts.get(member, 0) for member in groups[-1]) >= GROUP:
            groups.append([])
    rest = groups.pop()
    if rest and groups:
        groups[-1] += rest
    elif rest:
        groups = [rest]
    return [tuple(group) for group in groups]


def _estimate(
    population: Mapping[Bin, Population], labels: Sequence[Labeled], groups: Sequence[tuple[int, ...]], by_account: bool
) -> labeled.LabeledEstimate:
    """The estimate over groups of bands. A label stands for what its bin holds, over the labels there."""
    per_bin = Counter(label.bin for label in labels)
    whole = sum(part.weight if by_account else part.size for part in population.values())
    strata = []
    for bands in groups:
        parts = [part for (_, band), part in population.items() if band in bands]
        inside = [label for label in labels if label.bin[1] in bands]
        weights = [
            population[label.bin].size / per_bin[label.bin] / (label.requests if by_account else 1) for label in inside
        ]
        share = sum(part.weight if by_account else part.size for part in parts) / whole
        size = sum(part.size for part in parts)
        votes = [bool(label.violating) for label in inside]
        strata.append(labeled.stratum(max(bands) >= FLAGGED_FROM, share, size, votes, weights))
    estimate = labeled.labeled_estimate(strata)
    assert estimate is not None, "there are labels"
    return estimate


def _stratum(bands: tuple[int, ...], sizes: Mapping[int, int], total: int, labels: Sequence[Labeled]) -> Stratum:
    inside = [label for label in labels if label.bin[1] in bands]
    size = sum(sizes[band] for band in bands)
    return Stratum(bands, size / total, size, len(inside), sum(bool(label.violating) for label in inside))


def rogan_gladen(flagged: int, exchanges: int, errors: Table) -> Corrected | None:
    """The prevalence behind a share of flags, by a screener's measured errors; None where they are of too few labels.

    It holds where sensitivity and specificity are those of the labels, as from week to week of one version.
    """
    if not exchanges or min(errors.hit + errors.missed, errors.wrong + errors.clear) < GROUP:
        return None
    return corrected_share(flagged / exchanges, float(exchanges), errors)


def labels_for(flagged: int, others: int, width: float) -> int | None:
    """The labels for which an interval is expected to be at most this wide; None where all would not do."""
    scale = min(1.0, MANY / max(1, flagged + others))
    return labeled.labels_for(round(flagged * scale), round(others * scale), width)
