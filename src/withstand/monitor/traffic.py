"""The columns of the traffic: one DuckDB file in the folder of a monitor, written in batches that stand or fall whole.

| table | one row is |
| --- | --- |
| `exchange` | a request and its answer: who, when, how long; texts redacted, or NULL where they are not kept |
| `label` | what a labeler said of a side of an exchange in a category |
| `skeleton` | a prompt with numbers, names and addresses masked |
| `source` | a log, and how far it was read; written with the rows that were read, so that nothing counts twice |
| `problem` | a line that could not be read, or what was odd about one |

Memory is bounded by DuckDB's own limit; what does not fit is spilled to the folder.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from withstand.core import Json, SpecError

NAME = "traffic.duckdb"
SCHEMA = 1
MEMORY = "400MB"

TABLES = """
CREATE TABLE IF NOT EXISTS meta (name VARCHAR, value VARCHAR);
CREATE TABLE IF NOT EXISTS exchange (
    seq BIGINT, source INTEGER, line BIGINT, id VARCHAR, ts DOUBLE, account VARCHAR, conversation VARCHAR, key VARCHAR,
    app VARCHAR, end_user VARCHAR, use_case VARCHAR, model VARCHAR, locale VARCHAR,
    prompt_tokens INTEGER, completion_tokens INTEGER, prompt_chars INTEGER, completion_chars INTEGER,
    latency_ms DOUBLE, finish_reason VARCHAR, blocked BOOLEAN, refused BOOLEAN,
    skeleton UBIGINT, audit DOUBLE, prompt VARCHAR, completion VARCHAR
);
CREATE TABLE IF NOT EXISTS label (
    seq BIGINT, category VARCHAR, side VARCHAR, score DOUBLE, flagged BOOLEAN,
    labeler VARCHAR, version VARCHAR, stage INTEGER, chosen VARCHAR
);
CREATE TABLE IF NOT EXISTS skeleton (hash UBIGINT, text VARCHAR);
CREATE TABLE IF NOT EXISTS source (id INTEGER, name VARCHAR, mark VARCHAR, "offset" BIGINT, line BIGINT, ended BOOLEAN);
CREATE TABLE IF NOT EXISTS problem (source INTEGER, line BIGINT, kind VARCHAR, why VARCHAR);
"""
"""exchange. seq: order of reading, from 1.   account, conversation, key, end_user: keyed hashes.
skeleton: hash of the prompt's skeleton.   audit: a number in [0, 1) drawn from the exchange alone, by which the random
audit stream is chosen: whoever has `audit < rate` is in it, whatever the screeners say.
label. side: prompt or completion.   score: in [0, 1].   flagged: the labeler's own decision at its threshold.
stage: place in the cascade, from 0; -1: the label came with the log.   chosen: why this exchange was labeled, `all`,
`cascade` or `audit`.
source. mark: what tells a rotated file from its successor.   "offset": bytes read; line: lines read."""


class Traffic:
    """The columns of one monitor. `folder` holds them; it is made where it is missing."""

    def __init__(self, folder: str | Path, read_only: bool = False) -> None:
        duckdb = _duckdb()
        self.folder = Path(folder)
        path = self.folder / NAME
        if read_only and not path.exists():
            raise SpecError(f"{self.folder} holds no traffic", hint=f"first: withstand monitor run LOGS --out {folder}")
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {"memory_limit": MEMORY, "threads": 2, "temp_directory": str(self.folder / "spill")}
        try:
            self.database = duckdb.connect(str(path), read_only=read_only, config=options)
        except duckdb.IOException as error:
            hint = "wait until it has ended, or give this one another --out"
            raise SpecError(f"cannot open {path}: {_first(error)}", hint=hint) from error
        # no query reads another file or asks the network
        self.database.execute("SET enable_external_access = false")
        if not read_only:
            path.chmod(0o600)
            self.database.execute(TABLES)
            if not self.rows("SELECT 1 FROM meta WHERE name = 'schema'"):
                self.database.execute("INSERT INTO meta VALUES ('schema', ?)", [str(SCHEMA)])
        [(schema,)] = self.rows("SELECT value FROM meta WHERE name = 'schema'")
        if int(schema) != SCHEMA:
            raise SpecError(
                f"{path} has form {schema}, this version reads {SCHEMA}", hint="read the logs into a new --out"
            )

    def close(self) -> None:
        self.database.close()

    def __enter__(self) -> "Traffic":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rows(self, query: str, values: Sequence[Json] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query, at once: for few."""
        rows: list[tuple[Any, ...]] = self.database.execute(query, list(values)).fetchall()
        return rows

    def columns(self, query: str, values: Sequence[Json] = ()) -> dict[str, Any]:
        """The columns of a query as numpy arrays (masked where a value is NULL): for many rows."""
        columns: dict[str, Any] = self.database.execute(query, list(values)).fetchnumpy()
        return columns

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside stands, or none of it."""
        self.database.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT")


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError:
        raise SpecError("the monitor needs duckdb", hint='pip install "withstand[monitor]"') from None
    return duckdb


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
