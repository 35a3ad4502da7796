"""Makers of stores that mean harm, and of a user who is somebody else."""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import withstand
from withstand import api
from withstand.core import digest

SPEC = {"suite": "kitchen", "limit": 4, "target": "scripted-kitchen", "attack": "direct", "benign": "none"}


@contextlib.contextmanager
def somebody_else(folder: Path) -> Iterator[None]:
    """Another user, with a home of their own."""
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("WITHSTAND_HOME", str(folder / "their-home"))
        yield


def kitchen(path: Path, name: str = "kitchen", **more: Any) -> Path:
    """A store of one finished run, made by whoever is the user."""
    withstand.run({**SPEC, **more}, store=path, name=name).store.close()
    return path


def change(path: Path, statement: str, *values: Any) -> None:
    """Change a store as whoever may write the file can."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(statement, values)
        connection.commit()


def with_findings(run: Callable[[str], Any]) -> None:
    """Take a store back to schema 10, of before attempts took the place of findings, by a function that runs a
    statement."""
    run('CREATE TABLE "finding" (key TEXT PRIMARY KEY, run TEXT NOT NULL, created DOUBLE PRECISION NOT NULL, '
        "value TEXT NOT NULL, writer TEXT, purged INTEGER)")  # fmt: skip
    for run_key, created, text, purged in run("SELECT run, created, value, purged FROM attempt").fetchall():
        value = json.loads(text)
        old = {
            "harm": value["harm"].removeprefix("new: "), "severity": "high", "note": value.get("notes", ""),
            "person": value["tester"], "created": value["surfaced"], "target": "t", "defense": "none", "attack": "a",
            "chat": [*value["turns"], *([{"role": "completion", "text": value["output"]}] if value["output"] else [])],
            "verdicts": [], "spot": value.get("spot", []), "behavior": value.get("behavior", ""), "finish": "stop",
        }  # fmt: skip
        texts = ", ".join("'" + text.replace("'", "''") + "'" for text in (digest(old), run_key, json.dumps(old)))
        key, of, content = texts.split(", ", 2)
        run(f'INSERT INTO "finding" VALUES ({key}, {of}, {created}, {content}, NULL, {purged or "NULL"})')
    for name in ("attempt", "event", "record"):
        run(f'DROP TABLE "{name}"')
    run("UPDATE meta SET value = '10' WHERE key = 'schema'")


def without_marks(run: Callable[[str], object]) -> None:
    """Take a store back to schema 7, by a function that runs a statement."""
    for name in ("row", "answer", "run", "label", "calibration", "probe"):
        run(f'ALTER TABLE "{name}" DROP COLUMN mark')
    for name in ("run", "calibration", "probe"):
        run(f'ALTER TABLE "{name}" DROP COLUMN writer')
    for name in ("long", "repeated", "changed"):
        run(f'ALTER TABLE "row" DROP COLUMN {name}')
    run('ALTER TABLE "writer" DROP COLUMN author')
    run('ALTER TABLE "run" DROP COLUMN reuse')
    run("UPDATE meta SET value = '7' WHERE key = 'schema'")


def trusted(folder: Path) -> Path:
    """A store that somebody else made and the user trusts, so that its specs count whatever they say."""
    with somebody_else(folder):
        path = kitchen(folder / "trusted.db")
    with api.open_store(path) as store:
        store.marks.trust()
    return path


def rewrite_spec(path: Path, **fields: Any) -> None:
    """Put other components into the stored spec of every run."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for key, spec in connection.execute("SELECT key, spec FROM run").fetchall():
            changed = {**json.loads(spec), **fields}
            connection.execute("UPDATE run SET spec = ? WHERE key = ?", (json.dumps(changed), key))
        connection.commit()
