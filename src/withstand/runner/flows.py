"""Handlers around flows: what cuts across every attack, judge and defense.

Their order around an attack, inside out: `metered` (stamps what was spent, holds the budget), `until_success` (grades
each new best; its draws count, its judge does not), `defended` (puts the defense before the model), `collected` (keeps
the test cases).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, TypeVar

from withstand.core import (
    Ask,
    AskError,
    Behavior,
    Chat,
    Completion,
    Flow,
    Judge,
    Learned,
    Model,
    Sampling,
    Spent,
    Target,
    TestCase,
    Verdict,
    ask,
    intercept,
    rng,
)
from withstand.core.guarding import known_verdict
from withstand.core.guards import randomized
from withstand.core.optional import optional
from withstand.core.records import nothing_to_judge
from withstand.runner.adaptive import informed, worded_anew
from withstand.runner.budget import Budget, Cut, Meter, Stop, metered
from withstand.runner.draws import Draws, Split
from withstand.runner.progress import Search, watched

T = TypeVar("T")


def until_success(
    flow: Flow[T],
    judge: Judge,
    behavior: Behavior,
    target: Target,
    meter: Meter,
    budget: Budget,
    draws: Draws = 1,
) -> Flow[T]:
    """Grade each final test case and each new best candidate by `draws` answers, and stop at the first that succeeds.

    The winner carries the completion that was graded, so that this very draw is what the run reports. A draw counts as
    the search's own ask does, so that a search by weights and one by asks have equal budgets. A case for whose draw
    nothing is left is kept ungraded. With draws "auto" a candidate that is no new best has the best drawn again, as far
    as `Split` allows. A case that carries its completion is graded as it is.
    """
    best: TestCase | None = None
    split = Split(draws)

    def drawn_of(case: TestCase, new: bool) -> "Flow[None]":
        """Draw and grade in batches of the target's width. Raises `Stop` at a success and at the end of the budget."""
        here = 0
        while (due := split.due(here, new, meter.spent)) > 0:
            left = due if budget.asks is None else max(1, budget.asks - meter.spent.asks)
            number = 1 if due == 1 else min(due, left, target.model.width)
            answers = yield from metered(ask(target, [case.chat] * number), meter, budget)
            split.add(answers)
            here += number
            yield from graded_until(replace(case, spent=meter.spent), answers)

    def graded_until(case: TestCase, answers: Sequence[Completion]) -> "Flow[None]":
        for answer in answers:
            if (yield from graded(judge, behavior, answer)).outcome == "success":
                yield replace(case, completion=answer, cut="success")
                raise Stop("success")

    def handle(item: Any) -> "Flow[Any]":
        nonlocal best
        if not isinstance(item, TestCase):
            return (yield item)
        new = item.score is None or best is None or item.score > (best.score or 0)
        if new and item.score is not None:
            best = item
        if item.completion is not None:
            if new:
                yield from graded_until(item, [item.completion])
            return (yield item)
        case, before = item if new else best, meter.spent
        try:
            if case is not None and case.completion is None:
                yield from drawn_of(case, new)
        except Stop as stop:
            if stop.why != "success":
                yield item if meter.spent == before else replace(item, spent=meter.spent)
            raise
        return (yield item if meter.spent == before else replace(item, spent=meter.spent))

    return (yield from intercept(flow, handle))


def behind(key: str = "") -> Callable[[Any], Flow[Any]]:
    """A handler that answers each ask to a target through its defense; the caller sees the chat it sent.

    key: names the flow. A randomized defense gets another seed for each flow, and for each time that it is asked the
    same chat there: nobody who attacks it knows its next draw.
    """
    seen: Counter[Chat] = Counter()

    def handle(item: Any) -> "Flow[Any]":
        if not (isinstance(item, Ask) and isinstance(item.model, Target)):
            return (yield item)
        model = item.model.model
        defense: Any = item.model.defense
        if defense is None:
            return (yield replace(item, model=model))
        if not (randomized(defense) and hasattr(defense, "seed")):
            return (yield from _through(defense, model, item.chats, item.sampling))
        draws: dict[int, list[int]] = {}
        for place, chat in enumerate(item.chats):
            draws.setdefault(seen[chat], []).append(place)
            seen[chat] += 1
        answers: dict[int, Completion] = {}
        for draw, places in draws.items():
            fresh = replace(defense, seed=rng(defense.seed, key, draw).getrandbits(32))
            chats = [item.chats[place] for place in places]
            answers |= zip(places, (yield from _through(fresh, model, chats, item.sampling)), strict=True)
        return [answers[place] for place in range(len(item.chats))]

    return handle


def _through(defense: Any, model: Model, chats: Sequence[Chat], sampling: Sampling) -> Flow[list[Completion]]:
    """The answers of a model behind a defense. `asks` of several chats is the mean, rounded up."""
    asked = 0

    def counted(inner: Any) -> "Flow[Any]":
        nonlocal asked
        asked += len(inner.chats) if isinstance(inner, Ask) else 0
        return (yield from defended(inner))

    answers = yield from intercept(defense.answer(model, chats, sampling), counted)
    if len(answers) != len(chats):
        raise AskError(f"{type(defense).__name__} gave {len(answers)} answers to {len(chats)} chats")
    asks = -(-asked // max(1, len(answers)))
    return [replace(answer, chat=chat, asks=asks) for answer, chat in zip(answers, chats, strict=True)]


def answered(key: str, target: Target, chat: Chat) -> Flow[tuple[Completion, Spent]]:
    """One answer to a chat, and what it took. Its seconds hold those that the defense took in this process, as for a
    classifier of its own. key: as in `behind`."""
    meter = Meter()
    flow = intercept(metered(ask(target, [chat]), meter), behind(key))
    if target.defense is None:
        [answer] = yield from flow
        return answer, meter.spent
    [answer], own = yield from timed(flow)
    spent = replace(meter.spent, seconds=meter.spent.seconds + own)
    return replace(answer, seconds=answer.seconds + own), spent


def timed(flow: Flow[T]) -> Flow[tuple[T, float]]:
    """What a flow returns, and the seconds that it ran itself, between what it yielded and what was sent to it."""
    send, value, own = flow.send, None, 0.0
    try:
        while True:
            began = perf_counter()
            try:
                item = send(value)
            except StopIteration as done:
                return done.value, own + perf_counter() - began
            own += perf_counter() - began
            try:
                send, value = flow.send, (yield item)
            except Exception as error:  # noqa: BLE001 - a failed ask is raised inside the flow that asked
                send, value = flow.throw, error
    finally:
        flow.close()


def defended(item: Any) -> Flow[Any]:
    """As `behind`, of an ask that stands alone."""
    return (yield from behind()(item))


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

    def handle(item: Any) -> "Flow[Any]":
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

    An answer cut inside its reasoning is unscored, an empty one a failure whatever the judge would say, unless it
    reads those too (`reads_all`). The caller deals with filtered completions: they have no verdict. Where a failed
    guard blocked, nobody knows what the model would have said: what is no success is unscored.
    """
    given = nothing_to_judge(completion)
    if given and (completion.unmeasured or not optional(judge, "reads_all")(behavior)):
        return given
    verdicts = yield from judge.grade(behavior, [completion])
    name = type(judge).__name__
    if len(verdicts) != 1:
        raise AskError(f"{name} gave {len(verdicts)} verdicts for one completion")
    verdict = known_verdict(judge, verdicts[0])
    if completion.unmeasured and verdict.outcome != "success":
        return Verdict("unscored", why=completion.unmeasured)
    return verdict


def search_flow(
    attack: Any,
    behaviors: Sequence[Behavior],
    target: Target,
    budget: Budget,
    meter: Meter,
    judge: Judge | None = None,
    search: Search | None = None,
    draws: Draws = 1,
) -> Flow[None]:
    """An attack's own search on a behavior, or of a joint attack on all of a suite, within its budget.

    budget: of one behavior; a joint attack has it once for each. judge: ends the search at its first success, of
    `draws` answers to each new best. search: learns how far it is.
    """
    if hasattr(attack, "run_together"):
        flow = metered(attack.run_together(behaviors, target), meter, budget.times(len(behaviors)))
    else:
        flow = metered(attack.run(behaviors[0], target), meter, budget)
    if informed(attack, target.defense):
        flow = worded_anew(flow, target.defense, {behavior.id for behavior in behaviors if behavior.benign})
    if search is not None:
        flow = watched(flow, search)
    return flow if judge is None else until_success(flow, judge, behaviors[0], target, meter, budget, draws)


def attacked(search: Flow[None], key: str = "") -> Flow[list[TestCase]]:
    """The test cases of a `search_flow`, with the defense before the target. key: names the search."""
    return collected(intercept(search, behind(key)))
