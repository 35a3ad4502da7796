"""Makers of stores that mean harm, and of a user who is somebody else."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import withstand

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


def rewrite_spec(path: Path, **fields: Any) -> None:
    """Put other components into the stored spec of every run."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for key, spec in connection.execute("SELECT key, spec FROM run").fetchall():
            changed = {**json.loads(spec), **fields}
            connection.execute("UPDATE run SET spec = ? WHERE key = ?", (json.dumps(changed), key))
        connection.commit()
