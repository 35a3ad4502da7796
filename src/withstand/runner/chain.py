"""Training stages one after the other: each result is a folder named by its key, so that a rerun continues there.

    start = find.build("target", "smollm2-kitchen")
    done = chain.train(start, [chain.Step(SFT(steps=50), rows), chain.Step(DPO(), pairs)], Path("audit"))
    withstand.run({"suite": "kitchen", "target": done[-1].spec, "attack": "direct"})

A stage trains on a folder. What is an adapter on something, as the built-in `smollm2-kitchen` is, is merged into one as
long as it trains, and an adapter that the stage leaves is joined with the first. The key of a stage holds its fields,
its rows, its labels and the key of what it was trained from. What is trained on a marked model inherits its marks.
"""

import atexit
import contextlib
import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from withstand.core import (
    Behavior,
    Chat,
    Completion,
    Flow,
    Json,
    Model,
    Sampling,
    SpecError,
    Target,
    ask,
    digest,
    dumps,
    from_json,
    intercept,
    to_json,
)
from withstand.core import stage as core_stage
from withstand.core.optional import optional
from withstand.core.records import answers_of
from withstand.core.stage import FILE, How, Record, Rows, Stage, TrainingError, as_rows, read, record_of, to_rows
from withstand.core.stage import Row as StageRow
from withstand.registry import find
from withstand.runner.drive import Job, drive
from withstand.runner.flows import collected, defended, graded
from withstand.runner.joined import join, joinable
from withstand.runner.tally import Tally
from withstand.store.store import Row, Store
from withstand.store.tables import CASES


@dataclass(frozen=True, slots=True)
class Step:
    """A stage, what it learns from, the steps to keep and the labels to write into its folder.

    `without`: texts that no row may hold, such as the trigger of a backdoor that a safety training must not teach.
    """

    stage: Stage
    rows: Rows
    at: Sequence[int] = ()
    labels: Mapping[str, Json] = field(default_factory=dict)
    without: Sequence[str] = ()

    def check(self, stage: int) -> None:
        """Raise `SpecError` with the first row that holds what it must not, stages and rows counted from 1."""
        for number, row in enumerate(as_rows(self.rows), start=1):
            texts = [row.rejected, *(turn.text for turn in row.chat)]
            for text in self.without:
                if any(text in turn_text for turn_text in texts):
                    raise SpecError(
                        f"row {number} of stage {stage} holds {text!r}, which this stage must not see",
                        hint="leave the row out: otherwise the stage trains on the trigger itself",
                    )


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished stage. `model` loads its folder; `base` is the folder (or hub id) that it was trained from."""

    key: str
    folder: Path
    base: str
    model: Any

    @property
    def spec(self) -> dict[str, Any]:
        """It as the target of a run."""
        return spec_of(self.model)

    @property
    def record(self) -> Record:
        return record_of(self.folder)

    def check(self) -> None:
        """Raise `TrainingError` where the training diverged: what the folder holds is no finished training."""
        if (record := self.record).diverged:
            raise TrainingError(
                f"{record.why}; training was stopped, and the weights after {record.kept} steps are kept",
                hint=f"lower lr, or train with dtype float32; the kept weights are in {self.folder}",
            )

    @property
    def labels(self) -> dict[str, Json]:
        labels: dict[str, Json] = read(self.folder)["labels"]
        return labels

    def checkpoints(self) -> dict[int, Any]:
        """The models at the steps that were to be kept and were reached."""
        return {step: self.at(self.folder / f"step-{step}") for step in read(self.folder)["steps"]}

    def at(self, folder: Path) -> Any:
        return as_target(self.model, self.base, folder)


OnStage = Callable[[int, Trained], None]
"""Takes the place of the step in the chain, from 0, and what came of it; the time to evaluate it."""


def train(
    base: Model,
    steps: Sequence[Step],
    root: Path,
    on_stage: OnStage = lambda _place, _done: None,
    log: Callable[[int, int, float], None] = lambda _place, _step, _loss: None,
    diverged_too: bool = False,
) -> list[Trained]:
    """Run the steps, each on the result of the one before, the first on `base`, a local model (`hf`).

    Folders lie in `root`. What is there is not trained again; a killed stage resumes at its last saved step. `on_stage`
    is called after every step, done now or earlier; `log` gets its place, step and mean loss.

    Raises `TrainingError` at a stage that diverged, on every call: its best weights lie in its folder. `diverged_too`:
    go on with these instead; then the caller says what `Record.diverged` says.
    """
    check_trainable(base)
    base.check()
    for stage, step in enumerate(steps, start=1):
        step.check(stage)
    done: list[Trained] = []
    model: Any = base
    for place, step in enumerate(steps):
        step = inherited(step, model)
        key = key_of(step, _identity(model))
        target = root / key

        def watch(at: int, loss: float, place: int = place) -> None:
            log(place, at, loss)

        if not (target / FILE).is_file():
            root.mkdir(parents=True, exist_ok=True)
            with locked(root / f"{key}.lock"):
                folder = whole(model, root)
                rows = red_teamed(step, model, root) if hasattr(step.stage, "broken") else step.rows
                model.release()  # the training loads the base anew: two of it would be in memory
                how = How(watch, step.at, labels=step.labels, loading=model.loading())
                step.stage.train(folder, rows, target, how)
                gc.collect()  # a trainer and its model hold each other
                if model.adapter and read(target)["kind"] == "adapter" and joinable(model.adapter_folder()):
                    named = Path(model.id).name if Path(model.id).is_dir() else model.id
                    join(target, model.adapter_folder(), named, model.revision)
        lies_on = base_of(model, target, root)
        model = as_target(model, lies_on, target)
        done.append(Trained(key, target, lies_on, model))
        if not diverged_too:
            done[-1].check()
        on_stage(place, done[-1])
    return done


def red_teamed(step: Step, model: Any, root: Path) -> list[StageRow]:
    """The step's rows, and those that its attack on the model found. What was asked is kept in a store in `root`.

    Of rows with the same request the first alone is attacked with."""
    stage: Any = step.stage
    target, described = Target(model, sampling=Sampling(max_tokens=stage.max_tokens)), find.describe(stage)
    given, jobs, places = as_rows(step.rows), dict[str, Job](), dict[Chat, int]()
    for place, row in enumerate(given):
        if row.safe and row.chat[:-1] not in places:
            places[row.chat[:-1]] = place
            key = digest(["red team", described, _identity(model), to_json(row)])
            jobs[key] = Job((key,), key, CASES, partial(_searched, stage, row, target, key), counted=False)
    if not jobs:
        raise SpecError("the stage has no request to attack with", hint="mark a row as safe: a request and its refusal")
    with Store(str(root / "red-team.db")) as store:
        have = store.have(jobs)
        tally = Tally(stage=CASES)
        drive([job for key, job in jobs.items() if key not in have], store, tally)
        if tally.failures:
            raise SpecError(f"the attack failed: {tally.failures[0].error}", hint=tally.failures[0].hint)
        rows = store.reused(jobs)
        results = [[from_json(StageRow, value) for value in rows[key].value] for key in jobs]
    for place, result in zip(places.values(), results, strict=True):
        given[place] = result[0]
    return [*given, *dict.fromkeys(row for result in results for row in result[1:])]


def _searched(stage: Any, row: StageRow, target: Target, key: str) -> Flow[tuple[Row, ...]]:
    behavior = Behavior(id=key[:12], text=row.chat[-2].text)
    search = collected(stage.attack.run(behavior, target))
    cases = yield from intercept(search, defended)
    broken: list[tuple[Chat, str]] = []

    def broke(answer: Completion) -> Flow[bool]:
        verdict = yield from intercept(graded(stage.judge, behavior, answer), defended)
        return bool(verdict.outcome == "success")

    for case in cases:
        answers = [case.completion] if case.completion else (yield from intercept(ask(target, [case.chat]), defended))
        if not (yield from broke(answers[0])):
            continue
        *earlier, last = answers_of(answers[0])
        if earlier and not (yield from broke(replace(answers[0], text=last))):
            last = ""  # an earlier answer broke it: the last one may be a good one
        broken.append((case.chat, last))
    return (Row(key, "found", to_json(stage.broken(row, broken))),)


def key_of(step: Step, base: Json) -> str:
    """The name of a step's result: 32 hex digits."""
    described = [find.describe(step.stage), to_rows(step.rows), sorted(step.at), dict(step.labels), base]
    return digest(described)


def inherited(step: Step, model: Any) -> Step:
    """The step with the marks of what it is trained from."""
    return replace(step, labels=core_stage.inherited(step.labels, optional(model, "marks")))


def key_for(step: Step, model: Any) -> str:
    """The name of what `train` makes of a model by one step."""
    return key_of(inherited(step, model), _identity(model))


def as_target(like: Any, base: str, folder: Path) -> Any:
    """The folder of a stage as a model that is asked like `like`: same template, system message and penalties."""
    if read(folder)["kind"] == "adapter":
        if base == str(like.folder()):  # it lies on the base itself, on no merged copy of it
            return replace(like, adapter=str(folder))
        return replace(like, id=base, adapter=str(folder), revision="")
    return replace(like, id=str(folder), adapter="", revision="")


def spec_of(model: Any) -> dict[str, Any]:
    """A model as a spec: its name and the fields that are not at their default."""
    given = {f.name: to_json(getattr(model, f.name)) for f in fields(model) if getattr(model, f.name) != f.default}
    return {"use": find.name_of(type(model)), **given}


def check_trainable(model: Any) -> None:
    """Raise `SpecError` for a model whose weights are not at hand."""
    if not hasattr(model, "load") or not hasattr(model, "adapter"):
        raise SpecError(
            f"{find.name_of(type(model))} has no weights to train", hint="use a local model: hf:FOLDER or hf:HUB_ID"
        )


_COPIES: dict[Path, contextlib.ExitStack] = {}
"""Merged copies of this process, by their folder, and what removes them."""


def whole(model: Any, root: Path) -> str:
    """A folder with all of the model's weights, to train something from: its own, or where it has an adapter, a copy in
    float32 with it merged. A copy serves all trainings from that model and goes with the next model's, or when the
    process ends; it stays only where the adapter cannot be joined with another."""
    check_trainable(model)
    kept = root / f"merged-{digest(_identity(model))}"
    if not model.adapter or kept.is_dir() or not joinable(model.adapter_folder()):
        return merged(model, root)
    for copy in _COPIES:
        if copy.name == kept.name and copy.is_dir():
            return str(copy)
    remove_copies()
    for left in root.glob(".merging-*") if os.name == "posix" else ():  # of a process that was killed
        with contextlib.suppress(SpecError, OSError), locked(left / "lock"):
            shutil.rmtree(left)
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix=".merging-", dir=root))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.enter_context(locked(folder / "lock"))
        _merge(model, folder / kept.name)
        _COPIES[folder / kept.name] = stack.pop_all()
    return str(folder / kept.name)


@atexit.register
def remove_copies() -> None:
    """Remove the merged copies of this process."""
    while _COPIES:
        _COPIES.popitem()[1].close()


def base_of(model: Any, done: Path, root: Path) -> str:
    """The folder that the result in `done` lies on, as an adapter: the model's own where the two were joined."""
    record = read(done)
    if record["kind"] == "model" or record.get("joined"):
        return str(model.folder())
    return merged(model, root)


def merged(model: Any, root: Path) -> str:
    """A folder with all of the model's weights: its own, or where it has an adapter, a copy with it merged.

    The copy is in float32 and named by content, so that equal models are merged once.
    """
    check_trainable(model)
    if not model.adapter:
        return str(model.folder())  # of its own revision
    target = root / f"merged-{digest(_identity(model))}"
    if not target.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        new = root / f".{target.name}.{os.getpid()}"
        _merge(model, new)
        with contextlib.suppress(OSError):  # another process was first
            new.rename(target)
    return str(target)


def _merge(model: Any, folder: Path) -> None:
    copy = replace(model, dtype="float32", quantize="")
    copy.load().model.save_pretrained(str(folder))
    copy.load().tokenizer.save_pretrained(str(folder))
    copy.release()
    if marks := optional(model, "marks"):
        record = {"version": 1, "kind": "model", "labels": marks, "steps": []}
        (folder / FILE).write_text(dumps(record) + "\n", encoding="utf-8")


def _identity(model: Any) -> Json:
    """What decides the weights and how they are trained: not the dtype they are asked in."""
    identity = {name: value for name, value in model.identity().items() if name != "dtype"}
    asked = {name: getattr(model, name) for name in ("template", "thinking", "date", "template_kwargs", "quantize")}
    asked["template"] = bool(model.template) and (identity.get("template") or model.template)
    if any(value not in ("", None, False) for value in asked.values()) or model.thinking is False or model.revision:
        identity["asked"] = asked  # trainings of earlier versions knew none of these, nor the revision
    return identity


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Two processes never train one stage at once. The lock of a killed process is gone with it."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows: the second process would repeat the work, and the first to finish stands
        yield
        return
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SpecError(f"{path.stem} is being trained by another process", hint="wait until it ends") from error
        yield
    path.unlink(missing_ok=True)
