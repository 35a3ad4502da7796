"""Pilots of a new use: who takes part, what would stop it, what would make it a success, and what the counts say.

The counts are looked at again and again while they grow, so the limits are those that hold at all times together
(`stats.sequential`). What was not counted never says that a pilot may go on.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import date
from itertools import pairwise
from math import inf, isfinite
from typing import Literal, TypeAlias

from withstand.core import SpecError
from withstand.core.errors import positive, within
from withstand.core.text import count, percent, rate, series
from withstand.redteam.dates import day
from withstand.stats.sequential import binomial_sequence, poisson_sequence

Answer: TypeAlias = Literal["STOP", "DECIDE", "GO ON"]
EXIT_CODES: dict[Answer, int] = {"GO ON": 0, "STOP": 1, "DECIDE": 3}


@dataclass(frozen=True, slots=True)
class StopRule:
    """above: the rate of violations above which the pilot stops, in the unit of `Pilot.per`.   severe: so many
    violations of severity 4 stop it, whatever the rate."""

    above: float
    severe: int = 1

    def __post_init__(self) -> None:
        positive(self, "above", "severe")


@dataclass(frozen=True, slots=True)
class SuccessRule:
    """below: the rate that the upper limit must not exceed.   least: users, requests or hours that must be seen."""

    below: float
    least: float

    def __post_init__(self) -> None:
        positive(self, "below", "least")


@dataclass(frozen=True, slots=True)
class PilotCount:
    """What was counted from the beginning of the pilot to the end of a day; None: not counted.

    violations: cases against the policy that people confirmed, not flags.   violating: users with any violation.
    severe: violations of severity 4.
    """

    date: str
    users: int | None = None
    violating: int | None = None
    requests: int | None = None
    hours: float | None = None
    violations: int | None = None
    severe: int | None = None

    def __post_init__(self) -> None:
        day("date", self.date)
        for name in [f.name for f in fields(self) if f.name != "date" and getattr(self, f.name) is not None]:
            within(0, inf, self, name)
        for part, whole in (("violating", "users"), ("severe", "violations"), ("violating", "violations")):
            few, many = getattr(self, part), getattr(self, whole)
            if few is not None and many is not None and few > many:
                raise SpecError(f"{part} is {few}, and {whole} {many}", hint=f"{part} counts among {whole}")
        if self.violations and self.violating == 0:
            raise SpecError(f"violations is {self.violations}, and violating 0", hint="violating counts users with any")


@dataclass(frozen=True, slots=True)
class PilotDecision:
    """What was decided on a pilot. until: of an extension, the new last day."""

    date: str
    by: str
    outcome: Literal["extend", "end", "release"]
    reason: str
    until: str = ""

    def __post_init__(self) -> None:
        day("date", self.date)
        for name in ("by", "reason"):
            if not getattr(self, name).strip():
                raise SpecError(f"{name} is empty", hint="say who decided and why")
        if (self.outcome == "extend") != bool(self.until):
            raise SpecError("an extension has its last day in `until`, and nothing else has", hint="until = 2026-06-30")
        if self.until and day("until", self.until) < day("date", self.date):
            raise SpecError(f"until is {self.until}, before the decision", hint="change one of the dates")


@dataclass(frozen=True, slots=True)
class Pilot:
    """A pilot. population: who takes part.   cap: most users.   use_case: an id of the policy's register.

    per: what the rates of its rules count: "user" the share of users with any violation, "request" the share of
    requests, "hour" violations an hour of use.   review_days: the age from which a count says nothing about today.
    """

    id: str
    use_case: str
    owner: str
    population: str
    cap: int
    hypothesis: str
    starts: str
    ends: str
    stop: StopRule
    success: SuccessRule
    per: Literal["user", "request", "hour"] = "user"
    review_days: int = 7
    count: tuple[PilotCount, ...] = ()
    decision: tuple[PilotDecision, ...] = ()

    def __post_init__(self) -> None:
        for name in ("use_case", "owner", "population", "hypothesis"):
            if not getattr(self, name).strip():
                raise SpecError(f"{name} is empty", hint="a pilot says it before it begins")
        positive(self, "cap", "review_days")
        if day("ends", self.ends) < day("starts", self.starts):
            raise SpecError(
                f"it ends on {self.ends}, before it starts on {self.starts}", hint="change one of the dates"
            )
        if self.success.below > self.stop.above:
            raise SpecError("success allows a higher rate than stops the pilot", hint="lower success.below")
        if self.per != "hour":
            within(0, 1, self.stop, "above")
        for what in ("count", "decision"):
            for before, after in pairwise(getattr(self, what)):
                if after.date < before.date:
                    raise SpecError(f"{what} of {after.date} is after that of {before.date}", hint="oldest first")
        for before, after in pairwise(self.count):
            _check_growing(before, after)

    @property
    def last_day(self) -> date:
        """The last day, by the last extension where there is one."""
        return max(
            day("ends", text) for text in [self.ends, *(decision.until for decision in self.decision if decision.until)]
        )


def _check_growing(before: PilotCount, after: PilotCount) -> None:
    for name in [f.name for f in fields(before) if f.name != "date"]:
        early, late = getattr(before, name), getattr(after, name)
        if early is not None and late is not None and late < early:
            hint = "counts go from the beginning of the pilot"
            raise SpecError(f"{name} falls from {early} on {before.date} to {late} on {after.date}", hint=hint)


@dataclass(frozen=True, slots=True)
class PilotVerdict:
    """What the rules say of a pilot. rate, low, high: in the unit of `per`, None where they cannot be computed.

    `low` is the one that stops it: of requests as if they were independent. `high` is the one that makes it a success:
    of requests as if all of a user were alike, of violations an hour as if those of a user were one event.
    """

    pilot: str
    answer: Answer
    reasons: tuple[str, ...]
    per: str
    counted: str = ""
    rate: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.answer]


def judge(pilot: Pilot, now: date, extra: PilotCount | None = None) -> PilotVerdict:
    """STOP, DECIDE or GO ON, with every reason. extra: a count that is not in the file, newer than those.

    Raises `SpecError` where `extra` does not fit the counts before it.
    """
    if extra and pilot.count:
        if extra.date < pilot.count[-1].date:
            raise SpecError(f"the file has a count of {pilot.count[-1].date}, after {extra.date}", hint="count again")
        _check_growing(pilot.count[-1], extra)
    last = extra or (pilot.count[-1] if pilot.count else None)
    figures = _figures(pilot, last)
    stops = [*_stops(pilot, now, last, figures)]
    doubts = [*_unclear(pilot, now, last)] or [*_open(pilot, last, figures)]
    calm = f"{_words(pilot, figures)}: the rate is not above {_limit(pilot, pilot.stop.above)}"
    answer: Answer = "STOP" if stops else "DECIDE" if doubts else "GO ON"
    reasons = tuple(stops or doubts or [calm])
    return PilotVerdict(pilot.id, answer, reasons, pilot.per, last.date if last else "", *figures)


Figures: TypeAlias = tuple[float | None, float | None, float | None]


def _seen(pilot: Pilot, last: PilotCount | None) -> tuple[float | None, float | None]:
    """Events, and of how much they are."""
    if last is None:
        return None, None
    return {
        "user": (last.violating, last.users),
        "request": (last.violations, last.requests),
        "hour": (last.violations, last.hours),
    }[pilot.per]


def _figures(pilot: Pilot, last: PilotCount | None) -> Figures:
    events, of = _seen(pilot, last)
    if last is None or events is None or not of:
        return None, None, None
    if pilot.per == "hour":
        low, high = poisson_sequence(int(events), of, pilot.stop.above)
        if last.violating:  # each violating user as one event, in as much less time
            high = max(high, poisson_sequence(last.violating, of * last.violating / events, pilot.stop.above)[1])
        return events / of, low, high
    if events > of:
        hint = "a request counts once, however many rules it breaks"
        raise SpecError(f"{pilot.id}: {events} violations in {of} requests", hint=hint)
    low, high = binomial_sequence(events, int(of))
    if pilot.per == "request":  # a user may be the cause of all: no more is known than from one request of each
        users = min(last.users or 0, int(of))
        high = binomial_sequence(events / of * users, users)[1]
    return events / of, low, high


def _stops(pilot: Pilot, now: date, last: PilotCount | None, figures: Figures) -> Iterator[str]:
    for decision in pilot.decision:
        if decision.outcome != "extend":
            yield f"{decision.by} decided on {decision.date}: {decision.outcome} ({decision.reason})"
    if now > pilot.last_day:
        yield f"its last day was {pilot.last_day}, and nobody decided to extend it"
    if last is None:
        return
    if last.severe is not None and last.severe >= pilot.stop.severe:
        yield f"{count(last.severe, 'violation')} of severity 4; {pilot.stop.severe} stops it"
    if last.users is not None and last.users > pilot.cap:
        yield f"{last.users:,} users, and the cap is {pilot.cap:,}"
    low = figures[1]
    if low is not None and low > pilot.stop.above:
        yield f"{_words(pilot, figures)}: the lower limit is above {_limit(pilot, pilot.stop.above)}"


def _unclear(pilot: Pilot, now: date, last: PilotCount | None) -> Iterator[str]:
    """What keeps the counts from saying anything."""
    if now < day("starts", pilot.starts):
        yield f"it begins on {pilot.starts}"
    if last is None:
        yield "nothing has been counted"
        return
    needed = {
        "user": ("users", "violating", "severe"),
        "request": ("requests", "violations", "users", "severe"),
        "hour": ("hours", "violations", "violating", "users", "severe"),
    }[pilot.per]
    if missing := [name for name in needed if getattr(last, name) is None]:
        yield f"not counted: {series(missing)}; what is not counted is not 0"
    elif not _seen(pilot, last)[1]:
        yield f"no {pilot.per} has been seen yet"
    age = (now - day("date", last.date)).days
    if age > pilot.review_days:
        yield f"the last count is {count(age, 'day')} old; count every {count(pilot.review_days, 'day')}"
    elif age < 0:
        yield f"the last count is of {last.date}, which is in the future"


def _open(pilot: Pilot, last: PilotCount | None, figures: Figures) -> Iterator[str]:
    """What the figures say that a person has to decide on."""
    share, low, high = figures
    if share is None or low is None or high is None:
        return
    _, of = _seen(pilot, last)
    words = _words(pilot, figures)
    if share > pilot.stop.above:
        yield f"{words}: the rate is above {_limit(pilot, pilot.stop.above)}, perhaps by chance"
    elif low > pilot.success.below:
        yield f"{words}: it cannot succeed, the lower limit is above {_limit(pilot, pilot.success.below)}"
    elif high <= pilot.success.below and (of or 0) >= pilot.success.least:
        yield f"{words}: success, the upper limit is not above {_limit(pilot, pilot.success.below)}"
    if last and last.users == pilot.cap:
        yield f"the cap of {count(pilot.cap, 'user')} is reached"


def _words(pilot: Pilot, figures: Figures) -> str:
    share, low, high = figures
    if share is None or low is None or high is None:
        return "no rate"
    if pilot.per == "hour":
        return f"violations an hour {share:.3g} ({low:.3g} to {high:.3g})"
    what = "users" if pilot.per == "user" else "requests"
    return f"{what} with a violation {rate(share, (low, high))}"


def _limit(pilot: Pilot, limit: float) -> str:
    return f"{limit:g} an hour" if pilot.per == "hour" and isfinite(limit) else percent(limit)
