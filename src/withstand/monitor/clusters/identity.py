"""Clusters keep who they are from run to run, and the name that an analyst gave them: rows of the store.

A cluster is one of an earlier run where their centers are near, or their skeletons are the same in part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from withstand.core import Json, SpecError, digest
from withstand.monitor.clusters.describe import Cluster
from withstand.monitor.section import Context
from withstand.store.revisions import append, records
from withstand.store.store import Store

KIND = "cluster"
"""Of the store's records."""
NEAR = 0.85
"""Cosine of two centers from which on they are of one cluster."""
SHARED = 0.3
"""Share of the skeletons of the smaller one, from which on two clusters are one."""
KEPT = 50
"""Skeletons that a record holds, the most frequent."""


@dataclass(frozen=True, slots=True)
class Known:
    """A cluster that the store holds. name: an analyst's, "" for none.   value: see `value_of`."""

    id: str
    name: str
    monitor: str
    value: Mapping[str, Json]

    @property
    def label(self) -> str:
        return self.name or ", ".join(self.value["terms"]) or self.id


def known_clusters(store: Store, monitor: str | None = None) -> list[Known]:
    """The clusters of a monitor, or of all, those first seen first."""
    entries = [
        Known(record.id, record.value.get("name", ""), record.plan, record.value)
        for record in records(store, KIND, monitor)
        if not record.purged
    ]
    return sorted(entries, key=lambda entry: (entry.value["first"], entry.id))


def known_cluster(store: Store, cluster_id: str) -> Known:
    """The cluster with this id, or with one that begins so. Raises `SpecError` where there is none, or several."""
    entries = known_clusters(store)
    fitting = [entry for entry in entries if entry.id == cluster_id] or [
        entry for entry in entries if cluster_id and entry.id.startswith(cluster_id)
    ]
    if len(fitting) == 1:
        return fitting[0]
    what = "several clusters begin" if fitting else "no cluster of the store begins"
    listed = ", ".join(entry.id for entry in fitting or entries) or "none: `withstand monitor run` finds them"
    raise SpecError(f"{what} with {cluster_id!r}", hint=f"clusters: {listed}")


def named(store: Store, cluster_id: str, name: str, now: float) -> Known:
    """Give a cluster a name, which every later run keeps."""
    entry = known_cluster(store, cluster_id)
    if not name.strip():
        raise SpecError("the name is empty", hint="say in a few words what its requests want")
    value = {**entry.value, "name": " ".join(name.split())}
    append(store, KIND, entry.id, entry.monitor, now, value)
    return Known(entry.id, value["name"], entry.monitor, value)


def matched(clusters: Sequence[Cluster], encoder: str, past: Sequence[Known]) -> list[Known | None]:
    """Of each cluster, the one of the store that it is; the most alike pairs first, none twice."""
    pairs = sorted(
        (-likeness, at, number)
        for at, cluster in enumerate(clusters)
        for number, entry in enumerate(past)
        if (likeness := _likeness(cluster, encoder, entry.value)) > 0
    )
    result: list[Known | None] = [None] * len(clusters)
    taken: set[int] = set()
    for _, at, number in pairs:
        if result[at] is None and number not in taken:
            result[at] = past[number]
            taken.add(number)
    return result


def distance(cluster: Cluster, earlier: Mapping[str, Sequence[float]]) -> tuple[float, str] | None:
    """One less the cosine to the nearest center of earlier clusters, and the name of that; None without any."""
    nearest = max(((cosine(cluster.centroid, center), name) for name, center in earlier.items()), default=None)
    return None if nearest is None else (1 - nearest[0], nearest[1])


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    if len(first) != len(second):
        return -1.0
    return float(np.dot(first, second) / max(1e-9, float(np.linalg.norm(first) * np.linalg.norm(second))))


def keep(context: Context, cluster: Cluster, encoder: str, entry: Known | None) -> Known:
    """The cluster as the store holds it now. A run over the same traffic adds nothing."""
    monitor = context.settings.keeping.name
    value = value_of(cluster, encoder, context.policy.label)
    if entry is None:
        new_id = digest([monitor, sorted(value["skeletons"])[:5], value["first"]])[:8]
        entry = Known(new_id, "", monitor, {})
    else:
        value["first"] = min(value["first"], entry.value["first"])
        value["last"] = max(value["last"], entry.value["last"])
    value["name"] = entry.name
    if value != entry.value:
        append(context.store, KIND, entry.id, monitor, context.now, value)
    return Known(entry.id, entry.name, monitor, value)


def value_of(cluster: Cluster, encoder: str, policy: str) -> dict[str, Json]:
    """What a record holds of a cluster: no text and no account. policy: name and version of that by which it was
    judged.   medoids: number in the traffic and skeleton of each, by which their texts are found where they are kept.
    """
    return {
        "terms": list(cluster.terms), "encoder": encoder, "centroid": list(cluster.centroid),
        "skeletons": [f"{name:016x}" for name in cluster.skeletons[:KEPT]], "first": cluster.first,
        "last": cluster.last, "size": round(cluster.size), "accounts": cluster.accounts, "kind": cluster.kind,
        "category": cluster.category, "severity": round(cluster.severity, 3), "reasons": list(cluster.reasons),
        "week": round(cluster.week), "stable": cluster.stable,
        "medoids": [[medoid.seq, f"{medoid.skeleton:016x}"] for medoid in cluster.medoids], "policy": policy,
    }  # fmt: skip


def _likeness(cluster: Cluster, encoder: str, value: Mapping[str, Json]) -> float:
    """How far beyond a limit two clusters are alike, in (0, 2]; 0 for two that are not one."""
    own, past = {f"{name:016x}" for name in cluster.skeletons}, set(value["skeletons"])
    shared = len(own & past) / max(1, min(len(own), len(past)))
    near = cosine(cluster.centroid, value["centroid"]) if encoder == value["encoder"] else -1.0
    return max(near if near >= NEAR else 0.0, 1 + shared if shared >= SHARED else 0.0)
