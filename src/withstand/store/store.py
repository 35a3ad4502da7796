"""Append-only rows keyed by content: SQLite in one file, PostgreSQL by URL.

Every table has a content key and the first writer of a key stands, so that merging is a set union, a rerun computes
what is missing, and processes may share a store. Nothing is updated or deleted, but for `purge`, which erases text and
keeps what was counted. The tables are those of `schema`, passed on.
"""

import errno
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from withstand.core import Json, StoreError, digest, dumps
from withstand.core.errors import StoreGoneError
from withstand.store import damage, database, marks, trust
from withstand.store.database import HINTS, claim, connect, creation, file_id, loads, locate, refuse_programs, use_wal
from withstand.store.rows import Failure as Failure
from withstand.store.rows import Row as Row
from withstand.store.rows import RunRow as RunRow
from withstand.store.rows import Want as Want
from withstand.store.rows import chunks as chunks
from withstand.store.tables import (
    SCHEMA,
    STEPS,
    answer,
    audit,
    behavior,
    calibration,
    component,
    failure,
    label,
    meta,
    probe,
    row,
    run,
    tables,
    want,
    writer,
)


class Store:
    """An open store. One process may open it many times; one `Store` is used from one thread."""

    def __init__(self, where: str, writer_info: Json = None, create: bool = True, reuse: str = "own") -> None:
        """`where` is a file (made if `create`, mode 0600) or a `postgresql://` URL. Raises `StoreError`.

        reuse: build on rows of the user and of writers whom the user trusts in this store ("own"), or on "all".
        """
        self.url, self.path = locate(where, create)
        self.where = where if self.path else self.url.render_as_string()  # which hides the password
        self.engine = connect(self.url, self.path)
        self.writer = digest([time.time(), os.getpid(), os.urandom(8).hex()])[:12]
        self.started = time.time()
        self._info = writer_info
        self._introduced = False
        self.marks = marks.Marks(self)
        self.reuse = reuse
        self._claim = claim(self.engine, self.path) if self.path else None
        try:
            with self.errors():
                self._open()
        except BaseException:
            self.close()
            raise
        self._at = Path(self.path).absolute()  # the working folder may change
        self._file = file_id(self._at)

    def close(self) -> None:
        self.engine.dispose()
        if self._claim:
            self._claim.release()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        """Close it. An error of a kind that damaged entries cause is explained where the file is damaged."""
        try:
            looks_damaged = isinstance(error, (TypeError, ValueError, LookupError, AttributeError, ArithmeticError))
            looks_damaged |= isinstance(error, OSError) and error.errno == errno.EOVERFLOW  # of a time far away
            if looks_damaged and (wrong := damage.damage(self)):
                raise StoreError(f"{self.where} is damaged: {wrong}", hint="restore it from a backup") from error
        finally:
            self.close()

    # --- opening ---

    def _open(self) -> None:
        with self.engine.connect() as connection:
            names = set(sql.inspect(connection).get_table_names())
        if names and "meta" not in names and self.path:
            raise StoreError(f"{self.where} is a database, but not a store", hint="name another file with --store")
        schema = self._schema() if "meta" in names else SCHEMA
        if self._claim:  # after the checks, so that a file of something else is left as it is
            refuse_programs(self.engine, self.where)
            if not self._claim.kind:
                use_wal(self.engine, self.path)
        if not set(tables.tables) <= names or schema < SCHEMA:  # a new store, or one of before
            self._make()

    def _make(self) -> None:
        """Make what is missing and take the steps from an older schema, all in one transaction."""
        with self.engine.connect() as connection:
            if self.path:
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # two processes may do so at once
            else:
                connection.execute(sql.text("SELECT pg_advisory_xact_lock(7745411)"))
            for statement in creation(tables, self.url.drivername):
                connection.exec_driver_sql(statement)
            is_new = connection.execute(sql.select(meta.c.key).where(meta.c.key == "schema")).scalar() is None
            connection.execute(self.insert(meta), {"key": "schema", "value": str(SCHEMA)})
            if is_new:
                trust.identify(connection, self.insert(meta), of_before=False)
            for number in range(self._schema(connection) + 1, SCHEMA + 1):
                for step in STEPS[number]:
                    connection.exec_driver_sql(step) if isinstance(step, str) else step(connection)
            connection.execute(sql.update(meta).where(meta.c.key == "schema").values(value=str(SCHEMA)))
            connection.commit()

    @property
    def is_own(self) -> bool:
        """Whether the user of this process made the store or trusts it. For runs and rows in it see `marks`."""
        facts = self.facts()
        return trust.is_own(facts.get("id", ""), facts.get("owner", ""))

    def facts(self) -> dict[str, str]:
        """What `meta` says of the store."""
        return {str(key): str(value) for key, value in self.select(sql.select(meta.c.key, meta.c.value))}

    def _schema(self, connection: sql.Connection | None = None) -> int:
        """The schema that the store has. Raises `StoreError` where it is not one that this version reads."""
        chosen = sql.select(meta.c.value).where(meta.c.key == "schema")
        schema = connection.execute(chosen).scalar() if connection else next(iter(self.select(chosen)), [None])[0]
        if schema is None or not schema.isdecimal() or not 1 <= int(schema) <= SCHEMA:
            raise StoreError(
                f"{self.where} has schema {schema}; this version of withstand reads schemas up to {SCHEMA}",
                hint="use the version that wrote it or a newer one, or another file with --store",
            )
        return int(schema)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Database errors in words that say what to do."""
        try:
            yield
        except sql.exc.DBAPIError as error:
            text = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else str(error)
            hint = next((hint for sign, hint in HINTS if sign in text), "name another store with --store")
            raise StoreError(f"{self.where}: {text}", hint=hint) from error
        except sql.exc.SQLAlchemyError as error:
            raise StoreError(f"{self.where}: {error}", hint="name another store with --store") from error

    # --- writing ---

    @contextmanager
    def writing(self) -> Iterator[sql.Connection]:
        """A transaction. Raises `StoreError` where another machine has the store by now."""
        if self._claim:
            self._claim.hold()
        with self.errors(), self.engine.begin() as connection:
            yield connection

    def insert(self, table: sql.Table) -> Any:
        """An insert in which the first writer of a key stands."""
        return database.insert(table, self.path).on_conflict_do_nothing()

    def write(self, items: Mapping[sql.Table, Sequence[dict[str, Any]]], sign: bool = True) -> dict[str, int]:
        """Insert into several tables in one transaction; how many entries were new, by table. sign: with our mark."""
        new = {}
        for table in marks.MARKED if sign else ():
            self.marks.sign(table, items.get(table, ()))
        with self.writing() as connection:
            if not self._introduced:
                me = {"key": self.writer, "started": self.started, "value": dumps(self._info)}
                connection.execute(self.insert(writer), [me | {"author": self.marks.author}])
            for table, entries in items.items():
                if entries:
                    names = [column.name for column in table.primary_key]
                    ordered = sorted(entries, key=lambda entry: [entry[name] for name in names])  # no deadlocks
                    new[table.name] = connection.execute(self.insert(table), ordered).rowcount
        self._introduced = True
        if self.path and file_id(self._at) != self._file:
            raise StoreGoneError(
                f"{self.where} was removed or replaced while it was written to",
                hint="what was written to the old file is lost; put the file back if you have it, and run again",
            )
        return new

    def add(
        self,
        rows: Iterable[Row] = (),
        answers: Mapping[str, Json] | None = None,
        failures: Iterable[Failure] = (),
    ) -> dict[str, Json]:
        """Write in one transaction. Returns the answers that other processes had given first: those stand."""
        now = time.time()
        answers = answers or {}
        given = [{"key": key, "value": dumps(value), "writer": self.writer} for key, value in answers.items()]
        new = self.write(
            {
                row: [_entry(r) | {"value": dumps(r.value), "created": now, "writer": self.writer} for r in rows],
                answer: given,
                failure: [
                    _entry(f) | {"created": now, "writer": self.writer, "id": digest([f.key, now, self.writer, i])}
                    for i, f in enumerate(failures)
                ],
            }
        )
        if new.get("answer", 0) == len(given):
            return {}
        standing = self.answers(answers)
        return {key: value for key, value in standing.items() if value != answers[key]}

    def add_run(self, new: RunRow) -> None:
        """Record a run; a name that stands already stays what it was."""
        self.write({run: [self._recorded(new)]})

    def _recorded(self, new: RunRow) -> dict[str, Any]:
        entry = {"key": new.key, "name": new.name, "created": new.created, "writer": self.writer}
        return entry | {"spec": dumps(new.spec), "plan": dumps(new.plan)}

    def set_beside(self, new: RunRow, parts: Mapping[str, Json]) -> None:
        """Give a run what is in no key (names that reports print, limits of a gate) and the spec that says it."""
        with self.writing() as connection:
            stored = connection.execute(sql.select(run.c.name, run.c.plan).where(run.c.key == new.key)).one()
            plan = loads(stored.plan)
            if any((plan.get(name) or {}) != (part or {}) for name, part in parts.items()):
                entry = self._recorded(replace(new, name=stored.name, plan={**new.plan, **parts}))
                self.marks.sign(run, [entry])  # we vouch for all of it: the plan is ours too
                del entry["created"]
                connection.execute(sql.update(run).where(run.c.key == new.key).values(entry))

    def note_reuse(self, run_key: str) -> None:
        """Record that it was said of a run that rows of others count."""
        with self.writing() as connection:
            connection.execute(sql.update(run).where(run.c.key == run_key).values(reuse="all"))

    def add_wants(self, run_key: str, wants: Iterable[Want]) -> None:
        for part in chunks(wants, 20_000):
            self.write({want: [_entry(w) | {"run": run_key} for w in part]})

    def add_texts(self, behaviors: Mapping[str, Json], components: Mapping[str, Json]) -> None:
        """Behaviors and component sources, by key."""
        self.write(
            {
                behavior: [{"key": key, "value": dumps(value)} for key, value in behaviors.items()],
                component: [{"key": key, "value": dumps(value)} for key, value in components.items()],
            }
        )

    def add_calibration(self, judge: str, value: Json) -> None:
        """What `withstand calibrate` found of the judge with this key."""
        self._add_of_judge(calibration, judge, value)

    def add_probes(self, judge: str, value: Json) -> None:
        """What `withstand judge probe` found of the judge with this key."""
        self._add_of_judge(probe, judge, value)

    def _add_of_judge(self, table: sql.Table, judge: str, value: Json) -> None:
        entry = {"key": digest([judge, value]), "judge": judge, "created": time.time(), "value": dumps(value)}
        self.write({table: [entry | {"writer": self.writer}]})

    def add_label(self, key: str, run_key: str, value: Json, kind: str = "person") -> None:
        """What an annotator (a "person" or a "model") said of a case of a run."""
        entry = {"key": key, "value": dumps(value), "writer": self.writer, "purged": None}
        self.write({label: [entry | {"run": run_key, "annotator": kind}]})

    def add_audit(self, person: str, action: str, subject: str) -> None:
        """That a person did something that must be traceable: revealed, exported, purged."""
        entry = {"key": digest([os.urandom(16).hex()]), "created": time.time(), "person": person}
        self.write({audit: [entry | {"action": action, "subject": subject, "writer": self.writer}]})

    # --- reading ---

    def select(self, statement: Any) -> list[Any]:
        """The entries that a statement over `withstand.store.tables` selects."""
        with self.errors(), self.engine.connect() as connection:
            return list(connection.execute(statement))

    def _by_key(self, table: sql.Table, columns: Sequence[Any], keys: Iterable[str]) -> Iterator[Any]:
        for part in chunks(keys, 500):
            yield from self.select(sql.select(*columns).where(table.c.key.in_(part)))

    def _values(self, table: sql.Table, keys: Iterable[str]) -> dict[str, Json]:
        return {key: loads(value) for key, value in self._by_key(table, [table.c.key, table.c.value], keys)}

    def _checked_keys(self, table: sql.Table, columns: Sequence[str], keys: Iterable[str]) -> Iterator[Any]:
        for part in chunks(keys, 500):
            yield from self.marks.checked(table, columns, table.c.key.in_(part))

    @contextmanager
    def reusing(self, reuse: str) -> Iterator[None]:
        """Build on "own" rows or on "all" meanwhile."""
        before, self.reuse = self.reuse, reuse
        try:
            yield
        finally:
            self.reuse = before

    def answers(self, keys: Iterable[str]) -> dict[str, Json]:
        """Answers to build on. Raises `ForeignRowsError`."""
        return {entry[0]: loads(entry[1]) for entry in self._checked_keys(answer, ("key", "value"), keys)}

    def rows(self, keys: Iterable[str]) -> dict[str, Row]:
        """Rows to read, whoever wrote them."""
        return _rows(self._by_key(row, [row.c[name] for name in _NAMES[Row]], keys))

    def reused(self, keys: Iterable[str]) -> dict[str, Row]:
        """Rows to build on. Raises `ForeignRowsError`."""
        return _rows(self._checked_keys(row, _NAMES[Row], keys))

    def have(self, keys: Iterable[str]) -> set[str]:
        """Which of these rows exist, so that nobody is asked. Raises `ForeignRowsError`."""
        return {entry[0] for entry in self._checked_keys(row, ("key",), keys)}

    def behaviors(self, keys: Iterable[str]) -> dict[str, Json]:
        return self._values(behavior, keys)

    def components(self) -> list[Json]:
        return [loads(value) for (value,) in self.select(sql.select(component.c.value).order_by(component.c.key))]

    def labels(self, run_key: str) -> list[Json]:
        """What annotators ("person" or "model") said of a run's cases, but for writers whom the user does not trust."""
        return _labels(self.marks.counted(label, label.c.run == run_key)[0])

    def votes(self, run_key: str) -> list[Json]:
        """As `labels`. Raises `ForeignRowsError` where there are some of others."""
        return _labels(self.marks.checked(label, (), label.c.run == run_key))

    def audits(self, limit: int = 200) -> list[Json]:
        """The newest entries of the audit."""
        c = audit.c
        chosen = sql.select(c.created, c.person, c.action, c.subject).order_by(c.created.desc(), c.key).limit(limit)
        return [dict(entry._mapping) for entry in self.select(chosen)]

    def calibrations(self, judges: Iterable[str]) -> dict[str, list[Json]]:
        """The calibrations of each of these judges that has one, by the judge's key, oldest first."""
        return self._of_judges(calibration, judges)

    def probes(self, judges: Iterable[str]) -> dict[str, Json]:
        """The last probes of each of these judges that was probed, by the judge's key."""
        return {judge: results[-1] for judge, results in self._of_judges(probe, judges).items()}

    def _of_judges(self, table: sql.Table, judges: Iterable[str]) -> dict[str, list[Json]]:
        by_judge: dict[str, list[Json]] = {}
        for entry in self.marks.counted(table, table.c.judge.in_(list(judges)), table.c.created)[0]:
            by_judge.setdefault(entry.judge, []).append(loads(entry.value))
        return by_judge

    def runs(self) -> list[RunRow]:
        """All runs, oldest first."""
        entries = self.select(sql.select(run).order_by(run.c.created, run.c.name))
        return [
            RunRow(r.key, r.name, r.created, loads(r.spec), loads(r.plan), r.reuse or "", *self.marks.of_run(r))
            for r in entries
        ]


def _entry(record: Row | Want | Failure) -> dict[str, Any]:
    """A record's fields by name; their values are plain, so nothing is copied."""
    return {name: getattr(record, name) for name in _NAMES[type(record)]}


def _rows(entries: Iterable[Any]) -> dict[str, Row]:
    width = len(_NAMES[Row])
    return {key: Row(key, label, loads(value), *used) for key, label, value, *used in (e[:width] for e in entries)}


def _labels(entries: Iterable[Any]) -> list[Json]:
    return [{**loads(entry.value), "annotator": entry.annotator or "person"} for entry in entries]


_NAMES = {kind: tuple(f.name for f in fields(kind)) for kind in (Row, Want, Failure)}
