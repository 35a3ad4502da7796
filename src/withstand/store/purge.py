"""Erasing the texts of a run: the one exception to a store that only grows.

What was counted stays: outcomes, scores, tokens, keys, and of each text its digest, so that a figure can still be
checked against texts that somebody else holds. Everything that may hold a text is emptied: rows, the answers that their
searches replay from, copies in labels and attempts, and messages of failures, which quote.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import sqlalchemy as sql

from withstand.core import Json, digest, dumps
from withstand.store import files
from withstand.store.attempts import NEW_HARM
from withstand.store.database import scrub
from withstand.store.marks import MARKED
from withstand.store.revisions import CHOICE, SETTINGS, event_key
from withstand.store.store import RunRow, Store, chunks
from withstand.store.tables import (
    CASES,
    COMPLETIONS,
    VERDICTS,
    answer,
    attempt,
    audit,
    behavior,
    event,
    failure,
    label,
    record,
    row,
    want,
)
from withstand.store.tables import run as runs

TEXTS = frozenset({"text", "completion", "prompt", "context", "note", "harm", "why", "reasoning"})
"""Keys of labels under which a text lies."""
FREE = TEXTS - {"harm"} | {
    "output", "output_description", "notes", "behavior", "original", "mitigation", "name", "title", "error", "system",
    "draft", "input", "answer", "converted", "reason", "message", "definition", "description", "summary",
    "harm_described", "root_causes", "what_worked", "what_failed", "disclosure", "use",
}  # fmt: skip
"""Keys of events and records under which a text lies, however short. A harm is an id there, or `new: ` and words."""
QUOTING = (
    "turns", "output", "output_description", "screenshot", "notes", "behavior", "mitigation", "judged", "params",
)  # fmt: skip
"""Fields of an attempt that hold texts."""
CHOICES = frozenset({"role", "converter", "sha256", "kind", "judge", "outcome", "finish"})
"""Keys in them under which no text lies."""
ID = re.compile(r"[^\s]{0,64}")
"""A text elsewhere in events and records that is left: an id, a date, a choice."""


SHORTLY = 3.0
"""Seconds that an erasure beside other work waits for the readers of the file."""

PURGED = "purged:"
"""What stands before the digest of an erased text, for people; that it was erased is a column's to say."""


def purged(store: Store, table: sql.Table, keys: Iterable[str]) -> set[str]:
    """Which of these entries of a table lost their texts."""
    c = table.c
    selected = (sql.select(c.key).where(c.key.in_(part), c.purged == 1) for part in chunks(keys, 500))
    return {key for chosen in selected for (key,) in store.select(chosen)}


def purge(store: Store, run: RunRow, person: str) -> Json:
    """Erase the texts of a run; how many entries of each kind lost theirs, and the runs that shared some.

    "scrubbed": whether no copy is left in the file and its log. Where a process still reads an old state of the store,
    one is: a purge once it has ended leaves none.

    Answers are not kept by run: those go that were written by a process that wrote rows of this run, or by one that
    wrote no row at all. Another run of such a process asks anew where it was cut off; its rows are untouched.
    """
    done: dict[str, Any] = {}
    with store.writing() as connection:
        keys = _keys(connection, run.key)
        done["shared"] = _shared(connection, run)
        done["rows"] = sum(
            _rewrite(store, connection, row, keys[stage], erase)
            for stage, erase in ((CASES, _cases), (COMPLETIONS, _completion), (VERDICTS, _verdict))
        )
        of_run = sql.select(row.c.writer).join(want, want.c.key == row.c.key).where(want.c.run == run.key)
        done["answers"] = _answers(connection, of_run)
        done["failures"] = _failures(connection, [key for listed in keys.values() for key in listed])
        for name, table, erase in (("labels", label, erased), ("findings", attempt, _attempt)):
            keys_of_run = set(_listed(connection, sql.select(table.c.key).where(table.c.run == run.key)))
            for part in chunks(run.plan.get("attempts", ()) if table is attempt and run.is_own else (), 500):
                keys_of_run |= {*_listed(connection, sql.select(table.c.key).where(attempt.c.id.in_(part)))}
            done[name] = _rewrite(store, connection, table, sorted(keys_of_run), erase)
        done["behaviors"] = _behaviors(store, connection, run)
        _record(connection, store, person, run.name, done)
    return done | {"scrubbed": _scrub(store)}


def purge_probes(store: Store, person: str) -> Json:
    """Erase what belongs to no run, as `purge` does: answers and verdicts of the probe console, attempts that are of no
    run, steps of people's sessions, and records of red teams."""
    done: dict[str, Any] = {"shared": [], "labels": 0, "behaviors": 0}
    with store.writing() as connection:
        alone = row.c.key.not_in(sql.select(want.c.key))
        done["rows"] = _rewrite(store, connection, row, _listed(connection, sql.select(row.c.key).where(alone)), _any)
        done["answers"] = _answers(connection, sql.select(row.c.writer).where(alone))
        failed = sql.select(failure.c.key).where(failure.c.key.not_in(sql.select(want.c.key)))
        done["failures"] = _failures(connection, _listed(connection, failed))
        kept = sql.select(attempt.c.key).where(attempt.c.run == "")
        done["findings"] = _rewrite(store, connection, attempt, _listed(connection, kept), _attempt)
        for name, table in (("events", event), ("records", record)):
            texts = sql.select(table.c.key).where(table.c.kind.not_in((SETTINGS, CHOICE)))
            done[name] = _rewrite(store, connection, table, _listed(connection, texts), _free)
        _record(connection, store, person, "probes", done)
    return done | {"scrubbed": _scrub(store)}


def purge_exchanges(store: Store, session: str, beside: Iterable[int], rows: Iterable[str], person: str) -> bool:
    """Erase the texts of exchanges that must not be stored: the rows of their answers, every step of any session and
    every attempt that names one, and these steps of a session (drafts, notes, pictures), whatever they are of. What
    says that it stores none stays.

    Whether no copy is left in the file; it waits for its readers a few seconds at most.
    """
    wanted = list(rows)
    with store.writing() as connection:
        done = {"rows": _rewrite(store, connection, row, wanted, _any), "answers": 0}
        for table, erase in ((event, _free), (attempt, _attempt)):
            c = table.c
            naming = sql.or_(sql.false(), *(c.value.like(f"%{key}%") for key in wanted))
            named = sql.select(c.key).where(naming, c.value.not_like('%"sensitivity":"not_stored"%'))
            own = [event_key(session, number) for number in beside] if table is event else []
            _rewrite(store, connection, table, {*_listed(connection, named), *own}, erase)
        _record(connection, store, person, session, done)
    return _scrub(store, SHORTLY)


def purge_records(store: Store, kind: str, plan: str, before: float, person: str) -> int:
    """Erase the texts of the records of a kind and plan that are of a time before this, in seconds since 1970. Returns
    how many had any. No copy is left in the file, unless its readers hold it for longer than a few seconds."""
    c = record.c
    old = sql.select(c.key).where(
        c.kind == kind, c.plan == plan, c.created < before, sql.func.coalesce(c.purged, 0) == 0
    )
    with store.writing() as connection:
        if not (keys := _listed(connection, old)):
            return 0
        count = _rewrite(store, connection, record, keys, _free)
        _record(connection, store, person, plan, {"rows": count, "answers": 0})
    _scrub(store, SHORTLY)
    return count


def _scrub(store: Store, patience: float | None = None) -> bool:
    files.sweep(store)
    with store.errors():
        return not store.path or scrub(store.engine, patience)


def _listed(connection: sql.Connection, selected: Any) -> list[str]:
    return [key for (key,) in connection.execute(selected.distinct())]


def _record(connection: sql.Connection, store: Store, person: str, what: str, done: Json) -> None:
    """An entry of the audit, by which running explorers know that texts were erased."""
    entry = {"key": digest([os.urandom(16).hex()]), "created": time.time(), "person": person}
    subject = f"{what}: {done['rows']} rows, {done['answers']} answers"
    connection.execute(audit.insert(), [entry | {"action": "purge", "subject": subject, "writer": store.writer}])


def _keys(connection: sql.Connection, run_key: str) -> dict[int, list[str]]:
    keys: dict[int, set[str]] = {CASES: set(), COMPLETIONS: set(), VERDICTS: set()}
    for stage, key in connection.execute(sql.select(want.c.stage, want.c.key).where(want.c.run == run_key)):
        keys[stage].add(key)
    return {stage: sorted(keys) for stage, keys in keys.items()}


def _shared(connection: sql.Connection, run: RunRow) -> list[str]:
    """The names of other runs that want some of these rows."""
    keys = sql.select(want.c.key).where(want.c.run == run.key)
    others = sql.select(want.c.run).where(want.c.run != run.key, want.c.key.in_(keys)).distinct()
    return [name for (name,) in connection.execute(sql.select(runs.c.name).where(runs.c.key.in_(others)))]


def _rewrite(
    store: Store, connection: sql.Connection, table: sql.Table, keys: Iterable[str], erase: Callable[[Json], Json]
) -> int:
    """Replace the values of these entries by what `erase` leaves of them; how many there were.

    What the user wrote gets a new mark. What others wrote keeps one that fits no more.
    """
    count = 0
    c = table.c
    names = ["value", "purged", *(["mark"] if table in MARKED else [])]
    change = sql.update(table).where(c.key == sql.bindparam("k"))
    change = change.values({name: sql.bindparam(f"new_{name}") for name in names})
    for part in chunks(keys, 500):
        entries = [dict(entry) for entry in connection.execute(sql.select(table).where(c.key.in_(part))).mappings()]
        count += len(entries)
        changed = [entry for entry in entries if not entry["purged"]]
        signed = [entry for entry in changed if table in MARKED and store.marks.is_signed(table, entry)]
        for entry in changed:
            entry |= {"value": dumps(erase(json.loads(entry["value"]))), "purged": 1}
        if signed:
            store.marks.sign(table, signed)
        if changed:
            new = [{f"new_{name}": entry[name] for name in names} | {"k": entry["key"]} for entry in changed]
            connection.execute(change, new)
    return count


def _answers(connection: sql.Connection, of_rows: Any) -> int:
    """Delete the answers that the searches of these writers may replay from."""
    of_run = of_rows.distinct()
    wrote = sql.select(row.c.writer).distinct()  # distinct: PostgreSQL compares with each entry of a long list
    theirs = sql.select(answer.c.writer).distinct()
    writers_of = [{writer for (writer,) in connection.execute(chosen)} for chosen in (of_run, wrote, theirs)]
    writers = writers_of[0] | (writers_of[2] - writers_of[1])
    gone = [answer.c.writer.in_(part) for part in chunks(sorted(writers - {None}), 500)]
    return sum(
        int(connection.execute(sql.delete(answer).where(chosen)).rowcount)
        for chosen in [answer.c.writer.is_(None), *gone]
    )


def _failures(connection: sql.Connection, keys: Iterable[str]) -> int:
    change = sql.update(failure).values(error="purged", hint="", trace="")
    return sum(connection.execute(change.where(failure.c.key.in_(part))).rowcount for part in chunks(keys, 500))


def _behaviors(store: Store, connection: sql.Connection, run: RunRow) -> int:
    """The texts of behaviors that no other run has."""
    keys = {key for suite in run.plan["suites"] for key in suite["behaviors"]}
    for key, plan in connection.execute(sql.select(runs.c.key, runs.c.plan)):
        if key != run.key:
            keys -= {name for suite in json.loads(plan)["suites"] for name in suite["behaviors"]}
    return _rewrite(store, connection, behavior, sorted(keys), _behavior)


# --- what is left of a value ---------------------------------------------------------------------------------------


def gone(text: Any) -> Any:
    """A text's digest in its place; what is no text, as it is."""
    if not isinstance(text, str) or not text:
        return text
    return f"{PURGED}{digest(text)}"


def erased(value: Json) -> Json:
    """A label without its texts."""
    if isinstance(value, Mapping):
        return {
            name: erased(inner) if isinstance(inner, (Mapping, list)) else gone(inner) if name in TEXTS else inner
            for name, inner in value.items()
        }
    return [erased(inner) for inner in value] if isinstance(value, list) else value


def _attempt(value: Json) -> Json:
    """An attempt without its texts; of a harm in the tester's words it is left that it is one."""
    return without_texts(value, gone)


def without_texts(value: Json, hidden: Callable[[str], str]) -> Json:
    """An attempt as JSON, each text (none is empty) in the form of `hidden`."""
    left = value | {name: _quoting(value[name], hidden) for name in QUOTING if name in value}
    if (harm := value.get("harm", "")).startswith(NEW_HARM):
        left["harm"] = f"{NEW_HARM}{hidden(harm.removeprefix(NEW_HARM))}"
    return left


def _quoting(value: Json, hidden: Callable[[str], str], name: str = "") -> Json:
    """A part of an attempt without its texts. name: its key."""
    if isinstance(value, Mapping):
        return {key: _quoting(inner, hidden, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_quoting(inner, hidden, name) for inner in value]
    return hidden(value) if isinstance(value, str) and value and name not in CHOICES else value


def _free(value: Json, name: str = "") -> Json:
    """An event or a record without what may be a text: all but ids, dates and choices. name: its key."""
    if isinstance(value, Mapping):
        return {key: _free(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_free(inner, name) for inner in value]
    return value if isinstance(value, str) and name not in FREE and ID.fullmatch(value) else gone(value)


def _cases(value: Json) -> Json:
    return [
        {
            **{name: inner for name, inner in case.items() if name != "learned"},
            "chat": _chat(case["chat"]),
            **({"completion": _completion(case["completion"])} if case.get("completion") else {}),
        }
        for case in value
    ]


def _chat(chat: Json) -> Json:
    return [{"role": turn["role"], "text": gone(turn["text"])} for turn in chat]


def _completion(value: Json) -> Json:
    kept = {name: inner for name, inner in value.items() if name not in ("logprobs", "tool_calls", "chat")}
    kept |= {name: gone(value[name]) for name in ("text", "reasoning") if name in value}
    if "tool_calls" in value:
        kept["tool_calls"] = [
            {**call, **{name: gone(call[name]) for name in ("arguments",) if name in call}}
            for call in value["tool_calls"]
        ]
    if "checks" in value:  # why a guard failed may quote its model
        kept["checks"] = [{**check, "failed": gone(check.get("failed", ""))} for check in value["checks"]]
    return kept | ({"chat": _chat(value["chat"])} if "chat" in value else {})


def _verdict(value: Json) -> Json:
    return {**value, **({"why": gone(value["why"])} if "why" in value else {})}


def _any(value: Json) -> Json:
    """What is left of a row of any stage."""
    return _cases(value) if isinstance(value, list) else _verdict(_completion(value))


def _behavior(value: Json) -> Json:
    kept = {name: inner for name, inner in value.items() if name not in ("tags", "target_string", "context")}
    return {**kept, "text": gone(value["text"])}
