"""Test cases from elsewhere: of an earlier run, a baseline or a file. Another target is sent the very same chats."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from withstand.core import (
    Behavior,
    Chat,
    Completion,
    Flow,
    Json,
    Message,
    Sampling,
    SpecError,
    Target,
    TestCase,
    answers_of,
    ask,
    bounded,
    converse,
    to_json,
    user,
)
from withstand.runner.suites import Chosen
from withstand.store.store import Row


@dataclass(frozen=True, slots=True)
class TransferredCases:
    """Test cases by behavior id, in the place of an attack. draws_at: the temperature at which they were answered,
    where the attack sets one of its own: they are answered at the same, or they would be another attack."""

    label: str
    cases: Mapping[str, tuple[TestCase, ...]]
    draws_at: float | None = None

    @property
    def needs(self) -> frozenset[str]:
        """What a target must give to be sent them. "forged": turns that the target never said; of a conversation that
        the target took part in, the user's turns alone are sent."""
        cases = [case for listed in self.cases.values() for case in listed]
        needs = {
            "prefill": any(case.chat[-1].role == "assistant" for case in cases),
            "system": any(case.chat[0].role == "system" for case in cases),
            "turns": any(sum(turn.role == "user" for turn in case.chat) > 1 for case in cases),
            "forged": any(
                case.completion is None and any(turn.role in ("assistant", "tool") for turn in case.chat[:-1])
                for case in cases
            ),
        }
        return frozenset(name for name, needed in needs.items() if needed)

    @property
    def conversations(self) -> bool:
        """Whether some of them are conversations that the first target took part in."""
        return any(case.completion for cases in self.cases.values() for case in cases)

    def key_of(self, behavior: Behavior) -> list[Json]:
        """What of it names the test cases of a behavior, as JSON."""
        return [to_json(self.cases.get(behavior.id, ())), *([] if self.draws_at is None else [self.draws_at])]

    def notes(self, sampling: Sampling) -> Iterator[str]:
        """What a reader of the rates must know where this target is drawn so. Keys of runs hold these sentences."""
        if self.conversations:
            yield "conversations from elsewhere: this target answered every turn of the user afresh"
        if self.draws_at not in (None, sampling.temperature):
            yield f"drawn at temperature {self.draws_at:g}, as in the attack that made the test cases"

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        """Yield the test cases. In a conversation this target answers each of the user's turns afresh."""
        cases = self.cases.get(behavior.id, ())
        if self.draws_at is not None:
            sampling = replace(target.sampling, temperature=self.draws_at)
            answers = yield from ask(target, [case.chat for case in cases], sampling)
            yield from (replace(case, completion=answer) for case, answer in zip(cases, answers, strict=True))
            return
        for case in cases:
            if case.completion is None:
                yield case
                continue
            sent, answer = yield from converse(target, case.chat)
            yield TestCase(case.behavior, sent, completion=answer)


def given_label(attack: str, target: str, defense: str, run: str) -> str:
    """What test cases of an earlier run are called."""
    behind = "" if defense == "none" else f" behind {defense}"
    return f"{attack} found on {target}{behind} ({run})"


def bare_label(label: str) -> str:
    """The attack that found what is sent again, by the label of `given_label`; any other label as it is."""
    return _GIVEN.sub("", label)


_GIVEN = re.compile(r" found on .* \([^()]*\)$")


def drawn_at(plan: Mapping[str, Any], index: int) -> float | None:
    """The temperature that the attack of a cell of a stored plan draws its own answers at; None where it sets none, and
    in runs of before this was kept."""
    temperature: float | None = plan.get("draws_at", {}).get(str(index))
    return temperature


def transferred(
    cell: Mapping[str, Any], run: str, cases: Mapping[str, Iterable[TestCase]], draws_at: float | None
) -> TransferredCases:
    """The test cases of a cell of the run called `run`, without what belongs to the target that they were found on.

    That is the draw, the score and the cost. A conversation that the target took part in keeps an empty completion,
    which says so.
    """
    label = given_label(cell["attack"], cell["target"], cell["defense"], run)
    sent = {name: tuple(_as_sent(case) for case in listed) for name, listed in cases.items()}
    return TransferredCases(label, sent, draws_at)


def _as_sent(case: TestCase) -> TestCase:
    """Of a conversation that the target took part in, the earlier answers stand in the chat; other turns of the
    assistant are the attack's own, and are sent as they are."""
    talked = case.completion is not None and len(answers_of(replace(case.completion, chat=case.chat))) > 1
    return TestCase(case.behavior, case.chat, completion=Completion((), "") if talked else None)


def check_transferred(transfers: Sequence[TransferredCases], suites: Sequence[Chosen]) -> None:
    """Raise `SpecError` for a transfer without a test case of any of the behaviors."""
    for transfer in transfers:
        if not any(behavior.id in transfer.cases for chosen in suites for behavior in chosen.behaviors):
            raise SpecError(
                f"{transfer.label} has no test case of any behavior in {', '.join(chosen.label for chosen in suites)}",
                hint="the ids must be those of the suite: check suite, split and limit",
            )


def uncovered(transfers: Sequence[TransferredCases], suites: Sequence[Chosen]) -> Iterator[str]:
    """Warnings of behaviors that a transfer has no test case of: they will be errors."""
    for transfer in transfers:
        for chosen in (chosen for chosen in suites if not chosen.benign):
            lacking = sum(behavior.id not in transfer.cases for behavior in chosen.behaviors)
            if lacking:
                of = f"{lacking} of {len(chosen.behaviors)} behaviors of {chosen.label}"
                yield f"{transfer.label} has no test case of {of}: they count as errors"


_FORM = '{BehaviorID: [text or [{"role": "user", "content": text}], ...]}'


def cases_file(path: str) -> TransferredCases:
    """Test cases from a JSON file in HarmBench's format: {BehaviorID: [text or list of messages, ...]}."""
    try:
        read = bounded.parse_json(path, bounded.read_text(path))
    except OSError as error:
        raise SpecError(
            f"cannot read test cases from {path}: {error}",
            hint="--cases-from takes the name of a run in this store, or a JSON file {BehaviorID: [test case, ...]}",
        ) from error
    if not isinstance(read, dict):
        raise SpecError(f"{path} is not an object of behavior ids", hint="{BehaviorID: [test case, ...]}")
    if "withstand_baseline" in read:
        raise SpecError(
            f"{path} is a baseline, which names test cases but does not hold them",
            hint="name the store of its run with --store",
        )
    cases = {}
    for name, entries in read.items():
        if not isinstance(entries, list):
            raise SpecError(f"{path}: {name} holds {type(entries).__name__}, not a list of test cases", hint=_FORM)
        cases[name] = tuple(TestCase(name, _chat(path, name, entry)) for entry in entries)
    return TransferredCases(f"cases:{Path(path).name}", cases)


def _chat(path: str, name: str, entry: Any) -> Chat:
    if isinstance(entry, str):
        return user(entry)
    try:
        chat = tuple(Message(turn["role"], turn.get("text", turn.get("content"))) for turn in entry)
        if chat and all(isinstance(m.text, str) and m.role in ("system", "user", "assistant", "tool") for m in chat):
            return chat
    except (TypeError, KeyError, AttributeError):
        pass
    raise SpecError(f"{path}: a test case of {name} is neither text nor a list of role and content", hint=_FORM)


def check_texts(rows: Iterable[Row]) -> None:
    """Raise `SpecError` for a row without its texts: what stands in their place must not be sent or judged."""
    if any(row.purged for row in rows):
        raise SpecError(
            "rows that this run builds on were purged: their texts are gone", hint="--fresh asks for everything again"
        )
