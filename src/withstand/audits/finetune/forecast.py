"""What a fine-tuning audit takes, before it is begun: trainings, answers, time, memory, disk; and how far off that was.

Times are those of this machine: loading the base, a few of its answers, losses and margins are timed. Answers count at
their full length and attacks at their upper bounds. What is left out: judges, and what the data is read for.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from withstand.audits.finetune import arms, attacked
from withstand.audits.finetune.exam import Exam
from withstand.audits.finetune.settings import Settings
from withstand.audits.finetune.shipped import has_weights
from withstand.core import Chat, Json, Sampling, bounded, dumps, from_json, user
from withstand.core.stage import Row
from withstand.core.text import count
from withstand.engine import likelihood
from withstand.registry import find
from withstand.report import write
from withstand.results.cells import plain
from withstand.runner import begin, chain, estimate
from withstand.runner.spec import run_spec

FILE = "forecast.json"
TIMED = 16
"""Prompts, and most tokens of an answer, that are timed."""
BACKWARD = 3
"""A step of training takes as long as so many forward passes."""
A_UNIT = 34
"""Bytes that a training keeps of a token, a layer and a unit of width, in 16 bits: about, of transformers."""
PROCESS = 800 * 2**20
"""Bytes of a process with the libraries, and no model, on a CPU."""
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
    prompts = [user(behavior.text) for behavior in find.build("suite", dict(exam.suite)).load()[:TIMED]]
    seconds = sum(
        (
            work.loads * _timed(lambda: (base.release(), base.load())),
            work.tokens * _timed_answers(base, prompts),
            (work.margins + READINGS) * _timed(lambda: likelihood.margins(base, prompts[:1], REFUSAL)),
            work.trainings * work.steps * _timed_step(base, rows, stage) if stage else 0.0,
        )
    )
    return Forecast(work, seconds, memory(base, rows, stage), disk(base, stage, work.trainings))


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
        spec = {"suite": dict(suite), "target": chain.spec_of(tuned or base), "attack": attack,
                "sampling": {"max_tokens": exam.max_tokens}}  # fmt: skip
        more = {"limit": limit, "judge": exam.judge if suite == exam.suite else "", "benign": exam.benign}
        more |= {"benign": "none"} if attack != "direct" else {}
        plan = begin.planned(run_spec(spec | {name: value for name, value in more.items() if value}), None)
        bounds = estimate.estimate(plan, None)
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


def memory(base: Any, rows: list[Row], stage: Any) -> int:
    """Bytes at most: base and tuned model are asked together; a training has the base alone."""
    model = base.load().model
    parameters, config = int(model.num_parameters()), model.config.get_text_config()
    asks: int = 2 * parameters * model.dtype.itemsize
    if not stage:
        return asks + PROCESS
    a_row = max(len(likelihood.ids_of(base.load(), " ".join(turn.text for turn in row.chat))) for row in rows[:200])
    batch = stage.batch * a_row
    kept = batch * config.num_hidden_layers * config.hidden_size * A_UNIT * model.dtype.itemsize // 2
    logits = 3 * 4 * batch * config.vocab_size
    weights = parameters * (16 if stage.method == "full" else model.dtype.itemsize)
    return int(max(asks, weights + kept + logits)) + PROCESS


def disk(base: Any, stage: Any, trainings: int) -> int:
    """Bytes at most: what each training leaves, and a merged copy of a base that is an adapter, while one trains."""
    if not stage:
        return 0
    model = base.load().model
    config, parameters = model.config.get_text_config(), model.num_parameters()
    adapter = 2 * config.num_hidden_layers * getattr(stage, "rank", 0) * 24 * config.hidden_size
    merged = 4 * parameters if base.adapter else 0
    return int(trainings * (4 * parameters if stage.method == "full" else adapter) + merged)


def _timed_answers(base: Any, prompts: list[Chat]) -> float:
    """Seconds a token of an answer: what more tokens take, in a batch."""
    times = [
        _timed(lambda most=most: base.generate(prompts, Sampling(max_tokens=most), [0] * len(prompts)))  # type: ignore[misc]
        for most in (1, TIMED)
    ]
    return max(times[1] - times[0], 1e-6) / ((TIMED - 1) * len(prompts))


def _timed_step(base: Any, rows: list[Row], stage: Any) -> float:
    """Seconds of a step of training."""
    few = [row.chat for row in rows[:TIMED]]
    seconds = _timed(lambda: likelihood.answer_nats(base, [c[:-1] for c in few], [c[-1].text for c in few]))
    return BACKWARD * seconds / len(few) * float(stage.batch)


def _timed(call: Callable[[], object]) -> float:
    """Seconds of a call, the second time."""
    call()
    start = time.monotonic()
    call()
    return time.monotonic() - start


def lines(cast: Forecast) -> list[str]:
    """The forecast for people."""
    work = cast.work
    texts = [
        f"{count(work.trainings, 'training')} of {count(work.steps, 'step')}; "
        f"at most {work.answers:,} answers of {work.tokens:,} tokens in all; {work.margins:,} margins"
    ]
    if cast.seconds is None or cast.memory is None or cast.disk is None:
        return [*texts, "time, memory and disk are not known: the base has no weights here"]
    return [*texts, f"about {_size(cast.seconds, cast.memory, cast.disk)}"]


def _size(seconds: float, memory: int, disk: int) -> str:
    return f"{seconds:,.0f} s, {memory / 2**30:.1f} GiB of memory, {disk / 2**30:.2f} GiB of disk"


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
    beside = "" if cast.seconds is None else f"; --dry-run said {_size(cast.seconds, cast.memory or 0, cast.disk or 0)}"
    return f"took {_size(seconds, peak, size)}{beside}"
