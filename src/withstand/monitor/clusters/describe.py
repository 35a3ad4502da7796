"""What a cluster is: how large, of whom, since when, how it grows, in which words, and of which category."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from withstand.core.taxonomy import UNCOVERED
from withstand.monitor.clusters.density import STABLE
from withstand.monitor.clusters.sample import STRATA, Item, Sample, words_of
from withstand.monitor.intake.skeleton import skeleton
from withstand.redteam.dates import WEEK
from withstand.redteam.policy.records import Policy
from withstand.stats.log_odds import log_odds

MEDOIDS = 5
TERMS = 6
FREQUENT = 0.1
"""Least share of a cluster's texts that hold a word by which it is named."""
COPY = 0.995
"""Cosine from which on two medoids say the same."""
REFUSED = 0.2
"""Least share of refused exchanges, and twice that of all unflagged ones, of a cluster that is often refused, however
large it is within its interval."""
UNNAMED = 1.0
"""Severity of what no category names, whose own is 0: nobody has judged it yet."""

Kind = Literal["violating", "uncovered", "ordinary"]


@dataclass(frozen=True, slots=True)
class Medoid:
    """An exchange in the middle of a cluster. skeleton: of its prompt.   text: redacted, or the skeleton's."""

    seq: int
    skeleton: int
    text: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster of the sample. size, low, high: exchanges of the traffic that are of it, with the 95% interval of the
    sampling.   accounts, first, last: of those in the sample.   week, before: exchanges in the last week and in the one
    before it, estimated.   categories: of flags -> share of its exchanges.   uncovered: share without a flag.

    kind: violating, where half or more are flagged; uncovered, where few are and `reasons` say why to look; else
    ordinary.   category: that of most flags, or uncovered.   severity: 0 to 4, the mean of its flags' categories.
    skeletons: of its members, the most frequent first.   coordinated: ids of templates.
    """

    items: tuple[int, ...]
    size: float
    low: float
    high: float
    accounts: int
    spread: float
    first: float
    last: float
    week: float
    before: float
    categories: Mapping[str, float]
    uncovered: float
    refused: float
    terms: tuple[str, ...]
    medoids: tuple[Medoid, ...]
    stability: float
    skeletons: tuple[int, ...]
    centroid: tuple[float, ...]
    severity: float
    kind: Kind = "ordinary"
    category: str = UNCOVERED
    reasons: tuple[str, ...] = ()

    @property
    def stable(self) -> bool:
        return self.stability >= STABLE

    @property
    def growth(self) -> float:
        """The last week's exchanges for each of the week before, half an exchange added to both."""
        return (self.week + 0.5) / (self.before + 0.5)

    @property
    def rank(self) -> float:
        """Size x severity x growth x spread: what to look at first."""
        return self.size * max(self.severity, 0.1) * min(10.0, max(0.1, self.growth)) * self.spread


def described(sample: Sample, labels: Any, stability: Sequence[float], rows: Any, policy: Policy) -> list[Cluster]:
    """The clusters of a sample, ordinary ones too. rows: the vectors of its items."""
    words = [words_of(skeleton(item.text)) for item in sample.items]  # names of people name no cluster
    everywhere = Counter(word for text in words for word in text)
    base = _refused_base(sample)
    return [
        _cluster(sample, np.flatnonzero(labels == label), stability[label], rows, words, everywhere, base, policy)
        for label in range(len(stability))
    ]


def _cluster(
    sample: Sample, places: Any, stability: float, rows: Any, words: Sequence[set[str]], everywhere: Counter[str],
    base: float, policy: Policy,
) -> Cluster:  # fmt: skip
    items = [sample.items[place] for place in places]
    size, low, high = sample.estimate(items)
    flags: dict[str, float] = {}
    for item in items:
        flags[item.category] = flags.get(item.category, 0.0) + _weight(sample, item)
    total = sum(flags.values())
    shares = {
        name: number / total for name, number in sorted(flags.items(), key=lambda pair: (-pair[1], pair[0])) if name
    }
    accounts = Counter(item.account for item in items if item.account)
    number = sum(accounts.values())
    own = Counter(word for place in places for word in words[place])
    center = rows[places].mean(axis=0)
    center /= max(1e-9, float(np.linalg.norm(center)))
    flagged = sum(share for name, share in shares.items() if name != UNCOVERED)
    kind: Kind = "violating" if flagged >= 0.5 and next(iter(shares)) != UNCOVERED else "ordinary"
    category = next(iter(shares)) if kind == "violating" else UNCOVERED
    severities = [
        UNNAMED if name == UNCOVERED or name not in policy.categories else float(policy.categories[name].severity)
        for name in shares
    ]
    severity = sum(share * value for share, value in zip(shares.values(), severities, strict=True))
    severity += max(0.0, 1 - flagged) * UNNAMED
    refused = sum(_weight(sample, item) for item in items if item.refused) / total
    return Cluster(
        tuple(int(place) for place in places), size, low, high, len(accounts),
        number**2 / sum(n**2 for n in accounts.values()) if number else 1.0,
        min(item.ts for item in items), max(item.ts for item in items),
        sum(_weight(sample, item) for item in items if item.ts > sample.now - WEEK),
        sum(_weight(sample, item) for item in items if sample.now - 2 * WEEK < item.ts <= sample.now - WEEK),
        shares, max(0.0, 1 - flagged), refused, _terms(own, everywhere, len(items)),
        _medoids(items, rows[places] @ center, rows[places]), float(stability),
        tuple(name for name, _ in Counter(item.skeleton for item in items).most_common()),
        tuple(round(float(value), 5) for value in center), severity, kind, category,
        _signs(sample, items, high, base) if kind == "ordinary" else (),
    )  # fmt: skip


def _weight(sample: Sample, item: Item) -> float:
    """How many exchanges of the traffic an item stands for."""
    return 1 / sample.strata[item.stratum].rate


def _refused_base(sample: Sample) -> float:
    """The share of refused exchanges among the unflagged ones of the traffic, at least."""
    sizes = [sample.strata[name].size for name in STRATA if name != "flagged"]
    refused = sum(_weight(sample, item) for item in sample.items if item.refused and not item.category)
    return refused / max(1, sum(sizes))


def _signs(sample: Sample, items: Sequence[Item], high: float, base: float) -> tuple[str, ...]:
    """Why unflagged exchanges may be misuse nonetheless, as far as they alone say. high: the cluster's size at most:
    refused exchanges are sampled at a higher rate, so that a share of the sample would be too high."""
    signs = []
    if 2 * sum(item.category == UNCOVERED for item in items) >= len(items):
        signs.append("labeled as uncovered")
    if sum(_weight(sample, item) for item in items if item.refused) >= high * max(REFUSED, 2 * base):
        signs.append("often refused")
    if 2 * sum(_weight(sample, item) for item in items if item.near) >= high:
        signs.append("nearly flagged")
    return tuple(signs)


def _terms(own: Counter[str], everywhere: Counter[str], number: int) -> tuple[str, ...]:
    """The words that tell the cluster's texts from the sample's others."""
    rest = Counter({word: everywhere[word] - count for word, count in own.items()})
    rest[""] = sum(everywhere.values()) - sum(own.values()) - sum(rest.values())
    scores = log_odds(own, rest)
    frequent = [word for word in scores if own[word] >= max(3, FREQUENT * number) and scores[word] > 2]
    return tuple(sorted(frequent, key=lambda word: (-scores[word], word))[:TERMS])


def _medoids(items: Sequence[Item], cosines: Any, rows: Any) -> tuple[Medoid, ...]:
    """The exchanges nearest to the middle, of which no two have one skeleton or nearly the same vector."""
    chosen: list[int] = []
    for place in np.lexsort((np.arange(len(items)), -np.round(cosines, 6))).tolist():
        if len(chosen) < MEDOIDS and all(
            items[place].skeleton != items[earlier].skeleton and float(rows[place] @ rows[earlier]) < COPY
            for earlier in chosen
        ):
            chosen.append(place)
    return tuple(Medoid(items[place].seq, items[place].skeleton, items[place].text) for place in chosen)
