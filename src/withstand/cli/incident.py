"""`withstand incident`."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli import incident_fields as fields
from withstand.cli.options import CONTEXT, Commands, Result, command, typed_store
from withstand.core import Json, SpecError
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.redteam.incidents.records import ConflictError, Incident
    from withstand.store.store import Store


@click.group(cls=Commands, context_settings=CONTEXT)
def incident() -> None:
    """Record incidents and their retrospectives."""


@command(group=incident, json=True)
@fields.SOURCES
@click.option(
    "--from-alert",
    "alert",
    default=None,
    metavar="ID",
    help="Take from this alert of a monitor what it says: when, category, counts, timeline.",
)
@click.option(
    "--traffic",
    default=None,
    metavar="DIR",
    help="Folder of the monitor: counts and timeline are those of all hours of --from-alert.",
)
@fields.FIELDS
@click.option("--store", envvar="WITHSTAND_STORE", default="withstand.db", show_default=True, metavar="DB",
              help="Store that keeps it; created if it is not there.")  # fmt: skip
def new(
    source: str | None, alert: str | None, traffic: str | None, policy: str | None, editor: str, store: str,
    **chosen: Any,
) -> Result:  # fmt: skip
    """Open an incident: by options, from a TOML file or an alert, or by questions at a terminal.

    The policy's categories say what it may be; `uncovered` is what no rule is about.
    """
    from withstand import api
    from withstand.redteam.incidents import records as incidents

    version, categories = fields.policy_of(policy)
    values: dict[str, Json] = {"opened": _now(), "policy_version": version, "editor": editor}
    if source and alert:
        raise SpecError("--from and --from-alert are both given", hint="name one source")
    if alert:
        values |= _of_alert(store, alert, traffic, categories)
    if source:
        entry, _ = incidents.read_incident(source, values)
        entry = fields.changed(entry, chosen)
    else:
        own = fields.values_of(chosen)
        values |= {**own, "timeline": [*values.get("timeline", []), *own.get("timeline", [])]}
        if sys.stdin.isatty():
            values |= fields.questions(values, categories)
        entry = fields.incident_of(values)
    incidents.check(entry, categories, datetime.now(UTC))
    entry = replace(entry, id=entry.id or incidents.new_id(entry), editor=editor)
    with api.open_store(store) as opened:
        try:
            incidents.save(opened, entry, 0)
        except incidents.ConflictError as conflict:
            hint = f"withstand incident edit {entry.id} changes it"
            raise SpecError(f"{entry.id} is there already", hint=hint) from conflict
    return Result({"schema": 1, "id": entry.id, "revision": 1}, lambda: _show_saved(entry, 1))


def _of_alert(store: str, alert: str, traffic: str | None, categories: Any) -> dict[str, Json]:
    """The fields that an alert gives."""
    from withstand import api
    from withstand.monitor.report.retrospective import incident_values
    from withstand.monitor.traffic import Traffic

    with api.open_store(store, create=False) as opened:
        if traffic is None:
            return incident_values(opened, alert, categories)
        with Traffic(traffic, read_only=True) as columns:
            return incident_values(opened, alert, categories, columns)


@command(group=incident, store=True, json=True)
@click.argument("incident_id", metavar="ID")
@fields.SOURCES
@fields.FIELDS
@click.option("--revision", type=click.IntRange(min=1), default=None, metavar="N",
              help="The revision that you have seen: an edit of an older one than the last is refused.")  # fmt: skip
def edit(
    incident_id: str, source: str | None, policy: str | None, editor: str, revision: int | None, store: "Store",
    **chosen: Any,
) -> Result:  # fmt: skip
    """Change an incident: options replace a field or add to a list, --from FILE replaces all.

    `withstand incident show ID --toml > FILE` writes the file. Where somebody was faster, both versions are shown, and
    yours is kept in a file.
    """
    from withstand.redteam.incidents import records as incidents

    past = {number: version for version, number in incidents.history(store, incident_id)}
    last = max(past)
    base = revision or last
    if source:
        entry, seen = incidents.read_incident(source, {"id": incident_id})
        if entry.id != incident_id:
            raise SpecError(f"{source} is about {entry.id}", hint=f"withstand incident edit {entry.id} --from {source}")
        base = revision or seen or 0
        if not base:
            raise SpecError(f"{source} has no revision", hint=f"--revision {last}, if you have seen that one")
    else:
        if not fields.values_of(chosen):
            raise SpecError("nothing is changed", hint="give an option such as --severity 3, or --from FILE")
        entry = past.get(base, past[last])
    if base not in past:
        raise SpecError(f"{incident_id} has no revision {base}", hint=f"the last is {last}")
    entry = replace(fields.changed(entry, chosen), editor=editor)
    _, categories = fields.policy_of(policy)
    if entry.category != past[last].category or categories is not None:
        incidents.check(entry, categories, datetime.now(UTC))
    try:
        number = incidents.save(store, entry, base)
    except incidents.ConflictError as conflict:
        _show_conflict(conflict, kept=source)
        raise
    return Result({"schema": 1, "id": entry.id, "revision": number}, lambda: _show_saved(entry, number))


@command("list", group=incident, store=True, json=True)
@click.option("--due", is_flag=True, help="Those that lack their retrospective, and changes that are overdue.")
def list_(due: bool, store: "Store") -> Result:
    """List incidents, with the share unforeseen and the median delay of each quarter.

    Exit code 1 with --due where something is due.
    """
    from withstand.redteam.dates import today
    from withstand.redteam.incidents import records as incidents
    from withstand.redteam.incidents.quarters import quarters
    from withstand.results.cells import plain

    listed, now = incidents.incidents(store), today()
    lacking = {entry.id: (entry.lacks, entry.overdue(now)) for entry in listed}
    if due:
        listed = [entry for entry in listed if any(lacking[entry.id])]
    by_quarter = [] if due else quarters(listed)
    value = {
        "schema": 1,
        "incidents": [
            {"id": e.id, "opened": e.opened, "severity": e.severity, "category": e.category, "foreseen": e.foreseen,
             "detection_delay": e.detection_delay, "time_to_mitigate": e.time_to_mitigate,
             "lacks": [*lacking[e.id][0]], "overdue": plain(lacking[e.id][1])}
            for e in listed
        ],
        "quarters": [plain(quarter) | {"few": quarter.few} for quarter in by_quarter],
    }  # fmt: skip

    def show() -> None:
        if not listed:
            console.put("nothing is due" if due else f"{store.where} has no incident")
            return
        console.table([_row(entry, *lacking[entry.id]) for entry in listed], COLUMNS)
        for quarter in by_quarter:
            console.put(quarter.in_words())

    return Result(value, show, 1 if due and listed else 0)


COLUMNS = ("incident", "opened", "severity", "category", "foreseen", "unseen for", "over after", "due")


def _row(entry: "Incident", lacks: Sequence[str], overdue: Sequence[Any]) -> list[str]:
    due = [f"retrospective ({', '.join(lacks)})"] * bool(lacks) + [
        f"{change.what} ({change.due})" for change in overdue
    ]
    return [
        entry.id, entry.opened[:16], str(entry.severity), entry.category, entry.foreseen, _span(entry.detection_delay),
        _span(entry.time_to_mitigate), "; ".join(due),
    ]  # fmt: skip


def _span(seconds: float | None) -> str:
    from withstand.redteam.dates import span

    return "not over" if seconds is None else span(seconds)


@command(group=incident, store=True, json=True)
@click.argument("incident_id", metavar="ID")
@click.option("--toml", is_flag=True, help="As the file that `edit --from` reads.")
@click.option("--history", is_flag=True, help="What each revision changed.")
def show(incident_id: str, toml: bool, history: bool, store: "Store") -> Result:
    """Show an incident, its file, or its history."""
    from withstand.core import to_json
    from withstand.core.text import facts
    from withstand.redteam.incidents import records as incidents

    past = incidents.history(store, incident_id)
    last, revision = past[-1]
    value = {
        "schema": 1, "revision": revision, "incident": to_json(last), "detection_delay": last.detection_delay,
        "time_to_act": last.time_to_act, "time_to_mitigate": last.time_to_mitigate, "lacks": [*last.lacks],
    }  # fmt: skip
    if history:
        value["history"] = [{"revision": number, "incident": to_json(entry)} for entry, number in past]

    def print_it() -> None:
        if toml:
            click.echo(incidents.file_text(last, revision), nl=False)
            return
        console.put(f"{last.id}, revision {revision}")
        for name, text in facts(to_json(last)):
            if name != "id":
                console.put(f"  {name}: {text}")
        over = "not over yet" if last.time_to_mitigate is None else f"over after {_span(last.time_to_mitigate)}"
        console.put(f"  unseen for {_span(last.detection_delay)}, {over}")
        if last.lacks:
            console.put(f"  its retrospective lacks {', '.join(last.lacks)}")
        for (before, _), (after, number) in pairwise(past) if history else ():
            console.put(f"revision {number} by {after.editor or 'somebody'}")
            for name, old, new_value in incidents.differences(before, after):
                console.put(f"  {name}: {_short(old)} -> {_short(new_value)}")

    return Result(value, print_it)


@command(group=incident, store=True)
@click.option("-o", "--output", required=True, metavar="FILE", help="File to write; it contains the texts.")
def export(output: str, store: "Store") -> None:
    """Write all incidents with all their revisions as JSON."""
    import json

    from withstand.core import to_json
    from withstand.core.save import save
    from withstand.redteam.incidents import records as incidents

    listed = incidents.incidents(store)
    value = {
        entry.id: [{"revision": n, "incident": to_json(past)} for past, n in incidents.history(store, entry.id)]
        for entry in listed
    }
    save(Path(output), json.dumps({"schema": 1, "incidents": value}, indent=1) + "\n")
    console.say(f"wrote {output}: {count(len(listed), 'incident')}, with their texts")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _show_saved(entry: "Incident", revision: int) -> None:
    console.put(
        f"{entry.id}, revision {revision}: severity {entry.severity}, unseen for {_span(entry.detection_delay)}"
    )
    if entry.lacks:
        for text in console.then(
            "a retrospective is due", f"incident edit {entry.id} --reviewed DAY ...", typed_store()
        ):
            console.put(text)


def _show_conflict(conflict: "ConflictError", kept: str | None) -> None:
    """Both versions, field by field; yours is kept in a file unless it came from one."""
    from withstand.core.save import save
    from withstand.redteam.incidents.records import differences, file_text

    for name, theirs, yours in differences(conflict.theirs, conflict.yours):
        console.say(f"{name}")
        console.say(f"  theirs: {_short(theirs)}")
        console.say(f"  yours:  {_short(yours)}")
    path = Path(kept or f"{conflict.yours.id}-yours-{datetime.now(UTC):%H%M%S%f}.toml")
    if not kept:
        save(path, file_text(conflict.yours, conflict.revision))
    console.say(f"yours is kept in {path}")


def _short(value: Json) -> str:
    import json

    return "nothing" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
