"""The sections of a report on what was tested and found: top issues, endpoints, coverage, harms."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from withstand.core.text import count, series
from withstand.redteam.coverage.cells import STATES
from withstand.redteam.coverage.table import LEGEND, figures, matrix
from withstand.redteam.coverage.table import table as matrix_table
from withstand.redteam.coverage.table import tables as coverage_tables
from withstand.redteam.dates import day_of
from withstand.redteam.findings.triage import agreement_of, lacks_rater
from withstand.redteam.harms import tables as harm_tables
from withstand.redteam.harms.kinds import discovery
from withstand.redteam.harms.living import by_round, history
from withstand.redteam.harms.unmeasured import unmeasured
from withstand.redteam.replay.figures import CAVEAT, MeasuredRate, ReplayResult
from withstand.redteam.replay.tables import sentences, versions, written
from withstand.redteam.replay.tables import tables as replay_tables
from withstand.redteam.report.document import Boxed, Bullets, Part, Text, Title
from withstand.redteam.report.facts import Facts, example, quoted, raters, renamed, repeated, severity, status
from withstand.redteam.report.lint import RestrictedWords
from withstand.redteam.report.passages import Block
from withstand.report.table import Column, Table
from withstand.store.attempts import Attempt

NEXT = "Cells to test next"
MOST = 5
"""Issues of a report that is not full."""


# --- 3 -----------------------------------------------------------------------------------------------------------


def issues(facts: Facts) -> Iterator[Part]:
    """The severest and most reproducible open findings, what is not settled, and how far raters agree."""
    if not facts.recorded:
        yield Text("Nothing was recorded yet: 0 attempts. That says nothing of what the target does.", strong=True)
        return
    testers = len({attempt.tester for attempt in facts.recorded})
    cells = Counter(cell.state for cell in facts.coverage.cells)
    if all(attempt.verdict == "error" for attempt in facts.recorded):
        yield Text(f"{count(len(facts.recorded), 'attempt')}, all ended in an error: nothing was tested.", strong=True)
        return
    tried = f"{count(len(facts.recorded), 'attempt')} by {count(testers, 'tester')}"
    if errors := sum(attempt.verdict == "error" for attempt in facts.recorded):
        tried += f" ({count(errors, 'error')} among them, which tested nothing)"
    on = f"{cells['covered']:,} covered cells; {cells['empty']:,} cells are empty, which is no evidence of safety"
    if not facts.findings:
        yield Text(f"No findings were made in {tried}, on {on}.")
        return
    listed = facts.issues if facts.full else facts.issues[:MOST]
    statuses = Counter(map(status, facts.findings))
    by_status = ", ".join(f"{number} {status}" for status, number in statuses.items())
    yield Text(f"{count(len(facts.findings), 'finding was', 'findings were')} recorded: {by_status}.")
    yield Text(f"Tried so far: {tried}, on {on}.")
    if listed:
        yield _issues(facts, listed)
    if facts.full and facts.reveal:
        yield from _texts(listed, RestrictedWords(entry for entry in facts.recorded if entry.sensitivity != "normal"))
    yield Bullets(tuple(_settled(facts)))


def _issues(facts: Facts, listed: Sequence[Attempt]) -> Table:
    columns = [
        Column("no." if facts.limited else "id"),
        Column("harm"),
        Column("severity"),
        Column("raters", right=True),
    ]
    columns += [Column("reproduced"), Column("verdict"), Column("layer"), Column("feature"), Column("status")]
    columns += [] if facts.limited else [Column("technique"), Column("example")]
    columns += [Column("owner"), Column("due"), Column("tester"), Column("mitigation")] if facts.full else []
    rows = []
    for number, finding in enumerate(listed, 1):
        row = [
            number if facts.limited else finding.id, facts.harm(finding.harm), severity(finding), raters(finding),
            repeated(finding), finding.verdict, facts.layer(finding.layer), finding.feature,
            status(finding),
        ]  # fmt: skip
        row += [] if facts.limited else [finding.technique, example(finding)]
        row += [finding.owner, finding.due, finding.tester, finding.mitigation] if facts.full else []
        rows.append(row)
    title = "Open findings" if facts.full else f"Top {min(MOST, len(listed))} open findings"
    return Table(columns, rows, title, "By severity and by whether they could be reproduced.")


def _texts(listed: Sequence[Attempt], hidden: RestrictedWords) -> Iterator[Part]:
    """What was sent and answered; nothing of what is restricted, nor what holds words of it."""
    for finding in listed:
        yield Title(finding.id)
        held = (*(turn.text for turn in finding.turns), finding.output, finding.notes)
        if finding.sensitivity == "normal" and not finding.purged and not any(map(hidden.owner, held)):
            turns = [f"{turn.role}: {quoted(turn.text)}" for turn in finding.turns]
            notes = [f"notes: {quoted(finding.notes)}"] if finding.notes else []
            yield Bullets((*turns, f"answer: {quoted(finding.output)}", *notes))
        else:
            yield Boxed(Block("restricted"), (Text(example(finding)),))


def _settled(facts: Facts) -> Iterator[str]:
    if waiting := [finding.id for finding in facts.findings if lacks_rater(finding)]:
        names = "" if facts.limited else f": {', '.join(waiting)}"
        wait = count(len(waiting), "finding of high severity waits", "findings of high severity wait")
        yield f"{wait} for a second rater{names}."
    agreement = agreement_of(facts.findings)
    if agreement.findings and agreement.kappa is not None:
        few = "; so few say little" if agreement.few else ""
        apart = f", apart on {len(agreement.apart)}, where the higher severity counts" if agreement.apart else ""
        rated = count(agreement.findings, "finding")
        yield f"Two people rated {rated}{apart}: weighted kappa {agreement.kappa:.2f}{few}."
    else:
        yield "Agreement of raters is not known: no kappa can be computed from the findings that two people rated."
    if unrated := [finding for finding in facts.issues if finding.rated is None]:
        yield f"{count(len(unrated), 'open finding has', 'open findings have')} no severity yet."
    if others := [finding for finding in facts.findings if finding.foreign]:
        wrote = count(len(others), "finding was", "findings were")
        yield f"{wrote} written by people whom the owner of the store does not trust."


# --- 4 -----------------------------------------------------------------------------------------------------------


def endpoints(facts: Facts) -> Iterator[Part]:
    """Which layers were tested, production or not, with which mitigations, and when (T5)."""
    tried = Counter(attempt.layer for attempt in facts.recorded)
    dates: dict[str, list[str]] = {}
    for attempt in facts.recorded:
        day = day_of(attempt.surfaced)
        dates.setdefault(attempt.layer, []).append(day)
    named = [] if facts.limited else ["target", "defense"]
    dated = [] if facts.limited else ["version", "versions seen"]
    heads = ["layer", "kind", "endpoint", *named, "production", "mitigations", *dated, "tested", "attempts"]
    rows = []
    for layer in facts.layers:
        seen = sorted({a.target_version for a in facts.recorded if a.layer == layer.id and a.target_version})
        days = sorted(dates.get(layer.id, ()))
        span = "not tested" if not days else days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
        row = [facts.layer(layer.id), layer.kind, layer.endpoint]
        row += [] if facts.limited else [layer.target.partition(",")[0], layer.defense or "none"]
        row += ["production" if layer.production else "not production", layer.mitigations]
        row += [] if facts.limited else [layer.version or layer.changed, ", ".join(seen)]
        rows.append([*row, span, f"{tried[layer.id]:,}"])
    yield Table([*map(Column, heads)], rows, "Endpoints", "")
    live = [layer for layer in facts.layers if layer.production and tried[layer.id]]
    if live:
        yield Text(f"The production endpoint was tested: {series([facts.layer(layer.id) for layer in live])}.")
    else:
        yield Text("No production endpoint was tested: repeat the findings there before anybody relies on them.", True)
    if lost := sum(number for name, number in tried.items() if name not in {layer.id for layer in facts.plan.layers}):
        yield Text(f"{count(lost, 'attempt is', 'attempts are')} of layers that the plan has no more.")
    if facts.replay:
        yield from _replayed(facts, renamed(facts.replay, facts))
    if left_out := facts.replays[1]:
        records = count(left_out, "record is", "records are")
        yield Text(
            f"Findings were sent again by others too: {records} left out, since no verdicts that we trust back them."
        )


def _replayed(facts: Facts, result: ReplayResult) -> Iterator[Part]:
    """The last replay: findings sent again with and without mitigations, beside what runs measured."""
    shown = [
        replace(part, note="") for part in replay_tables(result) if not (facts.limited and "Not asked" in part.title)
    ]
    day = day_of(result.created)
    answers = f"{count(result.how.n, 'answer')} each, all graded by {result.judge}"
    layers = series([layer.id for layer in result.layers])
    head = Text(f"On {day} findings were sent again to {layers}: {answers}.")
    yield Title("The same findings, with and without mitigations")
    notes = (Bullets(result.notes),) if result.notes else ()
    yield Boxed(Block("replay"), (Text(f"Caveat: {CAVEAT}"), head, Bullets(tuple(sentences(result))), *shown, *notes))
    for rate in result.measured:
        yield from _measured(rate, versions(result))


def _measured(rate: MeasuredRate, names: dict[str, str]) -> Iterator[Part]:
    layer = names.get(rate.layer, rate.layer)
    if rate.low is None or rate.high is None:
        yield Text(f"{rate.suite} at {layer} has no {rate.measures} measurement: nothing was scored.")
        return
    what = {"harm": "attack success rate of fresh prompts", "over-refusal": "benign prompts refused"}[rate.measures]
    ends = f"{100 * rate.low:.1f}-{100 * rate.high:.1f}%"
    block = Block("measured", facts={"suite": rate.suite, "n": str(rate.n), "interval": ends})
    yield Boxed(
        block, (Text(f"At {layer}, {what}: {written(rate)}, suite {rate.suite}, n = {rate.n}, judge {rate.judge}."),)
    )


# --- 5 -----------------------------------------------------------------------------------------------------------


def covered(facts: Facts) -> Iterator[Part]:
    """The matrix and its gaps; in a limited report how many cells are in each state."""
    states = Counter(cell.state for cell in facts.coverage.cells)
    rows = [[state, f"{states[state]:,}", LEGEND[state]] for state in STATES]
    yield Table([Column("state"), Column("cells", right=True), Column("what it means")], rows, "Cells by state", "")
    if facts.limited:
        yield Text("Nothing here is a rate of harm: findings were looked for.")
        return
    yield matrix_table(matrix(facts.coverage, facts.plan))
    for part in coverage_tables(facts.coverage, figures(facts.coverage, facts.plan)):
        if part.title == NEXT:
            continue  # the next section but one has it
        kept = [row for row in part.rows if facts.full or not (len(row) > 1 and str(row[1]).startswith("tester "))]
        yield replace(part, rows=kept)


# --- 6 -----------------------------------------------------------------------------------------------------------


def harms(facts: Facts) -> Iterator[Part]:
    """The list of harms, how it grew, what was decided, and the harms that no suite measures."""
    plan = facts.plan
    yield harm_tables.grown(by_round(facts.store, plan))
    shown = discovery(facts.store, plan)
    if (kinds := harm_tables.discovered(shown)).rows:
        yield kinds
    decisions = harm_tables.decided(decision for decision in history(facts.store, plan) if not facts.limited)
    if decisions.rows:
        yield decisions if facts.full else _without(decisions, "by")
    yield _listed(facts)
    if facts.full and (gone := harm_tables.gone(plan)).rows:
        yield gone
    if lacking := unmeasured(facts.store, plan):
        note = (
            "Hand these over to systematic measurement: `withstand run --harms-without-coverage PLAN` begins with them."
        )
        yield replace(harm_tables.to_measure(lacking), note=note)
    else:
        yield Text("Each harm of the list has a suite that measures it.")


def _listed(facts: Facts) -> Table:
    heads = ("harm", "title", "planned severity", "likelihood", "source", "measured by")
    rows = [
        [harm.id, harm.title, harm.severity, harm.likelihood,
         harm.source.partition(":")[0] if facts.limited else harm.source, harm.measured_by or "nothing"]
        for harm in sorted(facts.plan.active, key=lambda harm: -harm.weight)
    ]  # fmt: skip
    return Table([*map(Column, heads)], rows, "Active harms")


def _without(table: Table, name: str) -> Table:
    """A table without one of its columns."""
    kept = [place for place, column in enumerate(table.columns) if column.name != name]
    rows = [row if isinstance(row, str) else [row[place] for place in kept] for row in table.rows]
    return replace(table, columns=[table.columns[place] for place in kept], rows=rows)
