"""A store with a run of the kitchen, the explorer over it, and a browser."""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import withstand

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from explorer_web import SPEC, client

BYPASSES = "withstand.defenses.self_reminder.SelfReminder.bypasses"


@pytest.fixture(autouse=True)
def plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The defense of these stores has no bypasses, so that a defended cell has as many cases as one that is not."""
    monkeypatch.setattr(BYPASSES, ())


@pytest.fixture(scope="session")
def kitchen_store(tmp_path_factory: Any) -> Path:
    """The store, to copy."""
    path = tmp_path_factory.mktemp("made") / "s.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BYPASSES, ())
        withstand.run(SPEC, store=path, name="kitchen")
    return path


@pytest.fixture
def path(kitchen_store: Path, tmp_path: Path) -> Path:
    with contextlib.closing(sqlite3.connect(kitchen_store)) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = tmp_path / "s.db"
    shutil.copy(kitchen_store, copy)
    return copy


@pytest.fixture
def web(path: Path) -> Iterator[Any]:
    with client(path) as browser:
        yield browser
