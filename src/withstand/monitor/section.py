"""A section of what a monitor says: one question of the reader's, answered in a sentence, then tables and charts.

An analysis is a function of the `Context` that returns a `Section`. The report, the explorer's page and the JSON file
are made of sections alone, so that none of them needs the traffic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from withstand.core import Json
from withstand.monitor.settings import Settings
from withstand.monitor.traffic import Traffic
from withstand.redteam.policy.records import Policy
from withstand.report.table import Column, Table
from withstand.store.store import Store

State: TypeAlias = Literal["alarm", "note", "calm", "unknown"]
WORDS = "words"
"""The mark of a column of people's texts, redacted: the folder's report shows them, and the store keeps none."""


def words_column(name: str) -> Column:
    """A column of people's texts."""
    return Column(name, mark=lambda _: WORDS)


@dataclass(frozen=True, slots=True)
class Context:
    """What an analysis reads. now: seconds since 1970, the end of the traffic (never the clock of this machine)."""

    traffic: Traffic
    settings: Settings
    policy: Policy
    store: Store
    now: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line in a chart: at `ts` something happened that a reader must know of."""

    ts: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A curve over time. points: (seconds since 1970, value).   low, high: ends of the interval at each, or none."""

    name: str
    points: Sequence[tuple[float, float]]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over time in one panel. unit: of the values, "%" for shares in [0, 1]."""

    title: str
    lines: Sequence[Line]
    unit: str = ""
    marks: Sequence[Mark] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """An answer. id: a slug.   question: as a reader asks it.   answer: a sentence or two with figures and how sure.

    state: "alarm" asks for action, "note" for attention, "calm" for none, and "unknown" says that this could not be
    measured, with the reason in `answer`: an empty table is never a calm one.   advice: what to do, in order.
    value: all its figures, for machines.
    """

    id: str
    question: str
    answer: str
    state: State
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    advice: Sequence[str] = ()
    value: Json = None
