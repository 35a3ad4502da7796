"""The budgeted rules of a week: whether the mix of categories has changed, and whether the prompts have.

The last whole week (from Monday, UTC) is compared with the three before. Both need single exchanges, so that they look
at what retention has left, and at the last week alone.
"""

from collections.abc import Sequence
from random import Random

import numpy as np

from withstand.monitor.alerts.budget import Budget
from withstand.monitor.alerts.detect import Alarm
from withstand.monitor.section import Context
from withstand.monitor.series.panel import Name, Panel
from withstand.redteam.dates import DAY, MONDAY, WEEK
from withstand.stats.mixes import LARGE, jensen_shannon, permuted_p, psi
from withstand.stats.special import Floats
from withstand.stats.two_sample import LARGE as APART
from withstand.stats.two_sample import told_apart

BEFORE = 3
DRAWS = 4_000
TEXTS = 400
"""Prompts of each side, one of an account at most 5 times."""
FEWEST_FLAGS, FEWEST_TEXTS = 40, 100


def weekly(context: Context, panel: Panel, budget: Budget) -> list[Alarm]:
    """The alarms of `mix` and `text`."""
    end = (context.now - MONDAY) // WEEK * WEEK + MONDAY
    start, past = end - WEEK, end - (1 + BEFORE) * WEEK
    [(oldest,)] = context.traffic.rows("SELECT min(ts) FROM exchange")
    if oldest is None or oldest > past + DAY:
        return []
    names = _whole(panel, past, end)
    alarms = [_text(context, past, start, end, budget)]
    if len(names) > 1:
        alarms.insert(0, _mix(context, names, past, start, end, budget))
    return [alarm for alarm in alarms if alarm is not None]


def _whole(panel: Panel, past: float, end: float) -> list[Name]:
    """The series of categories that cover all four weeks."""
    rows = slice(max(0, int(past // DAY) - panel.first + 1), int(end // DAY) - panel.first)
    return [name for at, name in enumerate(panel.names) if name.kind == "category" and panel.alive[rows, at].all()]


def _mix(
    context: Context, names: Sequence[Name], past: float, start: float, end: float, budget: Budget
) -> Alarm | None:  # fmt: skip
    place = {name: at for at, name in enumerate(names)}
    rows = context.traffic.rows(
        f"""SELECT account, floor(ts / {DAY})::BIGINT AS day, category, side, labeler, version, count(*)
        FROM label JOIN exchange USING (seq) WHERE flagged AND chosen <> 'audit' AND ts >= ? AND ts < ?
        GROUP BY ALL ORDER BY ALL""",
        [past, end],
    )
    units: dict[tuple[str, int], Floats] = {}
    for account, day, *key, count in rows:
        name = Name("category", *map(str, key))
        if name in place:
            units.setdefault((str(account), day), np.zeros(len(names)))[place[name]] = count
    late = [counts for (_, day), counts in units.items() if day * DAY >= start]
    early = [counts for (_, day), counts in units.items() if day * DAY < start]
    if min(sum(float(counts.sum()) for counts in side) for side in (early, late)) < FEWEST_FLAGS:
        return None
    before, after = np.array(early), np.array(late)
    index = float(psi(before.sum(axis=0), after.sum(axis=0)))
    if index <= LARGE:
        return None
    alpha = budget.alpha("mix", 1 / 7)
    p = permuted_p(before, after, DRAWS, f"mix {start}")
    if p > alpha:
        return None
    shares = [side.sum(axis=0) / side.sum() for side in (before, after)]
    moved = int(np.argmax(np.abs(shares[1] - shares[0])))
    distance = float(jensen_shannon(before.sum(axis=0), after.sum(axis=0)))
    detail = (
        f"{names[moved].category}: {shares[0][moved]:.0%} of flags before, {shares[1][moved]:.0%} now "
        f"(population stability index {index:.2f}, Jensen-Shannon {distance:.3f} bits)"
    )
    return Alarm("mix", Name("mix"), start, end, end, index, LARGE, None, None, None, p, alpha, detail)


def _text(context: Context, past: float, start: float, end: float, budget: Budget) -> Alarm | None:
    sides = [_prompts(context, *span) for span in ((past, start), (start, end))]
    if min(len(side) for side in sides) < FEWEST_TEXTS:
        return None
    alpha = budget.alpha("text", 1 / 7)
    (texts_a, of_a), (texts_b, of_b) = (([text for _, text in side], [name for name, _ in side]) for side in sides)
    result = told_apart(texts_a, texts_b, of_a, of_b, 1 - 2 * alpha)
    if result is None or result[0] <= APART or result[1][0] <= 0.5:
        return None
    area, (low, high) = result
    detail = f"a classifier tells this week's prompts from earlier ones: area under the curve {area:.2f}"
    return Alarm("text", Name("text"), start, end, end, area, 0.5, None, low, high, None, alpha, detail)


def _prompts(context: Context, start: float, end: float) -> list[tuple[str, str]]:
    """Accounts and redacted prompts of a span, drawn evenly by the exchange's own random number."""
    rows = context.traffic.rows(
        """SELECT account, prompt FROM exchange WHERE ts >= ? AND ts < ? AND prompt <> ''
        QUALIFY row_number() OVER (PARTITION BY account ORDER BY audit, seq) <= 5
        ORDER BY audit, seq LIMIT ?""",
        [start, end, 4 * TEXTS],
    )
    chosen = [(str(account), str(prompt)) for account, prompt in rows]
    Random(f"text {start}").shuffle(chosen)
    return chosen[:TEXTS]
