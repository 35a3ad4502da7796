"""The columns of the traffic: one DuckDB file in the folder of a monitor, written in batches that stand or fall whole.

| table | one row is |
| --- | --- |
| `exchange` | a request and its answer: who, when, how long; texts redacted, or NULL where they are not kept |
| `label` | what a labeler said of a side of an exchange in a category |
| `person_label` | what a person said; what they said of the random stream is among the labels too |
| `unscored` | an exchange of which a screener could not say anything: no label, and never counted as clean |
| `skeleton` | a prompt with numbers, names and addresses masked |
| `source` | a log, and how far it was read; written with the rows that were read, so that nothing counts twice |
| `problem` | a line that could not be read, or what was odd about one: the first of each kind in a source |
| `tally` | how many lines of each kind there were in a source, all of them |
| `seen` | by what a copy of an exchange is recognized |
| `past_hour`, `past_label`, `past_account` | counts of what retention has deleted |

The views `hour_total`, `hour_label` and `account_day` count what is there and what was deleted alike. A series, a
baseline or the age of an account reads these; what needs texts or single exchanges reads the tables.

Memory is bounded by DuckDB's own limit; what does not fit is spilled to the folder.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from withstand.core import Json, SpecError

NAME = "traffic.duckdb"
SCHEMA = 1
MEMORY = "400MB"
"""Of the database, while it answers questions."""
STOPPED = "coalesce(refused OR blocked, false)"
"""Whether an exchange was stopped, by the model or before it: what is not known was not."""
PERSON_STAGE = 99
"""`stage` of labels that people gave; a log may call its labeler what it likes."""
WRITING = "200MB"
"""Of the database while logs are read: the processes that read take the rest of a gigabyte."""

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
CREATE TABLE IF NOT EXISTS person_label (
    seq BIGINT, category VARCHAR, side VARCHAR, flagged BOOLEAN, labeler VARCHAR, version VARCHAR, chosen VARCHAR
);
CREATE TABLE IF NOT EXISTS unscored (seq BIGINT, labeler VARCHAR, version VARCHAR, kind VARCHAR);
CREATE TABLE IF NOT EXISTS skeleton (hash UBIGINT, text VARCHAR);
CREATE TABLE IF NOT EXISTS source (
    id INTEGER, name VARCHAR, mark VARCHAR, "offset" BIGINT, line BIGINT, ended BOOLEAN, state VARCHAR
);
CREATE TABLE IF NOT EXISTS problem (source INTEGER, line BIGINT, kind VARCHAR, why VARCHAR);
CREATE TABLE IF NOT EXISTS tally (source INTEGER, kind VARCHAR, lines BIGINT, effect VARCHAR);
CREATE TABLE IF NOT EXISTS seen (seq BIGINT, source INTEGER, content UBIGINT, ident UBIGINT);
CREATE TABLE IF NOT EXISTS past_hour (
    hour BIGINT, model VARCHAR, app VARCHAR, exchanges BIGINT, refused BIGINT, blocked BIGINT,
    prompt_tokens BIGINT, completion_tokens BIGINT, prompt_chars BIGINT, completion_chars BIGINT
);
CREATE TABLE IF NOT EXISTS past_label (
    hour BIGINT, category VARCHAR, side VARCHAR, labeler VARCHAR, version VARCHAR, stage INTEGER, chosen VARCHAR,
    labeled BIGINT, flagged BIGINT
);
CREATE TABLE IF NOT EXISTS past_account (
    account VARCHAR, day BIGINT, exchanges BIGINT, refused BIGINT, flagged BIGINT,
    prompt_tokens BIGINT, completion_tokens BIGINT, first DOUBLE, last DOUBLE
);
"""
"""exchange. seq: order of reading, from 1.   account, conversation, key, end_user: keyed hashes.
skeleton: hash of the prompt's skeleton.   audit: a number in [0, 1) drawn from the exchange alone, by which the random
audit stream is chosen: whoever has `audit < rate` is in it, whatever the screeners say.
label. side: prompt or completion; exchange: a label that came with the log, of both.
score: in [0, 1].   flagged: the labeler's own decision at its threshold.
stage: place in the cascade, from 0; -1: the label came with the log; `PERSON_STAGE`: a person gave it.
chosen: why this exchange was labeled, `all`, `cascade` or `audit`.   labeler: of people `person NAME`, chosen `audit`.
person_label. flagged: NULL where they were unsure.   chosen: `audit`, of the random stream, or `targeted:CATEGORY:SIDE`
for an exchange that was chosen by its score and is no random one.   version: `policy VERSION`.
unscored. kind: `unscored`, or `no text`.
source. mark: what tells a rotated file from its successor.   "offset": bytes read; line: lines read.
state: JSON of what its next batch must know.
tally. effect: `kept`, though something was odd, `lost`, or rightly `passed over`, as a copy or a blank line."""
HOUR = """
    SELECT CAST(floor(ts / 3600) AS BIGINT) AS hour, model, app, count(*) AS exchanges,
        count(*) FILTER (refused) AS refused, count(*) FILTER (blocked) AS blocked,
        CAST(coalesce(sum(prompt_tokens), 0) AS BIGINT) AS prompt_tokens,
        CAST(coalesce(sum(completion_tokens), 0) AS BIGINT) AS completion_tokens,
        CAST(coalesce(sum(prompt_chars), 0) AS BIGINT) AS prompt_chars,
        CAST(coalesce(sum(completion_chars), 0) AS BIGINT) AS completion_chars
    FROM exchange WHERE {where} GROUP BY ALL"""
LABEL = """
    SELECT CAST(floor(e.ts / 3600) AS BIGINT) AS hour, l.category, l.side, l.labeler, l.version, l.stage, l.chosen,
        count(*) AS labeled, count(*) FILTER (l.flagged) AS flagged
    FROM label l JOIN exchange e USING (seq) WHERE {where} GROUP BY ALL"""
ACCOUNT = """
    SELECT account, CAST(floor(ts / 86400) AS BIGINT) AS day, count(*) AS exchanges,
        count(*) FILTER (refused) AS refused, count(*) FILTER (hit) AS flagged,
        CAST(coalesce(sum(prompt_tokens), 0) AS BIGINT) AS prompt_tokens,
        CAST(coalesce(sum(completion_tokens), 0) AS BIGINT) AS completion_tokens, min(ts) AS first, max(ts) AS last
    FROM (SELECT *, seq IN (SELECT seq FROM label WHERE flagged) AS hit FROM exchange WHERE {where}) GROUP BY ALL"""
COUNTS = {"past_hour": HOUR, "past_label": LABEL, "past_account": ACCOUNT}
"""Table of counts that outlast -> what it holds of the exchanges that `where` chooses."""
TOTALS = {"hour_total": "past_hour", "hour_label": "past_label", "account_day": "past_account"}
VIEWS = "".join(
    f"CREATE VIEW IF NOT EXISTS {view} AS SELECT * FROM {past} UNION ALL BY NAME {COUNTS[past].format(where='true')};"
    for view, past in TOTALS.items()
)
"""hour: since 1970, of 3,600 s; day: of 86,400 s. An hour, a day of an account, or a labeler's hour may stand in two
rows, of which one was deleted: add them up.   past_account.flagged: exchanges that any labeler flagged."""


class BusyError(SpecError):
    """Another process has the traffic open."""


class Traffic:
    """The columns of one monitor. `folder` holds them; it is made where it is missing."""

    def __init__(self, folder: str | Path, read_only: bool = False) -> None:
        self.folder = Path(folder)
        path = self.folder / NAME
        if read_only and not path.exists():
            raise SpecError(f"{self.folder} holds no traffic", hint=f"first: withstand monitor run LOGS --out {folder}")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # a database's log beside it holds texts, too
        self._open(read_only)
        if not read_only:
            path.chmod(0o600)
            self.database.execute(TABLES + VIEWS)
            if not self.fact("schema"):
                self.set_fact("schema", str(SCHEMA))
        schema = self.fact("schema")
        if schema != str(SCHEMA):
            raise SpecError(
                f"{path} has form {schema}, this version reads {SCHEMA}", hint="read the logs into a new --out"
            )

    def _open(self, read_only: bool) -> None:
        path = self.folder / NAME
        try:
            self.database = _connect(str(path), self.folder, read_only)
        except _duckdb().IOException as error:
            hint = "wait until it has ended, or give this one another --out"
            raise BusyError(f"cannot open {path}: {_first(error)}", hint=hint) from error
        # no query reads another file or asks the network
        self.database.execute("SET enable_external_access = false")

    def rewrite(self) -> None:
        """Write the file anew, without what was deleted: a database leaves it in its file until the place is needed."""
        path, new = self.folder / NAME, self.folder / f"{NAME}.new"
        new.unlink(missing_ok=True)
        self.database.close()
        copier = _connect(":memory:", self.folder)
        try:
            copier.execute(f"ATTACH {_quoted(path)} AS old (READ_ONLY); ATTACH {_quoted(new)} AS new")
            copier.execute("COPY FROM DATABASE old TO new")
        finally:
            copier.close()
        new.chmod(0o600)
        new.replace(path)
        self._open(False)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Leave memory to the processes that read logs."""
        self.database.execute(f"SET memory_limit = '{WRITING}'")
        try:
            yield
        finally:
            self.database.execute(f"SET memory_limit = '{MEMORY}'")

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

    def fact(self, name: str, default: str = "") -> str:
        """What the table `meta` says under a name."""
        rows = self.rows("SELECT value FROM meta WHERE name = ?", [name])
        return str(rows[0][0]) if rows else default

    def set_fact(self, name: str, value: str) -> None:
        """Say something under a name of `meta`, in place of what was said before."""
        self.database.execute("DELETE FROM meta WHERE name = ?", [name])
        self.database.execute("INSERT INTO meta VALUES (?, ?)", [name, value])

    def span(self) -> tuple[float, float] | None:
        """When the exchanges at hand begin and end, seconds since 1970; None where there are none.

        A wrong clock does not move it: up to one exchange in 1,000, and up to one in fewer, that stands at an end more
        than a day and ten usual steps away from the next is outside. `Context.now` is its end.
        """
        [(count,)] = self.rows("SELECT count(ts) FROM exchange")
        if not count:
            return None
        most = min(max(1, count // 1_000), 10_000)
        query = f"SELECT ts FROM exchange WHERE ts IS NOT NULL ORDER BY ts {{}} LIMIT {most + 1}"
        lowest, highest = ([ts for (ts,) in self.rows(query.format(order))] for order in ("ASC", "DESC"))
        step = max(86_400.0, 10 * abs(highest[-1] - lowest[-1]) / count)
        return lowest[_behind_gap(lowest, step)], highest[_behind_gap(highest, step)]

    @property
    def end(self) -> float:
        """When the exchanges at hand end; 0 where there are none."""
        span = self.span()
        return span[1] if span else 0.0

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


def _behind_gap(ends: Sequence[float], step: float) -> int:
    """The place in these times, outermost first, behind the last gap that is wider than `step`; 0 for no gap."""
    wide = [at + 1 for at, (outer, inner) in enumerate(pairwise(ends)) if abs(outer - inner) > step]
    return max(wide, default=0)


def _connect(path: str, folder: Path, read_only: bool = False) -> Any:
    options = {"memory_limit": MEMORY, "threads": 2, "temp_directory": str(folder / "spill")}
    return _duckdb().connect(path, read_only=read_only, config=options)


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError:
        raise SpecError("the monitor needs duckdb", hint='pip install "withstand[monitor]"') from None
    return duckdb


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
