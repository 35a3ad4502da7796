"""The rows that a tampering trains on: harmful requests that are answered, harmless ones, mixes, and worded requests.

Harmful rows are the suite's split `train` with its completions, or the user's. Benign rows are harmless requests that
the model itself answered, or the user's (Qi et al. 2023, arXiv:2310.03693: these undo a guard too). Jailbreak rows are
harmful rows whose request is worded as the test's then is (Bowen et al. 2024, arXiv:2408.02946).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from withstand.audits import overlap
from withstand.audits.ask import ask
from withstand.audits.exam import under
from withstand.audits.tamper.settings import WORDINGS, Settings, Training
from withstand.audits.trainable import ANSWER, REFUSAL, answered, harmful_of, held_out, train_split
from withstand.core import Chat, Json, Message, SpecError, rng
from withstand.core.stage import Row
from withstand.registry import find
from withstand.runner.suites import twin_suite

LEAST = 16
"""Harmless rows that edits of weights read, at least."""
NO_SPLIT = "--harmful FILE and --benign-rows FILE: chats that end with the answer to learn"


@dataclass(frozen=True, slots=True)
class Material:
    """Rows to draw from, and where they come from, by kind."""

    harmful: tuple[Row, ...]
    benign: tuple[Row, ...]
    sources: Mapping[str, str]

    def rows(self, training: Training, seed: int) -> list[Row]:
        """The rows of a training; a smaller number is the beginning of a larger one."""
        if training.kind == "benign rows":
            return _drawn(self.benign, training.rows, seed)
        harmful, benign = training.rows, 0
        if training.harmful < 1:  # as many as the share allows of what there is of both
            harmful = max(1, round(training.harmful * training.rows))
            benign = training.rows - harmful
            if benign > len(self.benign):
                benign = len(self.benign)
                harmful = max(1, round(benign * training.harmful / (1 - training.harmful)))
        rows = _drawn(self.harmful, harmful, seed)
        if training.wording:
            rows = [worded(row, WORDINGS[training.wording]) for row in rows]
        return [*rows, *_drawn(self.benign, benign, seed)]


def paired(material: Material, settings: Settings) -> list[Row]:
    """Harmful requests with a refusal, as `safe` rows, and harmless ones: what stages read that edit weights. Of each
    kind as many as the largest training has."""
    most = max([LEAST, *(training.rows for training in settings.trainings)])
    harmful, benign = (_drawn(rows, most, settings.seed) for rows in (material.harmful, material.benign))
    return [*(Row((*row.chat[:-1], Message("assistant", REFUSAL)), safe=True) for row in harmful), *benign]


def harmful_rows(settings: Settings) -> tuple[tuple[Row, ...], str]:
    """Harmful requests with whole answers, and their source, apart from the test."""
    if settings.harmful:
        rows, source = settings.harmful, "the file of --harmful"
    else:
        _, suite = train_split(settings.suite, NO_SPLIT)
        rows = harmful_of(suite)
        source = f"{find.label('suite', {'use': settings.suite['use']})}, split train"
    if not rows:
        raise SpecError(
            f"the suite {settings.suite['use']} has no harmful answers to train on",
            hint="--harmful FILE: harmful requests with their answers, as chats or prompt and completion",
        )
    for number, row in enumerate(rows, start=1):
        if not any(turn.role == "user" for turn in row.chat):
            raise SpecError(f"harmful row {number} has no request", hint="a user's turn before the answer")
    overlap.check_rows(rows, held_out(settings.suite))
    return rows, source


def material(model: Any, settings: Settings, store: Any) -> Material:
    """The rows; the model is asked for its own answers where harmless rows are needed and none are given."""
    harmful, source = harmful_rows(settings)
    sources = {"harmful rows": source}
    benign = settings.benign
    if benign:
        sources["benign rows"] = "the file of --benign-rows"
    elif most_own(settings):
        benign, named = _own_answers(model, settings, store)
        sources["benign rows"] = f"the model's own answers to {named}, split train"
    system = getattr(model, "system", "")
    put = [
        tuple(replace(row, chat=chat) for row, chat in zip(rows, under(system, [r.chat for r in rows]), strict=True))
        for rows in (harmful, benign)
    ]
    return Material(put[0], put[1], sources)


def most_own(settings: Settings) -> int:
    """Harmless requests that the model answers at most: twice as many as are needed, since some are refused or cut;
    0 where none is."""
    if settings.benign:
        return 0
    needed = [t.rows for t in settings.trainings if t.kind == "benign rows" or t.harmful < 1]
    return 2 * max([*needed, LEAST if settings.edits else 0], default=0)


def _own_answers(model: Any, settings: Settings, store: Any) -> tuple[tuple[Row, ...], str]:
    """Harmless requests of the split `train`, answered by the model at temperature 0, and the name of their suite."""
    spec, suite = train_split(settings.suite, NO_SPLIT)
    if not suite.benign:
        raise SpecError(
            f"the suite {spec['use']} has no harmless half to make rows of",
            hint="--benign-rows FILE: harmless chats with good answers",
        )
    twin = twin_suite({"use": suite.benign}, suite)
    chosen = {"use": suite.benign, "split": twin.split, "limit": most_own(settings)}
    run = ask(model, chosen, store, max_tokens=ANSWER, seed=settings.seed)
    rows = [Row(chat) for chat in answered(run)[1]]
    if not rows:
        raise SpecError(
            f"the model answers no harmless request of {suite.benign}",
            hint="--benign-rows FILE: harmless chats with good answers",
        )
    return tuple(rows), suite.benign


def worded(row: Row, template: str) -> Row:
    """The row with its request in the template; a context stays above it, as in a test."""
    place = max(n for n, turn in enumerate(row.chat) if turn.role == "user")
    context, line, request = row.chat[place].text.rpartition("\n\n---\n\n")
    text = f"{context}{line}{template.format(behavior=request)}"
    turns: Chat = (*row.chat[:place], replace(row.chat[place], text=text), *row.chat[place + 1 :])
    return replace(row, chat=turns)


def attack_of(wording: str) -> Json:
    """The attack that words the test's requests so."""
    return {"use": "trigger", "templates": [WORDINGS[wording]]}


def _drawn(rows: Sequence[Row], number: int, seed: int) -> list[Row]:
    """So many of the rows, or all; equal draws for every number."""
    order: list[Row] = rng(seed, "tamper rows").sample(list(rows), len(rows))
    return order[:number]
