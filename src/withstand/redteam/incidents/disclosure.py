"""A draft of what to publish of a period's incidents: counts without small cells, and no word of anybody.

What a monitor alone can say (requests in scope, how common violations are, precision) comes from its last report, and
is marked as empty without one. A share of flags is never printed as how common something is.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from withstand.core import SpecError
from withstand.core.taxonomy import UNCOVERED
from withstand.redteam.incidents.quarters import Quarter, figures, quarter_of
from withstand.redteam.incidents.records import MEANS, Incident
from withstand.redteam.incidents.suppression import LEAST, number_of_members, printable
from withstand.stats.median import median_interval

SCHEMA = "withstand.disclosure/1"
WARNING = "This page counts incidents of harm. It quotes none."
METHOD = (
    "An incident counts in the period in which it was opened, under the category of its last revision.",
    "Actors are accounts as entered by people. One that took part in two incidents counts twice.",
    f"Counts of fewer than {LEAST} actors, and counts that are not known, are hidden, with the next larger ones, so "
    f"that none can be computed from a total. Then totals are rounded down to a multiple of {LEAST}.",
    "Shares have exact 95% limits, medians those of order statistics. They are about incidents that somebody noticed.",
    "Do not publish periods that overlap: their difference may show a hidden count.",
)
MONITORING = (
    "requests in scope", "violations by category, with intervals from an audited sample", "precision of the alerts",
    "appeals and reversals",
)  # fmt: skip
"""What only a monitor can say, or nobody yet."""
NO_MONITOR = (
    "No sample was audited: how many violations nobody noticed is not known. A share of flags would not say it."
)
IMPACT = ("who gains", "who loses", "what is displaced", "what shows it")


@dataclass(frozen=True, slots=True)
class CategoryLine:
    """A category with an incident. None: not printed."""

    id: str
    title: str
    incidents: int | None
    actors: int | None
    requests: int | None


@dataclass(frozen=True, slots=True)
class Violations:
    """Share of requests of which a side violates a category, estimated from people's labels, with its 95% limits.

    rate, low: None where fewer than 10 labeled requests violate: then the upper limit alone is printed.
    """

    category: str
    side: str
    rate: float | None
    low: float | None
    high: float
    labels: int


@dataclass(frozen=True, slots=True)
class Monitored:
    """What a monitor says of the period. begin, end: days of its traffic.   violations: None where no
    sample was audited.   unaudited: categories (and sides) without enough labels.   precision: rule of the alerts ->
    how many people called true, of those that they called true or false.
    """

    name: str
    begin: str
    end: str
    requests: int
    violations: tuple[Violations, ...]
    unaudited: tuple[str, ...]
    precision: Mapping[str, tuple[int, int]]

    @property
    def not_measured(self) -> tuple[str, ...]:
        """What it lacks of `MONITORING`."""
        has = {MONITORING[0]: True, MONITORING[1]: bool(self.violations), MONITORING[2]: bool(self.precision)}
        return tuple(name for name in MONITORING if not has.get(name))


@dataclass(frozen=True, slots=True)
class Disclosure:
    """A draft. None: not printed. rounded: totals are, down to a multiple of 10, since something is hidden.

    actions: means -> actors that met it, None where hidden.   unforeseen: the figures of the period's incidents.
    time_to_act: median seconds from knowing to the first action, with 95% limits where there are enough.
    """

    schema: str
    period: str
    policy: str
    versions: tuple[str, ...]
    incidents: int | None
    actors: int | None
    requests: int | None
    rounded: bool
    categories: tuple[CategoryLine, ...]
    actions: Mapping[str, int | None]
    unforeseen: Quarter | None
    time_to_act: float | None
    time_to_act_interval: tuple[float, float] | None
    blind_spots: tuple[str, ...]
    monitored: Monitored | None = None
    not_measured: tuple[str, ...] = MONITORING
    warning: str = WARNING
    method: tuple[str, ...] = METHOD


def quarters_of(period: str) -> tuple[str, ...]:
    """The quarters of "2026-Q1" or "2026". Raises `SpecError`."""
    year, _, quarter = period.partition("-")
    if not (len(year) == 4 and year.isdecimal()) or quarter not in ("", "Q1", "Q2", "Q3", "Q4"):
        raise SpecError(f"{period!r} is no period", hint="write a quarter or a year: 2026-Q1, 2026")
    return (period,) if quarter else tuple(f"{year}-Q{number}" for number in range(1, 5))


def is_over(period: str, now: date) -> bool:
    """Whether nothing more can be opened in a period."""
    return quarters_of(period)[-1] < quarter_of(now.isoformat())


def disclose(
    listed: Sequence[Incident], period: str, policy: str = "", titles: Mapping[str, str] | None = None,
    blind_spots: Iterable[str] = (), monitored: Monitored | None = None,
) -> Disclosure:  # fmt: skip
    """The draft of a period. titles: of the policy's categories, by id.   monitored: what a monitor says of it.

    Raises `SpecError` for a wrong period.
    """
    wanted = quarters_of(period)
    chosen = [incident for incident in listed if quarter_of(incident.opened) in wanted]
    ids = sorted({incident.category for incident in chosen}, key=lambda name: (name == UNCOVERED, name))
    per_category = {name: [incident for incident in chosen if incident.category == name] for name in ids}
    actors = printable({name: _sum(incident.actors for incident in group) for name, group in per_category.items()})
    hidden = bool(actors.hidden)
    number = number_of_members({name: len(group) for name, group in per_category.items()}, hidden)
    requests = {name: _sum(incident.requests for incident in group) for name, group in per_category.items()}
    lines = tuple(
        CategoryLine(
            name, (titles or {}).get(name, name), None if hidden else len(per_category[name]), actors.shown[name],
            None if hidden else requests[name],
        )
        for name in ids
    )  # fmt: skip
    spans = [span for incident in chosen if (span := incident.time_to_act) is not None] if number else []
    middle = median_interval(spans)
    return Disclosure(
        SCHEMA, period, policy, tuple(sorted({incident.policy_version or "not said" for incident in chosen})), number,
        actors.total, None if hidden else _sum(requests.values()), actors.rounded, lines, _actions(chosen, hidden),
        figures(period, chosen) if number else None, middle[0] if middle else None,
        None if middle is None or middle[1] < 0 else middle[1:],
        (*blind_spots, *([] if monitored and monitored.violations else [NO_MONITOR])), monitored,
        monitored.not_measured if monitored else MONITORING,
    )  # fmt: skip


def _sum(counts: Iterable[int | None]) -> int | None:
    """The sum; None where a part of it is not known."""
    listed = list(counts)
    return None if None in listed else sum(count or 0 for count in listed)


def _actions(chosen: Sequence[Incident], hidden: bool) -> dict[str, int | None]:
    """Means -> actors. An actor may have met several, so they have no total; rounded where another count is hidden."""
    steps = [step for incident in chosen for step in incident.response if step.means]
    met: Counter[str] = Counter()
    unknown = {step.means for step in steps if step.actors is None}
    for step in steps:
        met[step.means] += step.actors or 0
    counts = {means: None if means in unknown else met[means] for means in MEANS if means in met}
    small = any(value is None or 0 < value < LEAST for value in counts.values())
    return {
        means: None if value is None or 0 < value < LEAST else value // LEAST * LEAST if hidden or small else value
        for means, value in counts.items()
    }
