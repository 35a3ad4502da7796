"""`monitor.toml`: what a monitor reads, screens with, keeps and speaks up about. All errors of the file at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from withstand.core import SpecError
from withstand.core.errors import within
from withstand.redteam.policy.records import Policy
from withstand.redteam.tables import Problems, check_names, read_tables, record_of, records_of

SCHEMA = "withstand.monitor/1"


@dataclass(frozen=True, slots=True)
class Keeping:
    """[monitor]. name: of the monitor, in the store and on the page.

    text: whether redacted texts are kept.   retention_days: after so many days of the log's own time texts and rows of
    exchanges are deleted, 0 for never.   salt_env: variable with the salt of hashed names; without it the folder has
    its own.   audit_rate: share of all exchanges in the random audit stream, in (0, 1].
    """

    name: str = "monitor"
    text: bool = True
    retention_days: int = 30
    salt_env: str = "WITHSTAND_MONITOR_SALT"
    audit_rate: float = 0.01

    def __post_init__(self) -> None:
        within(0, 36_500, self, "retention_days")
        if not 0 < self.audit_rate <= 1:
            raise SpecError(f"audit_rate is {self.audit_rate}", hint="it is a share above 0, up to 1, such as 0.01")


@dataclass(frozen=True, slots=True)
class Screener:
    """[[screener]]: a judge that labels one side of exchanges in one category of the policy.

    judge: its spec, as `--judge` takes it.   reads: which text it sees.   threshold: it flags from this score on.
    after: ids of screeners of which one must have flagged the exchange, or have been uncertain, before this one is
    asked; none: it sees all.   uncertain: scores from here up to `threshold` are passed on too.
    budget: most exchanges that it labels in one run, 0 for no limit..
    """

    id: str
    judge: str
    category: str
    reads: Literal["prompt", "completion"] = "completion"
    threshold: float = 0.5
    uncertain: float = 0.5
    after: tuple[str, ...] = ()
    budget: int = 0

    def __post_init__(self) -> None:
        within(0, 1, self, "threshold")
        within(0, 1, self, "uncertain")


@dataclass(frozen=True, slots=True)
class Alarms:
    """[alerts]. false_alarms: how many the user bears in `days`, all rules and categories together.

    file: JSON lines of alerts.   webhook_env: variable with the URL that each alert is posted to.
    """

    false_alarms: float = 1.0
    days: float = 30.0
    file: str = ""
    webhook_env: str = ""

    def __post_init__(self) -> None:
        if self.false_alarms <= 0 or self.days <= 0:
            raise SpecError("false_alarms and days are above 0", hint="false_alarms = 1 and days = 30")


@dataclass(frozen=True, slots=True)
class Accounts:
    """[accounts]. rate: share of an account's requests that may violate before it is an alarm.   certainty: the least
    posterior chance of more that raises it.   least: requests that an account must have for it.   false_share: of the
    alarms, that may be false (Benjamini and Hochberg).   tokens_per_hour: quota of an account, 0 for none.
    """

    rate: float = 0.05
    certainty: float = 0.99
    least: int = 20
    false_share: float = 0.05
    tokens_per_hour: int = 0

    def __post_init__(self) -> None:
        for name in ("rate", "certainty", "false_share"):
            if not 0 < getattr(self, name) < 1:
                raise SpecError(f"{name} is {getattr(self, name)}", hint="it is a share between 0 and 1, such as 0.05")
        within(1, 1_000_000, self, "least")
        within(0, 10**12, self, "tokens_per_hour")


@dataclass(frozen=True, slots=True)
class Clustering:
    """[clusters]. sample: most exchanges that are clustered.   encoder: spec of a sentence encoder, as minilm, whose
    vectors are joined to those of runs of letters (9 ms of CPU for each new text); "auto": minilm where it lies in the
    cache (`withstand model fetch minilm`); "none": runs of letters alone.
    """

    sample: int = 5_000
    encoder: str = "none"

    def __post_init__(self) -> None:
        within(100, 20_000, self, "sample")


@dataclass(frozen=True, slots=True)
class Settings:
    """A monitor's file. columns: field of an exchange -> column of the log, for logs of no form that we know."""

    file: str = ""
    keeping: Keeping = Keeping()
    screeners: tuple[Screener, ...] = ()
    alarms: Alarms = Alarms()
    accounts: Accounts = Accounts()
    clusters: Clustering = Clustering()
    columns: Mapping[str, str] = field(default_factory=dict)


def read_settings(path: str | Path, policy: Policy) -> Settings:
    """The settings of a file. Raises `SpecError` with all its errors, each with its table and key."""
    problems, content = Problems(str(path)), read_tables(path, SCHEMA)
    check_names(problems, content, ("monitor", "screener", "alerts", "accounts", "clusters", "columns"))
    screeners = records_of(problems, Screener, content, "screener")
    for at, screener in enumerate(screeners):
        before = {earlier.id for earlier in screeners[:at]}
        if screener.category not in policy.categories:
            hint = f"categories: {', '.join(policy.categories)}"
            problems.add(f"screener ({screener.id}), category", f"the policy has no {screener.category!r}", hint)
        for wanted in screener.after:
            if wanted not in before:
                problems.add(
                    f"screener ({screener.id}), after", f"no screener {wanted!r} stands before", "mend the order"
                )
    keeping = record_of(problems, Keeping, content.get("monitor", {}), "monitor")
    alarms = record_of(problems, Alarms, content.get("alerts", {}), "alerts")
    accounts = record_of(problems, Accounts, content.get("accounts", {}), "accounts")
    clusters = record_of(problems, Clustering, content.get("clusters", {}), "clusters")
    problems.check()
    assert keeping is not None
    assert alarms is not None
    assert accounts is not None
    assert clusters is not None
    return Settings(str(path), keeping, screeners, alarms, accounts, clusters, content.get("columns", {}))
