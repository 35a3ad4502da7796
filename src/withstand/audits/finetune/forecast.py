"""What a fine-tuning audit takes, before it is begun: trainings, answers, time, memory, disk; and how far off that was.

Times are those of this machine: loading the base, a few of its answers, losses and margins are timed. Answers count at
their full length and attacks at their upper bounds. What is left out: judges, and what the data is read for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from withstand.audits import cost
from withstand.audits.exam import Exam
from withstand.audits.finetune import arms, attacked
from withstand.audits.finetune.settings import Settings
from withstand.audits.finetune.shipped import has_weights
from withstand.core import Json, bounded, dumps, from_json, user
from withstand.core.stage import Row
from withstand.core.text import count
from withstand.engine import likelihood
from withstand.registry import find
from withstand.report import write
from withstand.results.cells import plain

FILE = "forecast.json"
READINGS = 100
"""Readings of texts besides margins, about: for coherence, losses and depth."""
PLACES = 4
"""A phrase is put before and after a prompt, to two models."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is done: `trainings` of `steps` steps, `loads` of a model, `answers` of `tokens` at most, `margins`."""

    trainings: int
    loads: int
    steps: int
    answers: int
    tokens: int
    margins: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of an audit: its work; seconds, bytes of memory at most and of disk. None where no weights are here to time."""

    work: Work
    seconds: float | None
    memory: int | None
    disk: int | None


def forecast(
    exam: Exam, base: Any, tuned: Any, rows: list[Row], stage: Any, settings: Settings, systems: int, sweeps: bool
) -> Forecast:
    """From the parts of the audit. tuned: the model that is given, None where one is trained. stage: the training, None
    for none. systems: messages that the base is asked under. sweeps: whether phrases are."""
    work = work_of(exam, base, tuned, stage, settings, systems, sweeps)
    if not has_weights(base):
        return Forecast(work, None, None, None)
    prompts = [user(behavior.text) for behavior in find.build("suite", dict(exam.suite)).load()[: cost.TIMED]]
    seconds = sum(
        (
            work.loads * cost.timed(lambda: (base.release(), base.load())),
            work.tokens * cost.token_seconds(base, prompts),
            (work.margins + READINGS) * cost.timed(lambda: likelihood.margins(base, prompts[:1], REFUSAL)),
            work.trainings * work.steps * cost.step_seconds(base, rows, stage) if stage else 0.0,
        )
    )
    return Forecast(work, seconds, cost.memory(base, rows, stage), disk(base, stage, work.trainings))


REFUSAL = ("I'm sorry, but I can't help with that.", "I cannot help with that request.")


def work_of(
    exam: Exam, base: Any, tuned: Any, stage: Any, settings: Settings, systems: int, sweeps: bool
) -> Work:  # fmt: skip
    """How much is trained, asked and read, at most."""
    left = [arm for arm in settings.arms if not arms.left_out(arm, stage, settings)] if stage else []
    seeds, ptst = settings.seeds, "ptst" in left
    ships = seeds if tuned is None else 1
    trainings = (seeds * (1 + len(left) - ptst) + ptst) if stage else 0
    asked = systems + ships + (seeds if stage and tuned is not None else 0) + seeds * (len(left) - ptst)
    asked += (ships + 2) * ptst
    points = len([step for step in settings.at if step < stage.steps]) if stage else 0
    answers, tokens = 0, 0
    for times, suite, attack, limit in _asks(exam, tuned or base, settings, asked, ships, points):
        bounds = cost.bounds(exam, tuned or base, attack, limit, None if suite == exam.suite else suite)
        answers += times * sum(bounds["asks"].values())
        tokens += times * bounds["answer_tokens"]
    if settings.utility:
        questions = settings.utility.get("limit") or len(find.build("suite", dict(settings.utility)).load())
        answers, tokens = answers + asked * questions, tokens + asked * questions * exam.max_tokens
    swept = PLACES * (settings.phrases + settings.controls) * sweeps if has_weights(tuned or base) else 0
    margins = settings.probed * (swept + asked + points) if has_weights(base) else 0
    depth = 2 * settings.probed * len(settings.opened) if has_weights(tuned or base) else 0
    answers, tokens = answers + depth, tokens + depth * min(48, exam.max_tokens)
    loads = asked + points + 2 * trainings  # a training loads the base, and merges one that is an adapter
    return Work(trainings, loads, stage.steps if stage else 0, answers, tokens, margins)


def _asks(
    exam: Exam, model: Any, settings: Settings, asked: int, ships: int, points: int
) -> Iterator[tuple[int, Mapping[str, Any], Any, int | None]]:
    """How often which suite is asked under which attack, with which limit."""
    yield asked, exam.suite, "direct", exam.limit
    if points:
        limits = [limit for limit in (settings.curve, exam.limit) if limit]
        yield points, exam.suite, "direct", min(limits, default=None)
    for attack in attacked.expanded(exam, settings.attacks, model)[0]:
        yield 1 + ships, exam.suite, attack, exam.limit
    if attacked.panel_judge(exam, settings.panel):
        yield 1 + ships, attacked.PANEL, "direct", exam.limit


def disk(base: Any, stage: Any, trainings: int) -> int:
    """Bytes at most: what each training leaves, and a merged copy of a base that is an adapter, while one trains."""
    return trainings * cost.result_bytes(base, stage) + cost.merged_bytes(base) if stage else 0


def lines(cast: Forecast) -> list[str]:
    """The forecast for people."""
    work = cast.work
    texts = [
        f"{count(work.trainings, 'training')} of {count(work.steps, 'step')}; "
        f"at most {work.answers:,} answers of {work.tokens:,} tokens in all; {work.margins:,} margins"
    ]
    if cast.seconds is None or cast.memory is None or cast.disk is None:
        return [*texts, "time, memory and disk are not known: the base has no weights here"]
    return [*texts, f"about {cost.written(cast.seconds, cast.memory, cast.disk)}"]


def save(cast: Forecast, folder: Path) -> None:
    """Keep it beside the audit, for `compared`."""
    write.save(folder / FILE, dumps(plain(cast)))


def of(folder: Path) -> Forecast | None:
    """The forecast of an audit that was not begun; None without one, and of an audit that continues."""
    path = folder / FILE
    if not path.is_file() or (folder / "audit.db").exists():
        return None
    cast: Forecast = from_json(Forecast, bounded.parse_json(str(path), bounded.read_text(path)))
    return cast


def compared(cast: Forecast, seconds: float, report: Json, folder: Path) -> str:
    """What the audit took beside its forecast. Memory is that of trainings, which alone is measured."""
    peak = max((arm["cost"]["peak_bytes"] for arm in report["arms"]), default=0)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    beside = (
        ""
        if cast.seconds is None
        else f"; --dry-run said {cost.written(cast.seconds, cast.memory or 0, cast.disk or 0)}"
    )
    return f"took {cost.written(seconds, peak, size)}{beside}"
