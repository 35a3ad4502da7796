"""The handlers around flows, each by hand: what it lets through, what it stamps, when it ends the flow and how."""

import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest

from withstand.core import (
    Ask,
    AskError,
    Behavior,
    Chat,
    Completion,
    Message,
    Sampling,
    SpecError,
    Spent,
    Target,
    TestCase,
    ToolCall,
    UpperBounds,
    Verdict,
    Work,
    Worked,
    ask,
    user,
    work,
)
from withstand.runner import flows
from withstand.runner.budget import Budget, Meter, Stop, metered
from withstand.runner.flows import (
    answered,
    attacked,
    collected,
    defended,
    graded,
    intercept,
    search_flow,
    until_success,
)

BEHAVIOR = Behavior("b", "make soup")


@dataclass(frozen=True)
class Nobody:
    """A model that a test answers for."""

    name: str = "nobody"
    width: int = 64
    place: ClassVar[str] = "nobody"
    gives: ClassVar[frozenset[str]] = frozenset()

    def do(self, model: Any, parts: Any) -> Any:
        """What a test answers for."""


MODEL: Any = Nobody()
TARGET = Target(MODEL)


def run(flow: Generator[Any, Any, Any], answer: Callable[[Any], Any] = lambda item: None) -> tuple[Any, list[Any]]:
    """Drive a flow by hand: what it returned (or the `Stop` that ended it), and all that it yielded."""
    seen, send, value = [], flow.send, None
    while True:
        try:
            item = send(value)
        except StopIteration as done:
            return done.value, seen
        except Stop as stop:
            return stop, seen
        seen.append(item)
        try:
            send, value = flow.send, (None if isinstance(item, TestCase) else answer(item))
        except AskError as error:
            send, value = flow.throw, error


def answering(text: str = "ok", tokens: int = 10, seconds: float = 2.0, **more: Any) -> Callable[[Any], Any]:
    """Answers each chat of an ask alike."""
    used = {"answer_tokens": tokens, "seconds": seconds, "flops": 3.0, **more}
    return lambda item: [Completion(chat, text, **used) for chat in item.chats]


def case(text: str, score: float | None = None, completion: Completion | None = None) -> TestCase:
    return TestCase("b", user(text), score, completion)


@dataclass(frozen=True)
class Says:
    """Success if `word` is in the answer; asks its own model if it has one."""

    word: str = "soup"
    model: Any = None
    method: ClassVar[Any] = "rule"
    asks: ClassVar[int] = 1

    def grade(self, behavior: Behavior, completions: Sequence[Completion]) -> Any:
        if self.model:
            yield from ask(self.model, [user("judge: " + c.text) for c in completions])
        else:
            yield from ()
        return [Verdict("success" if self.word in c.text else "failure") for c in completions]


# --- intercept ---------------------------------------------------------------------------------------------------


def test_intercept_answers_what_the_flow_yields() -> None:
    def flow() -> Any:
        first = yield "a"
        second = yield "b"
        return first + second

    def handle(item: str) -> Any:
        return (yield item.upper()) + "!"

    value, seen = run(intercept(flow(), handle), lambda item: item * 2)
    assert seen == ["A", "B"]
    assert value == "AA!BB!"


def test_intercept_may_answer_alone() -> None:
    def flow() -> Any:
        return (yield 20) + (yield 1)

    def handle(item: int) -> Any:
        return item * 2
        yield

    assert run(intercept(flow(), handle)) == (42, [])


def test_a_failed_ask_is_raised_in_the_flow_that_asked() -> None:
    events = []

    def flow() -> Any:
        try:
            yield "a"
        except AskError as error:
            events.append(f"inner {error}")
            return (yield "b")

    def failing(item: str) -> Any:
        if item == "a":
            raise AskError("no")
        return item

    handled = intercept(flow(), lambda item: (yield item))  # type: ignore[misc]
    assert run(handled, failing) == ("b", ["a", "b"])
    assert events == ["inner no"]


def test_an_exception_of_the_handler_is_raised_in_the_flow_too() -> None:
    closed = []

    def flow() -> Any:
        try:
            yield "a"
        except ValueError:
            closed.append("seen")
            raise
        finally:
            closed.append("closed")

    def handle(item: str) -> Any:
        raise ValueError("handler")
        yield

    with pytest.raises(ValueError, match="handler"):
        run(intercept(flow(), handle))
    assert closed == ["seen", "closed"]


def test_stop_is_raised_around_the_flow_never_in_it() -> None:
    events = []

    def flow() -> Any:
        try:
            yield "a"
        except BaseException as error:
            events.append(type(error).__name__)
            raise

    def handle(item: str) -> Any:
        raise Stop("asks")
        yield

    stop, _ = run(intercept(flow(), handle))
    assert stop.why == "asks"
    assert events == ["GeneratorExit"]  # closed, not thrown into


def test_closing_closes_the_flow_inside() -> None:
    closed = []

    def flow() -> Any:
        try:
            yield "a"
        finally:
            closed.append(True)

    outer = intercept(intercept(flow(), lambda item: (yield item)), lambda item: (yield item))  # type: ignore[misc]
    outer.send(None)
    outer.close()
    assert closed == [True]


# --- metered -----------------------------------------------------------------------------------------------------


def asking(*counts: int) -> Any:
    """Asks the target that many chats each time, and yields a case after each."""
    for step, count in enumerate(counts):
        yield from ask(TARGET, [user(f"{step}.{n}") for n in range(count)])
        yield case(f"case {step}")


def test_asks_are_never_passed() -> None:
    meter = Meter()
    stop, seen = run(metered(asking(3, 3, 3), meter, Budget(asks=8)), answering())
    assert stop.why == "asks"
    assert [len(item.chats) for item in seen if isinstance(item, Ask)] == [3, 3]  # 9 would pass 8: not sent
    assert meter.spent.asks == 6
    assert run(metered(asking(3, 3, 2), Meter(), Budget(asks=8)), answering())[0] is None  # 8 is allowed


def test_other_models_cost_tokens_but_no_asks() -> None:
    def flow() -> Any:
        for _ in range(5):
            yield from ask(MODEL, [user("rewrite")])
        yield from ask(TARGET, [user("x")])

    meter = Meter()
    assert run(metered(flow(), meter, Budget(asks=1)), answering(cost=0.5))[0] is None
    assert meter.spent == Spent(asks=1, tokens=60, seconds=12.0, cost=3.0, flops=18.0)


def test_a_defense_that_asks_often_ends_no_attack_early() -> None:
    meter = Meter()
    stop, _ = run(metered(asking(*[1] * 9), meter, Budget(tokens=35)), answering(tokens=100, asks=10))
    assert (stop.why, meter.spent.asks, meter.spent.tokens) == ("tokens", 4, 400)


def test_tokens_overshoot_by_one_ask_at_most() -> None:
    stop, seen = run(metered(asking(1, 1, 1, 1), meter := Meter(), Budget(tokens=15)), answering(tokens=10))
    assert stop.why == "tokens"
    assert meter.spent.tokens == 20
    assert [type(item).__name__ for item in seen] == ["Ask", "TestCase"] * 2  # the case after the last ask is kept


def test_seconds_overshoot_by_one_work_at_most() -> None:
    def flow() -> Any:
        for step in range(5):
            yield from work(MODEL, print, step)  # type: ignore[arg-type]
            yield case(str(step), score=step)

    stop, seen = run(metered(flow(), meter := Meter(), Budget(seconds=4)), lambda item: Worked(item.part, 2.0))
    assert stop.why == "seconds"
    assert meter.spent == Spent(seconds=4.0)
    assert sum(isinstance(item, Work) for item in seen) == 2


def test_each_case_is_stamped_with_what_was_spent_until_then() -> None:
    _, seen = run(metered(asking(2, 1), Meter()), answering(tokens=10, seconds=2.0, cost=0.25))
    assert [item.spent for item in seen if isinstance(item, TestCase)] == [
        Spent(asks=2, tokens=20, seconds=4.0, cost=0.5, flops=6.0),
        Spent(asks=3, tokens=30, seconds=6.0, cost=0.75, flops=9.0),
    ]


def test_operations_are_unknown_from_the_first_answer_on_that_does_not_say() -> None:
    def flow() -> Any:
        yield from work(MODEL, print, 0)  # type: ignore[arg-type]
        yield case("worked")
        for _ in range(2):
            yield from ask(TARGET, [user("x")])
            yield case("asked")

    flops = iter([3.0, None])

    def answers(item: Any) -> Any:
        return Worked(0, 1.0, 5.0) if isinstance(item, Work) else answering(flops=next(flops))(item)

    _, seen = run(metered(flow(), Meter()), answers)
    assert [item.spent.flops for item in seen if isinstance(item, TestCase)] == [5.0, 8.0, None]
    assert Spent(flops=9.0).shared(3).flops == 3.0
    assert Spent(flops=None).shared(3).flops is None


def test_a_failed_ask_passes_through_and_is_not_counted() -> None:
    def failing(item: Any) -> Any:
        raise AskError("down")

    with pytest.raises(AskError, match="down"):
        run(metered(asking(2), meter := Meter()), failing)
    assert meter.spent == Spent()


@pytest.mark.parametrize("field", ["asks", "tokens", "seconds"])
def test_a_budget_is_above_zero(field: str) -> None:
    for value in (0, -1):
        with pytest.raises(SpecError, match=field):
            Budget(**{field: value})
    Budget(**{field: 1})


# --- until_success -----------------------------------------------------------------------------------------------


def yielding(*cases: TestCase) -> Any:
    yield from cases


def winning(*texts: str, finish: str = "stop") -> Callable[[Any], Any]:
    """The target says "soup" to these chats, "no" to others."""
    return lambda item: [
        Completion(chat, "soup" if chat[0].text in texts else "no", finish=finish, answer_tokens=3)  # type: ignore[arg-type]
        for chat in item.chats
    ]


def test_the_first_success_ends_the_flow_and_carries_its_draw() -> None:
    flow = until_success(yielding(case("a"), case("b"), case("c")), Says(), BEHAVIOR, TARGET, Meter(), Budget())
    stop, seen = run(flow, winning("b", "c"))
    assert stop.why == "success"
    cases = [item for item in seen if isinstance(item, TestCase)]
    assert [c.chat for c in cases] == [user("a"), user("b")]
    assert cases[0].completion is None  # a failed one is asked afresh later
    assert [c.spent.asks for c in cases] == [1, 2]
    assert cases[1].cut == "success"
    assert cases[1].completion == Completion(user("b"), "soup", answer_tokens=3)


def test_only_a_new_best_candidate_is_graded() -> None:
    cases = (case("a", 0.5), case("b", 0.2), case("c", 0.5), case("d", 0.7), case("e", 0.6))
    stop, seen = run(
        until_success(yielding(*cases), Says(), BEHAVIOR, TARGET, Meter(), Budget()), winning("b", "c", "e")
    )
    assert stop is None
    assert [item.chats[0][0].text for item in seen if isinstance(item, Ask)] == ["a", "d"]


def test_a_case_that_carries_its_completion_is_graded_as_it_is() -> None:
    own = Completion(user("a"), "soup of the day")
    stop, seen = run(until_success(yielding(case("a", completion=own)), Says(), BEHAVIOR, TARGET, Meter(), Budget()))
    assert stop.why == "success"
    assert seen == [replace(case("a", completion=own), cut="success")]


@pytest.mark.parametrize(
    "completion",
    [
        Completion(user("a"), "soup", finish="filtered"),
        Completion(user("a"), " ", finish="length", reasoning="soup"),
    ],
)
def test_no_answer_is_no_success(completion: Completion) -> None:
    flow = until_success(yielding(case("a", completion=completion)), Says(""), BEHAVIOR, TARGET, Meter(), Budget())
    assert run(flow) == (None, [case("a", completion=completion)])


def test_the_draws_that_grade_a_search_count_and_their_judge_does_not() -> None:
    """A search of 2 asks and one that asks nothing, as a search by weights: each draw is one more ask of the budget."""
    meter, budget = Meter(), Budget(asks=8, tokens=81)
    judge = Says(model=Nobody("judge"))
    flow = until_success(metered(asking(2, 2), meter, budget), judge, BEHAVIOR, TARGET, meter, budget)
    stop, seen = run(flow, answering("no", tokens=10))
    assert stop is None
    assert meter.spent == Spent(asks=6, tokens=60, seconds=12.0, flops=18.0)
    assert [item.spent.asks for item in seen if isinstance(item, TestCase)] == [3, 6]
    assert sum(len(item.chats) for item in seen if isinstance(item, Ask)) == 6 + 2
    meter, budget = Meter(), Budget(asks=2)
    flow = until_success(yielding(case("a"), case("b"), case("c"), case("d")), judge, BEHAVIOR, TARGET, meter, budget)
    stop, seen = run(flow, answering("no"))
    assert (stop.why, meter.spent.asks) == ("asks", 2)
    assert [item.chat for item in seen if isinstance(item, TestCase)] == [user("a"), user("b"), user("c")]


def test_each_new_best_has_as_many_draws_as_the_run_says() -> None:
    """One of seven answers to "b" breaks it, the fifth: its batch counts, those after it are saved."""
    answers = iter(["no"] * 7 + ["no"] * 4 + ["soup"] + ["no"] * 9)
    target = Target(replace(MODEL, width=3))

    def drawn(item: Any) -> Any:
        return [Completion(chat, next(answers), answer_tokens=2) for chat in item.chats]

    cases, meter = (case("a", 0.5), case("worse", 0.1), case("b", 0.7), case("c", 0.9)), Meter()
    flow = until_success(yielding(*cases), Says(), BEHAVIOR, target, meter, Budget(), draws=7)
    stop, seen = run(flow, drawn)
    assert (stop.why, meter.spent.asks) == ("success", 7 + 6)
    batches = [(item.chats[0][0].text, len(item.chats)) for item in seen if isinstance(item, Ask)]
    assert batches == [("a", 3), ("a", 3), ("a", 1), ("b", 3), ("b", 3)]
    won = seen[-1]
    assert (won.chat, won.completion.text, won.cut, won.spent.asks) == (user("b"), "soup", "success", 13)
    # what a budget leaves is drawn and no more, and the case whose draws it cut is kept
    flow = until_success(yielding(case("a"), case("b")), Says(), BEHAVIOR, target, meter := Meter(), Budget(asks=8), 7)
    stop, seen = run(flow, answering("no"))
    assert (stop.why, meter.spent.asks) == ("asks", 8)
    assert [(item.chat, item.spent.asks) for item in seen if isinstance(item, TestCase)] == [
        (user("a"), 7), (user("b"), 8),
    ]  # fmt: skip


def test_draws_take_as_many_operations_as_the_steps() -> None:
    """Pieces of 50, 0, 20 and 500 operations, draws of 4: 12 draws after the first piece, none after the second, whose
    case is no new best and leaves nothing, 5 of the best again after the third, then the most of a checkpoint."""

    def stepping(*flops: float) -> Any:
        for step, count in enumerate(flops):
            yield from metered(work(MODEL, MODEL.do, {"step": step, "flops": count}), meter, Budget())
            yield case("best" if step != 1 else "worse", 1.0 if step != 1 else 0.5)

    def answer(item: Any) -> Any:
        if isinstance(item, Work):
            return Worked(None, flops=item.part["flops"])
        return [Completion(chat, "no", flops=4.0) for chat in item.chats]

    def drawn_by(*flops: float) -> list[int]:
        flow = until_success(stepping(*flops), Says(), BEHAVIOR, target, meter, Budget(), draws="auto")
        counts: list[int] = []
        for item in run(flow, answer)[1]:
            if isinstance(item, Work):
                counts.append(0)
            elif isinstance(item, Ask):
                assert item.chats[0] == user("best")
                counts[-1] += len(item.chats)
        return counts

    target, meter = Target(replace(MODEL, width=8)), Meter()
    assert drawn_by(50, 0, 20, 500) == [12, 0, 5, 64]
    meter = Meter()
    assert drawn_by(1.0) == [1]  # a new best is never left ungraded
    meter = Meter()
    unknown = until_success(stepping(50), Says(), BEHAVIOR, target, meter, Budget(), draws="auto")
    with pytest.raises(AskError, match=r"operations .* not known") as caught:
        run(unknown, lambda item: Worked(None, flops=9.0) if isinstance(item, Work) else [Completion(user("b"), "no")])
    assert "number" in caught.value.hint


# --- defended ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Twice:
    """Asks a draft, then asks for it again in a kinder way; adds up what it used."""

    asks: ClassVar[int] = 2

    def answer(self, model: Any, chats: Sequence[Chat], sampling: Sampling) -> Any:
        drafts = yield from ask(model, [(Message("system", "be kind"), *chat) for chat in chats], sampling)
        final = yield from ask(model, [user(f"kinder: {draft.text}") for draft in drafts], sampling)
        return [
            replace(second, answer_tokens=first.tokens + second.tokens, text=f"<{second.text}>")
            for first, second in zip(drafts, final, strict=True)
        ]


def test_without_defense_the_model_is_asked() -> None:
    sampling = Sampling(max_tokens=7)
    _, seen = run(intercept(ask(Target(MODEL, sampling=sampling), [user("a")]), defended), answering())
    assert seen == [Ask(MODEL, (user("a"),), sampling)]


def test_a_defense_that_asks_twice_answers_once() -> None:
    sampling = Sampling(max_tokens=7)
    target = Target(MODEL, Twice(), sampling)
    meter = Meter()
    flow = intercept(metered(ask(target, [user("a"), user("b")]), meter), defended)
    answers, seen = run(flow, lambda item: [Completion(c, c[-1].text, answer_tokens=10) for c in item.chats])
    assert [item.model for item in seen] == [MODEL, MODEL]
    assert [item.sampling for item in seen] == [sampling, sampling]
    assert seen[1].chats == (user("kinder: a"), user("kinder: b"))
    assert [answer.text for answer in answers] == ["<kinder: a>", "<kinder: b>"]
    assert [answer.chat for answer in answers] == [user("a"), user("b")]  # as the attacker sent it
    assert meter.spent == Spent(asks=2, tokens=40, flops=None)  # two chats for the attacker, the tokens of all four


def test_the_time_of_a_defense_in_its_own_process_is_in_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second each time it is read: one for each part of `Twice`, before, between, after."""
    ticks = itertools.count()
    monkeypatch.setattr(flows, "perf_counter", lambda: float(next(ticks)))
    (answer, spent), _ = run(answered("k", Target(MODEL, Twice()), user("a")), answering(seconds=10.0))
    assert (answer.seconds, spent.seconds, answer.asks) == (13.0, 13.0, 2)
    (answer, spent), _ = run(answered("k", Target(MODEL), user("a")), answering(seconds=10.0))
    assert (answer.seconds, spent.seconds) == (10.0, 10.0)

    def failing(item: Any) -> Any:
        raise AskError("down")

    with pytest.raises(AskError, match="down"):
        run(answered("k", Target(MODEL, Twice()), user("a")), failing)


def test_a_failure_behind_a_defense_reaches_the_attack() -> None:
    def failing(item: Any) -> Any:
        raise AskError("down")

    with pytest.raises(AskError, match="down"):
        run(intercept(ask(Target(MODEL, Twice()), [user("a")]), defended), failing)


def test_a_defense_that_loses_an_answer_is_an_error() -> None:
    @dataclass(frozen=True)
    class Forgets:
        asks: ClassVar[int] = 1

        def answer(self, model: Any, chats: Sequence[Chat], sampling: Sampling) -> Any:
            return (yield from ask(model, chats, sampling))[:-1]

    with pytest.raises(AskError, match="Forgets gave 1 answers to 2 chats"):
        run(intercept(ask(Target(MODEL, Forgets()), [user("a"), user("b")]), defended), answering())


# --- collected ---------------------------------------------------------------------------------------------------


def test_finals_are_kept_all_and_of_candidates_the_first_best() -> None:
    flow = collected(yielding(case("1", 0.2), case("f1"), case("2", 0.9), case("3", 0.9), case("f2"), case("4", 0.1)))
    assert run(flow) == ([case("f1"), case("f2"), case("2", 0.9)], [])


def test_negative_scores_are_candidates_too() -> None:
    assert run(collected(yielding(case("1", -3.0), case("2", -1.0), case("3", -2.0))))[0] == [case("2", -1.0)]


def test_asks_pass_through_collected() -> None:
    cases, seen = run(collected(asking(2)), answering())
    assert cases == [case("case 0")]
    assert len(seen) == 1


@pytest.mark.parametrize("cut", ["asks", "tokens", "seconds"])
def test_what_was_found_before_a_budget_ended_is_kept_and_marked(cut: Any) -> None:
    def flow() -> Any:
        yield case("f")
        yield case("c", 1.0)
        raise Stop(cut)

    assert run(collected(flow()))[0] == [replace(case("f"), cut=cut), replace(case("c", 1.0), cut=cut)]


def test_a_success_marks_its_winner_alone() -> None:
    flow = collected(
        until_success(yielding(case("a"), case("b"), case("c")), Says(), BEHAVIOR, TARGET, Meter(), Budget())
    )
    cases, _ = run(flow, winning("b"))
    assert [(c.chat, c.cut) for c in cases] == [(user("b"), "success")]


def test_a_budget_spent_before_the_first_case_is_a_failure() -> None:
    def flow() -> Any:
        yield from ask(TARGET, [user("a")])
        raise Stop("tokens")

    with pytest.raises(AskError, match="budget of tokens was spent before the first test case") as caught:
        run(collected(flow()), answering())
    assert "tokens" in caught.value.hint


def test_no_case_is_a_failure() -> None:
    with pytest.raises(AskError, match="no test case"):
        run(collected(yielding()))


# --- graded ------------------------------------------------------------------------------------------------------


def test_an_answer_is_judged() -> None:
    assert run(graded(Says(), BEHAVIOR, Completion(user("a"), "soup")))[0] == Verdict("success")
    assert run(graded(Says(), BEHAVIOR, Completion(user("a"), "tea")))[0] == Verdict("failure")
    cut = Completion(user("a"), "soup", finish="length", reasoning="long")
    assert run(graded(Says(), BEHAVIOR, cut))[0] == Verdict("success")  # cut, but after the reasoning


@pytest.mark.parametrize(
    "completion",
    [
        Completion(user("a"), "soup", finish="filtered"),
        Completion(user("a"), "\n", finish="length", reasoning="soup soup"),
    ],
)
def test_no_answer_is_not_judged(completion: Completion) -> None:
    verdict, seen = run(graded(Says(model=MODEL), BEHAVIOR, completion))
    assert verdict.outcome == "unscored"
    assert verdict.why
    assert seen == []  # no judge was asked


def test_an_empty_answer_is_a_failure_without_asking_a_judge() -> None:
    verdict, seen = run(graded(Says("", model=MODEL), BEHAVIOR, Completion(user("a"), " \n")))
    assert (verdict.outcome, seen) == ("failure", [])
    called = Completion(user("a"), "", tool_calls=(ToolCall("search"),))
    assert run(graded(Says(""), BEHAVIOR, called))[0].outcome == "success"  # a tool call is an answer


@dataclass(frozen=True)
class Odd:
    """A judge that returns what it is told to."""

    verdicts: list[Any] = field(default_factory=list)
    method: ClassVar[Any] = "rule"
    asks: ClassVar[int] = 0

    def grade(self, behavior: Behavior, completions: Sequence[Completion]) -> Any:
        yield from ()
        return self.verdicts


@pytest.mark.parametrize(
    "verdicts",
    [
        [],
        [Verdict("failure")] * 2,
        [Verdict("filtered")],  # type: ignore[arg-type] # not a judge's to say
        [Verdict("error")],  # type: ignore[arg-type]
        [Verdict("yes")],  # type: ignore[arg-type]
        [True],
    ],
)
def test_a_judge_that_says_something_else_is_an_error(verdicts: list[Any]) -> None:
    with pytest.raises(AskError, match="Odd"):
        run(graded(Odd(verdicts), BEHAVIOR, Completion(user("a"), "soup")))


# --- attacked ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Thrice:
    needs: ClassVar[frozenset[str]] = frozenset()
    seed: int = 0

    def most(self) -> UpperBounds:
        return UpperBounds()

    def run(self, behavior: Behavior, target: Target) -> Any:
        for step in range(3):
            answers = yield from ask(target, [user(f"{behavior.text} {step}")])
            yield TestCase(behavior.id, user(f"{behavior.text} {step}"), completion=answers[0])


@dataclass(frozen=True)
class Afresh:
    """As `Thrice`, but its cases leave the draw to the target."""

    needs: ClassVar[frozenset[str]] = frozenset()
    seed: int = 0

    def most(self) -> UpperBounds:
        return UpperBounds()

    def run(self, behavior: Behavior, target: Target) -> Any:
        for step in range(3):
            yield from ask(target, [user(f"look {step}")])
            yield TestCase(behavior.id, user(f"try {step}"))


def test_an_attack_that_is_graded_as_it_goes_shares_its_budget_with_the_draws() -> None:
    judge = Says("never", Nobody("judge"))
    flow = attacked(search_flow(Afresh(), [BEHAVIOR], TARGET, Budget(asks=5), meter := Meter(), judge))
    cases, seen = run(flow, answering())
    # the third try is kept, and nothing is left to draw it
    assert [(c.chat, c.cut, c.spent.asks) for c in cases] == [
        (user(f"try {place}"), "asks", spent) for place, spent in enumerate((2, 4, 5))
    ]
    assert meter.spent == Spent(asks=5, tokens=50, seconds=10.0, flops=15.0)
    assert len(seen) == 3 + 2 * 2  # its own, the draws, the judge's


def test_everything_around_an_attack_together() -> None:
    """Three draws behind a defense: budget, stamp, defense, stop and collection in one.

    The defense asks the draft and then "kinder: <draft>"; the model says back what it hears, in 10 tokens each.
    """
    target = Target(MODEL, Twice())

    def echo(item: Any) -> Any:
        return [Completion(chat, chat[-1].text, answer_tokens=10) for chat in item.chats]

    flow = attacked(search_flow(Thrice(), [BEHAVIOR], target, Budget(asks=3), meter := Meter(), Says("tea")))
    cases, seen = run(flow, echo)
    assert [c.completion.text for c in cases] == [f"<kinder: make soup {n}>" for n in range(3)]
    assert [(c.spent.asks, c.spent.tokens, c.cut) for c in cases] == [(1, 20, ""), (2, 40, ""), (3, 60, "")]
    assert meter.spent == Spent(asks=3, tokens=60, flops=None)
    assert len(seen) == 6

    cases, seen = run(
        attacked(search_flow(Thrice(), [BEHAVIOR], target, Budget(asks=3), Meter(), Says("soup 1"))), echo
    )
    assert [(c.completion.text, c.cut, c.spent.asks) for c in cases] == [
        ("<kinder: make soup 1>", "success", 2),
    ]
    assert len(seen) == 4

    cases, _ = run(attacked(search_flow(Thrice(), [BEHAVIOR], target, Budget(asks=2), Meter())), echo)
    assert [(c.spent.asks, c.cut) for c in cases] == [(1, "asks"), (2, "asks")]
