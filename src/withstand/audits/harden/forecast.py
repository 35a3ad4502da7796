"""What a hardening takes, before it is begun: trainings, answers, time, memory, disk. Times are this machine's.

Answers count at their full length and attacks at their upper bounds; of an attack that reads weights a step is timed,
also of one that a training carries along. What is not timed: judges, and any other search of a stage around another.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from withstand.audits import cost
from withstand.audits.ask import spent
from withstand.audits.harden import families
from withstand.audits.harden.audit import Planned
from withstand.audits.trainable import ANSWER, REFUSAL
from withstand.core import Message, user
from withstand.core.stage import Row, innermost
from withstand.core.text import count
from withstand.registry import find
from withstand.runner import chain

TIMED_STEPS = (1, 3)
"""Steps of a search that is timed, once to get warm."""
TARGETED = {"use": "kitchen"}
"""A suite with target strings: those that a training searches with need not be in the suite of the test."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """trainings of `steps` steps each, 0: as many as the rows take; `models` that are measured; answers of `tokens` at
    most in all; `searched`: steps of attacks that read weights, at most; seconds; bytes of memory at most, and of
    disk."""

    trainings: int
    steps: int
    models: int
    answers: int
    tokens: int
    searched: int
    seconds: float
    memory: int
    disk: int


def forecast(planned: Planned) -> Forecast:
    """What the hardening would take. It loads the base and asks it a few answers."""
    base, settings = planned.base, planned.settings
    base.load()
    bounds = list(_asked(planned))
    answers = sum(times * bound["asks"].get("target", 0) for times, bound, _ in bounds)
    tokens = sum(times * bound["answer_tokens"] for times, bound, _ in bounds)
    searched = sum(times * bound["steps"] for times, bound, _ in bounds)
    step_seconds = {attack.label: _search_step(planned, attack.spec) for attack in planned.attacks}
    behaviors = planned.requests.behaviors
    rows = [Row((*user(behavior.prompt()), Message("assistant", REFUSAL))) for behavior in behaviors]
    answers, tokens = answers + 2 * len(rows), tokens + 2 * len(rows) * ANSWER
    steps = innermost(settings.stage).steps
    seconds = tokens * cost.token_seconds(base, [row.chat[:-1] for row in rows[: cost.TIMED]])
    seconds += settings.seeds * steps * cost.step_seconds(base, rows, settings.stage)
    seconds += sum(times * bound["steps"] * step_seconds[label] for times, bound, label in bounds if bound["steps"])
    stage: Any = settings.stage
    if carried := settings.seeds * steps * _carried(stage):
        searched += carried
        seconds += carried * _search_step(planned, chain.spec_of(stage.attack), TARGETED)
    return Forecast(
        settings.seeds, steps, 1 + settings.seeds + settings.checkpoints, answers, tokens,
        searched, seconds, cost.memory(base, rows, settings.stage),
        planned.disk,
    )  # fmt: skip


def _carried(stage: Any) -> int:
    """Steps of an attack, of one test case each, that a step of the training makes."""
    return int(getattr(stage, "searched", 0))


def _search_step(planned: Planned, attack: Mapping[str, Any], suite: Mapping[str, Any] | None = None) -> float:
    """Seconds of a step of an attack that reads weights, on one behavior of the suite, or of the test; 0 of another."""
    built = find.build("attack", dict(attack))
    if "weights" not in built.needs or not hasattr(built, "steps"):
        return 0.0
    with tempfile.TemporaryDirectory() as folder:
        exam = replace(planned.exam, store=Path(folder) / "timed.db", limit=1)
        exam = replace(exam, suite=suite, judge="") if suite else exam
        seconds = []
        for steps in TIMED_STEPS:  # the first of a process takes longer
            run = exam.run(planned.base, planned.system, {**attack, "steps": steps})
            seconds.append(spent(run)[1] / steps)
            run.store.close()
    return seconds[-1]


def _asked(planned: Planned) -> Iterator[tuple[int, Any, str]]:
    """How often what is asked, each with its upper bounds and the attack: of the whole test, and of a checkpoint's part
    of it."""
    settings, exam = planned.settings, planned.exam
    parts = [
        (1 + settings.seeds, settings.seeds, settings.limit),
        (settings.checkpoints, settings.checkpoints, planned.curve),
    ]
    for models, trained, limit in parts:
        attacks: dict[str, Any] = {attack.label: dict(attack.spec) for attack in planned.attacks}
        for label, attack in {"": "direct", **attacks}.items():
            plain = attack == "direct"
            most = settings.plain if plain and limit == settings.limit else limit
            bounds = cost.bounds(exam, planned.base, attack, most)
            yield models, bounds, label
            if not plain:  # the test cases that were found on the base, sent again
                cases = sum(cell["cases"] for cell in bounds["cells"])
                again = {"asks": {"target": cases}, "answer_tokens": cases * exam.max_tokens, "steps": 0}
                yield trained, again, label


def lines(cast: Forecast, stage: Any) -> list[str]:
    """The forecast for people."""
    steps = count(cast.steps, "step") if cast.steps else "as many steps as its rows take"
    left_out = ["judges"]
    left_out += [] if cast.steps else ["the training, whose steps are not given"]
    searching = families.trained_on(stage, ()) and not (cast.steps and _carried(stage))
    left_out += [f"what {find.name_of(type(stage))} searches while it trains"] if searching else []
    return [
        f"{count(cast.trainings, 'training')} of {steps}; {count(cast.models, 'model')} measured; at most "
        f"{cast.answers:,} answers of {cast.tokens:,} tokens in all, and {cast.searched:,} steps of attacks that read "
        "weights",
        f"about {cost.written(cast.seconds, cast.memory, cast.disk)}; not counted: {', '.join(left_out)}",
    ]
