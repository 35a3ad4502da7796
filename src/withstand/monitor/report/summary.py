"""The first lines of a report: what asks for action, what for attention, and what could not be measured."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from withstand.core.text import count
from withstand.monitor.report.shown import Answer, Report
from withstand.monitor.section import State

ORDER: Sequence[State] = ("alarm", "note", "unknown", "calm")
BADGES: dict[State, str] = {"alarm": "act", "note": "look", "unknown": "not known", "calm": "calm"}
"""State -> what it asks of a reader, as a badge says it."""


@dataclass(frozen=True, slots=True)
class Summary:
    """state: the worst of all; calm alone if nothing is unknown.   sentence: in one line.

    open: the sections that are not calm, alarms first.   calm: the questions that are.
    """

    state: State
    sentence: str
    open: tuple[Answer, ...]
    calm: tuple[Answer, ...]


def summary(report: Report) -> Summary:
    """What a reader must know first. A question without an answer is never among the calm ones."""
    of = {state: [answer for answer in report.answers if answer.state == state] for state in ORDER}
    state: State = next((state for state in ORDER if of[state]), "unknown")
    parts = [
        f"{count(len(of['alarm']), 'calls', 'call')} for action" if of["alarm"] else "",
        f"{count(len(of['note']), 'asks', 'ask')} for a look" if of["note"] else "",
        f"{count(len(of['calm']), 'is', 'are')} calm" if of["calm"] else "",
        f"{count(len(of['unknown']), 'is', 'are')} not known" if of["unknown"] else "",
    ]
    text = f"Of {count(len(report.answers), 'question')}, {', '.join(filter(None, parts)) or 'none was asked'}."
    return Summary(state, text, tuple(answer for level in ORDER[:3] for answer in of[level]), tuple(of["calm"]))


def changes(report: Report) -> Iterable[tuple[Answer, str]]:
    """The sections whose state is another than in the report before, with what it was."""
    for answer in report.answers:
        was = report.before.get(answer.id, "")
        if was and was != answer.state:
            yield answer, was
