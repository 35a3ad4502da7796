"""A run of a monitor: logs are read, screened, and what is seen is said in sections, once or as the logs grow."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from withstand.core import Json, SpecError
from withstand.core.text import count
from withstand.formats.traffic.source import STDIN
from withstand.monitor.accounts.probing_section import section as probing
from withstand.monitor.accounts.section import section as who
from withstand.monitor.alerts.section import section as alerts
from withstand.monitor.audit.counted import count_labels
from withstand.monitor.audit.records import ITEM
from withstand.monitor.clusters.coordinated import templates
from withstand.monitor.clusters.section import clusters
from withstand.monitor.effects.section import section as effects
from withstand.monitor.intake.columns import Recipe
from withstand.monitor.intake.happened import section as happened
from withstand.monitor.intake.read import Unchanged, read
from withstand.monitor.intake.retention import expire, looked_at
from withstand.monitor.intake.rules import note_rules
from withstand.monitor.intake.salt import Hasher, check_salt, salt_of
from withstand.monitor.intake.workers import Workers
from withstand.monitor.intake.write import Writer
from withstand.monitor.prevalence.section import section as prevalence
from withstand.monitor.proxy.section import section as in_front
from withstand.monitor.report.lineage import one_traffic
from withstand.monitor.report.publish import publish
from withstand.monitor.screen.cascade import screen
from withstand.monitor.screen.section import section as screening
from withstand.monitor.section import Context, Section
from withstand.monitor.series.section import section as trend
from withstand.monitor.settings import Settings
from withstand.monitor.traffic import BusyError, Traffic
from withstand.redteam.dates import DAY
from withstand.redteam.policy.records import Policy
from withstand.store.purge import purge_records
from withstand.store.store import Store

APART = 3_600.0
"""Seconds of traffic between two reports in the store on a log that is followed, where no state changes."""
POLL = 1.0
"""Seconds between two looks at logs that are followed."""

STEPS: Sequence[Callable[[Context], Sequence[str]]] = (one_traffic, screen, count_labels)
"""What is done between reading and saying, such as later screeners. Each returns lines to tell the user."""
ANALYSES: Sequence[Callable[[Context], Section | None]] = (
    happened,
    prevalence,
    screening,
    in_front,
    alerts,
    trend,
    who,
    probing,
    clusters,
    templates,
    effects,
)
"""Each answers one question: what happened, prevalence, series and alerts, accounts, probing, clusters, templates,
effects; None where it is none of this monitor's, as where no proxy ran. An analysis reads the traffic and the store
alone, so that equal traffic gives equal sections."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a run is asked to do. logs: paths, or "-".   folder: of the monitor.   form: of the logs, or "auto".

    columns: field of an exchange -> column of the log.   salt: of hashed names, "" for the folder's own.
    jobs: processes that read, 0 for one a core.
    """

    logs: Sequence[str]
    policy: Policy
    settings: Settings
    folder: Path
    form: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    salt: str = ""
    jobs: int = 0


def sections(context: Context) -> list[Section]:
    """The sections of all analyses, in order."""
    return [section for analysis in ANALYSES if (section := analysis(context)) is not None]


def run(
    job: Job, store: Store, say: Callable[[str], None] = lambda _text: None, every: float | None = None
) -> Iterator[list[Section]]:
    """Read what is new in the logs, and say what is seen: once, or, if `every` is given, again after so many seconds in
    which the logs grew, until the caller stops.

    Killed at any point, the same job goes on where it was: what was read stands with the place it was read to. Between
    two looks at the logs other commands may open the traffic. Raises `SpecError` where a log, a screener or the salt is
    wrong.
    """
    job.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    salt = salt_of(job.folder, job.salt)
    unchanged, due, waiting, first = Unchanged(), 0.0, False, True
    with closing(Workers(Recipe(salt, job.settings, job.policy, job.settings.keeping.text), job.jobs)) as workers:
        while True:
            changed = [name for name in job.logs if not unchanged(name)]
            waiting = waiting or bool(changed)
            if waiting and (changed or time.monotonic() >= due):
                try:
                    with Traffic(job.folder) as traffic:
                        check_salt(traffic, Hasher(salt))
                        note_rules(traffic, workers.maker.labelers)
                        with traffic.writing():
                            _read(job, changed, Writer(traffic), workers, say, follow=every is not None, first=first)
                        if time.monotonic() >= due:
                            yield _look(job, traffic, store, say, 0 if every is None else APART)
                            due, waiting = time.monotonic() + (every or 0), False
                except BusyError:
                    if first:
                        raise
                    unchanged.forget(changed)
                first = False
            if every is None or all(name == STDIN for name in job.logs):
                return
            time.sleep(min(POLL, every))


def _read(
    job: Job, names: Sequence[str], writer: Writer, workers: Workers, say: Callable[[str], None], follow: bool,
    first: bool,
) -> None:  # fmt: skip
    for name in names:
        if not first and name != STDIN and not Path(name).exists():
            continue  # between two files of a log that is rotated
        ticks = _Ticks(name, say)
        reading = read(name, writer, workers, job.form, {**job.settings.columns, **job.columns}, ticks, live=follow)
        if first:
            say(f"{name}: form {reading.form} ({reading.why})")
        if reading.lines or first:
            say(f"{name}: {count(reading.lines, 'new line')}, {count(reading.exchanges, 'new exchange')}")
        if reading.waits and first:
            say(f"{name}: line {reading.waits:,} is half written; it is read when it is whole")


def _look(job: Job, traffic: Traffic, store: Store, say: Callable[[str], None], apart: float) -> list[Section]:
    """Delete what is too old, do the steps, and say what is seen: in files, and in the store where it is new.

    apart: as `publish` takes `every`.
    """
    now, keeping = traffic.end, job.settings.keeping
    expired = expire(traffic, now, keeping.retention_days)
    if expired:
        say(f"retention: {expired}")
    if keeping.retention_days and not (expired and expired.doubt):
        before = now - keeping.retention_days * DAY
        if erased := purge_records(store, ITEM, keeping.name, before, "retention"):
            say(f"retention: texts of {count(erased, 'exchange')} drawn for people are erased")
    context = Context(traffic, job.settings, job.policy, store, now)
    for step in STEPS:
        for line in step(context):
            say(line)
    seen = sections(context)
    looked_at(traffic)
    publish(context, seen, apart)
    return seen


def plain(section: Section) -> dict[str, Json]:
    """A section for machines, without tables and charts."""
    return {
        "id": section.id, "question": section.question, "answer": section.answer, "state": section.state,
        "advice": list(section.advice), "value": section.value,
    }  # fmt: skip


class _Ticks:
    """Says now and then how far a long log is."""

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self.name, self.say, self.last = name, say, time.monotonic()

    def __call__(self, lines: int) -> None:
        if time.monotonic() - self.last >= 10:
            self.last = time.monotonic()
            self.say(f"{self.name}: {lines:,} lines")


def with_flags(settings: Settings, text: bool, retention: int | None, columns: Sequence[str]) -> Settings:
    """The settings with what the command line says. columns: as FIELD=COLUMN."""
    keeping = replace(
        settings.keeping, text=settings.keeping.text and text,
        retention_days=settings.keeping.retention_days if retention is None else retention,
    )  # fmt: skip
    return replace(settings, keeping=keeping, columns={**settings.columns, **pairs_of(columns)})


def pairs_of(columns: Sequence[str]) -> dict[str, str]:
    """Field -> column, of a command line's FIELD=COLUMN. Raises `SpecError` for another text."""
    pairs = [column.partition("=") for column in columns]
    for field_name, mark, column in pairs:
        if not (field_name and mark and column):
            raise SpecError(f"--column {field_name}{mark}{column}", hint="write FIELD=COLUMN, such as ts=time")
    return {name: to for name, _, to in pairs}
