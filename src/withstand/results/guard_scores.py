"""What guards say of texts: a row in the store for each guard and text, so that the same command asks nothing twice."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from withstand.core import Ask, AskError, Completion, Flow, Sampling, digest, intercept, to_json
from withstand.core.content import Json
from withstand.core.device import device_name
from withstand.core.guarding import judged_answer, judged_prompts
from withstand.core.outcomes import is_hit
from withstand.registry import find
from withstand.results.guard_texts import GuardText
from withstand.results.guards import Guard
from withstand.runner.asking import Asking
from withstand.runner.budget import Meter, metered
from withstand.runner.drive import Job
from withstand.runner.flows import timed
from withstand.store.store import Row, Store
from withstand.store.tables import VERDICTS

VERSION = 2
"""Of how a guard is asked about a text; another number asks anew."""

WINDOW = 32
"""Texts that a model of this machine reads in one call: so many a killed command may ask about again."""

BEHIND = Sampling(max_tokens=1, stop=("\n[the model behind a guard]\n",))
"""How a defense asks the model that it defends for its answer, and nobody else."""


@dataclass(frozen=True, slots=True)
class GuardScore:
    """What a guard says of a text.

    score: higher is more suspicious; None where it has none.   blocked: its own label, None where it has none.
    failed: why it could not say; "" where it could.   seconds: of its asks, as a share of calls of several texts, and
    of its own work in this process, alone.   cost: US dollars.   machine: where it worked.   scored_by: the version
    that a service says it is; "" where it says none.
    """

    score: float | None = None
    blocked: bool | None = None
    failed: str = ""
    seconds: float = 0.0
    cost: float = 0.0
    tokens: int = 0
    asks: int = 0
    machine: str = ""
    scored_by: str = ""


def scores_of(guard: Guard, texts: Sequence[GuardText], asking: Asking) -> list[GuardScore | None]:
    """What the guard says of each text, in order; None for one that was not asked about, since a cap or Ctrl-C came
    before."""
    keys = _keys(guard, texts)
    jobs = {
        key: Job((key,), key, VERDICTS, _rowed(guard, text, key), counted=False)
        for key, text in zip(keys, texts, strict=True)
    }
    before, local = len(asking.tally.failures), any(not model.hosts for model in guard.models)
    rows = replace(asking, window=WINDOW if local else asking.window).rows(list(jobs.values()), VERDICTS)
    failures = {failure.key: failure.error for failure in asking.tally.failures[before:]}
    return [_score(rows.get(key), failures.get(key, "")) for key in keys]


def stored_scores(guard: Guard, texts: Sequence[GuardText], store: Store) -> list[GuardScore | None]:
    """As `scores_of`, of what is in the store alone."""
    keys = _keys(guard, texts)
    rows = store.reused(keys)
    return [None if (row := rows.get(key)) is None or row.purged else _score(row, "") for key in keys]


def flags(guard: Guard, score: GuardScore, threshold: float | None) -> bool | None:
    """Whether a guard blocks a text with a threshold, or by its own label without one; None where it cannot say.

    A judge without a score then says nothing, as in the defense `guard`; a defense blocks by its label.
    """
    if score.failed:
        return None
    if threshold is None or (score.score is None and not guard.is_judge):
        return score.blocked
    return None if score.score is None else score.score >= threshold


def _keys(guard: Guard, texts: Sequence[GuardText]) -> list[str]:
    described = [guard.is_judge, find.describe(guard.component), find.describe(guard.model), guard.reads]
    return [digest(["guard", VERSION, *described, to_json(text.chat), text.answer or ""]) for text in texts]


def _score(row: Row | None, failed: str) -> GuardScore | None:
    if row is None:
        return GuardScore(failed=failed) if failed else None
    answer = row.value
    return GuardScore(
        answer["score"],
        answer["blocked"],
        answer["failed"],
        row.seconds,
        row.cost,
        row.tokens,
        row.asks,
        answer["machine"],
        answer.get("scored_by", ""),  # rows of earlier versions lack it
    )


def _rowed(guard: Guard, text: GuardText, key: str) -> Callable[[], Flow[tuple[Row, ...]]]:
    def run() -> Flow[tuple[Row, ...]]:
        meter, asks = Meter(), 0

        def counted(item: Any) -> Flow[Any]:
            nonlocal asks
            asks += len(item.chats) if isinstance(item, Ask) else 0
            return (yield item)

        asked = _by_judge(guard, text) if guard.is_judge else _by_defense(guard, text)
        answer, own = yield from timed(metered(intercept(asked, counted), meter))
        spent, value = meter.spent, {**answer, "machine": device_name()}
        label = "unscored" if answer["failed"] else "scored"
        return (Row(key, label, value, asks, spent.tokens, spent.seconds + own, spent.cost),)

    return run


def _by_defense(guard: Guard, text: GuardText) -> Flow[Json]:
    """What a defense's checks say. Its suspicion would hide that it could not say. The model behind it is not asked."""
    nobody = guard.model or find.build("target", {"use": "scripted", "reply": "none"})

    def given(item: Any) -> Flow[Any]:
        if isinstance(item, Ask) and item.sampling.stop == BEHIND.stop:
            return [Completion(chat, text.answer or "none") for chat in item.chats]
        if guard.model is None and item.model == nobody:
            raise AskError(f"{guard.label} asks the model that it defends", hint="--target SPEC names it")
        return (yield item)

    [answer] = yield from intercept(guard.component.answer(nobody, [text.chat], BEHIND), given)
    stage = "before" if text.answer is None else "after"
    checks = [check for check in answer.checks if check.stage == stage]
    if not checks:
        return _answer(None, None, f"it read no {guard.reads}")
    if failed := next((check.failed for check in checks if check.failed), ""):
        return _answer(None, None, failed)
    scores = [check.suspicion for check in checks if check.suspicion is not None]
    if not all(map(math.isfinite, scores)):
        return _answer(None, None, f"its score is {max(scores)}")
    return _answer(max(scores, default=None), any(check.blocked for check in checks))


def _by_judge(guard: Guard, text: GuardText) -> Flow[Json]:
    """What a judge says that guards. It is never shown the behavior, which nobody knows where a guard stands."""
    if text.answer is None:
        [verdict] = yield from judged_prompts(guard.component, [text.chat])
    else:
        verdict = yield from judged_answer(guard.component, Completion(text.chat, text.answer))
    blocked = is_hit(verdict.outcome)
    if blocked is None:
        return _answer(None, None, verdict.why or verdict.outcome, verdict.scored_by)
    return _answer(verdict.score, blocked, scored_by=verdict.scored_by)


def _answer(score: float | None, blocked: bool | None, failed: str = "", scored_by: str = "") -> Json:
    return {"score": score, "blocked": blocked, "failed": failed, "scored_by": scored_by}
