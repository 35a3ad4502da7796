"""What the screeners decided of each exchange, in SQL: the last stage that saw it decides.

A stage of the cascade sees only what the one before passed on, so its own flags are no share of requests. A verdict is
about an exchange that a first stage saw: the flag of the highest stage that gave one. Screeners differ, and so do their
versions: exchanges that the same first stages saw in the same versions are a `series`, and series are never mixed.
"""

from dataclasses import dataclass

from withstand.core import Json
from withstand.monitor.traffic import Traffic

PEOPLE = "labeler LIKE 'person %'"
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


def series(traffic: Traffic) -> dict[tuple[str, str, int], Labelers]:
    """The series of the traffic by category, side and era, sorted by their names."""
    query, values = verdicts()
    rows = traffic.rows(
        f"""WITH one AS (SELECT category, side, era, min(seq) AS seq FROM ({query}) GROUP BY ALL)
        SELECT one.category, one.side, one.era, list_sort(list(DISTINCT trim(labeler || ' ' || version)))
        FROM one JOIN label USING (seq, category, side) WHERE chosen = 'all' AND NOT {PEOPLE} GROUP BY ALL""",
        values,
    )
    listed = [Labelers(category, side, era, tuple(names)) for category, side, era, names in rows]
    return {(by.category, by.side, by.era): by for by in sorted(listed, key=lambda by: by.title)}


def audited(traffic: Traffic) -> dict[tuple[str, str, int], tuple[int, int, int, int]]:
    """Verdicts beside what people said of the same exchanges, in the random audit stream alone, by series.

    (hit, missed, wrong, clear), as in `stats.agreement.Table`. People are believed by majority, a tie is violating.
    """
    query, values = verdicts()
    rows = traffic.rows(
        f"""WITH people AS (SELECT seq, category, side, 2 * sum(flagged::INTEGER) >= count(*) AS violating FROM label
            WHERE {PEOPLE} AND chosen = 'audit' AND flagged IS NOT NULL GROUP BY ALL)
        SELECT v.category, v.side, v.era, count(*) FILTER (flagged AND violating),
            count(*) FILTER (NOT flagged AND violating), count(*) FILTER (flagged AND NOT violating),
            count(*) FILTER (NOT flagged AND NOT violating)
        FROM ({query}) AS v JOIN people USING (seq, category, side) GROUP BY ALL""",
        values,
    )
    return {
        (category, side, era): (hit, missed, wrong, clear) for category, side, era, hit, missed, wrong, clear in rows
    }
