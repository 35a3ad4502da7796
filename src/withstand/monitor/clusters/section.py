"""The section on clusters of violating and of uncovered traffic."""

from collections.abc import Sequence
from typing import Any

from withstand.core import Json
from withstand.core.text import count, decimals, percent, whole
from withstand.monitor.clusters.density import DRAWS, LEAST, SHARE, STABLE
from withstand.monitor.clusters.find import Clusters, Seen, find_clusters
from withstand.monitor.section import Context, Section, words_column
from withstand.redteam.dates import minute_of
from withstand.report.table import Column, Table

ID, QUESTION = "clusters", "What do violating and uncovered requests have in common, and what is new?"
SHOWN = 20
LONGEST = 300
"""Characters of a request that a table shows."""
NOTE = (
    f"Clusters of {LEAST} exchanges or more by density (HDBSCAN); new ones of one category and the same accounts are "
    "one. Exchanges: of all traffic, from the sample's rates; the interval is of the sampling, not of who belongs to a "
    "cluster. Violating: half or more are flagged. Uncovered: few are, and something else says to look. Order: new "
    "ones, then size x severity x growth x effective accounts; what no category names has severity 1. Stability: mean "
    f"Jaccard index of the cluster on {DRAWS} draws of {percent(SHARE)} of the sample; below {STABLE:g} it is unstable."
)


def clusters(context: Context) -> Section:
    """The section: what to look at first, with its words and its middle."""
    result = find_clusters(context)
    if result is None:
        answer = f"Unknown: there are fewer than {2 * LEAST} exchanges with a prompt."
        return Section(ID, QUESTION, answer, "unknown")
    stable = [seen for seen in result.listed if seen.cluster.stable]
    new = [seen for seen in stable if seen.new]
    state: Any = "alarm" if new else "note" if result.listed else "calm"
    tables = [_table(result.listed[:SHOWN]), _requests(result.listed[:SHOWN])] if result.listed else []
    return Section(
        ID, QUESTION, f"{_answer(result, stable, new)} {_read(result)}", state, [*tables, _sample(result)], (),
        [_advice(seen) for seen in new[:SHOWN]], _value(result),
    )  # fmt: skip


def _answer(result: Clusters, stable: Sequence[Seen], new: Sequence[Seen]) -> str:
    uncovered = sum(seen.cluster.kind == "uncovered" for seen in stable)
    text = f"{count(len(stable) - uncovered, 'violating cluster')} and {uncovered:,} uncovered"
    if not result.sample.has_past:
        text += "; what is new cannot be told from less than two weeks of traffic"
    elif new:
        first = new[0]
        text += (
            f", {len(new):,} of them new in the last week. First: {first.entry.label} "
            f"({_kind(first)}, about {_size(first)} exchanges, {count(first.cluster.accounts, 'account')})"
        )
    else:
        text += ", none of them new in the last week"
    return f"{text}."


def _read(result: Clusters) -> str:
    sample = result.sample
    rates = ", ".join(
        f"{percent(stratum.rate)} of {stratum.size:,} {stratum.name}"
        for stratum in sample.strata.values()
        if stratum.size
    )
    return (
        f"Clustered: {count(len(sample.items), 'exchange')} ({rates}), by {result.encoder}. "
        f"{count(result.ordinary, 'cluster')} of ordinary traffic and {count(result.alone, 'exchange')} in no cluster "
        "are not shown."
    )


def _advice(seen: Seen) -> str:
    entry = seen.entry
    head = f"Read cluster {entry.id}"
    if seen.cluster.kind == "violating":
        return f"{head} and act as the policy says of {seen.cluster.category}."
    name = "" if entry.name else f"name it (withstand monitor clusters name {entry.id} NAME), and "
    return f"{head}, {name}if it is misuse, draft a category: withstand policy propose --from-cluster {entry.id}"


def _kind(seen: Seen) -> str:
    return seen.cluster.category if seen.cluster.kind == "violating" else "uncovered"


def _size(seen: Seen) -> str:
    cluster = seen.cluster
    return f"{cluster.size:,.0f} [{cluster.low:,.0f}, {cluster.high:,.0f}]"


def _why(seen: Seen) -> str:
    reasons = list(seen.cluster.reasons)
    if seen.distance is not None and seen.new:
        reasons.append(f"{seen.distance[0]:.2f} from {seen.distance[1]}")
    return "; ".join(reasons)


def _table(listed: Sequence[Seen]) -> Table:
    columns = [
        Column("cluster"), Column("id"), Column("category"), Column("exchanges", right=True),
        Column("accounts", whole, right=True), Column("flagged", percent, right=True),
        Column("categories of flags"), Column("first (UTC)", minute_of), Column("last (UTC)", minute_of),
        Column("week / week before", right=True), Column("refused", percent, right=True), Column("why"),
        Column("stability", lambda value: decimals(2)(value) + (" unstable" if value < STABLE else ""), right=True),
    ]  # fmt: skip
    rows = []
    for seen in listed:
        cluster = seen.cluster
        mix = ", ".join(f"{name} {percent(share)}" for name, share in cluster.categories.items())
        rows.append((
            seen.entry.label, seen.entry.id, _kind(seen), _size(seen), cluster.accounts, 1 - cluster.uncovered, mix,
            cluster.first, cluster.last, f"{cluster.week:,.0f} / {cluster.before:,.0f}", cluster.refused, _why(seen),
            cluster.stability,
        ))  # fmt: skip
    return Table(columns, rows, "Clusters", NOTE)


def _requests(listed: Sequence[Seen]) -> Table:
    """The requests in the middle of each cluster."""
    rows = [
        (seen.entry.label, text if len(text := medoid.text) <= LONGEST else f"{text[:LONGEST]}...")
        for seen in listed
        for medoid in seen.cluster.medoids
    ]
    return Table([Column("cluster"), words_column("request, redacted")], rows, "Requests in their middle", folded=True)


def _sample(result: Clusters) -> Table:
    columns = [
        Column("part of the traffic"), Column("exchanges", whole, right=True), Column("sampled", whole, right=True),
        Column("rate", percent, right=True),
    ]  # fmt: skip
    rows = [(stratum.name, stratum.size, stratum.drawn, stratum.rate) for stratum in result.sample.strata.values()]
    fresh = result.sample.fresh
    note = f"New words: {', '.join(fresh[:30])}{', ...' if len(fresh) > 30 else ''}." if fresh else ""
    return Table(columns, rows, "What was clustered", note, folded=True)


def _value(result: Clusters) -> Json:
    listed = []
    for seen in result.listed:
        cluster = seen.cluster
        listed.append({
            "id": seen.entry.id, "name": seen.entry.name, "terms": list(cluster.terms), "kind": cluster.kind,
            "category": cluster.category, "size": cluster.size, "low": cluster.low, "high": cluster.high,
            "sampled": len(cluster.items), "accounts": cluster.accounts, "first": cluster.first, "last": cluster.last,
            "week": cluster.week, "week_before": cluster.before, "growth": cluster.growth,
            "categories": dict(cluster.categories), "uncovered": cluster.uncovered, "refused": cluster.refused,
            "severity": cluster.severity, "stability": cluster.stability, "stable": cluster.stable,
            "reasons": list(cluster.reasons), "new": seen.new, "rank": cluster.rank,
            "distance": None if seen.distance is None else list(seen.distance),
            "medoids": [medoid.text for medoid in cluster.medoids],
        })  # fmt: skip
    strata = [
        {"name": stratum.name, "size": stratum.size, "sampled": stratum.drawn, "rate": stratum.rate}
        for stratum in result.sample.strata.values()
    ]
    return {
        "clusters": listed, "ordinary": result.ordinary, "alone": result.alone, "encoder": result.encoder,
        "sample": strata, "new_words": list(result.sample.fresh), "can_tell_new": result.sample.has_past,
    }  # fmt: skip
