"""The report of a red team: twelve fixed sections, at three levels of detail, checked by its linter.

After Microsoft's guide, R3 to R6: top issues, raw data, next rounds, thanks; what people identify apart from what
suites measure; a content warning. It says which endpoints were tested (T5).
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence

from withstand.core import SpecError
from withstand.core.frameworks import full, techniques
from withstand.core.text import clock, count, series
from withstand.redteam.coverage.numbers import suggest
from withstand.redteam.dates import day_of
from withstand.redteam.plan.records import Plan
from withstand.redteam.policy.records import Policy
from withstand.redteam.report.document import Bullets, Document, Part, Section, Text, written
from withstand.redteam.report.facts import Facts, Level, facts_of, status
from withstand.redteam.report.lint import lint
from withstand.redteam.report.sections import covered, endpoints, harms, issues
from withstand.redteam.tables import Problem
from withstand.report import tested
from withstand.report.table import Column, Table
from withstand.results.exposure import exposed_by_plan
from withstand.results.tested import Evidence, framework_results
from withstand.store.attempts import FINDINGS, Attempt
from withstand.store.store import Store

FORMATS = ("md", "html", "json")
TITLES = (
    "Content warning", "Purpose, and what this is not", "Top issues", "Endpoints tested", "Coverage, and gaps",
    "Harms: what changed", "Plan for the next round", "Raw data, and who may read them", "Thanks", "Limits",
    "Framework mapping", "Not legal advice",
)  # fmt: skip


NEXT = 5
"""Cells that are proposed for the next round."""


def report(
    plan: Plan, store: Store, round_id: str | None = None, level: Level = "moderate", reveal: bool = False,
    now: float | None = None, recorded: Sequence[Attempt] | None = None,
) -> Document:  # fmt: skip
    """The report of a round, or of all rounds. reveal: texts that are not restricted, in a full report alone.

    now: seconds since 1970.   recorded: the attempts of the plan, if they were read already. Raises `SpecError` for a
    round that the plan does not have.
    """
    if reveal and level != "full":
        raise SpecError(f"a {level} report has no texts", hint="--level full, or leave --reveal out")
    facts = facts_of(plan, store, round_id, level, reveal, recorded)
    parts = (warning, purpose, issues, endpoints, covered, harms, next_round, raw_data, thanks, limits, mapping, legal)
    sections = tuple(
        Section(number, title, tuple(part(facts)))
        for number, (title, part) in enumerate(zip(TITLES, parts, strict=True), 1)
    )
    day = day_of(time.time() if now is None else now)
    of = facts.of
    head = (
        ("rounds", (f"{of.id} ({of.mode})" if of else series([entry.id for entry in plan.in_order] or ["none"]),)),
        ("level of detail", (level + (", with texts" if reveal else ""),)),
        ("written on", (day,)),
        ("attempts", (f"{len(facts.recorded):,}",)),
    )
    return Document(f"{plan.purpose.name}: red team report", plan.id, of.id if of else "", level, head, sections)


def checked(document: Document, suffix: str, recorded: Sequence[Attempt]) -> tuple[str, list[Problem]]:
    """The text of a report's file and what its linter says of it. recorded: the attempts of the plan."""
    text = written(document, suffix)
    return text, lint(text, suffix, [attempt for attempt in recorded if attempt.sensitivity != "normal"])


# --- 1, 2 --------------------------------------------------------------------------------------------------------


def warning(facts: Facts) -> Iterator[Part]:
    if not facts.plan.purpose.content_warning:
        yield Text("The plan asks for no content warning: nothing that it is about should distress a reader.")
    elif facts.reveal:
        yield Text(
            "This report quotes harmful requests and answers. Read it where nobody else must see it.", strong=True
        )
    else:
        yield Text("This report describes harmful requests and answers; their texts are redacted.", strong=True)
    yield Text("Take breaks, and stop where it is too much.")


def purpose(facts: Facts) -> Iterator[Part]:
    goal = facts.plan.purpose.goal
    rounds = [f"{entry.id}: {entry.goal}" for entry in facts.rounds if entry.goal]
    yield Text(
        f"Goal: {goal}." if goal and not goal.endswith(".") else f"Goal: {goal}" if goal else "The plan names no goal."
    )
    if rounds:
        yield Bullets(tuple(rounds))
    yield Text(
        "People looked for what can go wrong. The examples show that something can happen, and must not be read as a "
        "measure of how common it is: no rate can be computed from manual rounds. Measurement by suites follows "
        "them, and does not replace them."
    )


# --- 7 to 10 -----------------------------------------------------------------------------------------------------


def next_round(facts: Facts) -> Iterator[Part]:
    order = facts.plan.in_order
    last = max((order.index(entry) for entry in facts.rounds), default=-1)
    if facts.of is None:  # the first round without an attempt
        tried = {attempt.round for attempt in facts.recorded}
        last = max((at for at, entry in enumerate(order) if entry.id in tried), default=-1)
    if last + 1 >= len(order):
        yield Text("The plan has no further round.")
    else:
        following = order[last + 1]
        dates = f" from {following.starts} to {following.ends}" if following.starts else ""
        at = series([facts.layer(layer) for layer in following.layers] or ["no layer"])
        yield Text(f"Next is round {following.id} ({following.mode}){dates}, at {at}. {following.goal}".strip())
    todo = Counter(map(status, facts.findings))
    listed = (
        (todo["new"], "new finding", "to triage"),
        (todo["to be rated"], "finding", "to be rated, by two people where it is severe"),
        (todo["confirmed"] + todo["regressed"], "confirmed finding", "to mend"),
        (todo["fixed"], "fixed finding", "to keep as regression cases"),
    )
    waiting = [f"{count(number, what)} {then}" for number, what, then in listed if number]
    if waiting:
        yield Bullets(tuple(waiting))
    proposed = suggest(facts.whole, facts.plan, NEXT)
    if proposed and not facts.limited:
        columns = [*map(Column, ("harm", "feature", "persona", "layer", "round")), Column("weight", right=True)]
        rows = [[facts.harm(c.harm), c.feature, c.persona, facts.layer(c.layer), c.round, c.weight] for c in proposed]
        yield Table(columns, rows, "Cells to test next", "")


def raw_data(facts: Facts) -> Iterator[Part]:
    owner = facts.plan.purpose.owner or facts.plan.purpose.contact or "the owner of the plan"
    if facts.limited:
        yield Text("The raw data are not part of this report.")
        return
    yield Text(
        f"Every attempt has an id and a history. The texts stand in the store alone; ask {owner} for access. Its audit "
        "holds who revealed or exported them."
    )
    if facts.full:
        command = f"withstand plan findings export {facts.plan.path} -o findings.xlsx"
        yield Text(f"Store: {facts.store.where}. Without texts: `{command}`")


def thanks(facts: Facts) -> Iterator[Part]:
    testers = {attempt.tester for attempt in facts.recorded}
    took_part = [member for member in facts.plan.members if member.id in testers]
    yield Text(
        f"Thanks to the {count(len(testers), 'person', 'people')} who tested." if testers else "Nobody has tested yet."
    )
    if named := [member.acknowledge for member in took_part if member.acknowledge and not facts.limited]:
        yield Text(f"With their consent: {series(named)}.")


def limits(facts: Facts) -> Iterator[Part]:
    """What the team, its hours and its choices leave open."""
    yield Bullets(
        (
            "Testers chose what to try, so the findings are a selection: what they did not think of is not here.",
            *_team(facts),
            *_left_open(facts),
        )
    )


def _team(facts: Facts) -> Iterator[str]:
    members = facts.members
    mindsets = Counter(mindset for member in members for mindset in member.mindset)
    disciplines = {name for member in members for name in member.disciplines}
    minds = f"{mindsets['benign']} with a benign mindset, {mindsets['adversarial']} with an adversarial one"
    developers = sum(member.developer for member in members)
    team = f"{count(len(members), 'member')} of {count(len(disciplines), 'discipline')}"
    yield f"{team}: {minds}; developers of the product among them: {developers}."
    planned = sum(m.hours_per_round or 0.0 for r in facts.rounds for m in facts.plan.members_of(r))
    spent = f"{clock(60 * facts.minutes)} by the sessions" if facts.minutes else "no time was recorded"
    yield f"Work: {spent}; {planned:g} hours were planned."
    cap, rounds = facts.plan.purpose.exposure_cap, [of.id for of in facts.rounds]
    if met := exposed_by_plan(facts.store, facts.plan.id, cap, rounds):
        yield f"Exposure: {met.in_words()}."


def _left_open(facts: Facts) -> Iterator[str]:
    recorded = facts.recorded
    wanted = {persona.language for persona in facts.plan.personas}
    wanted |= {language for member in facts.members for language in member.languages}
    spoken = {attempt.language for attempt in recorded if attempt.language}
    rest = f"; not tested: {', '.join(sorted(wanted - spoken))}" if wanted - spoken else ""
    yield f"Languages tested: {', '.join(sorted(spoken)) or 'none recorded'}{rest}."
    if absent := [facts.layer(layer.id) for layer in facts.layers if layer.id not in {a.layer for a in recorded}]:
        yield f"Layers not tested: {'; '.join(absent)}."
    verdicts = Counter(attempt.verdict for attempt in recorded)
    if number := verdicts["unsure"]:
        yield f"Of {count(number, 'attempt')} the tester could not say what it is."
    if number := verdicts["error"]:
        yield f"{count(number, 'attempt')} ended in an error: they count as not tested."
    if number := sum(attempt.purged for attempt in recorded):
        yield f"The texts of {count(number, 'attempt')} were erased."


# --- 11, 12 ------------------------------------------------------------------------------------------------------


def mapping(facts: Facts) -> Iterator[Part]:
    """Entries of frameworks: with findings, tested without one, not tested. Never a score."""
    policy = facts.policy
    if policy is None:
        yield Text("The plan names no policy, so nothing is mapped to a framework.")
        return
    evidence, unmapped = evidence_of(facts, policy)
    listed = [entry for category in policy.categories.values() for entry in category.mappings]
    yield Text(tested.LEAD)
    yield from tested.tables(framework_results(evidence, listed))
    if unmapped:
        yield Text(f"{count(unmapped, 'attempt maps', 'attempts map')} to no entry: no harm, or one that maps to none.")


def evidence_of(facts: Facts, policy: Policy) -> tuple[list[Evidence], int]:
    """What people tested, as the frameworks count it, and how many attempts map to nothing."""
    harms_by_id = {harm.id: harm for harm in facts.plan.harms}
    groups: dict[tuple[str, str, tuple[str, ...], str], list[Attempt]] = {}
    unmapped = 0
    for attempt in facts.recorded:
        if attempt.verdict in ("error", "unsure"):
            continue  # neither says what the target does
        harm = harms_by_id.get(attempt.harm)
        category = policy.categories.get(harm.category) if harm else None
        names = category.mappings if category else ()
        names += tuple(full(key, item) for key, items in (harm.map if harm else {}).items() for item in items)
        own = technique(attempt.technique)
        unmapped += not (names or own)
        where = f"{attempt.round or 'no round'}, {facts.layer(attempt.layer)}"
        if names and harm:
            benign = attempt.mindset == "benign"  # nobody attacked: it counts for the harm done alone
            intent = "unintended" if benign else category.intent if category else "either"
            groups.setdefault((harm.title, where, names, intent), []).append(attempt)
        if own:
            groups.setdefault((f"technique {attempt.technique}", where, own, "misuse"), []).append(attempt)
    evidence = []
    for (about, where, names, kind), tried in groups.items():
        here = {a.id for a in tried}
        counts = [
            a for a in tried if a.verdict in FINDINGS and a.status != "not_reproduced" and a.duplicate_of not in here
        ]
        whose = " of benign users" if kind == "unintended" else ""
        by = f"{count(len(tried), 'attempt')}{whose} in round {where}"
        evidence.append(Evidence(about, by, names, len(tried), len(counts), kind))
    return evidence, unmapped


def technique(name: str) -> tuple[str, ...]:
    """The entries of a technique that a tester named: an id of ATLAS, or an attack of ours; none for another word."""
    if name in techniques():
        return techniques()[name]
    try:
        return (full("atlas", name),) if name.startswith("AML.") else ()
    except SpecError:
        return ()


def legal(facts: Facts) -> Iterator[Part]:
    places = facts.plan.purpose.jurisdictions
    yield Text(
        "This report is not legal advice. Laws and regulations may ask for more"
        + (f"; jurisdictions to look at: {series(list(places))}." if places else ".")
    )
