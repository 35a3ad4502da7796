"""What a guard that could not say does: the field `fails` of every defense that may block.

"error" (the default of each): the row is an error. "open": the answer passes, with a check that says what failed.
"closed": it is blocked, with such a check; its verdict is then unscored, since nobody knows what the guard would have
said, nor what the model answers.
"""

from dataclasses import dataclass, replace
from math import nextafter
from typing import Any, Literal, TypeVar

from withstand.core import Ask, AskError, Flow, GuardCheck, Judge, SpecError, Verdict, intercept
from withstand.core.describe import models

T = TypeVar("T")

MIDDLE = 0.5
"""The threshold that a score is taken to have where neither the guard nor the judge names one."""

Fails = Literal["error", "open", "closed"]


@dataclass(frozen=True, slots=True)
class Failed:
    """In the place of what a guard says: why it could not say."""

    why: str


def check_fails(fails: str) -> None:
    """Raise `SpecError` for a value that the field does not know."""
    if fails not in ("error", "open", "closed"):
        raise SpecError(
            f"fails is {fails!r}",
            hint='it must be "error" (the row fails), "open" (the answer passes) or "closed" (it is blocked)',
        )


def check_threshold(threshold: float, of: str) -> None:
    """Raise `SpecError` for one from which on everything, or nothing, is blocked. of: what is held against it."""
    if not 0 < threshold <= 1:
        raise SpecError(f"threshold is {threshold}", hint=f"it is of {of}: above 0, at most 1")


def tried(flow: Flow[T], fails: Fails) -> Flow[T | Failed]:
    """What a guard's flow gives; where one of its asks fails, the error, or with `fails` open or closed a `Failed`.

    A guard's model that is down then ends no run: each answer says that its guard failed.
    """
    if fails == "error":
        return (yield from flow)

    def spared(item: Any) -> Flow[Any]:
        return (yield replace(item, spared=True) if isinstance(item, Ask) else item)

    try:
        return (yield from intercept(flow, spared))
    except AskError as error:
        return Failed(str(error))


def decided(judge: Judge, verdict: Verdict, threshold: float | None) -> tuple[float | None, bool]:
    """How suspicious a verdict finds what was read, None for one without score, and whether it blocks.

    By the threshold of its score, else by the judge's own outcome; the suspicion is then over the judge's threshold.
    """
    if threshold is not None and verdict.score is not None:
        return verdict.score / threshold, verdict.score >= threshold
    blocks = verdict.outcome == "success"
    if verdict.score is None:
        return None, blocks
    over = verdict.score / (getattr(judge, "threshold", None) or MIDDLE)
    return (max(over, 1.0) if blocks else min(over, nextafter(1.0, 0.0))), blocks


def decides_here(judge: Judge) -> bool:
    """Whether a judge asks no model."""
    return not judge.asks and not any(models(judge))


def without_asking(flow: Flow[T]) -> T:
    """What the flow of a guard gives that asks nothing. Raises `SpecError` for one that yields an ask after all."""
    try:
        item = next(flow)
    except StopIteration as done:
        result: T = done.value
        return result
    raise SpecError(f"a judge of the guard says that it asks nothing and yields {type(item).__name__}")


def as_suspicion(check: GuardCheck) -> float:
    """What a search hears of a prompt: from 1 on where the guard blocks it; without a score 1 or 0."""
    return float(check.blocked) if check.suspicion is None else check.suspicion


def in_searches(fails: Fails) -> Fails:
    """What a prompt of which a guard cannot say is to a search: blocked, which no attack wants, unless it would pass.

    An ask that fails is raised even so where `fails` is an error: a search that went on would not know its guard."""
    return "open" if fails == "open" else "closed"


def could_not_say(by: str, stage: Literal["before", "after"], why: str, fails: Fails) -> GuardCheck:
    """The check of a guard that could not say. Raises `AskError` where it `fails` with an error."""
    check = GuardCheck(by, stage, blocked=fails == "closed", failed=why)
    if fails == "error":
        raise AskError(
            f"{by} could not say whether to block the {check.read}: {why}",
            hint='set its field fails to "open" or "closed" to have such answers passed or blocked, and counted',
        )
    return check
