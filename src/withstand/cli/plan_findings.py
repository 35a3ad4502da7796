"""`withstand plan findings`: what people found by hand, triaged."""

import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli.options import CONTEXT, Commands, Result, command
from withstand.cli.plan import plan_argument
from withstand.cli.purge import user_name
from withstand.core import Json, SpecError, to_json
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.redteam.findings.sheet_import import Import
    from withstand.redteam.findings.similar import Match
    from withstand.redteam.findings.triage import Agreement
    from withstand.store.attempts import Attempt
    from withstand.store.store import Store

SOME = 20
"""Conflicts of an import that are shown."""
SEVERITY = click.IntRange(1, 4)
id_argument = click.argument("finding", metavar="F-ID")
by_option = click.option("--by", default="", metavar="NAME", help="Who says so; your user name by default.")
text_option = click.option("--with-text", is_flag=True, help="Show prompts, answers and notes.")


@click.group(cls=Commands, context_settings=CONTEXT)
def findings() -> None:
    """List, triage and exchange what people found by hand."""


@command("list", group=findings, json=True, store=True)
@plan_argument
@click.option("--status", default="", help="Those with this status.")
@click.option("--harm", default="", help="Those of this harm.")
@click.option("--round", "round_id", default="", help="Those of this round.")
@click.option("--severity", type=SEVERITY, default=None, help="Those of this severity or a higher one.")
@click.option("--all", "all_", is_flag=True, help="Also attempts that are no findings.")
def list_(
    path: str, status: str, harm: str, round_id: str, severity: int | None, all_: bool, store: "Store"
) -> Result:  # fmt: skip
    """List the findings of a plan, the severest first, without their texts.

    Below them: how far two raters agree, what lacks a second rater, and what may be found twice.
    """
    from withstand.redteam.findings import similar, triage
    from withstand.redteam.plan.records import read_plan
    from withstand.store.attempts import attempts

    listed = attempts(store, read_plan(path).id)
    chosen = [
        attempt for attempt in listed
        if (all_ or attempt.is_finding) and status in ("", attempt.status) and harm in ("", attempt.harm)
        and round_id in ("", attempt.round) and (severity is None or (attempt.rated or 0) >= severity)
    ]  # fmt: skip
    chosen.sort(key=lambda attempt: (-(attempt.rated or 0), attempt.surfaced, attempt.id))
    agreed = triage.agreement_of(chosen)
    twice = similar.duplicates(chosen)
    value = {
        "schema": 1, "findings": [triage.redacted(attempt) for attempt in chosen], "agreement": to_json(agreed),
        "lacks_rater": [attempt.id for attempt in chosen if attempt.is_finding and triage.lacks_rater(attempt)],
        "near_duplicates": [{"id": a.id, "of": b.id, "likeness": round(n, 2)} for a, b, n in twice],
    }  # fmt: skip
    return Result(value, lambda: _list(chosen, value, agreed))


def _list(chosen: "list[Attempt]", value: Json, agreed: "Agreement") -> None:
    rows = [
        [
            attempt.id, _severity(attempt), attempt.harm_name, attempt.verdict, attempt.status, attempt.layer,
            attempt.tester + (" (not yours)" if attempt.foreign else ""), attempt.owner,
        ]
        for attempt in chosen
    ]  # fmt: skip
    console.table(rows, ["id", "severity", "harm", "verdict", "status", "layer", "tester", "owner"])
    console.put(count(len(chosen), "attempt" if any(not a.is_finding for a in chosen) else "finding"))
    if agreed.findings:
        console.put(agreement_sentence(agreed))
    if value["lacks_rater"]:
        console.put(f"severe, and rated by one person alone: {', '.join(value['lacks_rater'])}")
    for pair in value["near_duplicates"]:
        console.put(f"{pair['id']} reads much like {pair['of']} (likeness {pair['likeness']})")


def agreement_sentence(agreed: "Agreement") -> str:
    """How far raters agree, for people."""
    rated = f"two people rated {count(agreed.findings, 'finding')}"
    if agreed.kappa is None:
        return f"{rated}: too alike for a kappa"
    limits = f", 95% interval {agreed.interval[0]:.2f} to {agreed.interval[1]:.2f}" if agreed.interval else ""
    few = "; few, so it says little" if agreed.few else ""
    return f"{rated}: weighted kappa {agreed.kappa:.2f}{limits}{few}; they differ on {len(agreed.apart)}"


def _severity(attempt: "Attempt") -> str:
    from withstand.redteam.findings.triage import is_apart, people

    text = f"{attempt.rated} {attempt.word}" if attempt.rated else ""
    return f"{text} (of {', '.join(map(str, people(attempt).values()))})" if is_apart(attempt) else text


@command(group=findings, json=True, store=True)
@id_argument
@text_option
def show(finding: str, with_text: bool, store: "Store") -> Result:
    """Show a finding with its history of edits."""
    from withstand.redteam.findings import triage
    from withstand.store.attempts import history

    last = triage.last(store, finding)
    value = to_json(last) if with_text else triage.redacted(last)
    revisions = history(store, finding)
    changes = [
        {"revision": after.revision, "by": after.editor, "at": after.created,
         "changed": [name for name, *_ in triage.differences(before, after)]}
        for before, after in pairwise(revisions)
    ]  # fmt: skip
    return Result({"schema": 1, "finding": value, "history": changes}, lambda: _show(value, last, changes))


def _show(value: Json, last: "Attempt", changes: list[Json]) -> None:
    from withstand.core.text import facts

    console.table([[name, text] for name, text in facts(value) if text], ["", last.id])
    for change in changes:
        day = time.strftime("%Y-%m-%d %H:%M", time.gmtime(change["at"]))
        console.put(f"revision {change['revision']}, {day} UTC, {change['by']}: {', '.join(change['changed'])}")
    if last.foreign:
        console.say("the last revision is of a writer whom you do not trust in this store (`withstand store trust`)")


@command(group=findings, json=True, store=True)
@plan_argument
@id_argument
@by_option
@click.option("--revision", type=click.IntRange(1), default=None, metavar="N",
              help="The revision that you saw; an error where it is not the last.")  # fmt: skip
@click.option("--verdict", default=None, help="One of harmful, borderline, ok, unsure, refused or error.")
@click.option("--status", default=None,
              help="One of new, confirmed, not_reproduced, duplicate, fixed, wont_fix or regressed.")  # fmt: skip
@click.option("--duplicate-of", default=None, metavar="F-ID", help="The finding that it is a duplicate of.")
@click.option("--harm", default=None, help="A harm of the plan, or 'new: ...'.")
@click.option("--feature", default=None, help="A feature of the plan.")
@click.option("--persona", default=None, help="A persona of the plan.")
@click.option("--severity", type=SEVERITY, default=None, help="The tester's. Others use `rate`.")
@click.option("--technique", default=None, help="An id of MITRE ATLAS or of an attack, or 'none'.")
@click.option("--owner", default=None, help="Who mends it.")
@click.option("--due", default=None, metavar="DATE", help="Until when, as 2026-02-16.")
@click.option("--mitigation", default=None, help="What mends it.")
@click.option("--notes", default=None, help="What else to know.")
@click.option("--sensitivity", default=None, help="One of normal, restricted or not_stored.")
def edit(
    path: str, finding: str, by: str, revision: int | None, store: "Store", **changes: Any
) -> Result:  # fmt: skip
    """Edit a finding: what you leave out stays. Each edit is a new revision; what was sent and answered stays."""
    from withstand.redteam.findings import triage
    from withstand.redteam.plan.records import read_plan

    wanted = {name: value for name, value in changes.items() if value is not None}
    if wanted.get("duplicate_of"):
        wanted.setdefault("status", "duplicate")
    if not wanted:
        raise SpecError("nothing to change", hint="`withstand plan findings edit --help` lists what can be")
    try:
        new = triage.edit(store, finding, by or user_name(), time.time(), wanted, revision, read_plan(path))
    except triage.ConflictError as conflict:
        for name, theirs, yours in triage.differences(conflict.theirs, conflict.yours):
            console.say(f"  {name}: {theirs!r} stands, yours is {yours!r}")
        raise
    return Result(triage.redacted(new), lambda: console.put(f"{new.id}: revision {new.revision}"))


@command(group=findings, json=True, store=True)
@id_argument
@by_option
@click.option("--severity", type=SEVERITY, required=True, help="From 1 (low) to 4 (critical).")
def rate(finding: str, by: str, severity: int, store: "Store") -> Result:
    """Rate how severe a finding is. From 3 on, two people rate it; where they differ, the higher one counts."""
    from withstand.redteam.findings import triage

    new = triage.rate(store, finding, by or user_name(), severity, time.time())
    more = "; a second person has to rate it" if triage.lacks_rater(new) else ""
    apart = f"; raters differ: {', '.join(f'{n} {s}' for n, s in triage.people(new).items())}"
    text = f"{new.id}: severity {new.rated} ({new.word}){apart if triage.is_apart(new) else ''}{more}"
    return Result(triage.redacted(new), lambda: console.put(text))


@command(group=findings, json=True, store=True)
@plan_argument
@click.argument("text", metavar="TEXT|F-ID")
@click.option("--most", "-n", type=click.IntRange(1, 100), default=5, show_default=True, help="Attempts to show.")
@text_option
def similar(path: str, text: str, most: int, with_text: bool, store: "Store") -> Result:
    """Show the attempts of a plan that are like a text or a finding: duplicates, and what others tried."""
    from withstand.redteam.findings.similar import Similar, sent
    from withstand.redteam.plan.records import read_plan
    from withstand.store.attempts import attempts

    listed = {attempt.id: attempt for attempt in attempts(store, read_plan(path).id)}
    own = listed.get(text)
    matches = Similar(listed.values()).matches(sent(own.turns) if own else text, most, without=own.id if own else "")
    value = [
        {"id": m.attempt.id, "likeness": round(m.likeness, 3), "near_duplicate": m.near, "verdict": m.attempt.verdict,
         "harm": m.attempt.harm, **({"text": sent(m.attempt.turns)} if with_text else {})}
        for m in matches
    ]  # fmt: skip
    return Result({"schema": 1, "similar": value}, lambda: _similar(matches, with_text))


def _similar(matches: "list[Match]", with_text: bool) -> None:
    from withstand.redteam.findings.similar import sent

    rows = [
        [m.attempt.id, f"{m.likeness:.2f}", "near duplicate" if m.near else "", m.attempt.verdict, m.attempt.harm_name,
         m.attempt.tester, sent(m.attempt.turns) if with_text else ""]
        for m in matches
    ]  # fmt: skip
    console.table(rows, ["id", "likeness", "", "verdict", "harm", "tester", "text"])
    if not matches:
        console.put("nothing like it")


@command(group=findings, store=True)
@plan_argument
@click.option("-o", "--output", required=True, metavar="FILE", help="A .xlsx, .csv or .jsonl file.")
@click.option("--round", "round_id", default="", help="Those of this round.")
@text_option
def export(path: str, output: str, round_id: str, with_text: bool, store: "Store") -> None:
    """Write the attempts of a plan to a spreadsheet, for people to edit and `import` to read.

    Without --with-text, texts are a length and a digest; triage can be edited all the same. No cell can run as a
    formula.
    """
    import json

    from withstand.core.save import save
    from withstand.redteam.findings import sheet_files, sheets, triage
    from withstand.redteam.plan.records import read_plan
    from withstand.store.attempts import attempts

    checked, ending = read_plan(path), sheet_files.ending(output)
    listed = [a for a in attempts(store, checked.id) if round_id in ("", a.round)]
    kept = sorted((a for a in listed if not a.purged), key=lambda a: (a.surfaced, a.id))
    if ending == ".jsonl":
        records = [to_json(a) if with_text else triage.redacted(a) | {"redacted": True} for a in kept]
        content = "".join(f"{json.dumps(record)}\n" for record in records).encode()
    else:
        content = sheet_files.write(output, [sheets.row_of(a, checked, with_text) for a in kept])
    if with_text:
        store.add_audit(user_name(), "export", f"plan {checked.id}: {count(len(kept), 'attempt')} with texts")
    save(Path(output), content)
    erased = f"; {count(len(listed) - len(kept), 'attempt')} without texts left out" if len(kept) < len(listed) else ""
    console.say(f"{output}: {count(len(kept), 'attempt')}{erased}")


@command("import", group=findings, json=True, store=True)
@plan_argument
@click.argument("file", metavar="FILE")
@by_option
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
def import_(path: str, file: str, by: str, dry_run: bool, store: "Store") -> Result:
    """Read attempts and edits from a spreadsheet: what `export` wrote, or rows that people typed.

    A row without an id is a new attempt. Where somebody edited an attempt since the export, the row is a conflict: both
    values are listed, and the store keeps its own. Any error in the file, and nothing of it is kept.
    """
    from withstand.redteam.findings import sheet_import
    from withstand.redteam.plan.records import read_plan

    who, at = by or user_name(), time.time()
    result = sheet_import.planned(store, read_plan(path), file, who, at)
    if not dry_run:
        result = sheet_import.apply(store, result, who, at)
    value = {
        "schema": 1, "new": [a.id for a in result.new], "edited": [a.id for a, _ in result.edits],
        "unchanged": result.unchanged, "conflicts": to_json(result.conflicts), "dry_run": dry_run,
    }  # fmt: skip
    return Result(value, lambda: _imported(result, dry_run), 3 if result.conflicts else 0)


def _imported(result: "Import", dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    console.put(
        f"{result.path}: {count(len(result.new), 'attempt')} {would}new, {len(result.edits)} {would}edited, "
        f"{result.unchanged} unchanged, {count(len(result.conflicts), 'conflict')}"
    )
    for conflict in result.conflicts[:SOME]:
        console.put(
            f"  {conflict.place}: {conflict.id} was edited since: {conflict.theirs[:200]!r} stands, "
            f"the file says {conflict.yours[:200]!r}"
        )
    if len(result.conflicts) > SOME:
        console.put(f"  and {len(result.conflicts) - SOME} more (--json lists all)")


@command(group=findings, json=True, store=True)
@plan_argument
@click.option("--round", "round_id", required=True, help="The round whose attempts are published.")
def publish(path: str, round_id: str, store: "Store") -> Result:
    """Make a run of a round's attempts, for the explorer and `withstand report`.

    It is a snapshot, with the verdicts of people, and has no rate: no gate and no comparison counts it.
    """
    from withstand.redteam.findings import rows
    from withstand.redteam.plan.records import read_plan

    done = rows.publish(store, read_plan(path), round_id)
    value = {"schema": 1, "run": done.run.name, "attempts": done.attempts, "new": done.new, "left_out": done.left_out}
    return Result(value, lambda: _published(value))


def _published(value: Json) -> None:
    state = "" if value["new"] else ", as published before"
    console.put(f"run {value['run']}: {count(value['attempts'], 'attempt')}{state}")
    for reason, number in value["left_out"].items():
        console.put(f"left out: {number} {reason}")
