"""How a store's database is found and opened: a SQLite file or a PostgreSQL URL."""

import json
import os
import sqlite3
import time
import warnings
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sql
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.util import LRUCache

from withstand.core import Json, StoreError

BUSY = 60.0
"""Seconds to wait for another process's transaction."""

PATIENCE = 60.0
"""Seconds to wait for processes that read what a purge has erased."""

HINTS = (
    ("file is not a database", "this file is not a store; name another with --store"),
    ("readonly", "the store cannot be written; check the file's and its folder's permissions"),
    ("unable to open", "check that the folder exists and may be written"),
    ("full", "the disk is full: nothing half-written was kept; free space and run the same command again"),
    ("disk I/O", "the disk failed: nothing half-written was kept; run the same command again"),
    ("locked", f"another process kept the store busy for over {BUSY:.0f} s; run the same command again"),
    ("onnection", "check the address, the user and that the server runs"),
)


def locate(where: str, create: bool) -> tuple[sql.URL, str]:
    """The database URL, and the file's path for SQLite ("" otherwise)."""
    if where.startswith(("postgresql:", "postgresql+", "postgres:")):
        scheme, _, rest = where.partition(":")
        try:
            url = sql.make_url(f"{scheme if '+' in scheme else 'postgresql'}:{rest}")
        except (sql.exc.ArgumentError, ValueError) as error:
            raise StoreError("this PostgreSQL URL cannot be read", hint="postgresql://USER@HOST:PORT/NAME") from error
        try:
            import psycopg  # noqa: F401
        except ImportError as error:
            raise StoreError("a PostgreSQL store needs psycopg", hint='pip install "withstand[postgres]"') from error
        return url.set(drivername="postgresql+psycopg"), ""
    if "://" in where:
        raise StoreError(f"{where} is not a store", hint="a store is a file or a postgresql:// URL")
    path = Path(where).expanduser()
    try:
        missing = not path.exists()
        if missing and create:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(f"cannot open {where}: {error.strerror}", hint="name another file with --store") from error
    if missing and not create:
        raise StoreError(f"there is no store at {where}", hint="`withstand run` makes one; --store names another")
    if path.is_dir():
        raise StoreError(f"{where} is a folder", hint="a store is a file")
    if not any(os.access(place, os.W_OK) for place in (path, path.parent)) and not Path(f"{path}-wal").exists():
        # a log or its index cannot be made here, which reading would need: say that nobody writes
        query = {"immutable": "1", "uri": "true"}
        return sql.URL.create("sqlite", database=f"file:{quote(str(path))}", query=query), str(path)
    return sql.URL.create("sqlite", database=str(path)), str(path)


def connect(url: sql.URL, path: str) -> sql.Engine:
    """The engine of a store. Those of SQLite share what SQL they compiled: it takes longer than the queries."""
    if not path:
        return sql.create_engine(url)
    engine = sql.create_engine(url, connect_args={"timeout": BUSY})
    dialect, compiled = _shared()
    return sql.Engine(engine.pool, dialect, url, execution_options={"compiled_cache": compiled})


@cache
def _shared() -> tuple[sql.Dialect, LRUCache[Any, Any]]:
    """A dialect that has seen a connection, as each does before it compiles, and the SQL that it compiled."""
    engine = sql.create_engine("sqlite://")
    engine.connect().close()
    return engine.dialect, LRUCache(500)


@cache
def creation(tables: sql.MetaData, driver: str) -> tuple[str, ...]:
    """The statements that make tables and indexes where they are missing."""
    dialect = sql.make_url(f"{driver}://").get_dialect()()
    statements: list[sql.schema.ExecutableDDLElement] = []
    for table in tables.sorted_tables:
        statements.append(CreateTable(table, if_not_exists=True))
        statements.extend(CreateIndex(index, if_not_exists=True) for index in table.indexes)
    return tuple(str(statement.compile(dialect=dialect)) for statement in statements)


def loads(text: str) -> Json:
    """The JSON of an entry. Raises `StoreError` for what is none: the file was damaged from outside."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        message = f"an entry of the store is damaged: {error}"
        raise StoreError(message, hint="restore the file from a backup") from None


def tune(connection: sqlite3.Connection, _: object) -> None:
    for pragma in ("cache_size=-131072", "temp_store=MEMORY", "mmap_size=1073741824", "trusted_schema=OFF"):
        connection.execute(f"PRAGMA {pragma}")


def file_id(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one of the same name; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def refuse_programs(engine: sql.Engine, where: str) -> None:
    """Raise `StoreError` where a file holds what runs when its tables are read or written, which no store does."""
    query = "SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view') OR sql LIKE 'CREATE VIRTUAL%'"
    with engine.connect() as connection:
        [*programs] = connection.exec_driver_sql(query).all()
    if programs:
        kind, name = programs[0]
        raise StoreError(
            f"{where} holds the {kind} {str(name)[:100]!r}, which no store has: it would run when the store is used",
            hint="somebody changed this file; ask for the store anew, or copy its tables without it",
        )


def scrub(engine: sql.Engine) -> bool:
    """Leave no old page of a file behind, in free space or in the write-ahead log; whether that was done.

    A process that reads the store holds old pages in the file or in the log: it is waited for, `PATIENCE` seconds.
    """
    deadline = time.monotonic() + PATIENCE
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=200")
        try:
            while True:
                if _scrubbed(connection):
                    return True
                if time.monotonic() >= deadline:
                    return False
                time.sleep(0.1)
        finally:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={1000 * BUSY:.0f}")


def _scrubbed(connection: sql.Connection) -> bool:
    try:
        connection.exec_driver_sql("VACUUM")
        [(busy, *_)] = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()
    except sql.exc.OperationalError as error:
        if "locked" in str(error.orig):
            return False
        raise
    return not busy


def _relax(connection: sqlite3.Connection, _: object) -> None:
    """With WAL a crash of the process loses nothing, and one of the machine at most the last transactions."""
    connection.execute("PRAGMA synchronous=NORMAL")


def use_wal(engine: sql.Engine, path: str) -> None:
    """Switch to write-ahead logging where a scratch write shows that the file system bears it.

    The switch needs the file to itself and ignores the busy timeout, so it is retried for as long. Without WAL the
    rollback journal is as correct; readers then wait for writers, which is said once.
    """
    if not os.access(path, os.W_OK):
        return  # to read, and to report a write as what it is
    deadline = time.monotonic() + BUSY
    while True:
        try:
            with engine.connect() as connection:
                mode = connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar()
                if mode == "wal":
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS scratch (key TEXT)")
                    connection.rollback()
            if mode == "wal":
                sql.event.listen(engine, "connect", _relax)
                engine.dispose()  # once the connection is back in its pool: else it stays open for ever
                return
            reason = f"journal mode is {mode}"
            break
        except sql.exc.OperationalError as error:
            if "locked" in str(error.orig) and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            if "locked" in str(error.orig) or "full" in str(error.orig):
                raise
            reason = str(error.orig)
            break
    warnings.warn(
        f"the file system of {path} does not support write-ahead logging ({reason}); a rollback journal is used: "
        "correct, but readers wait for writers. A local disk or PostgreSQL is faster.",
        stacklevel=2,
    )
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=DELETE")
