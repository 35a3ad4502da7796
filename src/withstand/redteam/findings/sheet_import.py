"""Rows of a spreadsheet into the store: new attempts, and edits of those that are there.

All errors of a file are said at once, and nothing of it is kept then. A row that was exported before somebody else
edited its attempt never overwrites that: it is a conflict, listed with both values, and the other rows go on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from withstand.core import SpecError, did_you_mean, from_json
from withstand.core.shape import misfit
from withstand.redteam.findings import sheet_files, triage
from withstand.redteam.findings.sheet_files import SheetRow
from withstand.redteam.findings.sheets import EDITED, HIDDEN, hidden, read_cell, row_of, turns_of
from withstand.redteam.plan.records import Plan
from withstand.redteam.tables import Problems
from withstand.store.attempts import Attempt, add, attempts, can_name, history, new_id
from withstand.store.store import Store, chunks

NEEDED = ("date", "tester", "layer", "verdict")
"""Columns that a row without an id fills, beside `input` (or `turns`) and `output`."""
UNREAD = ("edited", "editor", "revision")
"""Columns that say which revision a row was made from."""
TABLES = {"round": "rounds", "layer": "layers", "feature": "features", "persona": "personas", "tester": "members"}
"""Columns of ids, and where the plan has them."""


@dataclass(frozen=True, slots=True)
class SheetConflict:
    """A cell that somebody else changed since the row was exported. theirs: what stands.   yours: of the file."""

    place: str
    id: str
    column: str
    theirs: str
    yours: str


@dataclass
class Import:
    """What a file would change. edits: the revision that a row was made from, and what the row makes of it."""

    path: str
    new: list[Attempt] = field(default_factory=list)
    edits: list[tuple[Attempt, Attempt]] = field(default_factory=list)
    unchanged: int = 0
    conflicts: list[SheetConflict] = field(default_factory=list)


def planned(store: Store, plan: Plan, path: str, by: str, at: float) -> Import:
    """What an import of the file would do. by: who imports it.   at: seconds since 1970.

    Raises `SpecError` with all that is wrong in the file, by row and column.
    """
    problems = Problems(path)
    listed = _records(path, problems) if sheet_files.ending(path) == ".jsonl" else sheet_files.read(path, problems)
    _check_once(listed, problems)
    stored: dict[str, Attempt] = {}
    for part in chunks([row.cells.get("id", "") for row in listed], 500):
        stored |= {attempt.id: attempt for attempt in attempts(store, ids=part)}
    result = Import(path)
    for row in listed:
        _take(result, _Context(store, plan, stored, problems, by, at), row)
    problems.check()
    return result


def apply(store: Store, wanted: Import, by: str, at: float) -> Import:
    """Write what was planned; what somebody changed in between is a conflict more."""
    done = Import(wanted.path, unchanged=wanted.unchanged, conflicts=[*wanted.conflicts])
    for attempt in wanted.new:
        (done.new.append(attempt) if add(store, attempt) else done.conflicts.append(_taken(attempt)))
    for seen, changed in wanted.edits:
        try:
            done.edits.append((seen, triage.keep(store, triage.last(store, seen.id), seen, changed, by, at)))
        except triage.ConflictError as conflict:
            for name, theirs, yours in triage.differences(conflict.theirs, conflict.yours):
                done.conflicts.append(SheetConflict(wanted.path, seen.id, name, str(theirs), str(yours)))
    return done


def _taken(attempt: Attempt) -> SheetConflict:
    return SheetConflict("", attempt.id, "id", "another attempt has this id and revision", "a new attempt")


# --- a row -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Context:
    store: Store
    plan: Plan
    stored: Mapping[str, Attempt]
    problems: Problems
    by: str
    at: float

    def values(self, row: SheetRow, names: Iterable[str]) -> dict[str, Any]:
        """The fields of these columns; what does not fit is added to the problems."""
        values = {}
        for name in names:
            try:
                values[name] = read_cell(name, row.cells[name])
            except SpecError as error:
                self.problems.add(row.at(name), str(error), error.hint)
        return values

    def check(self, row: SheetRow, changes: Mapping[str, Any], with_plan: bool) -> None:
        """Add what is wrong with these values of fields that an edit may change."""
        for name, value in changes.items():
            if name == "ratings":
                if any(not 1 <= rating.severity <= 4 or not rating.rater.strip() for rating in value):
                    self.problems.add(row.at(name), "a rating has a rater and a severity of 1 to 4")
                continue
            for message in triage.problems({name: value}, self.plan if with_plan else None):
                self.problems.add(row.at(name), message)


def _take(result: Import, context: _Context, row: SheetRow) -> None:
    if name := row.cells.get("id", ""):
        if not can_name(name):
            context.problems.add(row.at("id"), f"{name[:40]!r} is no id", "leave it empty in a row of your own")
            return
        stored = context.stored.get(name)
        if stored is not None:
            _edit(result, context, row, stored, given=tuple(row.cells))
        else:
            _restore(result, context, row)
        return
    typed = _new(context, row)
    if typed is None:
        return
    stored = next(iter(attempts(context.store, ids=[typed.id])), None)
    if stored is not None:  # the file was imported before
        _edit(result, context, row, stored, given=tuple(name for name, text in row.cells.items() if text))
    elif any(attempt.id == typed.id for attempt in result.new):
        context.problems.add(row.place, "an earlier row is the same attempt", "leave one of them out")
    else:
        result.new.append(typed)


def _edit(result: Import, context: _Context, row: SheetRow, stored: Attempt, given: tuple[str, ...]) -> None:
    """A row of an attempt that is there. given: columns that the row says something in."""
    try:
        base = int(row.cells.get("revision") or 1)
    except ValueError:
        context.problems.add(row.at("revision"), f"{row.cells['revision'][:20]!r} is no number")
        return
    seen = next((entry for entry in history(context.store, stored.id) if entry.revision == base), None)
    if base != stored.revision and seen is None:
        hint = "it is of another store: `withstand store merge` brings over what that has"
        context.problems.add(row.at("revision"), f"{stored.id} has no revision {base} in this store", hint)
        return
    seen = seen or stored
    before, now = row_of(seen), row_of(stored)
    changed = [name for name in given if name not in (*UNREAD, "id") and not _same(name, row.cells[name], before[name])]
    for name in [name for name in changed if name not in EDITED]:
        hint = "what was sent and answered is evidence: put the old value back, or add a row without an id"
        context.problems.add(row.at(name), f"it was changed, from {before[name][:60]!r}", hint)
    changes = context.values(row, [name for name in changed if name in EDITED])
    context.check(row, changes, with_plan=True)
    wanted = replace(seen, **changes)
    for message in triage.duplicate_problems(context.store, stored.id, wanted.status, wanted.duplicate_of):
        if changes:
            context.problems.add(row.at("status"), message)
    if stored.purged and changes:
        context.problems.add(row.place, f"the texts of {stored.id} were erased: it cannot be edited")
    open_ = [name for name in changes if now[name] != row.cells[name]]
    if not open_:
        result.unchanged += 1
    elif stored.revision > base:
        places = [(row.at(name), stored.id, name, now[name], row.cells[name]) for name in open_]
        result.conflicts += [SheetConflict(*place) for place in places]
    else:
        result.edits.append((seen, wanted))


def _same(name: str, cell: str, before: str) -> bool:
    """Whether a cell says what was exported: the text itself, its length and digest, or the same value."""
    if cell == before or (name in HIDDEN and cell == hidden(before)):
        return True
    if name in ("input", "output", "notes") or not cell or not before:
        return False
    try:
        return bool(read_cell(name, cell) == read_cell(name, before))
    except (SpecError, KeyError):
        return False


def _restore(result: Import, context: _Context, row: SheetRow) -> None:
    """A row of an attempt of another store, with its id and revision."""
    names = [name for name in row.cells if name not in ("input", "turns", "date", "edited")]
    before = len(context.problems.listed)
    values = context.values(row, names)
    times = {name: _time(context, row, name) for name in ("date", "edited")}
    if any(row.cells.get(name, "").startswith("[") and "digest " in row.cells[name] for name in ("input", "output")):
        context.problems.add(row.place, "its texts were left out", "export it with --with-text")
    context.check(row, {name: value for name, value in values.items() if name in EDITED}, with_plan=False)
    if values.get("plan", "") not in ("", context.plan.id):
        context.problems.add(row.at("plan"), f"it is of the plan {values['plan']!r}, not {context.plan.id!r}")
    try:
        turns = turns_of(row.cells)
    except SpecError as error:
        context.problems.add(row.at("turns"), str(error), error.hint)
        return
    for name in ("verdict", "tester"):
        if not row.cells.get(name):
            context.problems.add(row.at(name), "it is empty")
    if len(context.problems.listed) > before or times["date"] is None:
        return
    output = values.pop("output", "")
    created = times["edited"] if times["edited"] is not None else context.at
    result.new.append(Attempt(**values, turns=turns, output=output, surfaced=times["date"], created=created))


def _time(context: _Context, row: SheetRow, name: str) -> float | None:
    if not row.cells.get(name):
        if name == "date":
            context.problems.add(row.at(name), "it is empty", "say when the answer came: 2026-02-16")
        return None
    at: float | None = context.values(row, [name]).get(name)
    return at


def _new(context: _Context, row: SheetRow) -> Attempt | None:
    """The attempt of a row that a person typed; None where something is wrong, which is added."""
    before = len(context.problems.listed)
    for name in NEEDED:
        if not row.cells.get(name):
            context.problems.add(row.at(name), "it is empty", f"a row without an id needs {', '.join(NEEDED)}")
    if not (row.cells.get("input") or row.cells.get("turns")):
        context.problems.add(row.at("input"), "it is empty", "write what was sent")
    if not (row.cells.get("output") or row.cells.get("output_description") or row.cells.get("screenshot")):
        context.problems.add(row.at("output"), "it is empty", "write the answer, or describe it in output_description")
    names = [name for name, text in row.cells.items() if text and name not in ("input", "turns", "date", *UNREAD)]
    values = context.values(row, names)
    surfaced = _time(context, row, "date") if row.cells.get("date") else None
    for name, table in TABLES.items():
        ids = [entry.id for entry in getattr(context.plan, table)]
        if (value := values.get(name)) and value not in ids:
            hint = did_you_mean(value, ids, f"it has: {', '.join(ids)}")
            context.problems.add(row.at(name), f"the plan has no {name} {value!r}", hint)
    context.check(row, {name: value for name, value in values.items() if name in EDITED}, with_plan=True)
    try:
        turns = turns_of(row.cells)
    except SpecError as error:
        context.problems.add(row.at("turns"), str(error), error.hint)
        return None
    if len(context.problems.listed) > before or surfaced is None:
        return None
    filled = _filled(context.plan, values) | values
    output = filled.pop("output", "")
    filled |= {"plan": context.plan.id, "source": "sheet", "editor": context.by}
    named = new_id(context.plan.id, filled["tester"], surfaced, turns, output)
    filled |= {"id": named, "turns": turns, "output": output}
    return Attempt(**filled, surfaced=surfaced, created=context.at)


def _filled(plan: Plan, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the plan says of a row's layer and persona."""
    layer = plan.layer(values["layer"])
    persona = next((persona for persona in plan.personas if persona.id == values.get("persona")), None)
    filled = {
        "endpoint": layer.endpoint, "target": layer.target, "target_version": layer.version,
        "mitigations": layer.mitigations, "production": layer.production,
    }  # fmt: skip
    return filled | ({"mindset": persona.mindset, "language": persona.language} if persona else {})


def _records(path: str, problems: Problems) -> list[SheetRow]:
    """The attempts of a .jsonl file, as rows."""
    listed = []
    for place, value in sheet_files.read_jsonl(path, problems):
        if value.pop("redacted", False):
            problems.add(place, "its texts were left out", "export it with --with-text")
        elif wrong := misfit(Attempt, value):
            problems.add(place, wrong, "copy the form of a line that was exported")
        else:
            listed.append(SheetRow(place, row_of(from_json(Attempt, value)), {}))
    return listed


def _check_once(listed: Iterable[SheetRow], problems: Problems) -> None:
    places: dict[str, str] = {}
    for row in listed:
        if (name := row.cells.get("id", "")) and name in places:
            problems.add(row.at("id"), f"{name} stands in {places[name]} too", "leave one of them out")
        places.setdefault(name, row.place)
