"""What a model of an audit still knows: right answers to questions, by `utility` of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from withstand.audits.ask import ask
from withstand.audits.finetune.exam import Exam
from withstand.core import Json

MOST = {"smoke": 2, "desk": 20}
"""Preset -> how many questions it asks of a suite that has no limit of its own; another asks all."""


@dataclass(frozen=True, slots=True)
class RightAnswers:
    """The `rate` of right answers to `n` questions with its 95% interval, and the base's rate `before`, in [0, 1].

    Rates are None where no answer was scored.
    """

    n: int
    rate: float | None
    low: float | None
    high: float | None
    before: float | None


def questions_of(preset: str, questions: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The questions that a preset asks; None for none."""
    if not questions:
        return None
    return {**({"limit": MOST[preset]} if preset in MOST else {}), **questions}


def right_answers(exam: Exam, questions: Mapping[str, Any] | None, model: Any, system: str) -> Json:
    """`n`, `rate`, `low` and `high` of the right answers under a system message; None where no questions are asked.

    The answers are in the audit's store: a model is asked once, however often the audit wants to know.
    """
    if not questions:
        return None
    run = ask(model, questions, exam.store, system=system, utility=dict(questions), seed=exam.seed)
    return next(cell["utility"] for cell in run.cells if cell["measures"] == "utility")


def beside_base(
    exam: Exam, questions: Mapping[str, Any] | None, before: Json, model: Any, system: str
) -> RightAnswers | None:
    """The right answers of a model, with the rate of those of the base under the same system message, `before`."""
    after = right_answers(exam, questions, model, system)
    return RightAnswers(**after, before=before["rate"]) if after else None
