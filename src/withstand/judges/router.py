"""Router: choose the judge of an answer by its behavior. Mazeika et al. 2024, arXiv:2402.04249.

HarmBench's tags choose its judge; which words lead to which judge is open here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from withstand.core import Behavior, Completion, Flow, Json, Judge, SpecError, Verdict
from withstand.judges._members import Method, graded, reads_all, weakest


@dataclass(frozen=True, slots=True)
class Router:
    """The verdicts of the first judge whose word fits the behavior; of `default` where none does.

    default: the judge of all other behaviors; no default.
    when: one word for each of `judges`, at least one, no default. It fits a behavior that has it as a tag, or as the
        head of a tag before a colon ("canary" fits `canary:SECRET`), or as its functional category.
    judges: the judges they lead to; no default.

    HarmBench's own rule (its classifier reads contexts by itself):

        judge = { use = "router", default = "harmbench-llama-2-13b-cls", when = ["hash_check"],
                  judges = ["copyright:signatures.json"] }

    On the command line: 'router:kitchen,when=["canary","tool"],judges=["canary","tool_called"]'
    """

    version: ClassVar[int] = 1
    guards: ClassVar[frozenset[str]] = frozenset()
    default: Judge
    when: tuple[str, ...]
    judges: tuple[Judge, ...]

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"default": "contains:Sure", "when": ["tool"], "judges": ["tool_called"]}

    def __post_init__(self) -> None:
        if len(self.when) != len(self.judges) or not self.when:
            raise SpecError(
                f"when has {len(self.when)} words and judges has {len(self.judges)}",
                hint="give one word for each judge, in the same order",
            )
        if twice := [word for word in self.when if self.when.count(word) > 1]:
            raise SpecError(f"when names {twice[0]!r} twice", hint="the first would always stand: leave one out")

    @property
    def method(self) -> Method:
        return weakest((self.default, *self.judges))

    @property
    def asks(self) -> int:
        return max(judge.asks for judge in (self.default, *self.judges))

    def grade(self, behavior: Behavior, completions: Sequence[Completion]) -> Flow[list[Verdict]]:
        return (yield from graded(self._judge_of(behavior), behavior, completions))

    def reads_all(self, behavior: Behavior) -> bool:
        """Whether the judge of this behavior does."""
        return reads_all(self._judge_of(behavior), behavior)

    def _judge_of(self, behavior: Behavior) -> Judge:
        words = {behavior.functional, *behavior.tags, *(tag.partition(":")[0] for tag in behavior.tags)}
        fitting = (judge for word, judge in zip(self.when, self.judges, strict=True) if word in words)
        return next(fitting, self.default)
