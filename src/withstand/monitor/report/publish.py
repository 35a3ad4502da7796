"""How a run of a monitor ends: its sections become a report, its files, and a row of the store."""

from collections.abc import Sequence

from withstand.monitor.report.page import write
from withstand.monitor.report.record import keep, states_before
from withstand.monitor.report.shown import Report, report_of
from withstand.monitor.section import Context, Section


def publish(context: Context, sections: Sequence[Section], every: float = 0) -> Report:
    """Write the report into the folder of the traffic and keep it in the store.

    every: as `keep` takes it, so that a log that is followed does not fill the store.
    """
    before = states_before(context.store, context.settings.keeping.name, context.now)
    report = report_of(context, sections, before)
    write(report, context.traffic.folder)
    keep(context.store, report, every)
    return report
