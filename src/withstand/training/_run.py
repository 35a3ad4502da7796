"""Runs a trainer of TRL: saves checkpoints, resumes after a kill, watches the loss and writes the record."""

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from withstand.core import Json, digest, to_json
from withstand.core.describe import describe, name_of, version_of
from withstand.core.quiet import quiet
from withstand.core.stage import (
    FILE,
    DiskFullError,
    How,
    Loading,
    Record,
    Rows,
    TrainingError,
    inherited,
    marks_of,
    to_rows,
)
from withstand.training._diverge import FACTS, Course
from withstand.training._model import ADAPTER, NotFiniteError, missing, save

WHOLE = "whole.json"
"""In a checkpoint to resume from: it is complete, and how long training had taken."""


def train(
    stage: Any,
    make: Callable[[Path], Any],
    base: str,
    rows: Rows,
    folder: Path,
    how: How,
) -> Path:
    """Run the trainer of `stage` that `make(output_dir)` makes, and leave its result in `folder`.

    What a resumed run needs lies beside it in `.FOLDER.part` until training ends; a part of a different stage, base or
    rows is deleted. The record is written last, by rename: a folder without it is not finished.
    """
    named, revision = base_name(base, stage, how.loading)  # a stage around it has no `base_id`
    folder, stage, how = Path(folder), how.outer or stage, marked(how, base)
    part = folder.with_name(f".{folder.name}.part")
    public = f"{named}@{revision}" if revision else named
    key = resume_key(stage, public, rows, how)
    steps_kept: list[int] = []

    def into(kept: Path) -> str:
        return save(trainer.model, trainer.processing_class, part / "new", kept, named, revision)

    def keep(step: int) -> None:
        kept = folder / f"step-{step}"
        write_json(kept / FILE, stage_record(into(kept), stage, public, rows, how.labels, {"step": step}))
        steps_kept.append(step)
        if how.on_checkpoint:
            how.on_checkpoint(step, kept)

    with errors(folder, part), quiet():
        from transformers import PrinterCallback

        trainer = make(part / "saved")
        trainer.remove_callback(PrinterCallback)
        trainer.create_model_card = trainer.model.create_or_update_model_card = _no_card
        start, before = _begun(part, key)
        steps_kept.extend(before["kept"])
        course = Course(part, into, **before.get("course", {}))
        watch = watcher(how, keep, before, steps_kept, course)
        trainer.add_callback(watch)
        course.watch(trainer)
        forget_peak(trainer.args.device)
        trainer.train(resume_from_checkpoint=str(start) if start else None)
        kind = _result(trainer, course, into, folder)
    record = _record(trainer, watch.seconds(), before["resumed"] + 1, course)
    steps = sorted(set(steps_kept))
    write_json(
        folder / FILE, stage_record(kind, stage, public, rows, how.labels, {"steps": steps, "record": to_json(record)})
    )
    shutil.rmtree(part, ignore_errors=True)
    return folder


def _no_card(*_given: Any, **_named: Any) -> None:
    """Instead of the model card that TRL and PEFT write at each save: none is kept, and each compiles a template."""


def marked(how: How, base: str) -> How:
    """With the marks that earlier stages left in the folder of the base."""
    return replace(how, labels=inherited(how.labels, marks_of(base)))


@contextlib.contextmanager
def errors(folder: Path, part: Path) -> Iterator[None]:
    """Raise `SpecError` for a missing library and `TrainingError` for a full disk, each with the way out."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing(error) from error
    except Exception as error:
        if not _disk_is_full(error, part):
            raise
        raise DiskFullError(
            f"the disk of {folder.parent} is full; training stopped",
            hint="free disk space and run the same command again: training resumes at the last saved step",
        ) from error


def _result(trainer: Any, course: Course, into: Callable[[Path], str], folder: Path) -> str:
    """Put the trained weights into the folder, or the best ones of a training that diverged; "model" or "adapter".

    Raises `TrainingError` where it diverged before any weights were better than the base.
    """
    if not course.why:
        try:
            return into(folder)
        except NotFiniteError as error:
            course.why = f"{error} at step {trainer.state.global_step}"
    if course.best is None:
        raise TrainingError(
            f"{course.why}; training was stopped, and no earlier step was better than the base",
            hint="lower lr, or train with dtype float32",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for file in course.best[0].iterdir():
        if file.name != FACTS:
            shutil.copy2(file, folder / file.name)
    return "adapter" if (folder / ADAPTER[1]).is_file() else "model"


def base_name(base: str, stage: Any, loading: Loading) -> tuple[str, str]:
    """The base's name in records, with no path of a machine, and its revision of the hub, "" of none."""
    named = base if not Path(base).is_dir() else Path(base).resolve().name
    named = getattr(stage, "base_id", "") or loading.name or named
    return named, loading.revision if named == loading.name else ""


def _begun(part: Path, key: Json) -> tuple[Path | None, dict[str, Any]]:
    """The checkpoint to resume from, if there is one, and what training had done by then. A part with another key is
    thrown away."""
    if not part.is_dir() or _read(part / "key.json") != key:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write_json(part / "key.json", key)
    start = _last(part / "saved")
    return start, _read(start / WHOLE) if start else {"seconds": 0.0, "resumed": -1, "kept": []}


def _record(trainer: Any, seconds: float, resumed: int, course: Course) -> Record:
    """What the training took, in all its attempts, and whether it diverged."""
    model = trainer.model
    loss = next((entry["loss"] for entry in reversed(trainer.state.log_history) if "loss" in entry), None)
    diverged = {}
    if course.why and course.best:
        _, kept, loss = course.best
        diverged = {"diverged": trainer.state.global_step, "kept": kept, "why": course.why}
    parameters = sum(weight.numel() for weight in model.parameters())
    tokens = int(trainer.state.num_input_tokens_seen)
    return Record(
        steps=trainer.state.global_step,
        tokens=tokens,
        flops=6.0 * parameters * tokens + getattr(trainer, "more_flops", 0.0),  # of a search on the way
        seconds=seconds,
        peak_bytes=peak(trainer.args.device),
        parameters=parameters,
        trained_parameters=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        loss=loss,
        device=device_name(trainer.args.device),
        resumed=resumed,
        lr=trainer.args.learning_rate,
        versions={name: version(name) for name in ("torch", "transformers", "trl", "peft", "accelerate")},
        **diverged,
    )


def resume_key(stage: Any, base: str, rows: Rows, how: How) -> str:
    """What a half-done training must share with the one that continues it.

    Components inside the stage, such as its judge, count by name and version besides their fields: two judges without
    fields are two. A stage without components has the key of earlier versions, so that its half-done training resumes.
    """
    values = [getattr(stage, field.name) for field in fields(stage)]
    inside = [describe(value) for value in values if describe(value) != to_json(value)]
    if (loading := replace(how.loading, name="", device="auto", device_map="")) != Loading():
        inside.append(to_json(loading))
    return digest(
        [type(stage).__name__, to_json(stage), base, to_rows(rows), sorted(how.at), dict(how.labels), *inside]
    )


def watcher(how: How, keep: Callable[[int], None], before: Json, kept: list[int], course: Course) -> Any:
    """A callback of the trainer: hands step and loss on, keeps the steps asked for, marks checkpoints as whole, and
    stops a training that diverged."""
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self.started = time.monotonic()

        def seconds(self) -> float:
            return float(before["seconds"]) + time.monotonic() - self.started

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if how.log and (logs or {}).get("loss") is not None and not course.why:
                how.log(state.global_step, logs["loss"])

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step in how.at and state.global_step not in kept and not course.why:
                try:
                    keep(state.global_step)
                except NotFiniteError as error:
                    course.why = f"{error} at step {state.global_step}"
            if course.why:
                control.should_training_stop, control.should_save = True, False

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            done = {"seconds": self.seconds(), "resumed": before["resumed"] + 1, "kept": kept}
            path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE
            write_json(path, {**done, "course": course.state()})

    return Watcher()


def stage_record(kind: str, stage: Any, base: str, rows: Rows, labels: Mapping[str, Json], more: Json) -> Json:
    """The record of a stage. Each component in it says its name; records of release 0.1 hold its fields alone."""
    described = {field.name: describe(getattr(stage, field.name)) for field in fields(stage)}
    described = {"use": name_of(type(stage)), "version": version_of(type(stage)), **described}
    counted = {"n": len(rows), "digest": digest(to_rows(rows))}
    made_from = {"stage": described, "base": base, "rows": counted, "labels": dict(labels)}
    return {"version": 1, "kind": kind, **made_from, **more}


def write_json(path: Path, value: Json) -> None:
    """Write a JSON file by rename: an interrupted run leaves the old file whole."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    new.replace(path)


def _read(path: Path) -> Json:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _last(saved: Path) -> Path | None:
    """The newest checkpoint that was written to its end."""
    whole = [path for path in saved.glob("checkpoint-*") if _read(path / WHOLE) is not None]
    for path in saved.glob("checkpoint-*"):
        if path not in whole:
            shutil.rmtree(path)  # cut off in the middle: the trainer would count it among those it keeps
    return max(whole, key=lambda path: int(path.name.partition("-")[2]), default=None)


def _disk_is_full(error: BaseException, part: Path) -> bool:
    """Each library says it in its own way: OSError 28, torch "file write failed", safetensors "os error 28"."""
    if getattr(error, "errno", None) == 28 or "os error 28" in str(error) or "No space left" in str(error):
        return True
    wrote = "PytorchStreamWriter" in str(error) or "file write failed" in str(error)
    return wrote and shutil.disk_usage(part.parent).free < 1 << 20


def forget_peak(device: Any) -> None:
    """Measure the most memory from now on."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # elsewhere the mark is that of the whole process
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the high-water mark becomes what is used now


def peak(device: Any) -> int:
    """Bytes of the device, or of this process on a CPU, at most since `forget_peak`; 0 where the system says none."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def device_name(device: Any) -> str:
    """A GPU's name, or "cpu"."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type)
