"""A text by hand, through a target, its defense and judges: an ordinary ask, whose answer is a row of the store."""

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from withstand.core import Behavior, Chat, Completion, Json, Judge, Sampling, SpecError, Target, digest, to_json
from withstand.redteam.plan.records import Layer
from withstand.registry import find
from withstand.registry.grammar import Spec
from withstand.runner.destination import destination
from withstand.runner.drive import Job, completion_of, drive
from withstand.runner.stages import asked_once, verdict_job
from withstand.runner.suites import check_offline
from withstand.runner.tally import Tally
from withstand.store.store import Store
from withstand.store.tables import COMPLETIONS, VERDICTS

LONGEST = 100_000
"""Characters of a text that is sent, and of a system prompt."""


@dataclass(frozen=True)
class Probe:
    """What a text goes to. label: the target's, as people read it.   judges: who grades the answer, by their labels.

    mitigations: the label of a defense outside a plan.
    """

    label: str
    target: Target
    judges: Mapping[str, Judge] = field(default_factory=dict)
    mitigations: str = ""

    @cached_property
    def models(self) -> list[Any]:
        """All models that are asked."""
        return list(find.models((self.target.model, self.target.defense, list(self.judges.values()))))

    @cached_property
    def digest(self) -> str:
        """What tells this target from another: weights or revision, defense, sampling."""
        return digest([find.describe(self.target.model), find.describe(self.target.defense)])

    @property
    def destination(self) -> str:
        """The hosts that a text goes to, and the variables whose keys go with it; "" for this machine's own models."""
        return destination(self.models)

    @property
    def keeps_turns(self) -> bool:
        """Whether the target takes a conversation, not one text alone."""
        return "turns" in self.target.model.gives

    def check(self, chat: Chat, offline: bool) -> None:
        """Raise `SpecError` where the target does not take this chat, or a model cannot be asked."""
        needs = {"system"} if any(turn.role == "system" for turn in chat) else set()
        needs |= {"turns"} if sum(turn.role == "user" for turn in chat) > 1 else set()
        if lacking := sorted(needs - self.target.model.gives):
            names = {"system": "a system prompt", "turns": "a second turn"}
            hint = "begin a new conversation" + (" without a system prompt" if "system" in lacking else "")
            raise SpecError(f"this target does not take {' or '.join(names[name] for name in lacking)}", hint=hint)
        for model in self.models:
            if offline:
                check_offline(model.hosts)
            model.check()


def build(
    label: str, target: Spec, defense: Spec = "none", judges: Mapping[str, Spec] | None = None,
    sampling: Sampling | None = None, mitigations: str = "",
) -> Probe:  # fmt: skip
    """The components of a probe, built. Raises `SpecError` for one that cannot be."""
    built = find.build("target", target)
    guard = None if defense in ("", "none", {"use": "none"}) else find.build("defense", defense)
    graders = {name: find.build("judge", spec) for name, spec in (judges or {}).items()}
    return Probe(label, Target(built, guard, sampling or Sampling()), graders, mitigations)


def of_layer(layer: Layer, judges: Mapping[str, Spec] | None = None, sampling: Sampling | None = None) -> Probe:
    """A probe of a layer of a plan. Raises `SpecError` for one that people reach by hand alone, or not at all."""
    if layer.blocked:
        raise SpecError(f"the layer {layer.id} is blocked: {layer.blocked}", hint="choose another layer")
    if is_by_hand(layer):
        hint = "use it by hand, and record what you sent and what came back"
        raise SpecError(f"the layer {layer.id} is a user interface ({layer.target})", hint=hint)
    return build(layer.target, layer.target, layer.defense or "none", judges, sampling)


def is_by_hand(layer: Layer) -> bool:
    """Whether people use the layer in its own interface, where nothing can be sent from here."""
    return layer.endpoint == "ui" or layer.target.startswith("url:")


# --- one at a time for a device ----------------------------------------------------------------------------------

_devices: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


@contextmanager
def _held(models: Sequence[Any]) -> Iterator[None]:
    """Wait for the devices of these models; an API takes several at once."""
    with ExitStack() as stack:
        for place in sorted({model.place for model in models if not model.place.startswith("api:")}):
            stack.enter_context(_devices[place])
        yield


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and what each judge says of it: judge, outcome, why, score. rows: keys of all of it."""

    completion: Completion
    judged: tuple[Json, ...] = ()
    rows: tuple[str, ...] = ()


def ask(store: Store, probe: Probe, behavior: Behavior, chat: Chat, key: str) -> Answer:
    """One fresh answer of the target and the judges' verdicts on it. key: of the answer's row.

    Raises `SpecError` if there is no answer.
    """
    with _held(probe.models):
        tally = Tally()
        job = Job((key,), key, COMPLETIONS, lambda: asked_once(key, probe.target, chat), remember=False)
        drive([job], store, tally)
        answer = kept(store, chat, key)
        if answer is None:
            failure = next(iter(tally.failures), None)
            hint = failure.hint if failure else "try again"
            raise SpecError(failure.error if failure else tally.stopped or "no answer came", hint=hint)
        verdicts = dict(_judged(store, probe, behavior, answer, key))
        return Answer(answer, tuple(verdicts.values()), (key, *verdicts))


def kept(store: Store, chat: Chat, key: str) -> Completion | None:
    """The answer that the store has under a key, whoever waited for it; None where it has none, or an erased one."""
    row = store.rows([key]).get(key)
    return None if row is None or row.purged else completion_of(chat, row.value)


def new_key(session: str, probe: Probe, chat: Chat, at: float) -> str:
    """The key of an answer that nobody else's ask has: a probe is drawn afresh."""
    return digest(["probe", session, probe.digest, to_json(probe.target.sampling), to_json(chat), at])


def _judged(
    store: Store, probe: Probe, behavior: Behavior, answer: Completion, key: str
) -> Iterator[tuple[str, Json]]:  # fmt: skip
    """What each judge says, by the key of its row. No answer of a judge is kept beside it: nobody replays it."""
    jobs = {
        name: verdict_job(judge, digest(find.describe(judge)), behavior, answer, [key], counted=False)
        for name, judge in probe.judges.items()
    }
    tally = Tally(stage=VERDICTS)
    drive((replace(job, remember=False) for job in jobs.values()), store, tally)
    rows = store.rows(job.keys[0] for job in jobs.values())
    errors = {failure.key: failure.error for failure in tally.failures}
    for name, job in jobs.items():
        row = rows.get(job.keys[0])
        if row is None:
            why = errors.get(job.keys[0], "") or "no verdict"
            yield job.keys[0], {"judge": name, "outcome": "error", "why": why, "score": None}
        else:
            reasons = {"why": row.value.get("why", ""), "score": row.value.get("score")}
            yield job.keys[0], {"judge": name, "outcome": row.label, **reasons}
