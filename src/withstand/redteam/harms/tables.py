"""The list of harms for a terminal, a page and machines."""

from collections.abc import Iterable, Sequence
from typing import Any

from withstand.core import Json
from withstand.redteam.dates import day_of
from withstand.redteam.harms.kinds import Discovery, Proposal
from withstand.redteam.harms.living import Changed, Count, Decision
from withstand.redteam.harms.unmeasured import Unmeasured
from withstand.redteam.plan.records import Plan
from withstand.report.table import Column, Table

ROUGH = "a rough lower bound: it takes each finding as drawn at random, and testers do not draw"


def number(value: Any) -> Column:
    """A column of numbers."""
    return Column(value, right=True)


def proposed(listed: Sequence[Proposal]) -> Table:
    """What testers found that the plan has no harm for."""
    columns = [
        *map(Column, ("proposed id", "in testers' words", "findings", "testers", "rounds")), number("severity"),
    ]  # fmt: skip
    rows = [
        [p.id, " | ".join(p.words), ", ".join(p.findings or p.attempts), ", ".join(p.testers), ", ".join(p.rounds),
         p.severity]
        for p in listed
    ]  # fmt: skip
    return Table(columns, rows, "Proposals: accept, merge or leave them", "Words that are alike are one proposal.")


def active(plan: Plan) -> Table:
    """The harms that are tested, those of most weight first."""
    columns = [*map(Column, ("harm", "title", "category", "source")), number("severity"), number("likelihood"),
               number("weight"), Column("measured by")]  # fmt: skip
    ordered = sorted(plan.active, key=lambda harm: -harm.weight)
    rows = [
        [h.id, h.title, h.category, h.source, h.severity, h.likelihood, h.weight, h.measured_by] for h in ordered
    ]  # fmt: skip
    return Table(columns, rows, "Active harms")


def gone(plan: Plan) -> Table:
    """Harms that are merged or retired, and why."""
    columns = [Column(name) for name in ("harm", "title", "now", "why")]
    rows = [
        [h.id, h.title, f"part of {h.merged_into}" if h.merged_into else h.status, h.reason]
        for h in plan.harms
        if h.status != "active"
    ]
    return Table(columns, rows, "Merged and retired")


def decided(listed: Iterable[Decision]) -> Table:
    """The history of the list."""
    columns = [Column(name) for name in ("date", "round", "by", "decision", "harm", "into", "findings", "why")]
    rows = [
        [day_of(d.created), d.round, d.by, d.action, d.harm, ", ".join(d.into),
         ", ".join(d.findings), d.reason]
        for d in listed
    ]  # fmt: skip
    return Table(columns, rows, "History")


def grown(counts: Sequence[Count]) -> Table:
    """Active harms by round and source."""
    sources = sorted({part.source for part in counts})
    here = {(part.round, part.source): part.harms for part in counts}
    rounds = list(dict.fromkeys(part.round for part in counts))
    rows = [[name, *(here.get((name, source), 0) for source in sources)] for name in rounds]
    return Table([Column("round"), *map(number, sources)], rows, "Active harms at the end of a round, by source")


def to_measure(listed: Sequence[Unmeasured]) -> Table:
    """The hand-over to systematic measurement."""
    columns = [*map(Column, ("harm", "title", "category")), number("weight"), number("findings"), Column("why")]
    rows = [[u.harm, u.title, u.category, u.weight, u.findings, u.why] for u in listed]
    return Table(columns, rows, "Harms without measurement")


def discovered(of: Discovery) -> Table:
    """New kinds of harm by round, and by hour of work."""
    columns = [Column("round"), *map(number, ("kinds", "new", "hours", "new an hour", "findings without a harm"))]
    rows = [
        [r.round, r.kinds, r.new, f"{r.hours:.1f}", "" if r.per_hour is None else f"{r.per_hour:.2f}", r.unnamed or ""]
        for r in of.rounds
    ]  # fmt: skip
    note = "" if of.at_least is None else (
        f"Open rounds showed {of.kinds}; by those seen once or twice there are at least {of.at_least:.1f}, {ROUGH}."
    )  # fmt: skip
    return Table(columns, rows if any(r.kinds or r.unnamed for r in of.rounds) else [], "Kinds of harm found", note)


def reordered(changed: Changed) -> list[str]:
    """The order in which a round tests its harms now, and what moved."""
    before = [name for name, _ in changed.order_before]
    lines = []
    for place, (name, weight) in enumerate(changed.order):
        was = "new" if name not in before else f"was {before.index(name) + 1}" if before.index(name) != place else ""
        lines.append(f"{place + 1}. {name}, weight {weight}" + (f" ({was})" if was else ""))
    return lines + [f"no more: {name}" for name in before if name not in dict(changed.order)]


def changed_json(changed: Changed) -> Json:
    """A decision for machines."""
    return {
        "schema": 1, "plan": changed.plan.id, "moved": list(changed.moved), "waiting": changed.waiting,
        "order": [{"harm": name, "weight": weight} for name, weight in changed.order],
        "order_before": [{"harm": name, "weight": weight} for name, weight in changed.order_before],
    }  # fmt: skip
