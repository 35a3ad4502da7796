"""Human: the verdicts of people. A rule of ours: the majority of those who labeled an answer, a tie left open.

People are the measure that other judges are held against (`withstand calibrate`). An answer is known by its behavior
and its text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from withstand.core import AskError, Behavior, Completion, Flow, Json, Verdict, at_least, digest
from withstand.formats.labels import Labeled, read_labels, said_by
from withstand.judges._members import Method


@dataclass(frozen=True, slots=True)
class Human:
    """Success if most people say that the answer shows the behavior, failure if most say that it does not; unscored
    where they are split. The score is the share of yes.

    path: a file of labels, as `withstand calibrate --labels` reads them; behaviors are matched by their id, or by text
        and context where a row has no id. What nobody has labeled there is unscored. Default "": the labels that
        `withstand label RUN` puts into the store. Until then a case waits: it counts as unscored, and its verdict is
        made by the next `withstand label` or run of the same spec. Such a judge cannot steer an attack or be a member
        of another judge: it knows no answer in advance.
    people: how many must have said yes or no of an answer, 1 or more, default 1; who is unsure leaves it to others. A
        verdict that was made stands, so that people who label later change no rate; `withstand calibrate` with
        `--labels run:RUN` tells how far they agree.

    Raises `SpecError` with file and row where the labels are wrong.
    """

    version: ClassVar[int] = 1
    guards: ClassVar[frozenset[str]] = frozenset()
    method: ClassVar[Method] = "people"
    asks: ClassVar[int] = 0
    path: str = ""
    people: int = 1

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"path": "kitchen"}

    def __post_init__(self) -> None:
        at_least(1, self, "people")
        if self.path:
            self.read()

    @property
    def waits(self) -> int:
        """How many people a run waits for before a verdict of this judge is made; 0 for none: it has a file."""
        return 0 if self.path else self.people

    def identity(self) -> Json:
        """Of the labels: another content of the file is another judge."""
        if not self.path:
            return ""
        return digest([[*_name(row.behavior), row.completion.text, list(row.votes)] for row in self.read()])

    def read(self) -> list[Labeled]:
        """The labels of the file."""
        return read_labels(self.path, _Any())[0]

    def grade(self, behavior: Behavior, completions: Sequence[Completion]) -> Flow[list[Verdict]]:
        yield from ()  # a flow that asks nothing
        if not completions:
            return []
        if not self.path:
            raise AskError(
                "the judge human has no labels of its own", hint="name a file of them: human:FILE (or label a run)"
            )
        path = Path(self.path).expanduser()
        known_votes = _votes(self, path.stat().st_mtime_ns if path.is_file() else 0)
        names = ((behavior.id,), (behavior.text, behavior.context))
        votes = [
            [v for name in names for v in known_votes.get((*name, completion.text), ())] for completion in completions
        ]
        return [said_by(labels, self.people) for labels in votes]


class _Any(dict[str, Behavior]):
    """A suite of which no more than the id is known."""

    def __contains__(self, name: object) -> bool:
        return bool(name)

    def __missing__(self, name: str) -> Behavior:
        return Behavior(name, "")


def _name(behavior: Behavior) -> tuple[str, ...]:
    return (behavior.text, behavior.context) if behavior.text else (behavior.id,)


@lru_cache(maxsize=4)
def _votes(judge: Human, changed: int) -> dict[tuple[str, ...], list[bool]]:
    """What people said of each answer, by behavior and text; read again where the file was `changed`."""
    del changed  # only the cache looks at it
    votes: dict[tuple[str, ...], list[bool]] = {}
    for row in judge.read():
        votes.setdefault((*_name(row.behavior), row.completion.text), []).extend(row.votes)
    return votes
