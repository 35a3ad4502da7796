"""The clusters of violating and of uncovered traffic, and which of them are new."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from withstand.monitor.clusters.density import LEAST, Labels, density
from withstand.monitor.clusters.describe import Cluster, described
from withstand.monitor.clusters.identity import Known, distance, keep, known_clusters, matched
from withstand.monitor.clusters.sample import Sample, draw
from withstand.monitor.clusters.templates import templates_of
from withstand.monitor.clusters.vectors import encoder_of, vectors
from withstand.monitor.section import Context
from withstand.monitor.traffic import Traffic
from withstand.redteam.dates import WEEK

OLD = 0.1
"""Weekly exchanges before the last week, for each of the last, from which on a cluster is not new."""
LOOKED_AT = 20
"""Clusters whose words are looked for in all traffic, the largest."""
SAME_ACCOUNTS, FEW_ACCOUNTS = 0.6, 3
"""Share of the accounts of the smaller of two new clusters, and their number, from which on they are one campaign."""
NEW, COORDINATED = "new in the last week", "a coordinated template"


@dataclass(frozen=True, slots=True)
class Seen:
    """A cluster with its identity. new: first seen in the last week; None where the logs do not reach back far enough.

    distance: to the nearest cluster that was there before, as (one less the cosine, its name); None without any.
    """

    cluster: Cluster
    entry: Known
    new: bool | None
    distance: tuple[float, str] | None


@dataclass(frozen=True, slots=True)
class Clusters:
    """listed: violating and uncovered ones, those to look at first.   ordinary: how many others there are.

    alone: items of the sample that are in no cluster.   encoder: label of what made the vectors.
    """

    sample: Sample
    listed: tuple[Seen, ...]
    ordinary: int
    alone: int
    encoder: str


def find_clusters(context: Context) -> Clusters | None:
    """The clusters of the traffic; None where there are too few exchanges with a prompt."""
    sample = draw(context, context.settings.clusters.sample)
    if len(sample.items) < 2 * LEAST:
        return None
    space = vectors(
        context.traffic, [item.text for item in sample.items], encoder_of(context.settings.clusters.encoder)
    )
    dense = density(space.rows)
    labels, stability = dense.labels, list(dense.stability)
    everything = described(sample, labels, stability, space.rows, context.policy)
    young = _young(context, sample, everything) if sample.has_past else set[int]()
    if groups := _campaigns(sample, everything, young):
        labels, stability = _merged(labels, stability, everything, groups)
        everything = described(sample, labels, stability, space.rows, context.policy)
        young = _young(context, sample, everything)
    monitor = context.settings.keeping.name
    past = known_clusters(context.store, monitor)
    entries = matched(everything, space.encoder, past)
    coordinated = {name for template in templates_of(context.traffic).coordinated for name in template.hashes}
    week_ago = sample.now - WEEK
    judged: list[tuple[Cluster, Known | None, bool | None]] = []
    for at, (cluster, entry) in enumerate(zip(everything, entries, strict=True)):
        new = None
        if sample.has_past:
            new = at in young and (entry is None or entry.value["first"] > week_ago)
        judged.append((_judged(cluster, bool(new), coordinated), entry, new))
    earlier = {entry.label: entry.value["centroid"] for entry in past
               if entry.value["encoder"] == space.encoder and entry.value["first"] <= week_ago}  # fmt: skip
    earlier |= {", ".join(cluster.terms) or "ordinary traffic": cluster.centroid
                for cluster, _, new in judged if not new and cluster.first <= week_ago}  # fmt: skip
    listed = []
    for cluster, entry, new in judged:
        if cluster.kind != "ordinary":
            kept = keep(context, cluster, space.encoder, entry)
            others = {name: center for name, center in earlier.items() if center is not cluster.centroid}
            others.pop(kept.label, None)
            listed.append(Seen(cluster, kept, new, distance(cluster, others)))
    listed.sort(key=lambda seen: (not seen.cluster.stable, not seen.new, -seen.cluster.rank, seen.entry.id))
    alone = int((labels < 0).sum())
    return Clusters(sample, tuple(listed), len(everything) - len(listed), alone, space.label)


def _judged(cluster: Cluster, new: bool, coordinated: set[int]) -> Cluster:
    """The cluster with all reasons to look at it; without a flag or a reason it is ordinary."""
    shared = sum(name in coordinated for name in cluster.skeletons)
    reasons = (
        *cluster.reasons,
        *((NEW,) if new else ()),
        *((COORDINATED,) if 2 * shared >= len(cluster.skeletons) else ()),
    )
    kind = "uncovered" if cluster.kind == "ordinary" and reasons else cluster.kind
    return replace(cluster, reasons=reasons, kind=kind)


def _campaigns(sample: Sample, clusters: Sequence[Cluster], young: set[int]) -> list[list[int]]:
    """The places of new clusters of one category that mostly the same accounts send: one campaign in many wordings."""
    groups: list[tuple[set[str], list[int]]] = []
    for at in sorted(young, key=lambda at: (-clusters[at].size, at)):
        accounts = {sample.items[place].account for place in clusters[at].items} - {""}
        for together, places in groups:
            shared = len(accounts & together)
            same = clusters[places[0]].category == clusters[at].category
            if same and shared >= SAME_ACCOUNTS * min(len(accounts), len(together)) and shared >= FEW_ACCOUNTS:
                together |= accounts
                places.append(at)
                break
        else:
            groups.append((accounts, [at]))
    return [places for _, places in groups if len(places) > 1]


def _merged(
    labels: Labels, stability: Sequence[float], clusters: Sequence[Cluster], groups: Sequence[Sequence[int]]
) -> tuple[Labels, list[float]]:
    """Labels and stability with the clusters of each group as one, as stable as its parts are on average."""
    root = list(range(len(clusters)))
    for group in groups:
        for at in group:
            root[at] = group[0]
    left = sorted(set(root))
    sizes = [len(cluster.items) for cluster in clusters]
    means = [
        sum(stability[at] * sizes[at] for at in range(len(root)) if root[at] == kept)
        / sum(sizes[at] for at in range(len(root)) if root[at] == kept)
        for kept in left
    ]
    new = np.array([*(left.index(kept) for kept in root), -1])
    return new[labels], means


def _young(context: Context, sample: Sample, clusters: Sequence[Cluster]) -> set[int]:
    """The places of clusters that all traffic shows in the last week alone, or nearly so.

    The sample may have missed what is older, so their words are looked for in every skeleton; and what accounts send
    that were not there before is new too, in whichever words.
    """
    week_ago = sample.now - WEEK
    late = [
        at for at, cluster in enumerate(clusters) if cluster.before + _earlier(sample, cluster) <= OLD * cluster.week
    ]
    late.sort(key=lambda at: (-clusters[at].size, at))
    weeks = max(1.0, (week_ago - sample.start) / WEEK)
    return {
        at
        for at in late[:LOOKED_AT]
        if _is_young(context.traffic, clusters[at], week_ago, weeks)
        or _of_newcomers(context.traffic, {sample.items[place].account for place in clusters[at].items}, week_ago)
    }


def _earlier(sample: Sample, cluster: Cluster) -> float:
    """Exchanges of the cluster before the week before the last, in a week, as the sample has them."""
    weeks = max(1.0, (sample.now - sample.start) / WEEK - 2)
    times = [sample.items[place] for place in cluster.items]
    old = sum(1 / sample.strata[item.stratum].rate for item in times if item.ts <= sample.now - 2 * WEEK)
    return old / weeks


def _of_newcomers(traffic: Traffic, accounts: set[str], week_ago: float) -> bool:
    """Whether nearly all of these accounts were never seen before the last week."""
    names = sorted(accounts - {""})
    [(old,)] = traffic.rows(
        "SELECT count(DISTINCT account) FROM account_day WHERE first <= ? AND list_contains(?::VARCHAR[], account)",
        [week_ago, names],
    )
    return len(names) >= FEW_ACCOUNTS and old <= OLD * len(names)


def _is_young(traffic: Traffic, cluster: Cluster, week_ago: float, weeks: float) -> bool:
    words = cluster.terms[:3]
    if len(words) < 2:
        return False
    matches = " + ".join(["regexp_matches(text, ?)::INTEGER"] * len(words))
    [(late, old)] = traffic.rows(
        "SELECT count(*) FILTER (ts > ?), count(*) FILTER (ts <= ?) FROM exchange WHERE skeleton IN "
        f"(SELECT hash FROM skeleton WHERE {matches} >= 2)",
        [week_ago, week_ago, *(rf"(^|[^\pL]){word}([^\pL]|$)" for word in words)],
    )
    return bool(late and old / weeks <= OLD * late)
