"""Runs of what people tried by hand: rows like all others, and no rate. What people try, and keep, is no sample.

Their verdicts are unscored for every count, and say in words what the person found; so no rate can be made of them, by
whatever reads the store. `graded`, from which gates, comparisons and baselines are made, refuses them.
"""

from typing import TYPE_CHECKING

from withstand.core import SpecError
from withstand.store.attempts import Attempt, attempts

if TYPE_CHECKING:
    from withstand.store.store import RunRow, Store

METHOD = "by hand"
"""The judge method of a cell whose verdicts a person gave while testing."""
NO_RATE = "found by hand: no rate"


def is_by_hand(run: "RunRow") -> bool:
    return any(cell["judge_method"] == METHOD for cell in run.plan["cells"])


def findings_of(store: "Store", run: "RunRow") -> list[Attempt]:
    """What people found in cases of a run; of a run of what they tried by hand, the findings that it was made of."""
    listed = attempts(store, ids=run.plan["attempts"]) if is_by_hand(run) else attempts(store, run=run.key)
    return [attempt for attempt in listed if attempt.is_finding]


def check_rates(run: "RunRow") -> None:
    """Raise `SpecError` for a run that has no rate, since people chose its cases."""
    if is_by_hand(run):
        raise SpecError(
            f"{run.name} was {NO_RATE}",
            hint="what people tried is no sample: run a suite, or `withstand plan findings regress`",
        )
