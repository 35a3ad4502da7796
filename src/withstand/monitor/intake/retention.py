"""Retention: exchanges older than so many days of the log's own time are deleted, and counts of them outlast them.

What outlasts is what later windows need: exchanges by hour, model and app; labels by hour, category, side and labeler;
exchanges of each account by day, under its keyed hash. No text, no id, no skeleton does. Whole hours go at once, so
that no hour is counted twice; an exchange that comes later and is of a deleted hour is counted and left out.
"""

from dataclasses import dataclass

from withstand.monitor.traffic import COUNTS, Traffic

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Expired:
    """What was deleted. before: seconds since 1970; all exchanges before are gone."""

    exchanges: int
    texts: int
    before: float


def expire(traffic: Traffic, now: float, days: int) -> Expired | None:
    """Delete what is older than `days` at `now`; None where nothing is, or where `days` is 0.

    Once a day of the log's time the file is then written anew, so that the bytes are gone as well.
    """
    before = (now - days * DAY) // 3600 * 3600
    if days == 0:
        return None
    [(exchanges, texts)] = traffic.rows(
        "SELECT count(*), count(*) FILTER (prompt IS NOT NULL OR completion IS NOT NULL) FROM exchange WHERE ts < ?",
        [before],
    )
    if not exchanges:
        return None
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
    if before - float(traffic.fact("rewritten", "0")) >= DAY:
        traffic.rewrite()
        traffic.set_fact("rewritten", f"{before:.0f}")
    return Expired(exchanges, texts, before)
