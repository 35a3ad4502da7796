"""What the screeners decided of each exchange, in SQL: the last stage that saw it decides.

A stage of the cascade sees only what the one before passed on, so its own flags are no share of requests. A verdict is
about an exchange that a first stage saw: the flag of the highest stage that gave one. Screeners differ, and so do their
versions: exchanges that the same first stages saw in the same versions are a `series`, and series are never mixed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from withstand.core import Json
from withstand.monitor.traffic import PERSON_STAGE, Traffic

PEOPLE = f"stage = {PERSON_STAGE}"
"""Labels that people gave: they are what screeners are measured against."""

VERDICTS = f"""
    SELECT seq, category, side, bit_xor(hash(labeler, version)) FILTER (chosen = 'all') AS era,
        max((stage + 1) * 2 + flagged::INTEGER) % 2 = 1 AS flagged
    FROM label WHERE flagged IS NOT NULL AND NOT {PEOPLE} {{where}}
    GROUP BY seq, category, side HAVING era IS NOT NULL
"""


def verdicts(category: str = "", labeler: str = "") -> tuple[str, list[Json]]:
    """A query of (seq, category, side, era, flagged), of one category or of all, and its values; by one labeler or by
    all."""
    chosen = {"category": category, "labeler": labeler}
    where = " ".join(f"AND {name} = ?" for name, value in chosen.items() if value)
    return VERDICTS.format(where=where), [value for value in chosen.values() if value]


def flagged_exchanges(category: str = "", labeler: str = "") -> tuple[str, list[Json]]:
    """A query of (seq, flagged): whether either side of an exchange is flagged in the category, or in any."""
    query, values = verdicts(category, labeler)
    return f"SELECT seq, bool_or(flagged) AS flagged FROM ({query}) GROUP BY seq", values


def people_say(category: str = "") -> tuple[str, list[Json]]:
    """A query of (seq, category, side, violating), and its values: what people say of the random audit stream, in one
    category or in each. They are believed by majority, a tie is violating."""
    where, values = ("AND category = ?", [category]) if category else ("", [])
    return (
        f"""SELECT seq, category, side, 2 * sum(flagged::INTEGER) >= count(*) AS violating FROM label
        WHERE {PEOPLE} AND chosen = 'audit' AND flagged IS NOT NULL {where} GROUP BY seq, category, side""",
        values,
    )


def violating_exchanges(category: str = "") -> tuple[str, list[Json]]:
    """A query of (seq, violating): whether people say that either side of an exchange violates the category, or any."""
    query, values = people_say(category)
    return f"SELECT seq, bool_or(violating) AS violating FROM ({query}) GROUP BY seq", values


@dataclass(frozen=True, slots=True)
class Labelers:
    """The screeners that see all exchanges of a series. names: "name version", sorted."""

    category: str
    side: str
    era: int
    names: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.category}, {self.side}, by {' and '.join(self.names)}"


Key: TypeAlias = tuple[str, str, int]
"""Category, side and era of a series."""


def labelers_of(traffic: Traffic, samples: Mapping[Key, int]) -> dict[Key, Labelers]:
    """Who made the series, sorted by their names. samples: an exchange of each."""
    rows = traffic.rows(
        f"""SELECT seq, category, side, list_sort(list(DISTINCT trim(labeler || ' ' || version))) FROM label
        WHERE seq IN ? AND chosen = 'all' AND flagged IS NOT NULL AND NOT {PEOPLE} GROUP BY ALL""",
        [sorted(set(samples.values()))],
    )
    names = {(seq, category, side): tuple(labelers) for seq, category, side, labelers in rows}
    listed = [Labelers(*key, names[seq, key[0], key[1]]) for key, seq in samples.items()]
    return {(by.category, by.side, by.era): by for by in sorted(listed, key=lambda by: by.title)}


def audited(traffic: Traffic) -> dict[Key, tuple[int, int, int, int]]:
    """Verdicts beside what people say of the same exchanges, by series: (hit, missed, wrong, clear), as in
    `stats.agreement.Table`."""
    if not traffic.rows(f"SELECT 1 FROM label WHERE {PEOPLE} LIMIT 1"):
        return {}
    where = f"AND seq IN (SELECT seq FROM label WHERE {PEOPLE})"
    rows = traffic.rows(
        f"""SELECT v.category, v.side, v.era, count(*) FILTER (flagged AND violating),
            count(*) FILTER (NOT flagged AND violating), count(*) FILTER (flagged AND NOT violating),
            count(*) FILTER (NOT flagged AND NOT violating)
        FROM ({VERDICTS.format(where=where)}) AS v JOIN ({people_say()[0]}) USING (seq, category, side) GROUP BY ALL"""
    )
    return {
        (category, side, era): (hit, missed, wrong, clear) for category, side, era, hit, missed, wrong, clear in rows
    }
