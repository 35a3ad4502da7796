"""Handlers around flows: what cuts across every attack, judge and defense.

Their order around an attack, inside out: `metered` (stamps what was spent, holds the budget), `until_success` (grades
each new best, outside the budget), `defended` (puts the defense before the model), `collected` (keeps the test cases).
"""

import typing
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from withstand.core import (
    Ask,
    AskError,
    Attack,
    Behavior,
    Completion,
    Flow,
    JointAttack,
    Judge,
    Learned,
    Outcome,
    RejectedDrafts,
    SpecError,
    Spent,
    Target,
    TestCase,
    Verdict,
    Work,
    Worked,
    ask,
    intercept,
)

T = TypeVar("T")

Cut = Literal["asks", "tokens", "seconds", "success"]


class Stop(BaseException):
    """Ends a flow from outside: raised around it, never in it, so that what it yielded is kept."""

    def __init__(self, why: Cut, hint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Budget:
    """Hard caps per behavior and attack; None: no cap.

    `asks`: chats to the target, as the attacker sees it; an ask that would pass the cap is not sent. `tokens` of all
    roles and `seconds` are known afterwards: they overshoot by one ask at most.
    """

    asks: int | None = None
    tokens: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("asks", "tokens", "seconds"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise SpecError(f"budget: {name} is {value}; it must be above 0", hint="leave it out for no cap")

    def times(self, number: int) -> "Budget":
        """The budget of a joint attack on so many behaviors."""
        asks, tokens = (cap if cap is None else cap * number for cap in (self.asks, self.tokens))
        return Budget(asks, tokens, None if self.seconds is None else self.seconds * number)

    def spent_by(self, spent: Spent) -> Cut | None:
        """Which of the caps known afterwards is used up."""
        if self.tokens is not None and spent.tokens >= self.tokens:
            return "tokens"
        if self.seconds is not None and spent.seconds >= self.seconds:
            return "seconds"
        return None


class Meter:
    """What a flow has used so far, of all roles."""

    def __init__(self) -> None:
        self.spent = Spent()

    def add(self, item: Ask | Work | RejectedDrafts, answer: Any) -> None:
        """Add the answer to an item."""
        old = self.spent
        if isinstance(item, RejectedDrafts):
            self.spent = replace(old, refused=old.refused + item.refused, malformed=old.malformed + item.malformed)
            return
        if isinstance(answer, Worked):
            self.spent = replace(old, seconds=old.seconds + answer.seconds, flops=_plus(old.flops, answer.flops))
            return
        completions: list[Completion] = answer
        to_target = isinstance(item, Ask) and isinstance(item.model, Target)
        self.spent = replace(
            old,
            asks=old.asks + (len(completions) if to_target else 0),
            tokens=old.tokens + sum(c.tokens for c in completions),
            seconds=old.seconds + sum(c.seconds for c in completions),
            cost=old.cost + sum(c.cost for c in completions),
            flops=_plus(old.flops, *(c.flops for c in completions)),
        )


def _plus(*flops: float | None) -> float | None:
    """Their sum; not known where one of them is not."""
    counted = [count for count in flops if count is not None]
    return sum(counted) if len(counted) == len(flops) else None


def metered(flow: Flow[T], meter: Meter, budget: Budget = Budget()) -> Flow[T]:
    """Stamp each test case with what was spent, and stop the flow at its budget."""

    def handle(item: Any) -> Flow[Any]:
        if isinstance(item, TestCase):
            return (yield replace(item, spent=meter.spent))
        if isinstance(item, Learned):
            return (yield item)
        if isinstance(item, RejectedDrafts):
            meter.add(item, None)
            return None
        if (
            isinstance(item, Ask)
            and isinstance(item.model, Target)
            and budget.asks is not None
            and meter.spent.asks + len(item.chats) > budget.asks
        ):
            left = budget.asks - meter.spent.asks
            raise Stop("asks", f"the next step asks {len(item.chats)} at once, and {left} of {budget.asks} are left")
        if cut := budget.spent_by(meter.spent):
            raise Stop(cut)
        answer = yield item
        meter.add(item, answer)
        return answer

    return (yield from intercept(flow, handle))


def until_success(flow: Flow[T], judge: Judge, behavior: Behavior, target: Target) -> Flow[T]:
    """Grade each final test case and each new best candidate, and stop at the first that succeeds.

    The winner carries the completion that was graded, so that this very draw is what the run reports.
    """
    best: float | None = None

    def handle(item: Any) -> Flow[Any]:
        nonlocal best
        if isinstance(item, TestCase) and (item.score is None or best is None or item.score > best):
            best = best if item.score is None else item.score
            completion = item.completion or (yield from ask(target, [item.chat]))[0]
            verdict = yield from graded(judge, behavior, completion)
            if verdict.outcome == "success":
                yield replace(item, completion=completion, cut="success")
                raise Stop("success")
        return (yield item)

    return (yield from intercept(flow, handle))


def defended(item: Any) -> Flow[Any]:
    """Answer an ask to a target through its defense; the caller sees the chat it sent."""
    if not (isinstance(item, Ask) and isinstance(item.model, Target)):
        return (yield item)
    model, defense = item.model.model, item.model.defense
    if defense is None:
        return (yield replace(item, model=model))
    answers = yield from intercept(defense.answer(model, item.chats, item.sampling), defended)
    if len(answers) != len(item.chats):
        raise AskError(f"{type(defense).__name__} gave {len(answers)} answers to {len(item.chats)} chats")
    return [replace(answer, chat=chat) for answer, chat in zip(answers, item.chats, strict=True)]


def collected(flow: Flow[None]) -> Flow[list[TestCase]]:
    """The test cases a flow found: every final one, and of a behavior's candidates the best (highest score, first of
    equals).

    Of a search that stopped at its first success the winner alone: how many tries failed before it says how soon it
    came, which `spent` tells; counted as cases they would make a late success look like a small one.
    Raises `AskError` where there is none: a behavior without a test case was not attacked.
    """
    finals: list[TestCase] = []
    best: dict[str, TestCase] = {}
    cut: Cut | None = None
    hint = learned = ""

    def handle(item: Any) -> Flow[Any]:
        nonlocal learned
        if isinstance(item, Learned):
            learned = item.text
            return None
        if not isinstance(item, TestCase):
            return (yield item)
        if item.score is None:
            finals.append(item)
        else:
            kept = best.setdefault(item.behavior, item)
            if kept.score is None or item.score > kept.score:
                best[item.behavior] = item
        return None

    try:
        yield from intercept(flow, handle)
    except Stop as stop:
        cut, hint = stop.why, stop.hint
    cases = [*finals, *best.values()]
    if not cases and cut:
        raise AskError(
            f"the budget of {cut} was spent before the first test case",
            hint="; ".join(filter(None, [hint, f"raise [budget] {cut}"])),
        )
    if not cases:
        raise AskError("the attack made no test case")
    cases[0] = replace(cases[0], learned=learned)
    if cut == "success":
        return [case for case in cases if case.cut == "success"]
    if cut:
        return [replace(case, cut=cut) for case in cases]
    return cases


def graded(judge: Judge, behavior: Behavior, completion: Completion) -> Flow[Verdict]:
    """The judge's verdict on one completion, unless there is no answer to judge.

    An answer cut inside its reasoning is unscored, an empty one a failure whatever the judge would say. The caller
    deals with filtered completions: they have no verdict.
    """
    if given := nothing_to_judge(completion):
        return given
    verdicts = yield from judge.grade(behavior, [completion])
    name = type(judge).__name__
    if len(verdicts) != 1:
        raise AskError(f"{name} gave {len(verdicts)} verdicts for one completion")
    verdict = verdicts[0]
    if not isinstance(verdict, Verdict) or verdict.outcome not in typing.get_args(Outcome):
        raise AskError(f"{name} gave {verdict!r}, which is no verdict of {', '.join(typing.get_args(Outcome))}")
    return verdict


def nothing_to_judge(completion: Completion) -> Verdict | None:
    """What stands without any judge's word, None for an answer that has to be judged."""
    if completion.finish == "filtered":
        return Verdict("unscored", why="filtered before any answer")
    if completion.finish == "length" and completion.reasoning and not completion.text.strip():
        return Verdict("unscored", why="cut inside its reasoning: raise max_tokens")
    if not completion.text.strip() and not completion.tool_calls:
        return Verdict("failure", why="empty answer")
    return None


def attacked(
    attack: Attack, behavior: Behavior, target: Target, budget: Budget, meter: Meter, judge: Judge | None = None
) -> Flow[list[TestCase]]:
    """An attack with everything around it; `judge` ends it at its first success."""
    flow = metered(attack.run(behavior, target), meter, budget)
    if judge is not None:
        flow = until_success(flow, judge, behavior, target)
    return (yield from collected(intercept(flow, defended)))


def attacked_together(
    attack: JointAttack, behaviors: Sequence[Behavior], target: Target, budget: Budget, meter: Meter
) -> Flow[dict[str, list[TestCase]]]:
    """A joint attack with everything around it: the test cases of each behavior, by its id; none where it found none.

    The budget is that of one behavior times their number, and each behavior bears its share of what was spent.
    """
    share = len(behaviors)
    flow = metered(attack.run_together(behaviors, target), meter, budget.times(share))
    by_behavior: dict[str, list[TestCase]] = {behavior.id: [] for behavior in behaviors}
    for case in (yield from collected(intercept(flow, defended))):
        by_behavior[case.behavior].append(replace(case, spent=case.spent.shared(share)))
    return by_behavior
