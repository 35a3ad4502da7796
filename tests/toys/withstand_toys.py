"""Components of the tests' own, found as `withstand_toys:Class`; tests put this folder on the path."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from withstand.core import (
    AskError,
    Behavior,
    Chat,
    Completion,
    Flow,
    GuardCheck,
    Json,
    Message,
    Model,
    RejectedDrafts,
    Sampling,
    Target,
    TestCase,
    UpperBounds,
    Verdict,
    ask,
    digest,
    trajectory,
    user,
)


@dataclass(frozen=True)
class Steps:
    """A search of several turns: each asks two draws and rewrites its prompt from the better one."""

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset()
    steps: int = 4
    seed: int = 0

    def most(self) -> UpperBounds:
        return UpperBounds(cases=1, asks={"target": 2 * self.steps})

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        chat, sampling = user(behavior.text), Sampling(max_tokens=64, temperature=0.8)
        for _ in range(self.steps):
            answers = yield from ask(target, [chat, chat], sampling)
            scored = [(int(digest([self.seed, answer.text])[:8], 16) / 16**8, answer) for answer in answers]
            score, best = max(scored, key=lambda pair: pair[0])
            yield TestCase(behavior.id, chat, score=score)
            chat = user(f"{behavior.text} {digest([best.text, score])[:6]}")


@dataclass(frozen=True)
class Words:
    """One test case per word of the behavior; "crash" ends it with an error."""

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset()
    seed: int = 0

    def most(self) -> UpperBounds:
        return UpperBounds(cases=9)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        for word in behavior.text.split():
            if word == "crash":
                raise RuntimeError("the attack crashed")
            yield TestCase(behavior.id, user(word))


@dataclass(frozen=True)
class Late:
    """Keeps a candidate after one ask, and adds a last test case after two more."""

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset()
    seed: int = 0

    def most(self) -> UpperBounds:
        return UpperBounds(cases=2, asks={"target": 3})

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        yield from ask(target, [user("one")], Sampling())
        yield TestCase(behavior.id, user(f"{behavior.text} kept"), score=1.0)
        yield from ask(target, [user("two"), user("three")], Sampling())
        yield TestCase(behavior.id, user(f"{behavior.text} last"))


@dataclass(frozen=True)
class Together:
    """A joint search: each step asks once for all behaviors and gives each of them a candidate; "crash" ends it."""

    version: ClassVar[int] = 1
    surrogates: tuple[Model, ...] = ()
    steps: int = 3
    seed: int = 0
    needs: ClassVar[frozenset[str]] = frozenset()

    def most(self) -> UpperBounds:
        return UpperBounds(cases=1, asks={"target": self.steps})

    def run_together(self, behaviors: Sequence[Behavior], target: Target) -> Flow[None]:
        model = self.surrogates[0] if self.surrogates else target
        for step in range(self.steps):
            [answer] = yield from ask(model, [user(f"{step}: {' '.join(b.id for b in behaviors)}")], Sampling())
            if any(behavior.text == "crash" for behavior in behaviors):
                raise RuntimeError("the joint attack crashed")
            for behavior in behaviors:
                if behavior.text == "nothing":
                    continue
                yield TestCase(behavior.id, user(f"{behavior.text} {step}"), score=float(len(answer.text) * step))


@dataclass(frozen=True)
class Moody:
    """Says back what it hears, in 3 tokens and for 50 cents; "down" is an error, "filtered" is filtered."""

    version: ClassVar[int] = 1
    place: ClassVar[str] = "moody"
    gives: ClassVar[frozenset[str]] = frozenset({"turns"})
    hosts: ClassVar[tuple[str, ...]] = ()
    revision: str = ""
    mended: bool = field(default=False, metadata={"key": False})
    width: int = field(default=4, metadata={"key": False})
    lanes: int = field(default=1, metadata={"key": False})

    def identity(self) -> Json:
        return {"revision": self.revision}

    def check(self) -> None:
        pass

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        texts = [chat[-1].text for chat in chats]
        if "down" in texts and not self.mended:
            raise AskError("moody is down", hint="cheer it up")
        return [
            Completion(
                chat,
                text,
                finish="filtered" if text == "filtered" else "stop",
                prompt_tokens=1,
                answer_tokens=2,
                cost=0.5,
                seconds=0.25,
            )
            for chat, text in zip(chats, texts, strict=True)
        ]


@dataclass(frozen=True)
class Echo:
    """The answer's text is the outcome; "confused" is an error."""

    version: ClassVar[int] = 1
    method: ClassVar[Any] = "string matching"
    asks: ClassVar[int] = 0

    def grade(self, behavior: Behavior, completions: Sequence[Completion]) -> Flow[list[Verdict]]:
        yield from ()
        if any(completion.text == "confused" for completion in completions):
            raise RuntimeError("the judge is confused")
        return [Verdict(completion.text, 0.5, "as it says") for completion in completions]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Doubt:
    """Answers what the model says to its own first answer."""

    version: ClassVar[int] = 1
    asks: ClassVar[int] = 2

    def answer(self, model: Model, chats: Sequence[Chat], sampling: Sampling) -> Flow[list[Completion]]:
        drafts = yield from ask(model, chats, sampling)
        return (yield from ask(model, [user(f"Sure? {draft.text}") for draft in drafts], sampling))


@dataclass(frozen=True)
class Wall:
    """A guard that blocks what does not say please; and of a prompt of `stuck` it cannot say anything, and `fails`."""

    version: ClassVar[int] = 1
    asks: ClassVar[int] = 1
    word: str = "please"
    stuck: tuple[str, ...] = ()
    fails: str = "closed"

    def answer(self, model: Model, chats: Sequence[Chat], sampling: Sampling) -> Flow[list[Completion]]:
        answers = []
        for chat in chats:
            text = chat[-1].text
            stuck = "out of order" if "*" in self.stuck or text.split()[0] in self.stuck else ""
            blocks = self.fails == "closed" if stuck else self.word not in text
            check = GuardCheck("Wall", "before", None if stuck else 2.0 * blocks, blocks, stuck)
            [passed] = (
                [Completion(chat, "", finish="filtered")] if blocks else (yield from ask(model, [chat], sampling))
            )
            answers.append(replace(passed, checks=(check,)))
        return answers


@dataclass(frozen=True)
class Pleads:
    """Asks for the behavior, and where that is blocked or refused says please."""

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset()
    seed: int = 0

    def most(self) -> UpperBounds:
        return UpperBounds(cases=1, asks={"target": 1})

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        [answer] = yield from ask(target, [user(behavior.text)])
        stopped = answer.finish == "filtered" or answer.text == "refused"
        yield TestCase(behavior.id, user(f"{behavior.text} please" if stopped else behavior.text))


@dataclass(frozen=True)
class AskJudge:
    """Asks a model; success if it says yes."""

    version: ClassVar[int] = 1
    method: ClassVar[Any] = "model"
    asks: ClassVar[int] = 1
    model: Model

    def grade(self, behavior: Behavior, completions: Sequence[Completion]) -> Flow[list[Verdict]]:
        answers = yield from ask(self.model, [user(f"{behavior.text} | {c.text}") for c in completions])
        return [Verdict("success" if "yes" in answer.text else "failure") for answer in answers]


heard: list[str] = []


def answer(messages: list[dict[str, str]]) -> str:
    """A target for `function:withstand_toys:answer`."""
    heard.append(messages[-1]["content"])
    return "Here is what I can say."


@dataclass(frozen=True)
class Talk:
    """A conversation of some turns; its attacker lost two answers on the way. Each turn is a candidate."""

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"turns"})
    turns: int = 3
    seed: int = 0

    def most(self) -> UpperBounds:
        return UpperBounds(cases=1, asks={"target": self.turns}, drawn=True)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        chat: Chat = ()
        answers: list[Completion] = []
        for turn in range(self.turns):
            yield RejectedDrafts(refused=turn, malformed=1, long=2, repeated=turn, changed=1)
            chat += user(f"{behavior.text} {turn}")
            answers += yield from ask(target, [chat])
            yield TestCase(behavior.id, chat, score=float(turn), completion=trajectory(answers))
            chat += (Message("assistant", answers[-1].text),)


def spec_of_outcomes(folder: Path, behaviors: int, revision: str = "1", **outcomes: Sequence[int]) -> dict[str, Any]:
    """A run in which the behaviors with these numbers come to these outcomes, and the others to "refused".

    Outcomes are those of `Echo`, and "confused" and "down" for errors of the judge and of the target.
    """
    suite = folder / "behaviors.csv"
    suite.write_text("id,text,category\n" + "".join(f"b{i},b{i},even{i % 2}\n" for i in range(behaviors)))
    told = {f"b{i}": outcome for outcome, numbers in outcomes.items() for i in numbers}
    return {
        "suite": {"use": "csv", "path": str(suite), "category": "category"},
        "target": {"use": "withstand_toys:Oracle", "revision": revision, "told": sorted(told.items())},
        "attack": ["direct"],
        "judge": "withstand_toys:Echo",
    }


@dataclass(frozen=True)
class Oracle:
    """Answers each text with what it is told to; "down" is an error. Known by its revision alone, as an API."""

    version: ClassVar[int] = 1
    place: ClassVar[str] = "oracle"
    gives: ClassVar[frozenset[str]] = frozenset({"turns"})
    hosts: ClassVar[tuple[str, ...]] = ()
    told: tuple[tuple[str, str], ...] = field(default=(), metadata={"key": False})
    revision: str = ""
    width: int = field(default=1, metadata={"key": False})
    lanes: int = field(default=1, metadata={"key": False})

    def identity(self) -> Json:
        return {"revision": self.revision}

    def check(self) -> None:
        pass

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        answers = [dict(self.told).get(chat[-1].text.split()[0], "refused") for chat in chats]
        if "down" in answers:
            raise AskError("the oracle is down", hint="ask again")
        finish: Any = ["filtered" if answer == "filtered" else "stop" for answer in answers]
        return [Completion(chat, a, finish=f) for chat, a, f in zip(chats, answers, finish, strict=True)]
