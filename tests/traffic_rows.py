"""Rows of a monitor's traffic, written straight into its columns, for tests of what reads them."""

from withstand.monitor.section import Context
from withstand.monitor.settings import Settings
from withstand.monitor.traffic import Traffic
from withstand.redteam.policy.records import Header, Policy

EXCHANGE = {
    "source": 1, "line": 1, "id": "", "ts": 0.0, "account": "a", "conversation": None, "key": None, "app": None,
    "end_user": None, "use_case": None, "model": "m", "locale": None, "prompt_tokens": 10, "completion_tokens": 20,
    "prompt_chars": 40, "completion_chars": 80, "latency_ms": None, "finish_reason": None, "blocked": None,
    "refused": False, "skeleton": None, "audit": 0.5, "prompt": None, "completion": None,
}  # fmt: skip
LABEL = {
    "category": "spam", "side": "prompt", "score": 0.0, "flagged": False, "labeler": "rule", "version": "1", "stage": 0,
    "chosen": "all",
}  # fmt: skip


def write(traffic: Traffic, exchanges, labels=()):
    """Add exchanges, numbered as they come, and labels, each with its `seq`. What a row leaves out is as above."""
    [(last,)] = traffic.rows("SELECT coalesce(max(seq), 0) FROM exchange")
    _insert(traffic, "exchange", [{"seq": last + at, **EXCHANGE, **row} for at, row in enumerate(exchanges, 1)])
    _insert(traffic, "label", [{"seq": None, **LABEL, **row} for row in labels])


def _insert(traffic, table, rows):
    if rows:
        names = list(rows[0])
        import pandas

        frame = pandas.DataFrame({name: [row[name] for row in rows] for name in names})
        traffic.database.register("frame", frame)
        traffic.database.execute(f"INSERT INTO {table} ({', '.join(names)}) SELECT * FROM frame")
        traffic.database.unregister("frame")


def context(traffic, store=None, settings=None, policy=None):
    """A context whose `now` is the last time of the traffic."""
    [(now,)] = traffic.rows("SELECT coalesce(max(ts), 0) FROM exchange")
    policy = policy or Policy("", Header("Kitchen", "1"), {}, (), (), "")
    return Context(traffic, settings or Settings(), policy, store, now)
