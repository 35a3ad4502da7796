"""Outcomes of exchanges in SQL, summed by unit and period; and when a labeler changed under them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from withstand.core import Json
from withstand.monitor.accounts.verdicts import PEOPLE, flagged_exchanges, violating_exchanges
from withstand.monitor.effects.mitigation import Mitigation
from withstand.monitor.traffic import STOPPED, Traffic
from withstand.redteam.dates import WEEK
from withstand.stats.experiments import Ints
from withstand.stats.special import Floats

ANSWER = "coalesce(completion_tokens, completion_chars // 4, 0)"
LACKS = 0.05
"""Share of a period at an end of the traffic that may be missing."""
ASKED = "coalesce(prompt_tokens, prompt_chars // 4, 0)"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A number of each exchange. value: its SQL.   join: of what else it reads.   values: of the join's parameters.

    where: which exchanges have it.   binary: it is 0 or 1, and its mean a rate.   labeled: the category whose labelers
    make it, "" for any, None for none; `labeler` alone where it is given.
    """

    title: str
    value: str
    join: str = ""
    values: tuple[Json, ...] = ()
    where: str = "true"
    binary: bool = True
    labeled: str | None = None
    labeler: str = ""


def flags(category: str, labeler: str = "") -> Outcome:
    """Exchanges that screeners flag, of those that they saw; or one labeler's flags."""
    query, values = flagged_exchanges(category, labeler)
    title = f"flagged in {category or 'any category'}" + (f" by {labeler}" if labeler else "")
    join = f"JOIN ({query}) USING (seq)"
    return Outcome(title, "flagged::INTEGER", join, tuple(values), labeled=category, labeler=labeler)


def prevalence(category: str) -> Outcome:
    """Exchanges of the random audit stream that people call violating."""
    query, values = violating_exchanges(category)
    title = f"violating in {category or 'any category'}, by audits"
    return Outcome(title, "violating::INTEGER", f"JOIN ({query}) USING (seq)", tuple(values))


REFUSALS = Outcome("refused or blocked", f"{STOPPED}::INTEGER", where="(refused IS NOT NULL OR blocked IS NOT NULL)")
TOKENS = Outcome("tokens of a request", f"{ASKED} + {ANSWER}", binary=False)
LENGTH = Outcome("tokens of an answer", ANSWER, binary=False)


def benign_refusals() -> Outcome:
    """Refused or blocked, of exchanges that nothing flagged: what a mitigation costs those who did nothing."""
    query, values = flagged_exchanges()
    return Outcome(
        "refused or blocked, of unflagged requests", f"{STOPPED}::INTEGER", f"JOIN ({query}) USING (seq)",
        tuple(values), f"NOT flagged AND {REFUSALS.where}",
    )  # fmt: skip


def newcomers(category: str) -> Outcome:
    """Flagged exchanges that come from accounts first seen in the week before; in the first week all would."""
    query, values = flagged_exchanges(category)
    join = f"""JOIN ({query}) USING (seq)
        JOIN (SELECT account, min(first) AS first FROM account_day GROUP BY ALL) USING (account)"""
    title, young = "from accounts of up to a week, of flagged requests", f"(ts - first < {WEEK})::INTEGER"
    where = f"flagged AND ts - {WEEK} >= (SELECT min(first) FROM account_day)"
    return Outcome(title, young, join, tuple(values), where, labeled=category)


def outcome_of(mitigation: Mitigation) -> Outcome:
    """What the mitigation should change."""
    category = mitigation.category
    return {
        "flags": flags(category, mitigation.labeler),
        "prevalence": prevalence(category),
        "refusals": REFUSALS,
        "tokens": TOKENS,
    }[mitigation.outcome]


@dataclass(frozen=True, slots=True)
class Cells:
    """Sums of an outcome and the number of exchanges that have it, by unit and period. unit: "" for all together.

    period: number from the origin on, negative before it.   start: when each unit was treated, NaN for a control.
    """

    unit: Any
    period: Ints
    sums: Floats
    outcomes: Floats
    start: Floats


def cells(
    traffic: Traffic, outcome: Outcome, mitigation: Mitigation, window: tuple[float, float], by_unit: bool,
    population: bool = True,
) -> Cells:  # fmt: skip
    """The cells of a window, in order of period and unit. population False: of everybody else."""
    where, values = _population(mitigation, population)
    # an exchange without a name of the unit belongs to no unit
    unit = mitigation.unit if by_unit else "''"
    named = f"coalesce({unit}, '') <> ''" if by_unit else "true"
    arms, start = "", "NULL"
    if by_unit:
        _load(traffic, mitigation)
        arms = f"{'LEFT ' if mitigation.rest else ''}JOIN effect_arm ON effect_arm.unit = exchange.{mitigation.unit}"
        start = "any_value(start)"
    rows = traffic.columns(
        f"""SELECT {unit if not by_unit else f"exchange.{unit}"} AS name, floor((ts - ?) / ?)::BIGINT AS period,
            sum({outcome.value})::DOUBLE AS sums, count(*)::DOUBLE AS outcomes, {start}::DOUBLE AS start
        FROM exchange {outcome.join} {arms}
        WHERE ts >= ? AND ts < ? AND {named.replace(unit, f"exchange.{unit}") if by_unit else named} AND {where}
            AND {outcome.where}
        GROUP BY ALL ORDER BY period, name""",
        [mitigation.since, mitigation.period, *outcome.values, *window, *values],
    )
    start_of: Floats = np.ma.filled(np.ma.asarray(rows["start"], float), np.nan)
    return Cells(rows["name"], np.asarray(rows["period"], np.int64), np.asarray(rows["sums"], float),
                 np.asarray(rows["outcomes"], float), start_of)  # fmt: skip


def _population(mitigation: Mitigation, inside: bool) -> tuple[str, list[Json]]:
    column, _, value = mitigation.population.partition("=")
    if not column:
        return "true", []
    return f"coalesce({column}, '') {'=' if inside else '<>'} ?", [value]


def _load(traffic: Traffic, mitigation: Mitigation) -> None:
    """The units and when each is treated, as a table of this connection."""
    traffic.database.execute("CREATE OR REPLACE TEMP TABLE effect_arm (unit VARCHAR, start DOUBLE)")
    if mitigation.starts:
        names, starts = zip(*mitigation.starts.items(), strict=True)
        traffic.database.execute("INSERT INTO effect_arm SELECT unnest(?), unnest(?)", [list(names), list(starts)])


# --- labelers that change --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Jump:
    """At `ts` a labeler began, ended or changed its version; `text` says which."""

    ts: float
    text: str


def jumps(traffic: Traffic, outcome: Outcome, period: float) -> list[Jump]:
    """When the labelers of an outcome changed, in order. A labeler that sees all from the first day to the last has
    none; one that sees some only has one where its version changed."""
    span = traffic.span()
    if outcome.labeled is None or span is None:
        return []
    chosen = {"category": outcome.labeled, "labeler": outcome.labeler}
    where = " ".join(f"AND {name} = ?" for name, value in chosen.items() if value)
    rows = traffic.rows(
        f"""SELECT labeler, version, min(ts), max(ts), bool_or(chosen = 'all') FROM label JOIN exchange USING (seq)
        WHERE NOT {PEOPLE} AND ts BETWEEN ? AND ? {where} GROUP BY ALL ORDER BY 1, 3""",
        [*span, *filter(None, chosen.values())],
    )
    listed: list[Jump] = []
    for at, (labeler, version, first, last, sees_all) in enumerate(rows):
        name = f"{labeler} {version}".strip()
        if any(row[0] == labeler for row in rows[:at]):
            listed.append(Jump(first, f"{labeler} became {version}"))
        elif sees_all and first > span[0] + period:
            listed.append(Jump(first, f"{name} began"))
        if sees_all and last < span[1] - period and not any(row[0] == labeler for row in rows[at + 1 :]):
            listed.append(Jump(last, f"{name} ended"))
    return sorted(listed, key=lambda jump: (jump.ts, jump.text))


def stretch(
    since: float, period: float, span: tuple[float, float], changes: Sequence[Jump]
) -> tuple[tuple[float, float], list[Jump]]:
    """The whole periods around `since` in which no labeler changed, as (start, end), and the changes that bound it.

    A change within a period of `since` leaves an empty side: its effect cannot be told from the mitigation's.
    """
    before = [jump for jump in changes if jump.ts < since + period]
    after = [jump for jump in changes if jump.ts >= since + period]
    near = [jump for jump in changes if abs(jump.ts - since) < period]
    low = max([span[0], *(jump.ts for jump in before)])
    high = min([span[1], *(jump.ts for jump in after)])
    # a first or last period of the traffic that lacks a little counts as whole; one with a change in it never does
    first = np.ceil((low - since) / period - (LACKS if low == span[0] else 0))
    last = np.floor((high - since) / period + (LACKS if high == span[1] else 0))
    if near:
        first = last = 0
    window = (since + float(first) * period, since + float(last) * period)
    return window, near or [*before[-1:], *after[:1]]
