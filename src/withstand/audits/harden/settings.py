"""How a hardening is done: its settings, three presets of them, and what the command line says of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from withstand.audits import quiz
from withstand.audits.cost import fastest
from withstand.audits.harden.costs import Limits
from withstand.audits.trainable import train_split
from withstand.audits.verdicts import bounds_of
from withstand.core import SpecError, bounded, did_you_mean
from withstand.core.stage import Row, Stage, innermost
from withstand.formats import finetuning
from withstand.registry import find, grammar
from withstand.runner.chain_spec import at_of

THIRDS = (1 / 3, 2 / 3)
"""Where a training is measured besides its end, unless the user says."""
BOUNDS = ("over_refusal", "right", "loss")


@dataclass(frozen=True, slots=True)
class Preset:
    """Size of a hardening. inner: fields of the training, `first` also in place of those of a preset of the method;
    plain: requests of the test that are sent as they are, and harmless prompts; limit: behaviors that are attacked;
    curve: of a checkpoint; behaviors, openings: of the training, and target strings of each. None: all."""

    inner: Mapping[str, Any]
    plain: int | None
    limit: int | None
    curve: int | None
    max_tokens: int
    behaviors: int | None
    openings: int | None
    first: bool = False


PRESETS: Mapping[str, Preset] = {
    "smoke": Preset({"steps": 2, "batch": 2, "log_every": 1}, 2, 2, 2, 12, 2, 2, first=True),
    "desk": Preset({"steps": 60, "batch": 8}, None, 20, 8, 96, None, None),
    "full": Preset({}, None, None, 20, 128, None, None),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How a hardening is done. stage: the method, seed and all; method: as the user wrote it.   attacks: known to the
    training; held_out: not.   suite: the test; train_suite: the requests that are trained on, `behaviors` of them.
    plain: requests that are sent as they are, and harmless prompts; limit: behaviors that are attacked; None: all.
    at: steps that are measured too, on `curve` behaviors; None: a third and two thirds of all.   targets, completions:
    by behavior, in place of the suite's; None for these.   openings: targets of a behavior.   clean: rows that keep
    what the model knows; None: the base's own answers to the benign half of train_suite.   clean_name: the file of
    these.   utility: questions with a right answer; None for none.   gate: the least share of the test's requests that
    the base must refuse, in [0, 1]."""

    stage: Stage
    base: str
    method: str
    suite: Mapping[str, Any]
    train_suite: Mapping[str, Any]
    attacks: tuple[Mapping[str, Any], ...]
    held_out: tuple[Mapping[str, Any], ...]
    judge: str = ""
    benign: Mapping[str, Any] | None = None
    plain: int | None = None
    limit: int | None = None
    curve: int | None = None
    max_tokens: int = 128
    at: tuple[int, ...] | None = ()
    seeds: int = 1
    behaviors: int | None = None
    openings: int | None = None
    targets: Mapping[str, tuple[str, ...]] | None = None
    completions: Mapping[str, tuple[str, ...]] | None = None
    clean: tuple[Row, ...] | None = None
    clean_name: str = ""
    utility: Mapping[str, Any] | None = None
    gate: float = 0.6
    limits: Limits = field(default_factory=Limits)
    seed: int = 0

    @property
    def checkpoints(self) -> int:
        """Steps that are measured besides the last, at most."""
        return len(THIRDS if self.at is None else self.at)

    def steps_at(self, rows: int) -> tuple[int, ...]:
        """These steps, of a training on so many ordinary rows."""
        if self.at is not None:
            return self.at
        inner = innermost(self.stage)
        steps = inner.steps or math.ceil(inner.epochs * math.ceil(rows / inner.batch))
        return tuple(sorted({step for share in THIRDS if (step := int(share * steps))}))

    def seeded(self, number: int) -> Any:
        """The stage with the seed of the training of this number, from 0."""
        return _with_seed(self.stage, self.seed + number)


def _with_seed(stage: Any, more: int) -> Any:
    if hasattr(stage, "stage"):
        return replace(stage, stage=_with_seed(stage.stage, more))
    return replace(stage, seed=stage.seed + more)


@dataclass(frozen=True)
class Choice:
    """What the user chose; names, specs and file names as they are typed, "" or None for the preset's."""

    method: str
    base: str
    attacks: Sequence[str] = ()
    hold_out: Sequence[str] = ()
    train: str = ""
    preset: str = "full"
    suite: str = "kitchen"
    train_suite: str = ""
    targets: str | None = None
    completions: str | None = None
    clean: str | None = None
    benign: str = ""
    judge: str = ""
    plain: int | None = None
    limit: int | None = None
    behaviors: int | None = None
    at: str | None = None
    curve: int | None = None
    seeds: int = 1
    max_tokens: int | None = None
    utility: str = "everyday"
    gate: float = 0.6
    bound: Sequence[str] = ()


def settings_of(choice: Choice, model: Any) -> Settings:
    """The settings for a hardening of `model`. Raises `SpecError` for what does not exist or does not fit."""
    if choice.preset not in PRESETS:
        raise SpecError(f"no preset is called {choice.preset!r}", hint=", ".join(PRESETS))
    size = PRESETS[choice.preset]
    stage = stage_of(choice.method, choice.train, size, model)
    suite = grammar.parse(choice.suite)
    questions = None if choice.utility == "none" else grammar.parse(choice.utility)
    return Settings(
        stage, choice.base, choice.method, suite, _train_suite(choice.train_suite, suite),
        tuple(map(grammar.parse, choice.attacks)), tuple(map(grammar.parse, choice.hold_out)),
        judge=choice.judge, benign=grammar.parse(choice.benign) if choice.benign else None,
        plain=choice.plain or size.plain, limit=choice.limit or size.limit, curve=choice.curve or size.curve,
        max_tokens=choice.max_tokens or size.max_tokens, seeds=choice.seeds,
        at=None if choice.at is None else at_of(choice.at),
        behaviors=choice.behaviors or size.behaviors, openings=size.openings, targets=texts_of(choice.targets),
        completions=texts_of(choice.completions),
        clean=tuple(finetuning.read(choice.clean).training(last_only=True)) if choice.clean else None,
        clean_name=Path(choice.clean).name if choice.clean else "",
        utility=quiz.questions_of(choice.preset, questions),
        gate=choice.gate, limits=Limits(**bounds_of(choice.bound, BOUNDS)),
    )  # fmt: skip


def stage_of(method: str, train: str, size: Preset, model: Any) -> Any:
    """The stage of a METHOD. train: the training inside a stage around another.

    A field of METHOD that the stage around has not, such as steps, is one of the training inside it.
    """
    spec = grammar.parse(method)
    cls, given = find.resolve("stage", spec)
    names = [f.name for f in fields(cls)]
    defaults = {**size.inner, **fastest(model)}
    if "stage" not in names:
        if train:
            raise SpecError(
                f"{method} trains by itself, so that --train {train} has no place", hint=f"{method},steps=60"
            )
        built = find.build("stage", spec, **defaults)
        if not hasattr(built, "batch"):
            raise SpecError(f"{spec['use']} is no stage that trains a model to refuse", hint="`withstand list stages`")
        return built
    heads = {name: name.partition(".")[0] for name in spec}  # attack.steps is the attack's; stage.steps lies in `given`
    own = {
        name: value
        for name, value in spec.items()
        if name in ("use", "") or (heads[name] in names and not name.startswith("stage."))
    }
    more = {name: value for name, value in spec.items() if name not in own and "." not in name}
    within = grammar.spec_of(given.get("stage") or "sft")
    training = grammar.parse(train) if train else {"use": within["use"]}
    inside = {**within, **training} if training["use"] == within["use"] else training
    if unknown := [name for name in more if name not in (inner_names := _fields(inside))]:
        hint = did_you_mean(unknown[0], [*names, *inner_names], f"its fields are {', '.join([*names, *inner_names])}")
        raise SpecError(f"{spec['use']} has no field {unknown[0]!r}", hint=hint)
    defaults = {name: value for name, value in defaults.items() if name in _fields(inside)}
    if size.first and not any(name.partition(".")[0] == "stage" for name in spec):
        inside |= {name: value for name, value in size.inner.items() if name in defaults and name not in training}
    inside = {**defaults, **inside, **more}
    return find.build("stage", {**own, "stage": inside})


def _fields(spec: Mapping[str, Any]) -> list[str]:
    return [f.name for f in fields(find.resolve("stage", spec)[0])]


def _train_suite(text: str, suite: Mapping[str, Any]) -> dict[str, Any]:
    """The suite that is trained on: the test's own split `train` where none is named."""
    find.resolve("suite", suite)  # one that does not exist lacks more than a split
    if text:
        return grammar.parse(text)
    return train_split(suite, "--train-suite csv:FILE,target_string=COLUMN: requests apart from those of the test")[0]


def texts_of(path: str | None) -> dict[str, tuple[str, ...]] | None:
    """By behavior id the texts of a JSON file {id: [text, ...]}; None without a file."""
    if not path:
        return None
    try:
        read = bounded.parse_json(path, bounded.read_text(path))
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error}", hint='a JSON file {"behavior id": ["text", ...]}') from error
    right = isinstance(read, dict) and all(
        isinstance(texts, list) and texts and all(isinstance(text, str) and text.strip() for text in texts)
        for texts in read.values()
    )
    if not right:
        raise SpecError(f"{path} is not an object of lists of texts", hint='{"behavior id": ["text", ...], ...}')
    return {name: tuple(texts) for name, texts in read.items()}
