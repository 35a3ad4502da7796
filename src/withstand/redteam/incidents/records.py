"""Incidents and their retrospectives, as people enter them. Append-only: an edit is the next revision.

`foreseen` and the detection delay test whether misuse takes the forms that were feared (`quarters`). Of two people who
edit one revision the first stands, and the second gets a `ConflictError` with both versions.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from withstand.core import Json, SpecError, did_you_mean, digest, from_json, to_json
from withstand.core.errors import StoreError, WithstandError, within
from withstand.core.shape import misfit
from withstand.core.taxonomy import UNCOVERED
from withstand.redteam.dates import day, moment
from withstand.redteam.tables import Problems, check_names, read_tables, record_of
from withstand.registry.grammar import to_toml
from withstand.store.revisions import Record, add_record, records, revisions
from withstand.store.store import Store

SCHEMA = "withstand.incident/1"
KIND = "incident"
SEVERE = 3
"""From this severity on an incident needs a retrospective."""

Means: TypeAlias = Literal["", "warn", "throttle", "block", "suspend", "escalate"]
MEANS: tuple[Means, ...] = get_args(Means)[1:]
Foreseen: TypeAlias = Literal["yes", "no", "underestimated"]


@dataclass(frozen=True, slots=True)
class Response:
    """What was done. ts: when, ISO 8601.   means: the policy's action, "" for another.   actors: it was done to."""

    ts: str
    action: str
    means: Means = ""
    actors: int | None = None

    def __post_init__(self) -> None:
        moment("response, ts", self.ts)
        if not self.action.strip():
            raise SpecError("response, action is empty", hint="say what was done")
        if self.actors is not None:
            within(0, 2**53, self, "actors")


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen of it at a time, for the timeline of its retrospective. ts: ISO 8601."""

    ts: str
    what: str

    def __post_init__(self) -> None:
        moment("timeline, ts", self.ts)
        if not self.what.strip():
            raise SpecError("timeline, what is empty", hint="say what was seen")


@dataclass(frozen=True, slots=True)
class Change:
    """What is changed after an incident. due: ISO day.   done: the ISO day on which it was done, "" while it is not."""

    what: str
    owner: str
    due: str
    done: str = ""

    def __post_init__(self) -> None:
        day("changes, due", self.due)
        if self.done:
            day("changes, done", self.done)
        for name in ("what", "owner"):
            if not getattr(self, name).strip():
                raise SpecError(f"changes, {name} is empty", hint="a change has what, owner and due")


@dataclass(frozen=True, slots=True)
class Incident:
    """A revision of an incident. Times are ISO 8601, or a day alone; "" and None: not known.

    first_event: when it began; opened: when you knew.   category: of the policy, or `uncovered`.   foreseen: whether
    the plan named it, or named it and took it for rare.   actors, requests: how many.   severity: 1 to 4.
    timeline: what was seen of it.   mitigated: when it was over.   policy_gap: whether the policy lacked a rule.
    reviewed: day of the retrospective, which says root_causes, what_worked, what_failed and changes.
    disclosure: to whom, when.   editor: of the revision.
    """

    opened: str
    first_event: str
    detected_by: Literal["monitor", "report", "press", "red-team"]
    category: str
    foreseen: Foreseen
    severity: int
    harm_described: str
    id: str = ""
    policy_version: str = ""
    actors: int | None = None
    requests: int | None = None
    timeline: tuple[Observed, ...] = ()
    response: tuple[Response, ...] = ()
    mitigated: str = ""
    policy_gap: bool | None = None
    reviewed: str = ""
    root_causes: tuple[str, ...] = ()
    what_worked: tuple[str, ...] = ()
    what_failed: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    disclosure: str = ""
    editor: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,63})?", self.id):  # files are called after it
            raise SpecError(f"id is {self.id!r}", hint="write letters, digits, - and _, at most 64")
        begun = moment("first_event", self.first_event)
        if begun > moment("opened", self.opened, end=True):
            hint = "first_event is when it began, opened when you knew"
            raise SpecError(f"first_event {self.first_event} is after opened {self.opened}", hint=hint)
        times = [("mitigated", self.mitigated), *(("response, ts", step.ts) for step in self.response)]
        for name, text in times:
            if text and moment(name, text, end=True) < begun:
                hint = "nothing was done before it began: change one of the times"
                raise SpecError(f"{name} {text} is before first_event {self.first_event}", hint=hint)
        within(1, 4, self, "severity")
        for name in ("actors", "requests"):
            if getattr(self, name) is not None:
                within(0, 2**53, self, name)
        if not self.harm_described.strip():
            raise SpecError("harm_described is empty", hint="say what the harm was, without quoting it")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", self.category):
            raise SpecError(f"category is {self.category!r}", hint=f"an id of the policy, or {UNCOVERED}")
        if self.category == UNCOVERED and self.policy_gap is False:
            hint = "no rule covers it: policy_gap is true, or the category another"
            raise SpecError("the category is uncovered, and policy_gap false", hint=hint)
        if self.reviewed:
            day("reviewed", self.reviewed)

    @property
    def detection_delay(self) -> float:
        """Seconds from the first event until it was known; at most so many, where a time is a day alone."""
        return _seconds(("first_event", self.first_event), ("opened", self.opened))

    @property
    def time_to_act(self) -> float | None:
        """Seconds from knowing to the first response; 0 for one before; None without a response."""
        spans = [_seconds(("opened", self.opened), ("response, ts", step.ts)) for step in self.response]
        return min(spans, default=None)

    @property
    def time_to_mitigate(self) -> float | None:
        """Seconds from knowing until it was over; None while it is not."""
        return _seconds(("opened", self.opened), ("mitigated", self.mitigated)) if self.mitigated else None

    @property
    def lacks(self) -> tuple[str, ...]:
        """What its retrospective lacks; nothing where none is due."""
        parts = ("reviewed", "root_causes", "what_worked", "what_failed", "changes")
        return tuple(name for name in parts if not getattr(self, name)) if self.severity >= SEVERE else ()

    def overdue(self, now: date) -> tuple[Change, ...]:
        """The changes that should be done by now."""
        return tuple(change for change in self.changes if not change.done and change.due < now.isoformat())


def _seconds(start: tuple[str, str], end: tuple[str, str]) -> float:
    """From the beginning of one time to the end of another, 0 or more."""
    return round(max(0.0, (moment(*end, end=True) - moment(*start)).total_seconds()), 3)


FIELDS = tuple(f.name for f in fields(Incident))
TABLES = ("timeline", "response", "changes")
"""Fields that are lists of tables in a file."""


class ConflictError(WithstandError):
    """Somebody else wrote the revision that this edit was to be. `theirs` stands, `yours` is not kept in the store."""

    def __init__(self, theirs: Incident, yours: Incident, revision: int) -> None:
        who = theirs.editor or "somebody"
        super().__init__(
            f"{yours.id} was changed by {who} meanwhile: revision {revision} is theirs",
            hint=f"compare the two, put into yours what should stay, and edit revision {revision}",
        )
        self.theirs, self.yours, self.revision = theirs, yours, revision


def new_id(incident: Incident) -> str:
    """The id of a new incident: the day on which it was opened, and a hash of what it is."""
    opened = moment("opened", incident.opened).strftime("%Y%m%d")
    return f"I-{opened}-{digest(to_json(replace(incident, id='', editor='')))[:6]}"


def check(incident: Incident, categories: Collection[str] | None, now: datetime) -> None:
    """Raise `SpecError` for what one incident alone cannot show. categories: of the policy, None without one."""
    if moment("opened", incident.opened) > now:
        raise SpecError(f"opened is {incident.opened}, which is in the future", hint="write when you knew of it")
    if incident.category == UNCOVERED or (categories is not None and incident.category in categories):
        return
    if categories is None:
        hint = f"name the policy with --policy FILE, or write category {UNCOVERED}"
        raise SpecError(f"no policy says what {incident.category!r} is", hint=hint)
    hint = did_you_mean(incident.category, categories, f"or {UNCOVERED}, where no rule is about it")
    raise SpecError(f"the policy has no category {incident.category!r}", hint=hint)


# --- the store ----------------------------------------------------------------------------------------------------


def save(store: Store, incident: Incident, base: int) -> int:
    """Keep an incident as the revision behind `base` (0: it is new); that revision. Raises `ConflictError`."""
    created = datetime.now(UTC).timestamp()
    if not add_record(store, Record(KIND, incident.id, base + 1, "", created, to_json(incident))):
        theirs, revision = find(store, incident.id)
        raise ConflictError(theirs, incident, revision)
    return base + 1


def of_record(record: Record) -> Incident:
    """The incident of a record. Raises `StoreError` where somebody wrote one that is none."""
    if wrong := misfit(Incident, record.value):
        raise StoreError(f"{record.id}, revision {record.revision}, is no incident: {wrong}", hint="restore a backup")
    incident: Incident = from_json(Incident, record.value)
    return incident


def incidents(store: Store) -> list[Incident]:
    """The last revision of each, by when it was opened."""
    listed = [of_record(record) for record in records(store, KIND)]
    return sorted(listed, key=lambda incident: (moment("opened", incident.opened), incident.id))


def find(store: Store, incident_id: str) -> tuple[Incident, int]:
    """An incident and its revision. Raises `SpecError` that lists what there is."""
    return history(store, incident_id)[-1]


def history(store: Store, incident_id: str) -> list[tuple[Incident, int]]:
    """All revisions of an incident with their numbers, the first one first. Raises `SpecError` as `find` does."""
    past = revisions(store, KIND, record_id=incident_id)
    if not past:
        ids = [record.id for record in records(store, KIND)]
        hint = did_you_mean(incident_id, ids, f"it has: {', '.join(ids[-10:]) or 'none'}")
        raise SpecError(f"{store.where} has no incident {incident_id!r}", hint=hint)
    return [(of_record(record), record.revision) for record in past]


def due(store: Store) -> list[Incident]:
    """The incidents whose retrospective is not complete."""
    return [incident for incident in incidents(store) if incident.lacks]


# --- files --------------------------------------------------------------------------------------------------------


def read_incident(path: str | Path, defaults: Mapping[str, Json] | None = None) -> tuple[Incident, int | None]:
    """The incident of a TOML file, and the revision that it was made from. Raises `SpecError` with all errors.

    defaults: fields that the file may leave out.
    """
    content, problems = read_tables(path, SCHEMA), Problems(str(path))
    revision = content.pop("revision", None)
    if revision is not None and not (isinstance(revision, int) and revision >= 0):
        problems.add(
            "revision", f"{revision!r} is no revision", "leave it as `withstand incident show --toml` wrote it"
        )
    check_names(problems, content, ("incident",))
    if "incident" not in content:
        problems.add("[incident]", "it is missing", "`withstand incident show ID --toml` shows the form")
    table = content.get("incident", {})
    table = {**(defaults or {}), **table} if isinstance(table, dict) else table
    incident = record_of(problems, Incident, table, "incident") if "incident" in content else None
    problems.check()
    assert incident is not None
    return incident, revision


def file_text(incident: Incident, revision: int) -> str:
    """The TOML file from which `incident edit --from` makes the next revision."""
    value = to_json(replace(incident, editor=""))
    lines = [f'schema = "{SCHEMA}"\nrevision = {revision}\n\n[incident]\n']
    lines += [to_toml({name: value[name]}) for name in FIELDS if name in value and name not in TABLES]
    for name in TABLES:
        lines += [f"\n[[incident.{name}]]\n{to_toml(entry)}" for entry in value.get(name, ())]
    return "".join(lines)


def differences(a: Incident, b: Incident) -> list[tuple[str, Json, Json]]:
    """The fields in which two versions differ, each with both values."""
    before, after = to_json(a), to_json(b)
    return [(name, before.get(name), after.get(name)) for name in FIELDS if before.get(name) != after.get(name)]
