"""What a monitor says of its traffic: its analyses, in the order in which a reader asks."""

from collections.abc import Callable, Sequence

from withstand.monitor.accounts.probing_section import section as probing
from withstand.monitor.accounts.section import section as who
from withstand.monitor.section import Context, Section

ANALYSES: Sequence[Callable[[Context], Section]] = (who, probing)
"""Each answers one question: what happened, prevalence, series and alerts, accounts, probing, clusters, templates,
effects. An analysis reads the traffic and the store alone, so that equal traffic gives equal sections."""


def sections(context: Context) -> list[Section]:
    """The sections of all analyses, in order."""
    return [analysis(context) for analysis in ANALYSES]
