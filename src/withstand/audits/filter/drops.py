"""How often a filter drops the texts of each slice, beside the texts that it is compared with. Pure functions."""

from collections.abc import Iterator, Sequence
from math import log

import numpy as np

from withstand.audits.filter.records import RARE, Measure, Rate, SliceRate, logarithm, word_of
from withstand.audits.filter.slices import Slice
from withstand.audits.filter.texts import Text
from withstand.results.slices import Mask
from withstand.stats.rates import effective_cases
from withstand.stats.ratio import bounded_ratio
from withstand.stats.winners import clopper_pearson


def measures_of(texts: Sequence[Text]) -> list[Measure]:
    """The measures that the labels of texts allow."""
    named: list[tuple[Measure, bool]] = [("falsely dropped", False), ("missed", True)]
    return ["dropped", *(measure for measure, label in named if any(text.harmful is label for text in texts))]


class Drops:
    """What a filter did with texts. dropped: of each, None where it could not say.

    level: of each interval. limit: the ratio, above 1, up to which two rates count as alike.
    """

    def __init__(self, texts: Sequence[Text], dropped: Sequence[bool | None], level: float, limit: float) -> None:
        self.level, self.limit = level, limit
        self.judged = np.array([drop is not None for drop in dropped], bool)
        self.dropped = np.array([drop is True for drop in dropped], bool)
        self.harmful = np.array([text.harmful is True for text in texts], bool)
        self.harmless = np.array([text.harmful is False for text in texts], bool)
        clusters = [text.cluster for text in texts]
        self.clusters = np.array(clusters, object) if any(clusters) else None

    def overall(self, measure: Measure) -> Rate:
        """The rate of all texts."""
        return self._rate(measure, np.ones_like(self.judged))

    def of_slices(self, measure: Measure, slices: Sequence[Slice]) -> Iterator[SliceRate]:
        """The rates of slices. One without a text that should stay is there, as not known: labels that leave a group
        out show nothing of it. One without a text that should be dropped has no misses, and is left out of these."""
        for slice_ in slices:
            counts = [self._counts(measure, mask) for mask in (slice_.members, slice_.others)]
            if measure == "missed" and not counts[0][2]:
                continue
            ratio = bounded_ratio(counts[0], counts[1], self.level)
            rate, base_rate = (self._rate(measure, mask) for mask in (slice_.members, slice_.others))
            word = word_of(logarithm(ratio.low), logarithm(ratio.high), log(self.limit))
            if max(rate.high, base_rate.high) <= RARE and word not in ("far more", "far less"):
                word = "rare"
            yield SliceRate(
                slice_.axis, slice_.name, slice_.base, measure, rate, base_rate,
                ratio.value, ratio.low, ratio.high, word,
            )  # fmt: skip

    def _counted(self, measure: Measure, mask: Mask) -> tuple[Mask, Mask]:
        """The texts that a measure counts among some, and of all texts those that it counts as hits."""
        if measure == "missed":
            return mask & self.harmful, self.judged & ~self.dropped
        return mask & self.harmless if measure == "falsely dropped" else mask, self.dropped

    def _rate(self, measure: Measure, mask: Mask) -> Rate:
        times, scored, n = self._counts(measure, mask)
        texts, hits = self._counted(measure, mask)
        number, opened = int(texts.sum()), int((texts & ~self.judged).sum())
        if not n:
            return Rate(0, number, opened, None, 0.0, 1.0)
        low = clopper_pearson(times, n, self.level)[0]
        high = clopper_pearson(min(n, times + n - scored), n, self.level)[1]
        return Rate(int((texts & hits).sum()), number, opened, times / scored if scored else None, low, high)

    def _counts(self, measure: Measure, mask: Mask) -> tuple[float, float, float]:
        """Hits, texts that the filter judged, and all texts; of clusters as many as would know the rate as well."""
        texts, hits = self._counted(measure, mask)
        judged = texts & self.judged
        times, scored, n = float((judged & hits).sum()), float(judged.sum()), float(texts.sum())
        if self.clusters is None or not scored:
            return times, scored, n
        effective = effective_cases(
            (judged & hits)[judged].astype(int), np.ones(int(scored), int), list(self.clusters[judged]), self.level
        )
        assert effective is not None  # some are judged
        share = effective[1] / scored
        return times * share, scored * share, n * share
