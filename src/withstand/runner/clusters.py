"""The clusters of a run's behaviors, as its plan keeps them beside what its key is made of."""

from collections.abc import Iterable, Sequence

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

    Raises `SpecError` where a behavior is in two clusters, in two suites.
    """
    clusters: dict[str, tuple[str, str]] = {}
    for suite, behaviors in suites:
        for behavior in behaviors:
            if not (cluster := name_of(behavior.cluster)):
                continue
            before, label = clusters.setdefault(digest(to_json(behavior)), (cluster, suite))
            if before != cluster:
                raise SpecError(
                    f"the behavior {behavior.id!r} is in cluster {before!r} in {label}, and in {cluster!r} in {suite}",
                    hint="give it one cluster in both files",
                )
    return {key: cluster for key, (cluster, _) in clusters.items()}
