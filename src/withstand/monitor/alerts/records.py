"""Alerts as rows of the store: alarms that go on are one alert, a rerun makes no second one, and people decide.

An alert is a record of the kind `alert` whose revisions are its history. Its id is made of the monitor, the series and
the hour it began in, and an alarm beside an alert that is stored already belongs to that one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal, TypeAlias

from withstand.core import Json, SpecError, digest
from withstand.monitor.alerts.budget import SHARES, VERSION
from withstand.monitor.alerts.detect import Alarm
from withstand.monitor.series.panel import Name
from withstand.redteam.dates import DAY, HOUR
from withstand.stats.winners import clopper_pearson
from withstand.store.revisions import Record, add_record, append, records, revisions
from withstand.store.store import Store

KIND = "alert"
State: TypeAlias = Literal["open", "triaged", "true", "false", "duplicate"]
DECIDED: tuple[State, ...] = ("true", "false", "duplicate")
QUIET = {"rise": 14 * DAY, "mix": 8 * DAY, "text": 8 * DAY}
"""Rule -> seconds without an alarm after which the next one is a new alert; a day for the others."""
POOR, ENOUGH = 0.2, 30
"""A rule with fewer true alerts than this share, among so many decided ones, is proposed for re-tuning."""


@dataclass(frozen=True, slots=True)
class Alert:
    """What was unusual, what to do, and what people decided.

    rule: that was first; also: others that spoke of the same.   version: of the rules.   series: what was counted.
    start, end: of all its alarms; at: when it was clear.   observed, expected, times, low, high: of its first window,
    `length` seconds long.   p, alpha: the chance of as much, and the limit of that; None for a rule of the policy.
    evidence: exchanges, as number:id.   accounts: how many were in it.
    beside: the first alert of the same category at the same time, by another labeler or rule.   detail: what the rule
    adds, as the limit of a rule of the policy.
    action: of the policy.   decided: seconds since 1970.
    """

    id: str
    monitor: str
    rule: str
    version: int
    series: Name
    start: float
    end: float
    at: float
    length: float
    observed: float
    expected: float | None
    times: float | None
    low: float | None
    high: float | None
    p: float | None
    alpha: float | None
    policy: str
    action: str = "log"
    also: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    accounts: int = 0
    beside: str = ""
    detail: str = ""
    owner: str = ""
    state: State = "open"
    decision: str = ""
    reason: str = ""
    by: str = ""
    decided: float | None = None

    @property
    def budgeted(self) -> bool:
        """Whether it counts against the budget of false alarms; a rule of the policy does not."""
        return self.rule in SHARES

    @property
    def pending(self) -> bool:
        return self.state not in DECIDED

    def json(self) -> dict[str, Json]:
        return asdict(self)

    @staticmethod
    def of(value: Mapping[str, Json]) -> "Alert":
        """The alert that a record holds; what a later version added to it is left out."""
        own = {field.name: value[field.name] for field in fields(Alert) if field.name in value}
        own |= {name: tuple(own.get(name, ())) for name in ("also", "evidence")}
        return Alert(**own | {"series": Name(**value["series"])})


def gather(alarms: Iterable[Alarm], monitor: str, policy: str, stored: Sequence[Alert] = ()) -> list[Alert]:
    """The alerts that these alarms are, those that are stored among them, each with all that it has grown by.

    An alarm belongs to an alert of its series that is not decided yet and was quiet for less than `QUIET` before it.
    What a person has decided takes in the alarms within its window alone: what comes after it is a new alert.
    """
    listed = list(stored)
    for alarm in sorted(alarms, key=lambda alarm: (alarm.at, alarm.start, alarm.series.key, alarm.rule)):
        new = alert_of(monitor, alarm, policy)
        place = next((at for at, past in enumerate(listed) if past.id == new.id or _covers(past, new)), None)
        if place is None:
            listed.append(new)
            continue
        past = listed[place]
        if past.pending:
            also = tuple(sorted({*past.also, alarm.rule} - {past.rule}))
            listed[place] = replace(past, end=max(past.end, alarm.end), also=also)
    return listed


def _covers(past: Alert, new: Alert) -> bool:
    if (past.series, past.budgeted) != (new.series, new.budgeted):
        return False
    quiet = max(QUIET.get(rule, DAY) for rule in (past.rule, *past.also, new.rule)) if past.pending else 0.0
    return new.start < past.end + quiet and past.start < new.end + quiet


def alert_of(monitor: str, alarm: Alarm, policy: str) -> Alert:
    """An alert of one alarm."""
    budgeted = alarm.rule in SHARES
    identity = digest(["alert", monitor, budgeted, alarm.series.key, int(alarm.start // HOUR), VERSION])
    return Alert(
        f"A-{identity[:10]}", monitor, alarm.rule, VERSION, alarm.series, alarm.start, alarm.end, alarm.at,
        alarm.end - alarm.start, alarm.observed, alarm.expected, alarm.times, alarm.low, alarm.high, alarm.p,
        alarm.alpha, policy, detail=alarm.detail,
    )  # fmt: skip


def keep(store: Store, grown: Sequence[Alert], stored: Sequence[Alert]) -> None:
    """Write what is new of these alerts, beside those that are stored."""
    before = {alert.id: alert for alert in stored}
    for alert in grown:
        if alert.id not in before:
            add_record(store, Record(KIND, alert.id, 1, alert.monitor, alert.at, alert.json()))
        elif alert != before[alert.id]:
            append(store, KIND, alert.id, alert.monitor, alert.end, alert.json())


def alerts(store: Store, monitor: str | None = None) -> list[Alert]:
    """The alerts of a monitor, or of all, as they stand now: the earliest first."""
    listed = [Alert.of(record.value) for record in records(store, KIND, monitor) if not record.purged]
    return sorted(listed, key=lambda alert: (alert.at, alert.id))


def history(store: Store, name: str) -> list[Alert]:
    """All revisions of an alert, the first one first."""
    return [Alert.of(record.value) for record in revisions(store, KIND, record_id=name)]


def find(store: Store, name: str, monitor: str | None = None) -> Alert:
    """The alert with this id, or the one that begins with it. Raises `SpecError` for none or several."""
    stored = alerts(store, monitor)
    matches = [alert for alert in stored if alert.id == name] or [a for a in stored if a.id.startswith(name)]
    if len(matches) != 1:
        problem = f"{len(matches)} alerts begin with {name!r}" if matches else f"there is no alert {name!r}"
        raise SpecError(problem, hint="withstand monitor alerts list --all shows their ids")
    return matches[0]


def decide(store: Store, alert: Alert, state: State, reason: str, by: str, when: float, owner: str = "") -> Alert:
    """What a person says of an alert, as its next revision. when: seconds since 1970."""
    changed = replace(
        alert, state=state, reason=reason, by=by, decided=when, owner=owner or alert.owner or by,
        decision=state if state in DECIDED else "",
    )  # fmt: skip
    append(store, KIND, alert.id, alert.monitor, when, changed.json())
    return changed


@dataclass(frozen=True, slots=True)
class Precision:
    """How many alerts of a rule were true, of those decided; duplicates count as neither."""

    rule: str
    raised: int
    true: int
    false: int

    @property
    def share(self) -> float | None:
        return self.true / (self.true + self.false) if self.true + self.false else None

    @property
    def interval(self) -> tuple[float, float] | None:
        return clopper_pearson(self.true, self.true + self.false) if self.true + self.false else None

    @property
    def poor(self) -> bool:
        """Whether it is proposed for re-tuning."""
        return self.true + self.false >= ENOUGH and self.true < POOR * (self.true + self.false)


def precisions(listed: Sequence[Alert]) -> list[Precision]:
    """Of each rule with an alert; rules of the policy by their category."""
    rules = sorted({_rule_of(alert) for alert in listed})
    return [
        Precision(
            rule, len(of := [alert for alert in listed if _rule_of(alert) == rule]),
            sum(alert.state == "true" for alert in of), sum(alert.state == "false" for alert in of),
        )
        for rule in rules
    ]  # fmt: skip


def _rule_of(alert: Alert) -> str:
    return alert.rule if alert.budgeted else f"{alert.rule} ({alert.series.category})"
