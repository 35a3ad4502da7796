"""What prevalence rests on, from the traffic: exchanges by week and band, people's labels, and screeners' flags."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from withstand.core import Json
from withstand.monitor.audit.frame import Part, make_frame, screened_parts
from withstand.monitor.audit.records import RANDOM
from withstand.monitor.prevalence.estimate import Bin, Labeled, Population
from withstand.monitor.section import Context
from withstand.stats.agreement import Table

ANY = "any category"


@dataclass(frozen=True, slots=True)
class Series:
    """A screener that sees all exchanges, in one version, and its flags by week: (flagged, labeled).

    errors: against what people said of the random stream.
    """

    labeler: str
    version: str
    weeks: Mapping[int, tuple[int, int]]
    errors: Table

    @property
    def flagged(self) -> int:
        return sum(flagged for flagged, _ in self.weeks.values())

    @property
    def labeled(self) -> int:
        return sum(labeled for _, labeled in self.weeks.values())


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of a side in a category: the exchanges, the labels, and the screeners' own series, the longest first."""

    part: Part
    population: Mapping[Bin, Population]
    labels: Sequence[Labeled]
    series: Sequence[Series]

    @property
    def exchanges(self) -> int:
        return sum(part.size for part in self.population.values())


def evidence(context: Context, part: Part) -> Evidence:
    """What is known of a part. Labels of another version of the policy are no labels of this one."""
    make_frame(context, part)
    return Evidence(part, _population(context), _labels(context, part), _series(context, part))


def parts_of(context: Context) -> list[Part]:
    """Every side of a category of the policy of which somebody, or a screener, said anything."""
    present = set(screened_parts(context)) | {
        Part(*row) for row in context.traffic.rows("SELECT DISTINCT category, side FROM person_label")
    }
    return [
        Part(category.id, side)
        for category in context.policy.categories.values()
        for side in ("prompt", "completion")
        if side in category.applies_to and Part(category.id, side) in present
    ]


def violated(context: Context) -> list[str]:
    """The categories that people say are violated in the random stream, and `ANY` where they labeled it at all."""
    rows = context.traffic.rows(
        "SELECT l.category, bool_or(l.flagged) FROM person_label l WHERE l.version = ? AND l.chosen = ? GROUP BY ALL",
        [version_of(context), RANDOM],
    )
    hit = {category for category, flagged in rows if flagged}
    return [ANY, *(category for category in context.policy.categories if category in hit)] if rows else []


def _population(context: Context) -> dict[Bin, Population]:
    rows = context.traffic.rows(
        "SELECT week, band, count(*), sum(1.0 / requests) FROM frame GROUP BY week, band ORDER BY ALL"
    )
    return {(week, band): Population(size, weight) for week, band, size, weight in rows}


def version_of(context: Context) -> str:
    """How labels of people name the policy that stands."""
    return f"policy {context.policy.header.version}"


def _labels(context: Context, part: Part) -> list[Labeled]:
    rows = context.traffic.rows(
        """SELECT f.week, f.band, list(l.flagged ORDER BY l.labeler), f.requests
        FROM person_label l JOIN frame f USING (seq)
        WHERE l.category = ? AND l.side = ? AND l.version = ? AND l.chosen IN (?, ?)
        GROUP BY l.seq, f.week, f.band, f.requests ORDER BY l.seq""",
        [part.category, part.side, version_of(context), RANDOM, part.targeted],
    )
    return [Labeled((week, band), decided(votes), n) for week, band, votes, n in rows]


def decided(votes: Sequence[bool | None]) -> bool | None:
    """What people say together: None where nobody could tell, or where they differ."""
    distinct = {vote for vote in votes if vote is not None}
    return distinct.pop() if len(distinct) == 1 else None


def _series(context: Context, part: Part) -> list[Series]:
    where = "l.category = ? AND l.side IN (?, 'exchange') AND l.chosen = 'all'"
    values: list[Json] = [part.category, part.side]
    weeks: dict[tuple[str, str], dict[int, tuple[int, int]]] = {}
    rows = context.traffic.rows(
        f"""SELECT l.labeler, coalesce(l.version, ''), f.week, count(*) FILTER (l.flagged), count(*)
        FROM label l JOIN frame f USING (seq) WHERE {where} GROUP BY ALL ORDER BY ALL""",
        values,
    )
    for labeler, version, week, flagged, labeled in rows:
        weeks.setdefault((labeler, version), {})[week] = (flagged, labeled)
    errors: dict[tuple[str, str], Counter[tuple[bool, bool]]] = {}
    rows = context.traffic.rows(
        f"""WITH people AS (SELECT seq, list(flagged) AS votes FROM person_label l WHERE category = ? AND side = ?
            AND version = ? AND chosen = ? GROUP BY seq)
        SELECT l.labeler, coalesce(l.version, ''), l.flagged, p.votes FROM label l JOIN people p USING (seq)
        WHERE {where} ORDER BY l.seq""",
        [*values, version_of(context), RANDOM, *values],
    )
    for labeler, version, flagged, votes in rows:
        if (violating := decided(votes)) is not None:
            errors.setdefault((labeler, version), Counter())[bool(flagged), violating] += 1
    listed = [Series(*key, by_week, _table(errors.get(key, Counter()))) for key, by_week in weeks.items()]
    return sorted(listed, key=lambda series: (-series.labeled, series.labeler, series.version))


def _table(counts: Mapping[tuple[bool, bool], int]) -> Table:
    hit, missed, wrong, clear = (
        counts.get(key, 0) for key in ((True, True), (False, True), (True, False), (False, False))
    )
    return Table(hit, missed, wrong, clear)


CELLS = (("violating", "violating"), ("violating", "clean"), ("clean", "violating"), ("clean", "clean"))
"""Prompt and completion: success of misuse, a refusal that works, unintended harm, normal."""


def cells(context: Context, category: str) -> tuple[dict[Bin, Population], list[list[Labeled]]]:
    """Of a category, or of `ANY`: exchanges by what screeners flag on both sides, and for each of `CELLS` the labels of
    the random stream, violating where the exchange is in it."""
    of = "" if category == ANY else "AND category = $category"
    values: dict[str, Json] = {} if category == ANY else {"category": category}
    context.traffic.database.execute(
        f"""CREATE OR REPLACE TEMP TABLE both_sides AS
        SELECT seq, 2 * coalesce(bool_or(flagged) FILTER (side = 'prompt'), false)::INTEGER
            + coalesce(bool_or(flagged) FILTER (side = 'completion'), false)::INTEGER AS band
        FROM exchange LEFT JOIN (SELECT * FROM label WHERE chosen = 'all' {of})
        USING (seq) GROUP BY seq""",
        values,
    )
    population = {(0, band): Population(n) for band, n in context.traffic.rows(
        "SELECT band, count(*) FROM both_sides GROUP BY band ORDER BY band"
    )}  # fmt: skip
    rows = context.traffic.database.execute(
        f"""WITH said AS (SELECT seq, labeler, bool_or(flagged) FILTER (side = 'prompt') AS prompt,
                bool_or(flagged) FILTER (side = 'completion') AS completion
            FROM person_label l WHERE version = $version AND chosen = '{RANDOM}' {of} GROUP BY ALL)
        SELECT b.band, list(s.prompt ORDER BY labeler), list(s.completion ORDER BY labeler)
        FROM said s JOIN both_sides b USING (seq) GROUP BY seq, band ORDER BY seq""",
        {**values, "version": version_of(context)},
    ).fetchall()
    sides = [(band, decided(prompt), decided(completion)) for band, prompt, completion in rows]
    wanted = [tuple(word == "violating" for word in cell) for cell in CELLS]
    return population, [
        [
            Labeled((0, band), None if None in (prompt, answer) else (prompt, answer) == cell)
            for band, prompt, answer in sides
        ]
        for cell in wanted
    ]


def between_people(context: Context) -> Table:
    """Two people on the same side of an exchange in a category, as a table of the first against the second by name."""
    rows = context.traffic.rows(
        """SELECT list(l.flagged ORDER BY l.labeler) FROM person_label l WHERE l.version = ?
        AND l.flagged IS NOT NULL GROUP BY seq, category, side HAVING count(*) > 1""",
        [version_of(context)],
    )
    counts = Counter(pair for (votes,) in rows for pair in combinations(votes, 2))
    return _table(counts)
