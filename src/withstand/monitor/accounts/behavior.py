"""How accounts behave, without a look at what they ask: automation, age and volume."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from withstand.monitor.traffic import Traffic
from withstand.redteam.dates import DAY, HOUR
from withstand.stats.special import Floats

RANDOM = 1.585
"""Interquartile range over median of gaps that come at random: log 3 / log 2 of the exponential distribution."""
LEAST = 20
"""Requests from which on an account has a score."""
TOKENS = "coalesce(prompt_tokens + completion_tokens, (prompt_chars + completion_chars) // 4, 0)"
"""Tokens of an exchange; a quarter of its characters where the log has none."""


@dataclass(frozen=True, slots=True)
class Automation:
    """Signs that a program asks, each in [0, 1]; `score` is their mean, over those that are known.

    regular: gaps as even as a clock's (1) or as random ones (0).   alike: how few forms its prompts have, 1 less their
    entropy's share of the most there could be.   repeated: share of prompts whose form the account sent before.
    awake: share of the hours of the day in which it asks.   ratio: how far its ratio of answer to prompt is from that
    of the accounts' median.
    """

    account: str
    requests: int
    score: float
    regular: float
    alike: float | None
    repeated: float | None
    awake: float
    ratio: float


def automation(traffic: Traffic) -> list[Automation]:
    """All accounts with enough requests, the likeliest program first."""
    rows = traffic.columns(
        f"""WITH spaced AS (SELECT account, ts - lag(ts) OVER (PARTITION BY account ORDER BY ts, seq) AS gap,
                floor(ts / {HOUR})::BIGINT % 24 AS hour, prompt_chars, completion_chars FROM exchange
                WHERE account <> ''),
            forms AS (SELECT account, skeleton, count(*) AS n FROM exchange WHERE skeleton IS NOT NULL GROUP BY ALL),
            form AS (SELECT account, sum(n) AS n, sum(n - 1) AS again, sum(n * ln(n)) AS bits FROM forms GROUP BY ALL)
        SELECT account, count(*) AS n, quantile_cont(gap, 0.25) AS q1, quantile_cont(gap, 0.5) AS q2,
            quantile_cont(gap, 0.75) AS q3, count(DISTINCT hour) AS hours, sum(prompt_chars) AS asked,
            sum(completion_chars) AS answered, any_value(form.n) AS shaped, any_value(again) AS again,
            any_value(bits) AS bits
        FROM spaced LEFT JOIN form USING (account) GROUP BY account HAVING count(*) >= {LEAST} ORDER BY account"""
    )
    if not len(rows["account"]):
        return []
    value: dict[str, Floats] = {
        name: np.ma.filled(np.ma.asarray(rows[name], float), np.nan) for name in rows if name != "account"
    }
    parts = _signs(value)
    score = np.nanmean(np.stack(list(parts.values())), axis=0)
    listed = [
        Automation(account, int(value["n"][at]), float(score[at]), *(_number(part[at]) for part in parts.values()))
        for at, account in enumerate(rows["account"])
    ]
    return sorted(listed, key=lambda row: (-row.score, row.account))


def _signs(value: dict[str, Floats]) -> dict[str, Floats]:
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = (value["q3"] - value["q1"]) / value["q2"]
        regular = np.where(value["q2"] > 0, np.clip(1 - spread / RANDOM, 0, 1), 0.0)
        most = np.log(value["shaped"])
        alike = np.where(value["shaped"] >= LEAST, value["bits"] / value["shaped"] / most, np.nan)
        ratio = np.log((value["answered"] + 1) / (value["asked"] + 1))
        middle = np.nanmedian(ratio)
        spread = 1.4826 * np.nanmedian(np.abs(ratio - middle))
        far = np.clip(np.abs(ratio - middle) / (4 * spread), 0, 1) if spread > 0 else np.zeros_like(ratio)
    awake = value["hours"] / np.minimum(24, value["n"])
    return {
        "regular": regular, "alike": alike, "repeated": value["again"] / value["shaped"], "awake": awake,
        "ratio": np.nan_to_num(far),
    }  # fmt: skip


def _number(value: float) -> Any:
    return None if np.isnan(value) else float(value)


@dataclass(frozen=True, slots=True)
class Volume:
    """Tokens of an account in the last 24 hours. usual: its mean of the days since it was first seen, None before it
    has three.   peak: of its busiest hour in these 24."""

    account: str
    requests: int
    tokens: int
    usual: float | None
    peak: int

    @property
    def times(self) -> float | None:
        """How many times its usual day."""
        return self.tokens / self.usual if self.usual else None


def volumes(traffic: Traffic, now: float) -> list[Volume]:
    """Accounts that asked in the 24 hours before `now`, the busiest first."""
    rows = traffic.rows(
        f"""WITH hours AS (SELECT account, floor((ts - ?) / {HOUR})::BIGINT AS hour, count(*) AS n,
                sum({TOKENS}) AS tokens FROM exchange WHERE ts <= ? AND account <> '' GROUP BY ALL)
        SELECT account, sum(n) FILTER (hour >= -24) AS requests, sum(tokens) FILTER (hour >= -24) AS today,
            sum(tokens) FILTER (hour < -24) AS before, ceil((-24 - min(hour)) / 24.0) AS days,
            max(tokens) FILTER (hour >= -24) AS peak
        FROM hours GROUP BY account HAVING requests > 0 ORDER BY today DESC, account""",
        [now, now],
    )
    return [
        Volume(account, int(n), int(today), float(before) / days if before and days >= 3 else None, int(peak))
        for account, n, today, before, days, peak in rows
    ]


@dataclass(frozen=True, slots=True)
class Newcomers:
    """Accounts first seen in the last week. accounts, requests: of these; all_accounts, all_requests: in that week."""

    accounts: int
    requests: int
    all_accounts: int
    all_requests: int


def newcomers(traffic: Traffic, now: float) -> Newcomers | None:
    """None where the traffic is younger than two weeks: nobody could have been seen before."""
    span = traffic.span()
    [(start,)] = traffic.rows("SELECT min(first) FROM past_account")
    if span is None or now - min(span[0], start or span[0]) < 14 * DAY:
        return None
    [row] = traffic.rows(
        """WITH seen AS (SELECT account, min(first) AS first FROM account_day GROUP BY ALL),
        recent AS (SELECT account, count(*) AS n FROM exchange WHERE ts > $1 AND ts <= $2 AND account <> ''
            GROUP BY ALL)
        SELECT count(*) FILTER (first > $1), coalesce(sum(n) FILTER (first > $1), 0), count(*), coalesce(sum(n), 0)
        FROM recent JOIN seen USING (account)""",
        [now - 7 * DAY, now],
    )
    return Newcomers(*(int(number) for number in row))


def first_seen(traffic: Traffic, accounts: list[str]) -> dict[str, float]:
    """When each of these accounts was seen first, deleted exchanges included; seconds since 1970."""
    query = "SELECT account, min(first) FROM account_day WHERE account IN ? GROUP BY ALL"
    return dict(traffic.rows(query, [accounts]))
