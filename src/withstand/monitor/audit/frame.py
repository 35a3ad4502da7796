"""The exchanges of a traffic by what screeners scored on one side in one category: the strata that audits draw from.

A band must not hang on whether an exchange is in the audit stream, or the labels of a band are no random sample of it.
So the score is that of the last screener that saw all it was to see: first stages, and later ones without a budget.
What a screener saw for the audit's sake alone has no say.
"""

from dataclasses import dataclass

from withstand.core import Json
from withstand.monitor.screen.labelers import Side
from withstand.monitor.section import Context
from withstand.monitor.settings import Settings
from withstand.redteam.dates import MONDAY, WEEK

EDGES = (0.05, 0.25, 0.5, 0.75)
"""Where a band of scores ends and the next begins: 0 lies below the first. Exchanges that no such screener scored are
of the band -1."""

FRAME = f"""
CREATE OR REPLACE TEMP TABLE frame AS
WITH scored AS (
    SELECT seq, max((stage + 2) * 2 + score) % 2 AS score FROM label
    WHERE category = $category AND side IN ($side, 'exchange') AND score IS NOT NULL
        AND (chosen = 'all' OR (chosen = 'cascade' AND list_contains($unlimited, labeler)))
    GROUP BY seq
)
SELECT e.seq, a.requests, e.audit, CAST(floor((e.ts - $monday) / $week) AS BIGINT) AS week, CASE
    WHEN score IS NULL THEN -1 {" ".join(f"WHEN score < {edge} THEN {band}" for band, edge in enumerate(EDGES))}
    ELSE {len(EDGES)} END AS band
FROM exchange e LEFT JOIN scored USING (seq)
JOIN (SELECT account, count(*) AS requests FROM exchange WHERE ts IS NOT NULL GROUP BY account) a
    ON a.account IS NOT DISTINCT FROM e.account
WHERE e.ts IS NOT NULL
"""


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """A side of exchanges in a category."""

    category: str
    side: Side

    @property
    def title(self) -> str:
        return f"{self.category} in the {self.side}"

    @property
    def targeted(self) -> str:
        """`chosen` of exchanges that were drawn by their score here."""
        return f"targeted:{self.category}:{self.side}"


def make_frame(context: Context, part: Part) -> None:
    """Make the temporary table `frame` (seq, requests of the account, audit, week, band) of a part."""
    values: dict[str, Json] = {
        "category": part.category, "side": part.side, "unlimited": unlimited(context.settings),
        "monday": MONDAY, "week": WEEK,
    }  # fmt: skip
    context.traffic.database.execute(FRAME, values)


def unlimited(settings: Settings) -> list[str]:
    """The screeners that label all that is passed on to them: without a budget, as are all those before them."""
    listed: list[str] = []
    for screener in settings.screeners:
        if not screener.budget and all(before in listed for before in screener.after):
            listed.append(screener.id)
    return listed


def screened_parts(context: Context) -> list[Part]:
    """What screeners, or the log, have labeled, in the order of the policy. A label of an exchange is of both sides."""
    rows = context.traffic.rows("SELECT DISTINCT category, side FROM label WHERE chosen <> 'audit'")
    sides: dict[str, tuple[Side, ...]] = {"exchange": ("prompt", "completion")}
    parts = {Part(category, side) for category, named in rows for side in sides.get(named, (named,))}
    order = list(context.policy.categories)
    return sorted(
        (part for part in parts if part.category in order), key=lambda part: (order.index(part.category), part)
    )
