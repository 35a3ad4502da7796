"""The clusters of a run's behaviors, as its plan keeps them beside what its key is made of."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from withstand.core import Behavior, SpecError, digest, to_json
from withstand.core.text import visible

LONGEST = 60
"""Characters of a cluster's name that is kept as it is."""


def name_of(cluster: str) -> str:
    """The name as a plan keeps it: a long text, or one with signs that no page shows, gives way to its hash.

    So no text of a behavior gets into bundles and baselines, which hold none.
    """
    cluster = cluster.strip()
    plain = len(cluster) <= LONGEST and visible(cluster) == cluster and "\n" not in cluster
    return cluster if plain else digest(cluster)[:16]


def clusters_of(suites: Iterable[tuple[str, Sequence[Behavior]]]) -> dict[str, str]:
    """Key of a behavior -> its cluster, for the behaviors that have one; suites: their labels and behaviors.

    A behavior without one is in the cluster that its id names: the parent beside its variants.

    Raises `SpecError` where a behavior is in two clusters, in two suites.
    """
    clusters: dict[str, tuple[str, str]] = {}
    for suite, behaviors in suites:
        named = {name_of(behavior.cluster) for behavior in behaviors}
        for behavior in behaviors:
            cluster = name_of(behavior.cluster) or name_of(behavior.id)
            if not cluster or cluster not in named:
                continue
            before, label = clusters.setdefault(digest(to_json(behavior)), (cluster, suite))
            if before != cluster:
                raise SpecError(
                    f"the behavior {behavior.id!r} is in cluster {before!r} in {label}, and in {cluster!r} in {suite}",
                    hint="give it one cluster in both files",
                )
    return {key: cluster for key, (cluster, _) in clusters.items()}


def joined(own: Mapping[str, str], recorded: Iterable[Mapping[str, str]], keys: Collection[str]) -> dict[str, str]:
    """The clusters of the behaviors with these keys: two that ever shared one, in a suite or in a run, share one.

    So no interval becomes narrower because a column of clusters was left out, or names its clusters anew. own: what the
    suites say now, whose names stay where they still tell the clusters apart.   recorded: what each run has.
    """
    sources = [own]
    for clusters in recorded:
        if clusters not in sources:
            sources.append(clusters)
    behaviors: dict[tuple[int, str], list[str]] = {}
    for number, clusters in enumerate(sources):
        for key in clusters.keys() & keys:
            behaviors.setdefault((number, clusters[key]), []).append(key)
    members: dict[str, set[str]] = {key: {key} for key in keys}
    for together in behaviors.values():
        union = set().union(*(members[key] for key in together))
        members |= dict.fromkeys(union, union)
    names: dict[str, str] = {}
    used: set[str] = set()
    for key in sorted(keys):
        group = sorted(members[key])
        name = next((of[member] for of in sources for member in group if member in of), "")
        if not name or key != group[0]:
            continue
        name = digest(group)[:16] if name in used else name
        used.add(name)
        names |= dict.fromkeys(group, name)
    return names
