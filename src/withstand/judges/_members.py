"""What the judges share that are made of other judges."""

from collections.abc import Sequence
from typing import Literal

from withstand.core import Behavior, Completion, Flow, Judge, Verdict
from withstand.core.optional import optional
from withstand.core.records import nothing_to_judge

Method = Literal["string matching", "rule", "model", "people"]


def weakest(judges: Sequence[Judge]) -> Method:
    """The method that a rate of theirs has to be labeled with: one that matches strings makes all of it such a rate."""
    methods = {judge.method for judge in judges}
    ranked: tuple[Method, ...] = ("string matching", "model", "rule", "people")
    return next(method for method in ranked if method in methods)


def reads_all(judge: Judge, behavior: Behavior) -> bool:
    """Whether a member says itself what an empty or a blocked answer to this behavior is."""
    return bool(optional(judge, "reads_all")(behavior))


def graded(judge: Judge, behavior: Behavior, completions: Sequence[Completion]) -> Flow[list[Verdict]]:
    """A member's verdicts. It is not asked where nothing is to be judged, as the runner does it for a judge alone."""
    given = [None if reads_all(judge, behavior) else nothing_to_judge(completion) for completion in completions]
    asked = [completion for completion, verdict in zip(completions, given, strict=True) if verdict is None]
    verdicts = yield from judge.grade(behavior, asked)
    if len(verdicts) != len(asked):
        return verdicts  # as many as it gave, for the error that counts them
    rest = iter(verdicts)
    return [verdict or next(rest) for verdict in given]
