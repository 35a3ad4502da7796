"""Traffic for the tests of series and alerts, from counts by hour: made in the columns, without a log."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from withstand import api
from withstand.monitor.section import Context
from withstand.monitor.settings import Alarms, Keeping, Settings
from withstand.monitor.traffic import Traffic
from withstand.redteam.policy.records import SCHEMA, Policy, read_policy

FIRST = 20_517
"""Days from 1970 to Thursday, 2026-03-05; the made traffic begins there."""
POLICY = f"""schema = "{SCHEMA}"
[policy]
name = "Kitchen"
version = "7"
owner = "cooks"
[[category]]
id = "spam"
title = "Spam"
definition = "bulk texts for a miracle pan"
severity = 1
tier = "monitored"
action = "throttle"
alert = {{ min_count = 30, window = "1h", rate_multiplier = 4.0 }}
[[category]]
id = "insult"
title = "Insult"
definition = "rude words about soups"
severity = 1
tier = "monitored"
action = "warn"
"""


def weekly(days: int, rate: float, rng: np.random.Generator, dispersion: float = 0.1) -> np.ndarray:
    """Counts by hour, days x 24, with a daily and a weekly cycle: `rate` an hour on average."""
    cycle = 1 + 0.5 * np.sin((np.arange(24) - 7) * np.pi / 12)
    means = rate * cycle * np.where(np.arange(days) % 7 < 5, 1.1, 0.75)[:, None]
    return rng.poisson(means * rng.gamma(1 / dispersion, dispersion, means.shape))


def policy_at(folder: Path) -> Policy:
    path = folder / "policy.toml"
    path.write_text(POLICY)
    return read_policy(path)


def fill(traffic: Traffic, volume: np.ndarray, flags: Mapping[tuple[str, str, str, str], np.ndarray]) -> None:
    """Exchanges of these hours, of 40 accounts, and flags of (category, side, labeler, version) among them."""
    hours = np.repeat(np.arange(volume.size), volume.ravel())
    place = np.arange(len(hours)) - np.repeat(np.cumsum(volume.ravel()) - volume.ravel(), volume.ravel())
    ts = (FIRST * 24 + hours) * 3600 + (place * 977.0) % 3600
    traffic.database.execute(
        """INSERT INTO exchange (seq, source, line, id, ts, account, prompt_tokens, completion_tokens, refused, audit,
            prompt)
        SELECT row_number() OVER (), 1, 1, 'x' || row_number() OVER (), t, 'a' || (hash(t) % 40)::VARCHAR, 20, 80,
            false, (hash(t) % 1000) / 1000, 'a soup of number ' || (hash(t) % 97)::VARCHAR
        FROM (SELECT unnest(?) AS t)""",
        [ts.tolist()],
    )
    starts = np.cumsum(volume.ravel()) - volume.ravel()
    for (category, side, labeler, version), counts in flags.items():
        days = np.flatnonzero(counts.sum(axis=1) >= 0)
        first, last = days.min() * 24, (days.max() + 1) * 24
        number = np.minimum(np.maximum(counts.ravel(), 0), volume.ravel())
        rows = np.repeat(starts, number) + np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
        begin, end = starts[first], len(hours) if last >= volume.size else starts[last]
        seq = np.union1d(rows, np.arange(begin, end, 50))  # some that are labeled and not flagged
        traffic.database.execute(
            "INSERT INTO label SELECT s, ?, ?, 0.9, s IN (SELECT unnest(?)), ?, ?, 0, 'all' "
            "FROM (SELECT unnest(?) AS s)",
            [category, side, (rows + 1).tolist(), labeler, version, (seq + 1).tolist()],
        )


def context_of(folder: Path, traffic: Traffic, alarms: Alarms | None = None, name: str = "kitchen") -> Context:
    """All of the traffic, with a store beside it."""
    [(last,)] = traffic.rows("SELECT max(ts) FROM exchange")
    settings = replace(Settings(), keeping=Keeping(name=name), alarms=alarms or Alarms())
    store = api.open_store(str(folder / "store.db"))
    return Context(traffic, settings, policy_at(folder), store, float(last))
