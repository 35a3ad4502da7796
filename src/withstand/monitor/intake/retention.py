"""Retention: exchanges older than so many days of the log's own time are deleted, and counts of them outlast them.

What outlasts is what later windows need: exchanges by hour, model and app; labels by hour, category, side and labeler;
exchanges of each account by day, under its keyed hash. No text, no id, no skeleton does. Whole hours go at once, so
that no hour is counted twice; an exchange that comes later and is of a deleted hour is counted and left out.
"""

from dataclasses import dataclass

from withstand.core.text import count
from withstand.monitor.traffic import COUNTS, Traffic
from withstand.redteam.dates import DAY, HOUR


@dataclass(frozen=True, slots=True)
class Expired:
    """What was deleted, or would have been. days: how old it is at least.   doubt: how many exchanges stand so far
    behind all others that their clock may be wrong: nothing was deleted."""

    exchanges: int
    texts: int
    days: int
    doubt: int = 0

    def __str__(self) -> str:
        old = f"older than {count(self.days, 'day')}"
        if self.doubt:
            lone = f"the last {count(self.doubt, 'exchange')} come long after all others: is a clock wrong?"
            return f"nothing is deleted, though {count(self.exchanges, 'exchange')} would be {old}; {lone}"
        what = f"{count(self.exchanges, 'exchange')} and {count(self.texts, 'text')}"
        return f"{what} {old} deleted; counts of them are kept"


def expire(traffic: Traffic, now: float, days: int) -> Expired | None:
    """Delete what is older than `days` at `now`; None where nothing is, or where `days` is 0.

    Nothing is deleted at the word of a few: where what would be kept comes more than a day after what would go, and is
    less than a fifth of as many days before, it waits for more. Once a day of the log's time the file is then written
    anew, so that the bytes are gone as well.
    """
    before = (now - days * DAY) // HOUR * HOUR
    if days == 0:
        return None
    [(exchanges, texts)] = traffic.rows(
        "SELECT count(*), count(*) FILTER (prompt IS NOT NULL OR completion IS NOT NULL) FROM exchange WHERE ts < ?",
        [before],
    )
    if not exchanges:
        return None
    if doubt := _few(traffic, before, days):
        return Expired(exchanges, texts, days, doubt)
    last = int(traffic.fact("looked_at", "0"))
    [(unseen,)] = traffic.rows("SELECT count(*) FROM exchange WHERE ts < ? AND seq > ?", [before, last])
    with traffic.transaction():
        execute = traffic.database.execute
        for table, query in COUNTS.items():
            execute(f"INSERT INTO {table} BY NAME {query.format(where=f'ts < {before:.0f}')}")
        old = f"SELECT seq FROM exchange WHERE ts < {before:.0f}"
        for table in ("label", "unscored", "seen"):
            execute(f"DELETE FROM {table} WHERE seq IN ({old})")
        execute(f"DELETE FROM exchange WHERE ts < {before:.0f}")
        execute("DELETE FROM skeleton WHERE hash NOT IN (SELECT skeleton FROM exchange)")
        traffic.set_fact("kept_from", f"{before:.0f}")
        traffic.set_fact("never_looked_at", str(int(traffic.fact("never_looked_at", "0")) + unseen))
    if before - float(traffic.fact("rewritten", "0")) >= DAY:
        traffic.rewrite()
        traffic.set_fact("rewritten", f"{before:.0f}")
    return Expired(exchanges, texts, days)


def looked_at(traffic: Traffic) -> None:
    """Note that all exchanges at hand were looked at: what is deleted before that was only counted."""
    [(last,)] = traffic.rows("SELECT max(seq) FROM exchange")
    if last is not None:
        traffic.set_fact("looked_at", str(last))


def _few(traffic: Traffic, before: float, days: int) -> int:
    """How many exchanges would be kept, where they are few and far behind the rest; else 0."""
    [(kept, begin, end)] = traffic.rows(
        "SELECT count(*) FILTER (ts >= $1), min(ts) FILTER (ts >= $1), max(ts) FILTER (ts < $1) FROM exchange", [before]
    )
    if begin - end <= DAY:
        return 0
    query = "SELECT count(*) FROM exchange WHERE ts < ? AND ts > ?"
    [(usual,)] = traffic.rows(query, [before, end - days * DAY])
    return int(kept) if kept < usual / 5 else 0
