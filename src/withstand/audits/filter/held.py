"""Held-out texts, and what models read of them: the user's own two, or three that are trained here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from withstand.audits.filter import nats, trained
from withstand.audits.filter.nats import Reads
from withstand.audits.filter.settings import Settings
from withstand.audits.filter.texts import Data, Text, has_column, key, read
from withstand.core import SpecError
from withstand.core.optional import optional
from withstand.core.stage import marked_name
from withstand.core.text import count, percent
from withstand.registry import find


@dataclass(frozen=True)
class Compared:
    """Two models that read the same texts. pairs: first and second, one for each seed.   decides: whether the verdict
    counts it: against a control where there is one."""

    first: str
    second: str
    pairs: tuple[tuple[Reads, Reads], ...]
    decides: bool


@dataclass(frozen=True)
class Held:
    """The texts, what models read of them, and what a reader must know. one_seed: each model was trained here once.
    learned: nats a token by which training on all texts reads held-out ones better than no training; None where nothing
    was trained here."""

    texts: tuple[Text, ...]
    compared: tuple[Compared, ...]
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    one_seed: bool = False
    learned: float | None = None


def held_texts(path: str, data: Data, settings: Settings) -> tuple[list[Text], list[str]]:
    """The texts of a file that the data does not hold, with notes. Raises `SpecError` where none is left."""
    label = settings.label if settings.label and has_column(path, settings.label.column) else None
    cluster, *sliced = (name if has_column(path, name) else "" for name in (settings.cluster, *settings.sliced))
    file = read(path, settings.text, label, cluster, [name for name in sliced if name])
    if file.running is not data.running:
        raise SpecError(f"one of {file.name} and {data.name} holds chats, the other running text", hint="give one form")
    there = {key(text.chat) for text in data.texts}
    texts = [text for text in file.texts if key(text.chat) not in there]
    if not texts:
        raise SpecError(f"all texts of {file.name} stand in DATA", hint="hold out texts that no model was trained on")
    both = len(file.texts) - len(texts)
    note = f"{count(both, 'held-out text stands', 'held-out texts stand')} in DATA too: left out"
    return texts, [note] * bool(both)


def should_stay(texts: Sequence[Text]) -> tuple[list[Text], list[str]]:
    """The texts that should stay by their labels; without labels all, with what that means."""
    labeled = [text for text in texts if text.harmful is False]
    if labeled:
        return labeled, ["models read the held-out texts that should stay by their labels"]
    return list(texts), [
        "models read all held-out texts: some may be of a kind that should be dropped, and losing these is wanted"
    ]


def read_by(models: Mapping[str, Any], texts: Sequence[Text], notes: Sequence[str], running: bool) -> Held:
    """What the user's models read. models: "before" and "after", perhaps "control"."""
    wanted, more = should_stay(texts)
    for name, model in models.items():
        if not hasattr(model, "load"):
            message = f"--{name} {find.name_of(type(model))} has no weights, so no likelihood of a text"
            raise SpecError(message, hint="name a local model: hf:FOLDER or hf:HUB_ID")
    reads = {}
    for name, model in models.items():
        reads[name] = nats.reads(model, name, wanted, running)
        model.release()
    first = "control" if "control" in reads else "before"
    compared = [Compared(first, "after", ((reads[first], reads["after"]),), True)]
    if first == "control":
        compared.append(Compared("before", "after", ((reads["before"], reads["after"]),), False))
    facts = [
        (name.capitalize(), marked_name(_named(model), optional(model, "marks"))) for name, model in models.items()
    ]
    held = Held(tuple(wanted), tuple(compared), (*facts, ("Held out", count(len(wanted), "text"))), (*notes, *more))
    return _checked(held)


def trained_by(training: trained.Training, texts: Sequence[Text], notes: Sequence[str], say: trained.Say) -> Held:
    """What models read that were trained on all texts, on what the filter leaves, and without as many at random."""
    trained.check(training)
    wanted, more = should_stay(texts)
    reads = trained.readings(training, wanted, say)
    learned = trained.learned(training, wanted, reads)
    pairs = {arm: tuple((by_arm[arm], by_arm["filtered"]) for by_arm in reads) for arm in trained.ARMS}
    facts = (
        ("Trained", f"{marked_name(_named(training.model), optional(training.model, 'marks'))} by {training.written}, "
         f"{count(training.seeds, 'seed')}, on {count(len(training.texts), 'text')}, of which the filter drops "
         f"{sum(training.dropped):,}: {percent(1 - training.characters('filtered'))} of the characters, and of the "
         f"control {percent(1 - training.characters('control'))}"),
        ("Learned", f"training on all texts reads held-out ones better by {learned:.3f} nats a token than BASE does"),
        ("Held out", count(len(wanted), "text")),
    )  # fmt: skip
    compared = (
        Compared("control", "filtered", pairs["control"], True),
        Compared("all", "filtered", pairs["all"], False),
    )
    noise = ["one seed of each training: another may differ"] * (training.seeds == 1)
    return _checked(Held(tuple(wanted), compared, facts, (*notes, *more, *noise), training.seeds == 1, learned))


def _named(model: Any) -> str:
    return str(getattr(model, "id", "") or find.name_of(type(model)))


def _checked(held: Held) -> Held:
    """Raise `SpecError` where two models read every text alike: they are one, and nothing would seem to change."""
    for pair in held.compared:
        if all(np.array_equal(first.nats, second.nats) for first, second in pair.pairs):
            raise SpecError(
                f"the models {pair.first} and {pair.second} read every text alike, so they are the same",
                hint="name two models; a training that learns nothing needs more steps or a higher lr",
            )
    return held
