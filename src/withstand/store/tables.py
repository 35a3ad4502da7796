"""The tables of a store, and the version of their form.

- `answer`: what a model said to one ask of one flow; a flow cut off anywhere replays from these.
- `row`: a finished piece of one stage: an attack's test cases, a completion, a verdict.
- `want`: which rows a run wants, and where they belong in it (stage, cell, behavior, case, sample).
- `failure`: the log of what went wrong, any number per key.
- `label`: what an annotator said of a case of a run; `draw`: that a case of its sample was shown.
- `calibration`: a judge beside people, by the judge's key.
- `probe`: how a judge met the cases that judges fall for, by its key.
- `audit`: who revealed, exported, purged or was refused what, and when.
- `attempt`: an input and its answer with a person's verdict; `event`: a step of a person's session; `record`: what else
  a red team keeps. An edit of an attempt or record is a new entry, with the next revision.
- `run`, `behavior`, `component`, `writer`: specs, texts, source hashes, and the processes that wrote.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sql

from withstand.store.old_findings import findings_to_attempts

SCHEMA = 11
"""The form below. An older store is brought to it when it is opened, a newer one is refused."""

BESIDE = ("aliases", "gate", "prompts", "clusters", "sets", "taxonomy", "knows", "marked", "draws_at")
"""What a run's plan holds and its key does not: it may change when the run is asked for again."""

DIGITS = ", ".join(f"'{digit}'" for digit in range(10))


def _unpack_labels(connection: sql.Connection) -> None:
    """Up to schema 3 the label of an attack's row packed four facts, as in "3:asks:2:1" or "3:-:2:1"; now each has a
    column, and the label is the number of test cases alone."""
    query = f'SELECT key, label FROM "row" WHERE substr(label, 1, 1) IN ({DIGITS})'
    entries = []
    for key, packed in connection.exec_driver_sql(query).all():
        if match := re.fullmatch(r"(\d+)(?::([^:]+)(?::(\d+):(\d+))?)?", packed):
            number, cut, refused, malformed = match.groups()
            facts = {"test_cases": int(number), "refused": int(refused or 0), "malformed": int(malformed or 0)}
            entries.append({"key": key, "label": number, "cut": "" if cut in (None, "-") else cut, **facts})
    changes = ", ".join(f"{name} = :{name}" for name in ("label", "test_cases", "cut", "refused", "malformed"))
    if entries:
        connection.execute(sql.text(f'UPDATE "row" SET {changes} WHERE key = :key'), entries)


def _read_votes(connection: sql.Connection) -> None:
    """Up to schema 4 only the reason of an ensemble's verdict said how its members voted: it began with the word."""
    query = sql.text(
        'SELECT key, value FROM "row" WHERE key > :last '
        "AND label IN ('success', 'failure', 'refused', 'unscored') ORDER BY key LIMIT 5000"
    )
    change = sql.text('UPDATE "row" SET vote = :vote WHERE key = :key')
    last = ""
    while verdicts := connection.execute(query, {"last": last}).all():
        votes = [(key, str(json.loads(value).get("why", "")).partition(": ")[0]) for key, value in verdicts]
        if entries := [{"key": key, "vote": vote} for key, vote in votes if vote in ("agreed", "split")]:
            connection.execute(change, entries)
        last = verdicts[-1][0]


def _mark_purged(connection: sql.Connection) -> None:
    """Up to schema 5 only the texts of an entry said that they were erased: each was "purged:" and a digest. A store
    without a purge in its audit has no such entry, whatever its texts say."""
    if not connection.exec_driver_sql("SELECT count(*) FROM \"audit\" WHERE action = 'purge'").scalar():
        return
    for table in ("row", "behavior", "label", "finding"):
        query = sql.text(
            f'SELECT key, value FROM "{table}" WHERE key > :last AND value LIKE :sign ORDER BY key LIMIT 5000'
        )
        last = ""
        while entries := connection.execute(query, {"last": last, "sign": "%purged:%"}).all():
            purged = [{"key": key} for key, value in entries if _says_purged(json.loads(value))]
            if purged:
                connection.execute(sql.text(f'UPDATE "{table}" SET purged = 1 WHERE key = :key'), purged)
            last = entries[-1][0]


def _says_purged(value: Any) -> bool:
    texts = [text for text in _texts(value) if text]
    return bool(texts) and all(re.fullmatch("purged:[0-9a-f]{32}", text) for text in texts)


def _texts(value: Any) -> Iterator[str]:
    """What up to schema 5 was erased of an entry, as far as it kept a digest of it."""
    names = ("text", "completion", "prompt", "context", "note", "harm", "why", "reasoning", "arguments")
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, (dict, list)):
            yield from _texts(inner)
        elif isinstance(inner, str) and name in names:
            yield inner


STEPS: dict[int, tuple[str | Callable[[sql.Connection], None], ...]] = {
    # `purge` finds answers by who wrote them, and would read every text of the store to do so
    2: (
        'CREATE INDEX IF NOT EXISTS ix_answer_writer ON "answer" (writer)',
        'CREATE INDEX IF NOT EXISTS ix_row_writer ON "row" (writer)',
    ),
    3: ('ALTER TABLE "row" ADD COLUMN flops DOUBLE PRECISION',),
    4: (
        'ALTER TABLE "row" ADD COLUMN test_cases INTEGER',
        'ALTER TABLE "row" ADD COLUMN cut TEXT',
        'ALTER TABLE "row" ADD COLUMN refused INTEGER',
        'ALTER TABLE "row" ADD COLUMN malformed INTEGER',
        _unpack_labels,
    ),
    5: ('ALTER TABLE "row" ADD COLUMN vote TEXT', _read_votes),
    6: (
        *(f'ALTER TABLE "{name}" ADD COLUMN purged INTEGER' for name in ("row", "behavior", "label", "finding")),
        _mark_purged,
    ),
    7: ('ALTER TABLE "label" ADD COLUMN annotator TEXT',),
    8: (
        *(
            f'ALTER TABLE "{name}" ADD COLUMN mark TEXT'
            for name in ("row", "answer", "run", "label", "calibration", "probe")
        ),
        *(f'ALTER TABLE "{name}" ADD COLUMN writer TEXT' for name in ("run", "calibration", "probe")),
        'ALTER TABLE "writer" ADD COLUMN author TEXT',
        'ALTER TABLE "run" ADD COLUMN reuse TEXT',
    ),
    9: ('ALTER TABLE "row" ADD COLUMN long INTEGER', 'ALTER TABLE "row" ADD COLUMN repeated INTEGER'),
    10: ('ALTER TABLE "row" ADD COLUMN changed INTEGER',),
    11: (findings_to_attempts, 'DROP TABLE IF EXISTS "finding"'),
}
"""What makes each form of the one before. A new table needs no step: what is missing is made. Steps are history: they
stay as they are, whatever becomes of the tables below."""

CASES, COMPLETIONS, VERDICTS = 1, 2, 3
"""The stages of a run, as numbered in `want` and `failure`."""

STAGES = {CASES: "test cases", COMPLETIONS: "completions", VERDICTS: "verdicts"}

tables = sql.MetaData()


class ForeignText(sql.types.TypeDecorator[str]):
    """Text from outside, not as JSON. What a database does not take is spelled out: NUL, and a lone surrogate."""

    impl = sql.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sql.Dialect) -> str | None:
        return value and value.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def _table(name: str, *columns: sql.Column[Any]) -> sql.Table:
    return sql.Table(name, tables, *columns, sqlite_with_rowid=False)


def _key(name: str = "key") -> sql.Column[Any]:
    return sql.Column(name, sql.Text, primary_key=True)


def _purged() -> sql.Column[Any]:
    """1 where `purge` erased the texts of the entry, NULL elsewhere. A text does not say so: anybody may write one."""
    return sql.Column("purged", sql.Integer)


def _written() -> list[sql.Column[Any]]:
    """The process that wrote an entry, and the mark of its user (`marks`); NULL in what older versions wrote."""
    return [sql.Column("writer", sql.Text), sql.Column("mark", sql.Text)]


def _needed(name: str, kind: Any = sql.Text, **more: Any) -> sql.Column[Any]:
    return sql.Column(name, kind, nullable=False, **more)


meta = _table("meta", _key(), _needed("value"))
run = _table(
    "run",
    _key(),
    _needed("name", unique=True),
    _needed("created", sql.Double),
    _needed("spec"),
    _needed("plan"),
    *_written(),
    sql.Column("reuse", sql.Text),  # "all" where it was said that rows of others count; NULL elsewhere
)
writer = _table(
    "writer",
    _key(),
    _needed("started", sql.Double),
    sql.Column("value", sql.Text),
    sql.Column("author", sql.Text),  # the public name of the user whose process it was; a claim
)
component = _table("component", _key(), _needed("value"))
behavior = _table("behavior", _key(), _needed("value"), _purged())
answer = _table(
    "answer", _key(), _needed("value"), sql.Column("writer", sql.Text, index=True), sql.Column("mark", sql.Text)
)
row = _table(
    "row",
    _key(),
    _needed("label"),  # an outcome, a finish, a number of cases: what is counted
    _needed("asks", sql.Integer),
    _needed("tokens", sql.Integer),
    _needed("seconds", sql.Double),
    _needed("cost", sql.Double),
    sql.Column("flops", sql.Double),  # NULL: not known
    # of an attack's row, NULL elsewhere: how many test cases it made, what ended it early (a budget, "success" or ""),
    # and how many answers of its attacker model were refused, malformed, too long, repeated or of another meaning (of
    # rows before schema 9 the last three are NULL, before schema 10 the last)
    sql.Column("test_cases", sql.Integer),
    sql.Column("cut", sql.Text),
    sql.Column("refused", sql.Integer),
    sql.Column("malformed", sql.Integer),
    sql.Column("long", sql.Integer),
    sql.Column("repeated", sql.Integer),
    sql.Column("changed", sql.Integer),
    sql.Column("vote", sql.Text),  # of an ensemble's verdict: "agreed" or "split"; NULL elsewhere
    _purged(),
    _needed("created", sql.Double),
    sql.Column("writer", sql.Text, index=True),
    sql.Column("mark", sql.Text),
    _needed("value"),
)
want = _table(
    "want",
    _key("run"),
    sql.Column("stage", sql.Integer, primary_key=True),
    sql.Column("cell", sql.Integer, primary_key=True),
    sql.Column("behavior", sql.Integer, primary_key=True),
    sql.Column("number", sql.Integer, primary_key=True),
    sql.Column("sample", sql.Integer, primary_key=True),
    _needed("key"),
)
failure = _table(
    "failure",
    _key("id"),
    _needed("key", index=True),
    _needed("stage", sql.Integer),
    _needed("created", sql.Double),
    _needed("error", ForeignText),
    _needed("hint", ForeignText),
    _needed("trace", ForeignText),
    sql.Column("writer", sql.Text),
)


def _of_judges(name: str) -> sql.Table:
    """What was found of judges, by the judge's key."""
    return _table(
        name, _key(), _needed("judge", index=True), _needed("created", sql.Double), _needed("value"), *_written()
    )


calibration = _of_judges("calibration")
probe = _of_judges("probe")

label = _table(
    "label",
    _key(),
    _needed("run", index=True),
    _needed("value"),
    *_written(),
    sql.Column("annotator", sql.Text),  # "person" or "model"; NULL, of before there was the column: a person
    _purged(),
)

draw = _table(
    "draw",
    _key(),
    _needed("run", index=True),
    _needed("annotator"),  # "person" or "model": whom it was drawn for
    _needed("created", sql.Double),
    _needed("value"),
    *_written(),
)

attempt = _table(
    "attempt",
    _key(),  # of id and revision: of two edits of one revision the first stands
    _needed("id", index=True),
    _needed("revision", sql.Integer),
    _needed("created", sql.Double, index=True),  # when the revision was written
    _needed("surfaced", sql.Double),  # when the answer came
    _needed("plan"),  # "" outside a plan, as all texts below where they are not said
    _needed("round"),
    _needed("layer"),
    _needed("harm"),  # the id of one of the plan's; "new" for one in the tester's words, which the value has
    _needed("feature"),
    _needed("persona"),
    _needed("mindset"),
    _needed("language"),
    _needed("tester"),
    _needed("verdict"),
    sql.Column("severity", sql.Integer),  # 1 to 4, NULL: not rated
    _needed("status"),
    _needed("owner"),
    _needed("raters", sql.Integer),  # people who rated its severity
    _needed("input"),  # digest of what was sent, folded: equal inputs are one
    _needed("run", index=True),  # key of the run whose case it is of
    _needed("value"),
    *_written(),
    _purged(),
)
sql.Index(  # of a plan, without its texts: coverage and the findings of a page are counted in it alone
    "ix_attempt_counted",
    *(attempt.c[name] for name in ("plan", "id", "revision", "round", "layer", "harm", "feature", "persona")),
    *(attempt.c[name] for name in ("mindset", "language", "tester", "verdict", "status", "input", "surfaced")),
    *(attempt.c[name] for name in ("severity", "raters", "owner", "run")),
)

event = _table(
    "event",
    _key(),  # of session and number: of two windows of a session one writes its next step
    _needed("session", index=True),
    _needed("number", sql.Integer),
    _needed("kind"),
    _needed("plan"),
    _needed("round"),
    _needed("member"),
    _needed("created", sql.Double),
    _needed("value"),
    sql.Column("writer", sql.Text),
    _purged(),
)
sql.Index(  # of a plan, without its texts: hours are counted in it alone
    "ix_event_counted",
    *(event.c[name] for name in ("plan", "session", "number", "kind", "round", "member", "created")),
)
sql.Index("ix_event_member", event.c.plan, event.c.member, event.c.created)  # what a member met today

record = _table(
    "record",
    _key(),  # of kind, id and revision: of two edits of one revision the first stands
    _needed("kind", index=True),
    _needed("id"),
    _needed("revision", sql.Integer),
    _needed("plan"),
    _needed("created", sql.Double),
    _needed("value"),
    sql.Column("writer", sql.Text),
    _purged(),
)

audit = _table(
    "audit",
    _key(),
    _needed("created", sql.Double, index=True),
    _needed("person", ForeignText),
    _needed("action", index=True),
    _needed("subject", ForeignText),
    sql.Column("writer", sql.Text),
)
