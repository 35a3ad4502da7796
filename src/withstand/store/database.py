"""How a store's database is found and opened: a SQLite file or a PostgreSQL URL."""

import json
import os
import sqlite3
import time
import warnings
import weakref
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sql
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.util import LRUCache

from withstand.core import Json, StoreError, bounded
from withstand.store.machines import Claim, network_type

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
    may_write = any(os.access(place, os.W_OK) for place in (path, path.parent))
    if not may_write and logs_ahead(path) and not Path(f"{path}-wal").exists():
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


def insert(table: sql.Table, path: str) -> Any:
    """An insert of the store's dialect. PostgreSQL's is imported for its stores alone: it takes a while."""
    if path:
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


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


def unmap(connection: sqlite3.Connection, _: object) -> None:
    """Read a file on a network file system as it is now, not as this machine's memory has it."""
    connection.execute("PRAGMA mmap_size=0")


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


def scrub(engine: sql.Engine, patience: float | None = None) -> bool:
    """Leave no old page of a file behind, in free space or in the write-ahead log; whether that was done.

    A process that reads the store holds old pages in the file or in the log: it is waited for, `patience` seconds
    (default: `PATIENCE`).
    """
    deadline = time.monotonic() + (PATIENCE if patience is None else patience)
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


def claim(engine: sql.Engine, path: str) -> Claim:
    """Say to other machines that the file is open here, and tune its connections to its file system."""
    claimed = Claim(Path(path), network_type(Path(path)))
    weakref.finalize(engine, claimed.release)  # at the latest when the process ends
    sql.event.listen(engine, "connect", tune)
    if claimed.kind:
        sql.event.listen(engine, "connect", unmap)
        use_rollback(path, claimed.kind)
    return claimed


def logs_ahead(path: Path) -> bool:
    """Whether a SQLite file has write-ahead logging, by its header (sqlite.org/fileformat.html)."""
    with suppress(OSError):
        return bounded.head(path, 20)[18:20] == b"\x02\x02"
    return False


def use_rollback(path: str, kind: str) -> None:
    """Have a rollback journal, since the store is on a network file system of this type, and say so once.

    What a write-ahead log holds is taken in first, with the file to itself: then SQLite needs no shared memory. Raises
    `StoreError` where another process keeps it open.
    """
    if not os.access(path, os.W_OK):
        return
    deadline = time.monotonic() + BUSY
    while logs_ahead(Path(path)):
        try:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("PRAGMA locking_mode=EXCLUSIVE")
                if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
                    return  # no store: leave it as it is
                connection.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.Error as error:
            if "locked" in str(error) and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            hint = (
                "end what has it open; if that is nothing, copy it with its -wal file to a local disk, and use it there"
            )
            raise StoreError(f"{path}: its write-ahead log cannot be taken in: {error}", hint=hint) from error
    warnings.warn(
        f"{path} is on a network file system ({kind}): a rollback journal is used, and one machine at a time may have "
        "the store open. A local disk or PostgreSQL is faster.",
        stacklevel=2,
    )


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
