"""The budget of one attack on one behavior: what its flow has spent, and where it is stopped."""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

from withstand.core import (
    Ask,
    Completion,
    Flow,
    Learned,
    RejectedDrafts,
    SpecError,
    Spent,
    Target,
    TestCase,
    Work,
    Worked,
    intercept,
)
from withstand.core.records import known_sum

T = TypeVar("T")

DRAFTS = tuple(field.name for field in fields(RejectedDrafts))
"""What is counted of an attacker's answers that are no test cases; columns of an attack's row."""

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
    roles and `seconds` are known afterwards: they overshoot by one ask at most. Of a defended target's tokens an
    answer's share of what the defense asked counts, else a defense that asks often would end the attacks on it early.
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

    def spent_by(self, meter: "Meter") -> Cut | None:
        """Which of the caps known afterwards is used up."""
        if self.tokens is not None and meter.tokens >= self.tokens:
            return "tokens"
        if self.seconds is not None and meter.spent.seconds >= self.seconds:
            return "seconds"
        return None


class Meter:
    """What a flow has used so far, of all roles. tokens: of those what its budget counts."""

    def __init__(self) -> None:
        self.spent = Spent()
        self.tokens = 0.0

    def add(self, item: Ask | Work | RejectedDrafts, answer: Any) -> None:
        """Add the answer to an item."""
        old = self.spent
        if isinstance(item, RejectedDrafts):
            self.spent = replace(old, **{name: getattr(old, name) + getattr(item, name) for name in DRAFTS})
            return
        if isinstance(answer, Worked):
            self.spent = replace(old, seconds=old.seconds + answer.seconds, flops=known_sum(old.flops, answer.flops))
            return
        completions: list[Completion] = answer
        to_target = isinstance(item, Ask) and isinstance(item.model, Target)
        self.tokens += sum(c.tokens / (max(1, c.asks) if to_target else 1) for c in completions)
        self.spent = replace(
            old,
            asks=old.asks + (len(completions) if to_target else 0),
            tokens=old.tokens + sum(c.tokens for c in completions),
            seconds=old.seconds + sum(c.seconds for c in completions),
            cost=old.cost + sum(c.cost for c in completions),
            flops=known_sum(old.flops, *(c.flops for c in completions)),
        )


def metered(flow: Flow[T], meter: Meter, budget: Budget = Budget()) -> Flow[T]:
    """Stamp each test case with what was spent, and stop the flow at its budget."""

    def handle(item: Any) -> "Flow[Any]":
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
            raise Stop("asks", f"the next step needs {len(item.chats)} asks, and {left} of {budget.asks} are left")
        if cut := budget.spent_by(meter):
            raise Stop(cut)
        answer = yield item
        meter.add(item, answer)
        return answer

    return (yield from intercept(flow, handle))
