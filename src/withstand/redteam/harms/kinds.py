"""Harms in the words of testers: which findings mean the same one, and whether new kinds still come.

Two descriptions are alike by the runs of letters that they share (`similar.grams`). A person decides what becomes of a
group: it is a proposal.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sql

from withstand.core.likeness import folded
from withstand.redteam.coverage.cells import became, latest
from withstand.redteam.findings.similar import grams
from withstand.redteam.plan import hours
from withstand.redteam.plan.records import Plan, slug
from withstand.stats.species import chao1
from withstand.store.attempts import FINDINGS, NEW_HARM, Attempt, attempts
from withstand.store.store import Store

LIKE = 0.5
"""Mean likeness to a group from which on a description is of it."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Attempts whose testers named a harm that the plan does not have, in words that are alike.

    id: proposed.   title: the words most like the others.   findings: harmful or borderline ones, of `attempts`.
    severity: the highest that anybody gave, None where nobody did.
    """

    id: str
    title: str
    words: tuple[str, ...]
    attempts: tuple[str, ...]
    findings: tuple[str, ...]
    testers: tuple[str, ...]
    rounds: tuple[str, ...]
    severity: int | None


def proposals(store: Store, plan: Plan) -> list[Proposal]:
    """The harms that testers named and nobody has accepted or merged yet; of most findings first."""
    named = {a.id: a for a in _named(store, plan)}
    groups = grouped({name: a.harm.removeprefix(NEW_HARM) for name, a in named.items()})
    listed = [_proposal([named[name] for name in group], plan) for group in groups]
    return sorted(listed, key=lambda p: (-len(p.findings), -len(p.attempts), p.id))


def _named(store: Store, plan: Plan) -> list[Attempt]:
    """The attempts with a harm in the tester's words, oldest first; what was erased says nothing."""
    c = latest(plan.id).subquery().c
    names = [name for (name,) in store.select(sql.select(c.id).where(c.harm == "new"))]
    listed = attempts(store, ids=names) if names else []
    listed = [a for a in listed if not a.purged and a.harm.startswith(NEW_HARM)]
    return sorted(listed, key=lambda a: (a.surfaced, a.id))


def _proposal(inside: Sequence[Attempt], plan: Plan) -> Proposal:
    words = [" ".join(a.harm.removeprefix(NEW_HARM).split()) for a in inside]
    runs = {text: grams(text) for text in words}
    title = max(words, key=lambda text: sum(_likeness(runs[text], runs[neighbor]) for neighbor in words))
    name, taken, number = slug(title)[:40].strip("-"), {harm.id for harm in plan.harms}, 2
    while name in taken:
        name, number = f"{slug(title)[:40].strip('-')}-{number}", number + 1
    return Proposal(
        name, title, tuple(dict.fromkeys(words)), tuple(a.id for a in inside),
        tuple(a.id for a in inside if a.is_finding), tuple(sorted({a.tester for a in inside})),
        tuple(r.id for r in plan.in_order if r.id in {a.round for a in inside}),
        max((a.rated for a in inside if a.rated), default=None),
    )  # fmt: skip


def grouped(words: Mapping[str, str]) -> list[list[str]]:
    """Names of texts in groups of those that are alike: each joins the group that it is most like, in their order."""
    same: dict[str, list[str]] = defaultdict(list)
    for name, text in words.items():
        same[" ".join(folded(text).split())].append(name)
    runs = {text: grams(text) for text in same}
    groups: list[list[str]] = []
    for text in same:
        means = [sum(_likeness(runs[text], runs[member]) for member in group) / len(group) for group in groups]
        best = max(range(len(groups)), key=means.__getitem__, default=None)
        if best is not None and means[best] >= LIKE:
            groups[best].append(text)
        else:
            groups.append([text])
    return [[name for text in group for name in same[text]] for group in groups]


def _likeness(first: frozenset[str], second: frozenset[str]) -> float:
    return len(first & second) / (len(first | second) or 1)


# --- whether new kinds still come -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Saturation:
    """The kinds of harm that findings of a round showed. new: for the first time.   hours: of work, of all testers.

    unnamed: findings that name no harm, and are in no kind.
    """

    round: str
    kinds: int
    new: int
    hours: float
    unnamed: int = 0

    @property
    def per_hour(self) -> float | None:
        """New kinds in an hour of work; None below half an hour of it, from which no pace can be told."""
        return self.new / self.hours if self.hours >= 0.5 else None


@dataclass(frozen=True, slots=True)
class Discovery:
    """By round, and what open rounds say of kinds that nobody has seen yet. kinds: seen in open rounds.

    at_least: kinds that there are, a rough lower bound (Chao1); None where no open round showed one.
    """

    rounds: tuple[Saturation, ...]
    kinds: int = 0
    at_least: float | None = None


def discovery(store: Store | None, plan: Plan) -> Discovery:
    """Findings by kind of harm: those of the plan, and those in testers' words, alike ones as one.

    A finding counts once, however often its input was tried, and a duplicate not at all.
    """
    sightings = _sightings(store, plan) if store else {}
    worked = hours.active(store, plan.id) if store else {}
    seen: set[str] = set()
    rounds, in_open = [], set[tuple[str, str]]()
    for of in plan.in_order:
        here = sightings.get(of.id, set())
        kinds = {kind for kind, _ in here} - {""}
        spent = sum(seconds for (name, _), seconds in worked.items() if name == of.id) / 3600
        unnamed = sum(not kind for kind, _ in here)
        rounds.append(Saturation(of.id, len(kinds), len(kinds - seen), spent, unnamed))
        seen |= kinds
        if of.mode == "open":
            in_open |= {(kind, digest) for kind, digest in here if kind}
    counts = Counter(kind for kind, _ in in_open)
    return Discovery(tuple(rounds), len(counts), chao1(counts.values()) if counts else None)


def _sightings(store: Store, plan: Plan) -> Mapping[str, set[tuple[str, str]]]:
    """Round -> kind of harm, "" where none was said, and input of each finding."""
    c = latest(plan.id).subquery().c
    is_finding = sql.and_(c.verdict.in_(FINDINGS), c.status != "duplicate")
    words = {a.id: a.harm.removeprefix(NEW_HARM) for a in _named(store, plan)}
    kinds = {member: f"new {at}" for at, group in enumerate(grouped(words)) for member in group}
    merged = became(plan)
    sightings: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for name, round_id, harm, digest in store.select(sql.select(c.id, c.round, c.harm, c.input).where(is_finding)):
        kind = kinds.get(name, "") if harm == "new" else merged.get(harm, harm)
        sightings[round_id].add((kind, digest))
    return sightings
