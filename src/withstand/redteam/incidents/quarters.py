"""Per quarter: the share of incidents that nobody foresaw, and how long they went on unseen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from withstand.core.text import rate
from withstand.redteam.dates import moment, span
from withstand.redteam.incidents.records import Incident
from withstand.stats.median import median_interval
from withstand.stats.winners import clopper_pearson

FEW = 6
"""Incidents below which a median has no limits, and a share says next to nothing."""


@dataclass(frozen=True, slots=True)
class Quarter:
    """The incidents opened in a quarter (UTC), as "2026-Q1". unforeseen: a share in [0, 1] with exact 95% limits.

    underestimated: how many were foreseen, and taken for rare.   delay: median seconds from the first event until it
    was known, and its 95% limits, None with fewer than `FEW`. What is not known yet is in no figure.
    """

    name: str
    incidents: int
    unforeseen: float
    unforeseen_interval: tuple[float, float]
    underestimated: int
    delay: float
    delay_interval: tuple[float, float] | None

    @property
    def few(self) -> bool:
        return self.incidents < FEW

    def in_words(self) -> str:
        """A line for people."""
        delay = span(self.delay)
        if self.delay_interval:
            delay += f" ({span(self.delay_interval[0])} to {span(self.delay_interval[1])})"
        few = f"; few: {FEW} incidents are the least for limits of a median" if self.few else ""
        return (
            f"{self.name}: {self.incidents} opened, {rate(self.unforeseen, self.unforeseen_interval)} unforeseen, "
            f"{self.underestimated} underestimated, median delay {delay}{few}"
        )


def quarter_of(text: str) -> str:
    """The quarter of a moment."""
    at = moment("opened", text)
    return f"{at.year}-Q{(at.month + 2) // 3}"


def figures(name: str, listed: Sequence[Incident]) -> Quarter:
    """The figures of one incident or more."""
    missed = sum(incident.foreseen == "no" for incident in listed)
    middle, low, high = median_interval([incident.detection_delay for incident in listed]) or (0.0, 0.0, 0.0)
    return Quarter(
        name, len(listed), missed / len(listed), clopper_pearson(missed, len(listed)),
        sum(incident.foreseen == "underestimated" for incident in listed), middle,
        None if len(listed) < FEW else (low, high),
    )  # fmt: skip


def quarters(listed: Iterable[Incident]) -> list[Quarter]:
    """The quarters in which an incident was opened, oldest first."""
    by_name: dict[str, list[Incident]] = {}
    for incident in listed:
        by_name.setdefault(quarter_of(incident.opened), []).append(incident)
    return [figures(name, by_name[name]) for name in sorted(by_name)]
