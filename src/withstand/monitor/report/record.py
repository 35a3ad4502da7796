"""The reports of a monitor in the store, without texts: what the explorer and a disclosure read, run by run."""

from collections.abc import Mapping
from dataclasses import replace

from withstand.core import Json, StoreError, from_json, to_json
from withstand.core.shape import misfit
from withstand.monitor.report.plot import thin
from withstand.monitor.report.shown import Answer, Report, without_texts
from withstand.redteam.dates import second_of
from withstand.store.revisions import Record, append, newest
from withstand.store.store import Store

KIND = "monitor"
PAST = 20
"""Reports that are read for what changed since."""


def keep(store: Store, report: Report, every: float = 0) -> bool:
    """Keep a report; whether it is kept: not where the last one says the same.

    every: a report that ends so many seconds of traffic or less after the last one is kept only if a state changed.
    """
    stored = to_json(replace(report, answers=tuple(map(_slim, report.answers)), before={}))
    last = latest(store, report.name)
    if last is not None:
        if to_json(last) == stored:
            return False
        near = 0 <= report.end - last.end < every
        if near and {**_states(last)} == {**_states(report)}:
            return False
    record_id = f"{report.name} {second_of(report.end)}"
    append(store, KIND, record_id, report.name, report.end, stored)
    return True


def _slim(answer: Answer) -> Answer:
    answer = without_texts(answer)
    charts = tuple(replace(chart, lines=tuple(map(thin, chart.lines))) for chart in answer.charts)
    return replace(answer, charts=charts)


def _states(report: Report) -> Mapping[str, str]:
    return {answer.id: answer.state for answer in report.answers}


def states_before(store: Store, name: str, end: float) -> Mapping[str, str]:
    """Section -> its state in the last report of a monitor that ended before; none where there is none."""
    return next((_states(report) for report in history(store, name, PAST) if report.end < end), {})


def history(store: Store, name: str, most: int) -> list[Report]:
    """The last reports of a monitor, by the end of their traffic, the newest first. Of two with one end the last
    written stands."""
    return [report_in(record) for record in newest(store, KIND, name, most)]


def latest(store: Store, name: str) -> Report | None:
    """The last report of a monitor."""
    return next(iter(history(store, name, 1)), None)


def report_in(record: Record) -> Report:
    """The report of a record. Raises `StoreError` where somebody wrote one that is none."""
    value: Json = {"before": {}, **record.value}
    if wrong := misfit(Report, value):
        raise StoreError(f"{record.id}, revision {record.revision}, is no report: {wrong}", hint="restore a backup")
    report: Report = from_json(Report, value)
    return report
