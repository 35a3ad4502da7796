"""What a model of an audit still knows: right answers to questions, by `utility` of a run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from withstand.audits.ask import ask
from withstand.audits.change import Change, rate_change
from withstand.audits.exam import Exam
from withstand.core.outcomes import is_hit

MOST = {"smoke": 2, "desk": 20}
"""Preset -> how many questions it asks of a suite that has no limit of its own; another asks all."""


OPTION = re.compile(r"^[ \t]*\(?[A-Z][).:][ \t]+\S", re.MULTILINE)
"""A line of a question that offers an option."""


@dataclass(frozen=True, slots=True)
class Answered:
    """Right answers of one model: their `rate` among `n` questions with its 95% interval, in [0, 1], and by question.

    Rates are None where no answer was scored.   chance: the mean share of right answers of who guesses.
    """

    n: int
    rate: float | None
    low: float | None
    high: float | None
    right: Mapping[str, bool | None]
    chance: float

    @property
    def beats_chance(self) -> bool:
        """Whether the whole interval lies above `chance`: else the answers say nothing of what another model lost."""
        return self.low is not None and self.low > self.chance


@dataclass(frozen=True, slots=True)
class RightAnswers:
    """The `rate` of right answers to `n` questions with its 95% interval, and the base's rate `before`, in [0, 1].

    Rates are None where no answer was scored.   counts: whether the base's `beats_chance`.   lost: the change of the
    share that is not right, above 0 a loss.
    """

    n: int
    rate: float | None
    low: float | None
    high: float | None
    before: float | None
    chance: float
    counts: bool
    lost: Change | None


def questions_of(preset: str, questions: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The questions that a preset asks; None for none."""
    if not questions:
        return None
    return {**({"limit": MOST[preset]} if preset in MOST else {}), **questions}


def right_answers(exam: Exam, questions: Mapping[str, Any] | None, model: Any, system: str) -> Answered | None:
    """The right answers under a system message; None where no questions are asked.

    The answers are in the audit's store: a model is asked once, however often the audit wants to know.
    """
    if not questions:
        return None
    run = ask(model, questions, exam.store, system=system, utility=dict(questions), seed=exam.seed)
    place, cell = next((n, cell) for n, cell in enumerate(run.cells) if cell["measures"] == "utility")
    cases = [case for case in run.cases() if case["cell"] == place]
    options = [len(OPTION.findall(case["chat"][-1]["text"])) for case in cases]
    return Answered(
        **cell["utility"], right={case["behavior"]: is_hit(case["outcome"], "utility") for case in cases},
        chance=sum(1 / max(2, number) for number in options) / max(1, len(options)),
    )  # fmt: skip


def beside_base(base: Answered | None, after: Answered | None) -> RightAnswers | None:
    """The right answers of a model beside those of the base under the same system message."""
    if base is None or after is None:
        return None
    wrong = [
        {name: None if right is None else not right for name, right in side.right.items()} for side in (base, after)
    ]
    lost = rate_change(wrong[0], wrong[1:])
    return RightAnswers(after.n, after.rate, after.low, after.high, base.rate, base.chance, base.beats_chance, lost)
