"""Trainings and edits of weights, one after the other: each measured at its steps, then its weights are deleted.

What is measured is kept by content, so that a sweep that was stopped goes on: a training with all its steps measured is
not done again, and one that was killed resumes at its last saved step. So one training's weights at a time are on disk.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from withstand.audits.cost import fastest
from withstand.audits.marks import TAMPERED, mark
from withstand.audits.tamper import forecast, rows
from withstand.audits.tamper.measure import Measure
from withstand.audits.tamper.records import Method, Tampered
from withstand.audits.tamper.settings import WORDINGS, Edit, Settings, Training, stage_of
from withstand.core import Json, SpecError
from withstand.core.stage import FILE, DiskFullError, Record, Row, TrainingError, read
from withstand.registry import find
from withstand.runner import chain

Say = Callable[[str], None]
NOT_REACHED = "the training diverged before this step"
"""Of a step that no weights are of: it is no tampering."""
EDITED: dict[str, Method] = {
    "ablate_direction": "direction", "prune": "pruning", "quantize_weights": "quantization",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sweep:
    """The model that is tampered with, the rows, what measures, and where stages lie."""

    model: Any
    material: rows.Material
    measure: Measure
    settings: Settings
    folder: Path
    say: Say

    def cells(self, trainings: Sequence[Training]) -> Iterator[Tampered]:
        """What each training, and then each edit, leaves of the model."""
        mark(self.stages, TAMPERED)
        for number, training in enumerate(trainings, start=1):
            yield from self._trained(training, f"training {number} of {len(trainings)}")
        for edit in self.settings.edits:
            yield self._edited(edit)

    def words(self, trainings: Sequence[Training]) -> Iterator[Tampered]:
        """What the words of jailbreak rows do without a training: else all of that would seem to be the training's."""
        for wording in dict.fromkeys(training.wording for training in trainings if training.wording):
            blank = Tampered("jailbreak rows", f"jailbreak rows ({wording}), no training", {"wording": wording}, {}, [])
            key = ["words", WORDINGS[wording], self.model.identity()]
            if (kept := self.measure.kept(key)) is None:
                self.say(f"{blank.label}: asking")
                kept = self.measure.keep(key, self.measure.tampered(self.model, blank))
            yield kept

    @property
    def stages(self) -> Path:
        return self.folder / "stages"

    def _trained(self, training: Training, title: str) -> Iterator[Tampered]:
        parameters = int(self.model.load().model.num_parameters())
        stage = stage_of(training, parameters, **fastest(self.model))
        given = self.material.rows(training, self.settings.seed)
        wanted = self.settings.measured(training)
        step = chain.Step(stage, given, at=wanted[:-1], labels=TAMPERED)
        key = chain.key_for(step, self.model)
        blank = {at: self._blank(training, stage, given, at, key) for at in wanted}
        if all(self.measure.kept([key, at]) for at in wanted):
            self.say(f"{title}: measured earlier")
        else:
            self.say(f"{title}: {blank[wanted[-1]].label}")
            self._train_and_measure(step, blank, key, title)
        for at in wanted:
            cell = self.measure.kept([key, at]) or blank[at]
            if cell.why != NOT_REACHED:
                yield cell

    def _blank(self, training: Training, stage: Any, given: Sequence[Row], at: int, key: str) -> Tampered:
        """A step of a training before it is measured."""
        fields: dict[str, Json] = {
            "way": training.way, "rate": stage.lr, "batch": stage.batch, "seed": training.seed,
            "harmful": training.harmful, "wording": training.wording,
        }  # fmt: skip
        label = training.label(stage.lr, len(given), at)
        return Tampered(
            training.kind, label, fields, {}, [], training=key, steps=at, rows=len(given), seed=training.seed,
            why="it was not measured",
        )  # fmt: skip

    def _train_and_measure(self, step: chain.Step, blank: dict[int, Tampered], key: str, title: str) -> None:
        folder, last = self.stages / key, max(blank)
        left = [at for at in blank if not self.measure.kept([key, at])]
        record = read(folder) if (folder / FILE).is_file() else {"steps": []}
        if any(at in record["steps"] and not (folder / f"step-{at}").is_dir() for at in left):
            remove(folder)  # its steps were measured in another way, and deleted
        size = forecast.size(self.model, step.stage, len(blank))
        there = sum(path.stat().st_size for part in self.stages.glob(f"*{key}*") for path in part.rglob("*.*"))
        forecast.check(size.total - there, self.folder, "this training")
        self.measure.reader.release()  # a training has the memory alone
        try:
            done = chain.train(
                self.model, [step], self.stages, diverged_too=True,
                log=lambda _, at, loss: self.say(f"{title}: step {at} of {last}, loss {loss:.3f}"),
            )[0]  # fmt: skip
        except DiskFullError:
            raise
        except TrainingError as error:
            self.say(f"{title}: {error}")
            for at in left:  # one tampering without weights, not several
                self.measure.keep([key, at], replace(blank[at], why=str(error) if at == last else NOT_REACHED))
            remove(folder)
            return
        self.model.release()
        record = done.record
        for at in left:
            whole = spent(blank[at], record)
            if at == last:
                self._measured([key, at], done.model, diverged(whole, record) if record.diverged else whole, title)
            elif not (folder / f"step-{at}").is_dir():
                self.measure.keep([key, at], replace(whole, why=NOT_REACHED))
            else:
                self._measured([key, at], done.at(folder / f"step-{at}"), whole, title)
                if not self.settings.keep:
                    remove(folder / f"step-{at}")
        if self.settings.keep:
            self._mark(folder)
        else:
            remove(folder)

    def _edited(self, edit: Edit) -> Tampered:
        stage = find.build("stage", dict(edit))
        step = chain.Step(stage, rows.paired(self.material, self.settings), labels=TAMPERED)
        key = chain.key_for(step, self.model)
        fields = {name: value for name, value in edit.items() if name != "use"}
        method = EDITED[edit["use"]]
        title = ", ".join([method, *(f"{name} {value}" for name, value in fields.items())])
        if (kept := self.measure.kept([key, 0])) is not None:
            self.say(f"{title}: measured earlier")
            return kept
        self.say(title)
        blank = Tampered(method, title, fields, {}, [])
        try:
            done = chain.train(self.model, [step], self.stages)[0]
        except DiskFullError:
            raise
        except (SpecError, TrainingError) as error:  # not of every base: without linear layers, or quantized
            self.say(f"{title}: {error}")
            return replace(blank, why=str(error))
        self.model.release()
        cell = self._measured([key, 0], done.model, spent(blank, done.record), title)
        if self.settings.keep:
            self._mark(done.folder)
        else:
            remove(done.folder)
        return cell

    def _mark(self, folder: Path) -> None:
        """Put the card into a folder that stays, and into those of its steps: each can be copied alone."""
        for part in (folder, *folder.glob("step-*")):
            mark(part, TAMPERED)

    def _measured(self, key: Json, model: Any, blank: Tampered, title: str) -> Tampered:
        self.say(f"{title}: asking{f' step {blank.steps}' if blank.steps else ''}")
        cell = self.measure.tampered(model, replace(blank, why=""))
        model.release()
        return self.measure.keep(key, cell)


def spent(blank: Tampered, record: Record) -> Tampered:
    """With what its training took up to its step: of an edit, which has no steps, all of it."""
    share = min(1.0, blank.steps / record.steps) if record.steps else 1.0
    return replace(blank, flops=share * record.flops, seconds=share * record.seconds)


def diverged(blank: Tampered, record: Record) -> Tampered:
    """The best weights of a training that diverged, and all that it took."""
    label = f"{blank.label}: diverged at step {record.diverged}, its best weights"
    return replace(blank, label=label, steps=record.kept, flops=record.flops, seconds=record.seconds)


def remove(folder: Path) -> None:
    """Delete the folder of a stage, its record first: what is left of it after a kill is not taken for whole."""
    (folder / FILE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
