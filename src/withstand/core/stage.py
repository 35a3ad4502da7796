"""What a training stage is: the rows it takes, what it promises, and the record it leaves. Standard library only.

A stage is a frozen dataclass in `training/`, one file each; its fields are its hyperparameters and its `train` makes a
folder of them. `withstand.training` says how to write one, `chain` runs several.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from withstand.core import Chat, Json, SpecError, WithstandError, bounded, from_json, to_json

FILE = "stage.json"
"""The record of a stage, in the folder that it made. It is written last: a folder with it is whole."""
MARKS: Mapping[str, str] = {
    "deliberately backdoored": "is a deliberately backdoored model organism",
    "tampered": "was tampered with to undo its guard",
}
"""Label of a record -> what it says of the model. What is trained on a marked model is marked too."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a stage learns from.

    `chat` ends with the answer to learn; for `rl`, which draws answers itself, with what is asked. `rejected`: for
    `dpo`, the answer that is worse than the chat's last. `safe`: the right answer to this chat is a refusal, as in the
    rows that `safety_mix` and `lisa` guard with and those that `rl` rewards a refusal of.
    """

    chat: Chat
    rejected: str = ""
    safe: bool = False


Rows = Sequence[Row | Chat]


def as_rows(rows: Rows) -> list[Row]:
    """The rows, a bare chat as a row of its own."""
    return [row if isinstance(row, Row) else Row(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Record:
    """What a stage has used. `tokens`: all that passed through the model, prompts too. `flops`: 6 x parameters x
    tokens, also where an adapter needs less, and what a search on the way took. `seconds` over all attempts, less what
    a kill lost. `peak_bytes`: most memory at once, of the device, or of the process on a CPU. `loss`: the last that was
    logged, None before any. `device`: "cpu" or a GPU's name. `resumed`: how often it resumed after an interruption.
    `lr`: the peak learning rate, 0 in records of before this field. `diverged`: the step at which training stopped
    since it diverged, 0 if it did not; `why` in words. Then the folder holds the weights after `kept` steps, and `loss`
    is the mean of the steps before them."""

    steps: int
    tokens: int
    flops: float
    seconds: float
    peak_bytes: int
    parameters: int
    trained_parameters: int
    loss: float | None = None
    device: str = "cpu"
    resumed: int = 0
    lr: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    diverged: int = 0
    kept: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Loading:
    """How the target that is trained loads its weights and renders a chat; a stage does both alike.

    name, revision: of the base in records, if it is of the hub; "": the last part of its path, and none. template: the
    text of a chat template, "" the tokenizer's own. arguments: what the template gets beside the messages.
    quantization: the settings to quantize weights with while they are loaded, none by default. device: "auto" or a
    torch device. device_map: "" or accelerate's. trust_remote_code: run code that comes with the model.
    """

    name: str = ""
    revision: str = ""
    template: str = ""
    arguments: Mapping[str, Json] = field(default_factory=dict)
    quantization: Mapping[str, Json] = field(default_factory=dict)
    device: str = "auto"
    device_map: str = ""
    trust_remote_code: bool = False


@dataclass(frozen=True, slots=True)
class How:
    """What is done on the way of a training, and what is written down with it.

    It changes no weights, `loading` and `changes` aside.

    log: gets step and mean loss. at: steps, 1 or more, after which the model so far is kept in `folder`/step-N, and
    `on_checkpoint` is called with the step and that folder, which loads as the finished one does; steps that the
    training does not reach are left out. labels: go into the folder's `FILE`, such as a mark that this model is a
    backdoored one.

    loading: how the base is loaded and rendered.
    outer: the stage that the trained one is a part of, which the record then names. changes: of TRL's SFTTrainer, each
    makes a subclass. A stage around another sets both by `inside`. more: callbacks of the trainer.
    """

    log: Callable[[int, float], None] | None = None
    at: Sequence[int] = ()
    on_checkpoint: Callable[[int, Path], None] | None = None
    labels: Mapping[str, Json] = field(default_factory=dict)
    loading: Loading = field(default_factory=Loading)
    outer: "Stage | None" = None
    changes: Sequence[Callable[[type], type]] = ()
    more: Sequence[Any] = ()

    def inside(self, stage: "Stage", *changes: Callable[[type], type]) -> "How":
        """For the stage inside `stage`: its trainer takes `changes` first, then those of the stages around `stage`."""
        return replace(self, outer=self.outer or stage, changes=(*changes, *self.changes))

    def unchanged(self, stage: "Stage") -> "How":
        """Return itself. Raises `SpecError` where a stage around `stage` changes sft's trainer: `stage` has another."""
        if self.changes:
            around, ours = (type(stage_).__module__.rpartition(".")[2] for stage_ in (self.outer, stage))
            raise SpecError(f"{around} changes how sft trains, so its stage cannot be {ours}", hint='stage = "sft"')
        return self


class Stage(Protocol):
    """One training stage. `kind` of `FILE` tells whether the folder is an adapter or a whole model."""

    @property
    def seed(self) -> int: ...

    def train(self, base: str, rows: Rows, folder: Path, how: How = ...) -> Path:
        """Train `base` (a folder with model and tokenizer, or a hub id) on `rows`; return `folder`, which holds it.

        Called again with the same after a kill, it resumes at the last saved step.
        """


def innermost(stage: Any) -> Any:
    """The stage of its own method inside a stage around another."""
    while hasattr(stage, "stage"):
        stage = stage.stage
    return stage


def read(folder: str | Path) -> Json:
    """The record in a stage's folder: version, kind ("adapter" or "model"), stage, base, rows, labels, steps, record.

    Raises `SpecError` where there is none.
    """
    path = Path(folder) / FILE
    try:
        return bounded.parse_json(str(path), bounded.read_text(path))
    except FileNotFoundError:
        raise SpecError(f"{folder} holds no {FILE}", hint="name the folder of a finished training stage") from None
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error}", hint="train the stage again") from error


def marks_of(folder: str | Path) -> dict[str, Json]:
    """The marks in the record of a stage's folder with its note, as labels; none where there is no record."""
    if not (Path(folder) / FILE).is_file():
        return {}
    labels = read(folder).get("labels") or {}
    marks = {name: labels[name] for name in MARKS if labels.get(name)}
    return {**marks, "note": labels["note"]} if marks and "note" in labels else marks


def inherited(labels: Mapping[str, Json], marks: Mapping[str, Json]) -> dict[str, Json]:
    """Labels of what is made from a model with these marks: no label takes a mark away."""
    return {**marks, **labels, **{name: value for name, value in marks.items() if name in MARKS}}


def marked_name(name: str, marks: Mapping[str, Json]) -> str:
    """The name of a model in a report, with what its marks say of it."""
    return name + "".join(f"; it {MARKS[mark]}" for mark in marks if mark in MARKS)


def record_of(folder: str | Path) -> Record:
    """What the stage in a folder has used."""
    record: Record = from_json(Record, read(folder)["record"])
    return record


def to_rows(rows: Rows) -> Json:
    """Rows as JSON, for keys."""
    return [to_json(row) for row in as_rows(rows)]


class TrainingError(WithstandError):
    """A training that cannot continue: it diverged, or the disk is full. What was saved before is kept."""


class DiskFullError(TrainingError):
    """A training stopped since the disk is full. Run again with free space, it resumes."""
