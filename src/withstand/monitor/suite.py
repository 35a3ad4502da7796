"""Behaviors from traffic: what was seen there and is in no suite, as a file that a person reviews before any run.

Candidates are the requests in the middle of violating and uncovered clusters, and those that people called a violation
in an audit. Their texts are the redacted ones. A row says which cluster, week and policy it is from, and no account.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from withstand.core import Behavior, digest
from withstand.core.taxonomy import UNCOVERED
from withstand.formats.generated import TRAFFIC, Generated, sealed
from withstand.monitor.audit.records import items_of, opinions_of
from withstand.monitor.clusters.identity import Known
from withstand.monitor.intake.redaction import redact
from withstand.monitor.traffic import Traffic
from withstand.redteam.findings.similar import NEAR, grams
from withstand.store.store import Store

LEAST_WORDS = 3
"""Words of a request: shorter ones say nothing without what was said before."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A request that may become a behavior. origin: the cluster's or the audit's name.   ts: when it was sent.

    policy: name and version, or the version alone, by which its category was given.   reason: in words.
    """

    text: str
    origin: str
    ts: float
    category: str
    policy: str
    reason: str

    @property
    def week(self) -> str:
        """Its ISO week, as in 2026-W10."""
        year, week, _ = datetime.fromtimestamp(self.ts, UTC).isocalendar()
        return f"{year}-W{week:02}"


@dataclass(frozen=True, slots=True)
class Harvest:
    """rows: new ones.   seen: candidates.   lacking: of them, those whose text is not kept.   short: too short.

    alike: near-duplicates of a behavior of a suite, of a row of the file, or of one another.
    """

    rows: tuple[Generated, ...]
    seen: int
    lacking: int
    short: int
    alike: int


def candidates(traffic: Traffic, store: Store, clusters: Sequence[Known], audits: bool = True) -> Iterator[Candidate]:
    """The requests of these clusters, and of audited violations, in that order; "" for a text that is not kept."""
    for entry in clusters:
        for seq, name in entry.value.get("medoids", []):
            rows = traffic.rows("SELECT ts, coalesce(prompt, ''), skeleton FROM exchange WHERE seq = ?", [seq])
            ts, text, own = rows[0] if rows else (entry.value["last"], "", 0)
            if own != int(name, 16):  # another exchange has this number: the traffic was read anew
                text = ""
            what = (
                "violate the policy" if entry.value["kind"] == "violating" else "look wrong, and no category names them"
            )
            reason = f"in the middle of the cluster '{entry.label}', whose requests {what}"
            yield Candidate(text, f"cluster:{entry.id}", ts, entry.value["category"], entry.value["policy"], reason)
    if audits and clusters:
        yield from audited(store, clusters[0].monitor)


def audited(store: Store, monitor: str) -> Iterator[Candidate]:
    """The requests of which all who labeled them in an audit said that the prompt violates a category."""
    opinions: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for opinion in opinions_of(store, monitor):
        opinions.setdefault(opinion.item, []).append((opinion.policy, opinion.prompt or ()))
    for item in items_of(store, monitor):
        given = opinions.get(item.id, [])
        common = set[str].intersection(*(set(names) for _, names in given)) if given else set[str]()
        if common and not item.purged:
            category = min(common, key=lambda name: (name == UNCOVERED, name))
            reason = "a person called it a violation in an audit"
            yield Candidate(item.input, f"audit:{item.id}", item.ts, category, given[0][0], reason)


def harvest(
    listed: Iterable[Candidate], before: Sequence[Generated], suites: Mapping[str, Sequence[Behavior]], judge: str = ""
) -> Harvest:
    """The candidates as rows of a file that holds `before`, without what that or a suite has already."""
    texts = [row.text for row in before] + [behavior.text for suite in suites.values() for behavior in suite]
    seen = [grams(text) for text in texts]
    rows: list[Generated] = []
    counts = dict.fromkeys(("seen", "lacking", "short", "alike"), 0)
    for candidate in listed:
        counts["seen"] += 1
        text = redact(candidate.text).strip()
        own = grams(text)
        if not text:
            counts["lacking"] += 1
        elif len(text.split()) < LEAST_WORDS:
            counts["short"] += 1
        elif any(len(own & earlier) >= NEAR * len(own | earlier) for earlier in seen):
            counts["alike"] += 1
        else:
            seen.append(own)
            rows.append(_row(candidate, text, judge))
    return Harvest(tuple(rows), **counts)


def _row(candidate: Candidate, text: str, judge: str) -> Generated:
    origin = candidate.origin.replace(":", "/")
    tags = ("traffic", candidate.origin, f"week:{candidate.week}", f"under:{candidate.policy}")
    reason = f"seen in traffic in {candidate.week}: {candidate.reason} ({candidate.category}, {candidate.policy})"
    return sealed(
        Generated(
            f"{origin}-{digest(text)[:6]}", text, category=candidate.category, tags=tags, cluster=origin, parent=origin,
            reason=reason, judge=judge, writer=TRAFFIC,
        )
    )  # fmt: skip
