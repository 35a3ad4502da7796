"""Models and judges that stand in for real ones in tests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from withstand.core import Chat, Completion, Json, Sampling, Verdict, user
from withstand.models.scripted import Scripted


@dataclass(frozen=True)
class Fake:
    """A model in this process that answers chat by chat as `answer` says. Ours."""

    version: ClassVar[int] = 1
    place: ClassVar[str] = "fake"
    width: ClassVar[int] = 64
    lanes: ClassVar[int] = 1
    gives = frozenset[str]()
    hosts: ClassVar[tuple[str, ...]] = ()

    def identity(self) -> Json:
        return {}

    def check(self) -> None:
        pass

    def answer(self, chat: Chat, seed: int) -> Completion | str:
        """The answer, or its text."""
        raise NotImplementedError

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        answers = [self.answer(chat, seed) for chat, seed in zip(chats, seeds, strict=True)]
        return [
            answer if isinstance(answer, Completion) else Completion(chat, answer)
            for chat, answer in zip(chats, answers, strict=True)
        ]


@dataclass(frozen=True)
class InTurn(Fake):
    """Gives its answers one after another; where it `repeats`, the last one forever."""

    answers: list[Any] = field(hash=False)
    gives: frozenset[str] = frozenset({"prefill"})
    repeats: bool = False

    def answer(self, chat: Chat, seed: int) -> Completion | str:
        answer: Completion | str = self.answers[0] if self.repeats and not self.answers[1:] else self.answers.pop(0)
        return answer


@dataclass(frozen=True)
class ByRule(Fake):
    """Answers by `rule(chat, number of chats before)` and remembers the chats."""

    rule: Callable[[Any, int], str]
    gives: frozenset[str] = frozenset({"system", "turns", "prefill"})
    chats: list[Any] = field(default_factory=list, hash=False)
    finish: Any = "stop"

    def answer(self, chat: Chat, seed: int) -> Completion:
        self.chats.append(chat)
        return Completion(chat, self.rule(chat, len(self.chats) - 1), finish=self.finish)


@dataclass(frozen=True)
class Prepared(Scripted):
    """Gives one prepared answer, its logprobs and finish included."""

    answer: Completion = field(default=Completion(user("q"), ""))

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        return [replace(self.answer, chat=chat) for chat in chats]


class PreparedText(Prepared):
    """A prepared model that gives nothing beyond text."""

    gives: ClassVar[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class Rates:
    """A judge by a rule on the text; it remembers what it read. Ours."""

    rule: Callable[[str], Verdict]
    asks: int = 1
    read: list[str] = field(default_factory=list, hash=False)
    version: ClassVar[int] = 1
    method: ClassVar[str] = "rule"

    def grade(self, behavior: Any, completions: Sequence[Completion]) -> Any:
        yield from ()
        self.read.extend(completion.text for completion in completions)
        return [self.rule(completion.text) for completion in completions]
