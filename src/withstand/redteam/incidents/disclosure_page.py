"""The draft of a disclosure, and the private report of a finding, as Markdown."""

from collections.abc import Iterator

from withstand.core.text import count, rate, visible, whole
from withstand.redteam.dates import day_of, span
from withstand.redteam.incidents.disclosure import IMPACT, Disclosure, Monitored, Violations
from withstand.redteam.incidents.suppression import LEAST
from withstand.redteam.plan.records import Plan
from withstand.report.table import Column, Table
from withstand.report.table import markdown as line
from withstand.store.attempts import NEW_HARM, Attempt

HIDDEN = "hidden"
TO_WRITE = "_To be written._"


def _number(value: int | None) -> str:
    return HIDDEN if value is None else whole(value)


def markdown(draft: Disclosure) -> str:
    """The draft, with what people must still write."""
    return "\n".join([*_head(draft), *_counts(draft), *_actions(draft), *_open(draft)]) + "\n"


def _head(draft: Disclosure) -> Iterator[str]:
    yield from (f"# Incidents, {line(draft.period)} (draft)", "", f"> {draft.warning}", "")
    versions = ", ".join(map(line, draft.versions)) or "none"
    yield f"Policy: {line(draft.policy) or 'not named'}. Versions in force at the incidents: {versions}."
    yield from ("", f"Incidents: {_number(draft.incidents)}. Actors: {_total(draft.actors, draft.rounded)}.", "")


def _total(value: int | None, rounded: bool) -> str:
    if value is None:
        return "hidden or not known"
    return f"at least {whole(value)}" if rounded else whole(value)


def _counts(draft: Disclosure) -> Iterator[str]:
    yield from ("## By category", "")
    if not draft.categories:
        yield from ("No incident was opened in this period.", "")
        return
    columns = [Column("category"), *(Column(name, _number, right=True) for name in ("incidents", "actors", "requests"))]
    rows = [[entry.title, entry.incidents, entry.actors, entry.requests] for entry in draft.categories]
    yield from (
        Table(columns, rows).markdown(),
        "",
        f"`{HIDDEN}`: fewer than {LEAST} actors, not known, or beside such a count.",
        "",
    )
    if draft.unforeseen is None:
        yield from ("Too few incidents to say how many were unforeseen.", "")
        return
    seen = draft.unforeseen
    few = " These are few." if seen.few else ""
    yield f"- Unforeseen: {rate(seen.unforeseen, seen.unforeseen_interval)} of {count(seen.incidents, 'incident')};"
    yield f"  foreseen and underestimated: {seen.underestimated}.{few}"
    yield f"- From the first event until it was known, median: {_span(seen.delay, seen.delay_interval)}."
    yield from (
        f"- From knowing to the first action, median: {_span(draft.time_to_act, draft.time_to_act_interval)}.",
        "",
    )


def _span(seconds: float | None, ends: tuple[float, float] | None) -> str:
    limits = "; too few for limits" if ends is None else f" (95%: {span(ends[0])} to {span(ends[1])})"
    return "not known" if seconds is None else f"{span(seconds)}{limits}"


def _actions(draft: Disclosure) -> Iterator[str]:
    yield from ("## Actions", "")
    if not draft.actions:
        yield from ("No action with a means was entered.", "")
        return
    least = "actors, at least" if draft.rounded or None in draft.actions.values() else "actors"
    columns = [Column("action"), Column(least, _number, right=True)]
    yield from (Table(columns, [[means, actors] for means, actors in draft.actions.items()]).markdown(), "")


def _open(draft: Disclosure) -> Iterator[str]:
    yield from ("## From monitoring", "")
    yield from (
        _monitored(draft.monitored) if draft.monitored else ("**Empty: no monitor was read.** It would give:", "")
    )
    yield from (f"- {name}: _not measured_" for name in draft.not_measured)
    yield from ("", "## Known blind spots", "", *(f"- {line(text)}" for text in draft.blind_spots), "")
    yield from (
        "## Wider impact",
        "",
        "Nothing here measures it.",
        "",
        *(f"- {name}: {TO_WRITE}" for name in IMPACT),
        "",
    )
    yield from ("## Method", "", *(f"- {text}" for text in draft.method))


def _monitored(seen: Monitored) -> Iterator[str]:
    yield f"Monitor {line(seen.name)}: {whole(seen.requests)} requests from {seen.begin} to {seen.end} were in scope."
    yield ""
    if seen.violations:
        columns = [
            Column("category"), Column("side"), Column("share of requests", right=True), Column("95%", right=True),
            Column("labels", whole, right=True),
        ]  # fmt: skip
        rows = [
            [row.category, row.side, "" if row.rate is None else _share(row.rate), _limits(row), row.labels]
            for row in seen.violations
        ]
        yield from (Table(columns, rows).markdown(), "", "From people's labels of a random sample, weighed.", "")
    if seen.unaudited:
        yield from (f"Not known, for want of labels: {', '.join(map(line, seen.unaudited))}.", "")
    for rule, (true, decided) in seen.precision.items():
        yield f"- alerts by {line(rule)}: {true} of {decided} that people decided were true"


def _limits(row: Violations) -> str:
    return f"at most {_share(row.high)}" if row.low is None else f"{_share(row.low)} to {_share(row.high)}"


def _share(value: float) -> str:
    """A share with two digits: 0.52%."""
    return f"{100 * value:.2g}%"


def private_report(finding: Attempt, plan: Plan | None = None) -> str:
    """The private report of a finding, without a text of its conversation and without its tester's name."""
    words = [*_facts(finding, plan), "", "## What happens", "", TO_WRITE, "", "## Impact", "", TO_WRITE, ""]
    turns = [f"- {turn.role}: {count(len(turn.text), 'character')}" for turn in finding.turns]
    words += [
        "## To reproduce",
        "",
        f"The conversation is kept under {finding.id}; hand it over by an encrypted channel.",
    ]
    words += ["", *turns, f"- answer: {count(len(finding.output), 'character')}", ""]
    if finding.reproduced:
        words += ["It came again in {} of {} repetitions.".format(*finding.reproduced), ""]
    words += ["## Dates", "", f"- found: {day_of(finding.surfaced)}", "- reported privately to: _name, channel, day_"]
    words += ["- answered: _day_", "- agreed day of publication: _day_", "- published: _not before the agreed day_", ""]
    words += ["## Credit", "", "_Name the finders as they wish, or leave them out. Ask them first._", ""]
    words += ["Until the agreed day this report goes to its addressee alone."]
    return "\n".join(words) + "\n"


def _facts(finding: Attempt, plan: Plan | None) -> Iterator[str]:
    harm = (
        next((entry.title for entry in plan.harms if entry.id == finding.harm), finding.harm) if plan else finding.harm
    )
    if finding.harm.startswith(NEW_HARM):
        harm = "one that the plan does not name"
    yield from (f"# Private report of {line(finding.id)} (draft)", "")
    production = {True: "yes", False: "no", None: "not said"}[finding.production]
    severity = f"{finding.rated}, {finding.word}" if finding.rated else "not rated"
    facts = {
        "harm": harm, "severity": severity, "target": finding.target, "version": finding.target_version,
        "layer": finding.layer, "endpoint": finding.endpoint, "mitigations": finding.mitigations,
        "production": production, "technique": finding.technique, "input and answer": finding.pair_id,
    }  # fmt: skip
    yield from (f"- {name}: {line(visible(value)) or 'not said'}" for name, value in facts.items())
