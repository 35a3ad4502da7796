"""What trainings and answers of an audit take on this machine: seconds that are measured, bytes of memory and disk."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from withstand.audits.exam import Exam
from withstand.core import Chat, Json, Sampling, SpecError
from withstand.core.stage import Row, innermost
from withstand.engine import likelihood
from withstand.runner import begin, chain, estimate
from withstand.runner.spec import run_spec

TIMED = 16
"""Prompts, and most tokens of an answer, that are timed."""
BACKWARD = 3
"""A step of training takes as long as so many forward passes."""
A_UNIT = 34
"""Bytes that a training keeps of a token, a layer and a unit of width, in 16 bits: about, of transformers."""
PROCESS = 800 * 2**20
"""Bytes of a process with the libraries, and no model, on a CPU."""
SAVED = 2
"""Checkpoints to resume from that a training keeps: the older stands until the newer is whole."""


def fastest(base: Any) -> dict[str, str]:
    """The `dtype` to train in, as a field of a stage: that of the base, which is the faster one on this machine. Empty
    of one without weights, and in another precision."""
    measured = base.identity().get("dtype") if hasattr(base, "load") else ""
    return {"dtype": measured} if measured in ("float32", "bfloat16") else {}


def timed(call: Callable[[], object]) -> float:
    """Seconds of a call, the second time."""
    call()
    start = time.monotonic()
    call()
    return time.monotonic() - start


def token_seconds(base: Any, prompts: Sequence[Chat]) -> float:
    """Seconds a token of an answer: what more tokens take, in a batch."""
    times = [
        timed(lambda most=most: base.generate(prompts, Sampling(max_tokens=most), [0] * len(prompts)))  # type: ignore[misc]
        for most in (1, TIMED)
    ]
    return max(times[1] - times[0], 1e-6) / ((TIMED - 1) * len(prompts))


def pass_seconds(base: Any, rows: Sequence[Row]) -> float:
    """Seconds of a forward pass over one of the rows."""
    few = [row.chat for row in rows[:TIMED]]
    return timed(lambda: likelihood.answer_nats(base, [c[:-1] for c in few], [c[-1].text for c in few])) / len(few)


def step_seconds(base: Any, rows: Sequence[Row], stage: Any) -> float:
    """Seconds of a step of training on the rows, without what a stage around another searches."""
    return BACKWARD * pass_seconds(base, rows) * float(innermost(stage).batch)


def memory(base: Any, rows: Sequence[Row], stage: Any) -> int:
    """Bytes at most: base and tuned model are asked together; a training has the base alone. stage: None for none."""
    model = base.load().model
    parameters, config = int(model.num_parameters()), model.config.get_text_config()
    asks: int = 2 * parameters * model.dtype.itemsize
    if not stage:
        return asks + PROCESS
    inner = innermost(stage)
    a_row = max(len(likelihood.ids_of(base.load(), " ".join(turn.text for turn in row.chat))) for row in rows[:200])
    batch = inner.batch * a_row
    kept = batch * config.num_hidden_layers * config.hidden_size * A_UNIT * model.dtype.itemsize // 2
    logits = 3 * 4 * batch * config.vocab_size
    weights = parameters * (16 if inner.method == "full" else model.dtype.itemsize)
    return int(max(asks, weights + kept + logits)) + PROCESS


def bounds(exam: Exam, model: Any, attack: Any, limit: int | None, suite: Mapping[str, Any] | None = None) -> Json:
    """What asking the model takes at most, by `runner.estimate`. suite: in place of the exam's, under its own judge."""
    spec = {
        "suite": dict(suite or exam.suite), "target": chain.spec_of(model), "attack": attack, "limit": limit,
        "judge": "" if suite else exam.judge, "benign": exam.benign if attack == "direct" else "none",
        "sampling": {"max_tokens": exam.max_tokens},
    }  # fmt: skip
    checked = run_spec({name: value for name, value in spec.items() if value})
    return estimate.estimate(begin.planned(checked, None), None)


def result_bytes(base: Any, stage: Any) -> int:
    """Bytes of what a training leaves, as a result and at each step that is kept."""
    model, inner = base.load().model, innermost(stage)
    config = model.config.get_text_config()
    adapter = 2 * config.num_hidden_layers * getattr(inner, "rank", 0) * 24 * config.hidden_size
    return int(4 * model.num_parameters() if inner.method == "full" else adapter)


def merged_bytes(base: Any) -> int:
    """Bytes of the merged copy of a base that is an adapter, while something trains from it."""
    return 4 * int(base.load().model.num_parameters()) if base.adapter else 0


def resume_bytes(base: Any, stage: Any) -> int:
    """Bytes of what a training keeps to resume from, while it runs: weights and the optimizer's two moments, each in
    float32."""
    model, inner = base.load().model, innermost(stage)
    whole = inner.method == "full"
    weights = 4 * model.num_parameters() if whole else 2 * result_bytes(base, stage)  # a result is in float16
    return int(SAVED * 3 * weights) if getattr(inner, "save_every", 0) else 0


def check_disk(folder: Path, needed: int, what: str, hint: str) -> None:
    """Raise `SpecError` where the disk of a folder has fewer free bytes. what: needs them, such as "12 trainings"."""
    here = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(here).free
    if needed > free:
        raise SpecError(
            f"{what} need about {needed / 2**30:.2f} GiB of disk, and {folder} has {free / 2**30:.2f} GiB free",
            hint=f"{hint}, or name a folder on another disk with -o",
        )


def written(seconds: float | None, memory: int, disk: int) -> str:
    """Time, memory and disk for people; seconds: None where nothing was timed."""
    time_ = "" if seconds is None else f"{seconds:,.0f} s, "
    return f"{time_}{memory / 2**30:.1f} GiB of memory, {disk / 2**30:.2f} GiB of disk"
