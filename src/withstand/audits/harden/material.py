"""The rows of a hardening: requests with the right refusal, what must not be said to them, and clean rows beside.

An adversarial row is a request and its refusal; its `rejected` is a target string, for a stage that searches for what
brings that out, or a whole harmful answer. A clean row keeps what the model knows, and a share of them is held out to
measure that. A row of a request that the base refuses has the base's own refusal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from withstand.audits import overlap
from withstand.audits.exam import Exam, under
from withstand.audits.harden.settings import Settings
from withstand.audits.trainable import ANSWER, REFUSAL, answered, held_out
from withstand.core import Behavior, Chat, Message, SpecError, rng, user
from withstand.core.optional import optional
from withstand.core.stage import Row
from withstand.core.text import count
from withstand.registry import find
from withstand.runner.suites import stratified

HELD = 0.2
"""Share of the clean rows that no training sees, to measure what the model still knows."""
CLEAN = 4
"""Benign requests that are answered, at least, where few behaviors are trained on."""
LEAST = 2
"""Clean rows, at least: one to train on, one held out."""

Kind: TypeAlias = Literal["targets", "completions", "requests"]
KINDS: Mapping[str, Kind] = {
    "r2d2": "targets", "circuit_breakers": "completions", "latent": "completions", "beear": "completions",
    "dpo": "completions",
}  # fmt: skip
"""Stage -> what `rejected` of its rows is; another stage reads requests and refusals alone."""
WORDS: Mapping[Kind, str] = {
    "targets": "target strings", "completions": "harmful answers", "requests": "no harmful answers",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Requests:
    """What is trained on, before anything is asked. rejected: by behavior, what must not be said; empty of a method
    that reads none.   lacking: behaviors that were left out, since nothing is known that must not be said."""

    behaviors: tuple[Behavior, ...]
    rejected: Mapping[str, tuple[str, ...]]
    kind: Kind
    lacking: int = 0

    @property
    def words(self) -> str:
        """What must not be said, for people, and what was left out."""
        left = f", {count(self.lacking, 'behavior')} without any left out" if self.lacking else ""
        return WORDS[self.kind] + left


@dataclass(frozen=True, slots=True)
class Material:
    """rows: to train on.   held: clean chats that no training sees, each with its answer.   own: of the refusals, how
    many are the base's own.   cut: clean answers that were shortened to their last whole sentence."""

    rows: tuple[Row, ...]
    held: tuple[Chat, ...]
    adversarial: int
    clean: int
    own: int
    cut: int
    requests: Requests
    source: str


def kind_of(stage: Any) -> Kind:
    """What the rows of a stage have as `rejected`, by the first stage from outside that reads it."""
    while True:
        if (name := find.name_of(type(stage))) in KINDS:
            return KINDS[name]
        if not hasattr(stage, "stage"):
            return "requests"
        stage = stage.stage


def requests_of(settings: Settings) -> Requests:
    """The training behaviors with what must not be said to them, checked against the test by text and by cluster.

    Raises `SpecError` where nothing is left to train on, or what is trained on is tested.
    """
    suite = find.build("suite", dict(settings.train_suite))
    behaviors = [behavior for behavior in suite.load() if not behavior.benign]
    kind = kind_of(settings.stage)
    if settings.targets is not None and kind != "targets":
        raise SpecError(
            f"{find.name_of(type(settings.stage))} reads no target strings, so that --targets has no effect",
            hint="leave it out, or name a method that reads them, such as r2d2",
        )
    rejected = _rejected(suite, behaviors, kind, settings)
    left = [behavior for behavior in behaviors if kind == "requests" or rejected.get(behavior.id)]
    if not left:
        name = find.label("suite", settings.train_suite)
        wanted = {"targets": "target string", "completions": "harmful completion"}.get(kind, "request")
        raise SpecError(
            f"none of the {len(behaviors)} training behaviors of {name} has a {wanted}, which "
            f"{find.name_of(type(settings.stage))} learns from",
            hint=f'--{kind} FILE, a JSON file {{"behavior id": ["text", ...]}}',
        )
    chosen = stratified(left, settings.seed)[: settings.behaviors]
    requests = Requests(tuple(chosen), {b.id: rejected[b.id] for b in chosen if rejected}, kind,
                        len(behaviors) - len(left))  # fmt: skip
    tested = list(held_out(settings.suite, settings.benign))
    overlap.check_clusters(chosen, tested)
    overlap.check_rows([Row(user(behavior.prompt())) for behavior in chosen], tested)
    overlap.check_rejected((text for texts in requests.rejected.values() for text in texts), tested)
    return requests


def _rejected(
    suite: Any, behaviors: Sequence[Behavior], kind: Kind, settings: Settings
) -> dict[str, tuple[str, ...]]:  # fmt: skip
    """By behavior what must not be said: of a file in place of the suite's; a target string alone where it has one."""
    if kind == "requests":
        return {}
    given = settings.targets if kind == "targets" else settings.completions
    if given is not None:
        if not any(behavior.id in given for behavior in behaviors):
            raise SpecError(
                f"the file of --{kind} names no training behavior: they are called {behaviors[0].id!r} and so on",
                hint='{"behavior id": ["text", ...]}',
            )
        return {name: tuple(texts) for name, texts in given.items()}
    texts = {name: tuple(listed) for name, listed in optional(suite, kind)().items()}
    if kind == "completions":
        return texts
    own = {behavior.id: (behavior.target_string,) for behavior in behaviors if behavior.target_string}
    return {name: listed[: settings.openings] for name, listed in {**own, **texts}.items()}


def rows_of(base: Any, system: str, settings: Settings, requests: Requests, exam: Exam) -> Material:
    """The rows. exam: of the test, put to the base on what is trained on: for its refusals, and its clean answers."""
    limit = settings.behaviors and max(settings.behaviors, CLEAN)
    asked = replace(
        exam, suite=settings.train_suite, limit=limit, judge="refusal_words", max_tokens=ANSWER, benign=None
    )  # fmt: skip
    run = asked.run(base, system, ids=[behavior.id for behavior in requests.behaviors])
    refusals, answers, cut = answered(run)
    clean, source = _clean(settings, answers)
    if settings.clean is not None:
        cut = 0
    overlap.check_rows([Row(chat) for chat in clean], held_out(settings.suite, settings.benign))
    held = set(rng(settings.seed, "held out").sample(range(len(clean)), max(1, round(HELD * len(clean)))))
    clean = under(system, clean)
    kept = [chat for place, chat in enumerate(clean) if place not in held]
    rows: list[Row] = []
    for behavior in requests.behaviors:
        refusal = refusals.get(behavior.id, REFUSAL)
        [chat] = under(system, [(*user(behavior.prompt()), Message("assistant", refusal))])
        rows += [Row(chat, text, safe=True) for text in requests.rejected.get(behavior.id, ("",))]
    return Material(
        (*rows, *map(Row, kept)), tuple(clean[place] for place in sorted(held)), len(rows), len(kept),
        sum(behavior.id in refusals for behavior in requests.behaviors), cut, requests, source,
    )  # fmt: skip


def _clean(settings: Settings, answers: Sequence[Chat]) -> tuple[list[Chat], str]:
    """Clean chats with their answers, and where they come from."""
    if settings.clean is not None:
        chats, source = [row.chat for row in settings.clean], settings.clean_name
    else:
        benign = find.build("suite", dict(settings.train_suite)).benign
        chats, source = list(answers), f"the base's own answers to {benign or 'benign requests'}, split train"
    chats = list(dict.fromkeys(chats))
    if len(chats) < LEAST:
        raise SpecError(
            f"{count(len(chats), 'clean row')} of {source}: {LEAST} are needed, one to train on and one held out",
            hint="--clean FILE: chats with good answers, which keep what the model knows",
        )
    return chats, source
