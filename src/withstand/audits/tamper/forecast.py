"""What a sweep takes, before anything is asked: trainings that fit its budget, FLOPs, disk, memory, time.

FLOPs are 6 x parameters x tokens, as `core.stage.Record` counts them. Disk is the most at one time: of the largest
training, since each one's weights are deleted once they are measured, or of all of them where they are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from withstand.audits import cost
from withstand.audits.tamper.rows import most_own
from withstand.audits.tamper.settings import WORDINGS, Settings, Training, Vectors, stage_of
from withstand.audits.tamper.soft import label, operations
from withstand.audits.trainable import ANSWER, whole
from withstand.core import Behavior, user
from withstand.core.stage import Row
from withstand.core.text import count
from withstand.engine import likelihood
from withstand.registry import find

TIMED = 4
"""Prompts, and rows, that are timed."""
GRADIENT = 2
"""A pass with the gradient by embeddings or states takes as long as so many without."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The trainings and attacks that fit the budget, and what was left out, in sentences. flops: of those that fit."""

    trainings: tuple[Training, ...]
    soft: tuple[Vectors, ...]
    left_out: tuple[str, ...]
    flops: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of a sweep. cells: models that are measured, the one that is tampered with among them. tokens: of their answers,
    at most. disk: bytes at one time; kept: if no checkpoint were deleted. seconds: None where nothing was timed."""

    trainings: int
    steps: int
    edits: int
    attacks: int
    cells: int
    tokens: int
    flops: float
    memory: int
    disk: int
    kept: int
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes that a training or an edit puts on the disk: what is measured, what it resumes from, a merged base."""

    results: int
    saved: int
    merged: int

    @property
    def total(self) -> int:
        return self.results + self.saved + self.merged


def size(model: Any, stage: Any, measured: int) -> Size:
    """Of a training whose weights are measured at so many steps; each adapter holds that of the base too."""
    own = sum(path.stat().st_size for path in model.adapter_folder().glob("*.safetensors")) if model.adapter else 0
    result = cost.result_bytes(model, stage) + (own if stage.method == "lora" else 0)
    return Size(measured * result, cost.resume_bytes(model, stage), cost.merged_bytes(model))


@dataclass(frozen=True, slots=True)
class Tokens:
    """Mean tokens of a row of either kind, and what each wording adds. The model's own answers, which are not known
    yet, count at their upper limit."""

    harmful: float
    benign: float
    words: Mapping[str, int]

    @staticmethod
    def of(model: Any, settings: Settings, harmful: Sequence[Row]) -> "Tokens":
        def mean(rows: Sequence[Row], end: int | None = None) -> float:
            texts = [" ".join(turn.text for turn in row.chat[:end]) for row in rows]
            return fmean(len(likelihood.ids_of(model.load(), text)) for text in texts)

        own = mean(settings.benign) if settings.benign else mean(harmful, -1) + ANSWER
        words = {name: len(likelihood.ids_of(model.load(), text)) for name, text in WORDINGS.items()}
        return Tokens(mean(harmful), own, words)

    def of_row(self, training: Training) -> float:
        """Of the mean row of a training."""
        share = 0.0 if training.kind == "benign rows" else training.harmful
        asked = self.harmful + self.words.get(training.wording, 0)
        return share * asked + (1 - share) * self.benign


def chosen(model: Any, settings: Settings, harmful: Sequence[Row]) -> Chosen:
    """The trainings in their order as far as the budget goes, then the attacks; a smaller one after a larger one may
    still fit. Attacks are left out where the suite has no target strings for them."""
    parameters = model.load().model.num_parameters()
    tokens = Tokens.of(model, settings, harmful)
    fit, names, spent = list[Training](), list[str](), 0.0
    whole = not getattr(model.load().model, "is_quantized", False)
    for training in settings.trainings:
        if training.way == "full" and not whole:
            continue
        flops = 6.0 * parameters * tokens.of_row(training) * training.batch * training.steps
        full = bool(settings.most) and len(fit) >= settings.most
        if full or (settings.budget and spent + flops > settings.budget):
            rate = stage_of(training, parameters).lr
            names.append(training.label(rate, training.rows, training.steps))
            continue
        fit.append(training)
        spent += flops
    attacks = list[Vectors]()
    for spec in settings.soft:
        flops = operations(model, spec, requests_of(settings))
        if flops and not (settings.budget and spent + flops > settings.budget):
            attacks.append(spec)
            spent += flops
        elif flops:
            names.append(label(spec))
    limits = [count(settings.most, "training")] if settings.most else []
    limits += [f"{settings.budget:.2g} FLOPs"] if settings.budget else []
    left = tuple(f"Left out by the budget of {' and '.join(limits)}: {name}." for name in names)
    if settings.soft and not any(behavior.target_string for behavior in requests_of(settings)):
        left += ("Left out, since no request has a target string: " + ", ".join(map(label, settings.soft)) + ".",)
    if quantized := 0 if whole else sum(training.way == "full" for training in settings.trainings):
        left += (f"Left out: {count(quantized, 'training')} of all weights, since the model's are quantized.",)
    return Chosen(tuple(fit), tuple(attacks), left, spent)


def requests_of(settings: Settings) -> list[Behavior]:
    """The behaviors of the test, as far as its limit goes."""
    return list(find.build("suite", whole(settings.suite)).load())[: settings.limit]


def forecast(
    model: Any, settings: Settings, chosen: Chosen, harmful: Sequence[Row], timed: bool = True
) -> Forecast:  # fmt: skip
    """What these trainings and the edits take. timed: whether a few answers and a step are timed."""
    parameters = int(model.load().model.num_parameters())
    stages = [stage_of(training, parameters) for training in chosen.trainings]
    measured = [len(settings.measured(training)) for training in chosen.trainings]
    worded = sum(n for n, training in zip(measured, chosen.trainings, strict=True) if training.wording)
    wordings = len({training.wording for training in chosen.trainings} - {""})
    cells = 1 + wordings + sum(measured) + len(settings.edits) + len(chosen.soft)
    behaviors = requests_of(settings)
    prompts = len(behaviors)
    tokens = (cells + worded + wordings + 1) * prompts * settings.max_tokens  # and the harmless half, once
    tokens += 0 if settings.benign else most_own(settings) * ANSWER
    steps = sum(stage.steps for stage in stages)
    sizes = [size(model, stage, n) for stage, n in zip(stages, measured, strict=True)]
    sizes += [Size(4 * parameters, 0, cost.merged_bytes(model))] * len(settings.edits)
    kept = sum(part.results for part in sizes) + max((part.total - part.results for part in sizes), default=0)
    seconds = None
    if timed:
        asked = [user(behavior.prompt()) for behavior in behaviors[:TIMED]]
        seconds = tokens * cost.token_seconds(model, asked)
        seconds += steps * cost.step_seconds(model, harmful[:TIMED], stages[0]) if stages else 0.0
        seconds += passes_of(chosen.soft) * prompts * GRADIENT * cost.pass_seconds(model, harmful[:TIMED])
        seconds += 2 * (cells + len(stages)) * cost.timed(lambda: (model.release(), model.load()))
    memory = max((cost.memory(model, harmful, stage) for stage in _ways(stages)), default=cost.memory(model, [], None))
    return Forecast(
        len(stages), steps, len(settings.edits), len(chosen.soft), cells, tokens, chosen.flops, memory,
        kept if settings.keep else max((part.total for part in sizes), default=0), kept, seconds,
    )  # fmt: skip


def passes_of(attacks: Sequence[Vectors]) -> int:
    """Steps of all attacks on one request, the loss at the start among them."""
    return sum(find.build("attack", dict(spec)).steps + 1 for spec in attacks)


def _ways(stages: Sequence[Any]) -> list[Any]:
    """One stage of each method and batch: others take as much memory."""
    return list({(stage.method, stage.batch): stage for stage in stages}.values())


def check(needed: int, folder: Path, what: str) -> None:
    """Raise `SpecError` where the disk of the folder does not hold what is to be written there."""
    cost.check_disk(folder, needed, what, "free disk space, leave out --keep, or train adapters alone (--way lora)")


def what(cast: Forecast) -> str:
    return f"{count(cast.trainings, 'training')} and {count(cast.edits, 'edit')} of weights"


def lines(cast: Forecast, left_out: Sequence[str] = ()) -> list[str]:
    """The forecast for people."""
    deleted = "" if cast.disk == cast.kept else f" ({cast.kept / 2**30:.2f} GiB if checkpoints were kept)"
    return [
        f"{count(cast.trainings, 'training')} of {count(cast.steps, 'step')} in all, {cast.flops:.2g} FLOPs; "
        f"{count(cast.edits, 'edit')} of weights, {count(cast.attacks, 'attack')} on embeddings and states; "
        f"{cast.cells} models to measure, at most {cast.tokens:,} tokens of answers",
        f"about {cost.written(cast.seconds, cast.memory, cast.disk)}{deleted}",
        *left_out,
    ]
