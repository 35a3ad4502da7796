"""A monitor over small logs, as the tests of intake run it."""

import json
from pathlib import Path
from unittest.mock import patch

from withstand.monitor import run as running
from withstand.monitor.intake.happened import section as happened
from withstand.monitor.settings import SCHEMA, Settings, read_settings
from withstand.monitor.traffic import Traffic
from withstand.redteam.policy.records import SCHEMA as POLICY
from withstand.redteam.policy.records import read_policy
from withstand.store.store import Store

START = 1_772_000_000.0
"""Of the logs, seconds since 1970; a time of 2026."""
CATEGORY = (
    '[[category]]\nid = "{}"\ntitle = "T"\ndefinition = "D"\nseverity = 1\ntier = "monitored"\naction = "log"\n{}\n'
)


def policy(folder: Path):
    """A policy with a category that maps to a framework, and one that does not."""
    path = folder / "policy.toml"
    mapped = 'map = { openai_moderation = ["harassment/threatening"] }'
    categories = CATEGORY.format("spam", "") + CATEGORY.format("rude", mapped)
    path.write_text(f'schema = "{POLICY}"\n[policy]\nname = "Kitchen"\nversion = "1"\n{categories}')
    return read_policy(path)


def screened(folder: Path, **keys):
    """Settings with two rules, and these keys of [monitor]."""
    path = folder / "monitor.toml"
    rules = '[[screener]]\nid = "pan"\njudge = "contains:miracle pan"\ncategory = "spam"\nreads = "prompt"\n'
    rules += '[[screener]]\nid = "cooks"\njudge = "kitchen"\ncategory = "rude"\n'
    table = "".join(f"{name} = {json.dumps(value)}\n" for name, value in keys.items())
    path.write_text(f'schema = "{SCHEMA}"\n[monitor]\n{table}{rules}')
    return read_settings(path, policy(folder))


def exchange(number: int, **fields):
    """A line of a log: one exchange a minute, of three accounts."""
    record = {
        "id": f"x{number}", "ts": START + 60 * number, "account": f"cook{number % 3}@soup.example",
        "prompt": f"How long do I boil {number} eggs?", "completion": f"Boil them for {number} minutes.",
    }  # fmt: skip
    return {name: value for name, value in (record | fields).items() if value is not None}


def write(path: Path, records, mode="w"):
    with path.open(mode, encoding="utf-8") as file:
        for record in records:
            file.write((record if isinstance(record, str) else json.dumps(record)) + "\n")
    return str(path)


def job(folder: Path, *logs, settings=None, **fields):
    return running.Job(
        [str(log) for log in logs], policy(folder), settings or Settings(), folder / "monitor", jobs=1, **fields
    )


def run(one_job, said=None):
    """The section of intake, by its id: the others have their own tests."""
    store = Store(str(one_job.folder.parent / "store.db"))
    try:
        with patch.object(running, "ANALYSES", (happened,)), patch.object(running, "STEPS", ()):
            [seen] = running.run(one_job, store, (said if said is not None else []).append)
    finally:
        store.close()
    return {section.id: section for section in seen}


def rows(folder: Path, query: str):
    with Traffic(folder / "monitor", read_only=True) as traffic:
        return traffic.rows(query)


def content(folder: Path):
    """All that the traffic holds, in an order that depends on nothing else."""
    tables = ("exchange", "label", "skeleton", "source", "problem", "tally", "seen", "meta")
    return {table: rows(folder, f"SELECT * FROM {table} ORDER BY ALL") for table in tables}
