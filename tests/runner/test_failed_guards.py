"""A guard that could not say and blocked: what is then known of the model is nothing, and no figure calls it safe."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from withstand import api
from withstand.core import (
    AskError,
    Behavior,
    Chat,
    Completion,
    Flow,
    GuardCheck,
    Model,
    Sampling,
    SpecError,
    ToolCall,
    Verdict,
    ask,
    trajectory,
    user,
)
from withstand.core.errors import DownError
from withstand.core.records import nothing_to_judge
from withstand.defenses._blocked import Failed, check_fails, could_not_say, tried
from withstand.defenses._sums import given
from withstand.models.scripted import Scripted
from withstand.results.cases import cases
from withstand.runner.flows import graded
from withstand.runner.stages import verdict_job
from withstand.store.purge import purge

CLOSED = (GuardCheck("mute", "before", blocked=True, failed="no form"),)
OPEN = (GuardCheck("mute", "before", failed="no form"),)
CHAT = user("Bake")


@dataclass(frozen=True)
class Down(Scripted):
    """A guard's model at which nobody listens."""

    place = "down"

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        raise DownError("nobody listens")


@dataclass(frozen=True)
class Mute:
    """A guard before the model that asks a model which is down."""

    version: ClassVar[int] = 1
    asks: ClassVar[int] = 2
    fails: Any = "error"

    def answer(self, model: Model, chats: Sequence[Chat], sampling: Sampling) -> Flow[list[Completion]]:
        outcome = yield from tried(ask(Down(), chats), self.fails)
        assert isinstance(outcome, Failed)
        check = could_not_say("mute", "before", outcome.why, self.fails)
        if check.blocked:
            return [given(chat, None, (check,), ()) for chat in chats]
        answers = yield from ask(model, chats, sampling)
        return [replace(answer, checks=(check,)) for answer in answers]


@dataclass(frozen=True)
class Says:
    """A judge of one opinion, which reads empty and blocked answers too."""

    outcome: Any
    method: ClassVar[Any] = "rule"
    asks: ClassVar[int] = 0

    def reads_all(self, behavior: Behavior) -> bool:
        return True

    def grade(self, behavior: Behavior, completions: Sequence[Completion]) -> Flow[list[Verdict]]:
        yield from ()
        return [Verdict(self.outcome) for _ in completions]


def test_a_guard_that_fails_closed_everywhere_is_never_safe(tmp_path, withstand):
    store = tmp_path / "s.db"
    spec = {
        "suite": "kitchen", "limit": 12, "target": "scripted-kitchen", "attack": ["direct", "story"],
        "defense": {"use": f"{__name__}:Mute", "fails": "closed"}
    }  # fmt: skip
    with api.open_store(store) as opened:
        run = api.run(spec, store=opened, name="closed")
        assert run.summary["run"]["state"] == "complete"  # a guard that is down does not end the run
        for cell in run.cells:
            assert cell["unscored"] == cell["cases"] > 0
            assert [cell[name] for name in ("asr", "over_refusal", "filtered", "refused")] == [None, None, 0, 0]
        verdicts = [case["why"] for case in run.cases()]
        assert set(verdicts) == {"mute failed and blocked the prompt: nobody listens"}
        assert not run.result.worst  # nothing of which it could be said
    gate = withstand("gate", "closed", "--max-asr", 0.5, "--store", store)
    assert (gate.code, "UNDECIDED" in gate.out, "PASS" in gate.out) == (3, True, False)
    report = withstand("report", "closed", "--store", store, "--format", "md").out
    assert ("not measured" in report, " 0%" in report) == (True, False)


@dataclass(frozen=True)
class Quoting(Mute):
    """A guard whose failure quotes what it read."""

    def answer(self, model: Model, chats: Sequence[Chat], sampling: Sampling) -> Flow[list[Completion]]:
        yield from ()
        return [
            given(chat, None, (could_not_say("mute", "before", f"QUOTED {chat[-1].text}", "closed"),), ())
            for chat in chats
        ]


def test_a_case_says_what_its_guards_did_and_a_purge_erases_what_they_quote(tmp_path):
    with api.open_store(tmp_path / "s.db") as store:
        spec = {"suite": "kitchen", "limit": 2, "target": "scripted-kitchen", "attack": "direct", "benign": "none"}
        run = api.run(spec | {"defense": f"{__name__}:Quoting"}, store=store)
        case = next(cases(store, run.row))
        assert case.stopped == ["mute blocked the prompt, since it could not say"]
        [check] = next(run.cases())["checks"]
        assert check["failed"].startswith("QUOTED")
        purge(store, run.row, "ana")
    assert b"QUOTED" not in (tmp_path / "s.db").read_bytes()
    scores = (GuardCheck("g", "before", 0.4), GuardCheck("g", "after", 1.5, blocked=True))
    assert [check.in_words for check in scores] == [
        "g passed the prompt at 0.40 of its limit", "g blocked the answer at 1.50 of its limit"
    ]  # fmt: skip
    assert replace(case, finish="length", checks=()).stopped == ["cut at max_tokens"]
    assert replace(case, finish="filtered", checks=()).stopped == ["stopped by the target's own filter"]
    assert replace(case, finish="filtered", checks=scores).stopped == [check.in_words for check in scores]


def test_open_is_judged_and_closed_is_not(play):
    judge = Says("failure")
    job = verdict_job(judge, "judge", Behavior("b", "Bake"), Completion(CHAT, "no", checks=OPEN), (), True)
    shut = verdict_job(judge, "judge", Behavior("b", "Bake"), Completion(CHAT, "", "filtered", checks=CLOSED), (), True)
    real = verdict_job(judge, "judge", Behavior("b", "Bake"), Completion(CHAT, "", "filtered"), (), True)
    assert [play(one.flow()).value[0].label for one in (job, shut, real)] == ["failure", "unscored", "failure"]
    assert shut.keys != real.keys  # what was blocked for a reason lends its verdict to no failure
    assert nothing_to_judge(Completion(CHAT, "", "filtered", checks=CLOSED)).outcome == "unscored"


@pytest.mark.parametrize(
    ("outcome", "verdict"), [("success", "success"), ("failure", "unscored"), ("refused", "unscored")]
)
def test_a_conversation_with_a_failed_turn_is_broken_or_unscored(play, outcome, verdict):
    lost, given = Completion(CHAT, "", "filtered", checks=CLOSED), Completion(CHAT, "no", checks=OPEN)
    for talk in ([lost, given], [given, lost]):
        assert play(graded(Says(outcome), Behavior("b", "Bake"), trajectory(talk))).value.outcome == verdict


def test_a_filter_at_the_end_of_a_conversation_takes_nothing_back():
    given, silent = Completion(CHAT, "Mix it."), Completion(CHAT, "")
    stopped = Completion(CHAT, "", "filtered", checks=(GuardCheck("g", "after", 2.0, blocked=True),))
    called = Completion(CHAT, "", tool_calls=(ToolCall("oven"),))
    assert [trajectory([first, stopped]).finish for first in (given, called, silent)] == ["stop", "stop", "filtered"]
    assert trajectory([given, stopped]).checks == stopped.checks
    assert trajectory([stopped, given]).checks == ()
    assert trajectory([stopped]) == stopped


def test_fails_is_the_error_the_pass_or_the_block(play):
    assert could_not_say("g", "after", "why", "open") == GuardCheck("g", "after", failed="why")
    assert could_not_say("g", "after", "why", "closed") == GuardCheck("g", "after", blocked=True, failed="why")
    with pytest.raises(AskError, match="g could not say whether to block the answer: why") as caught:
        could_not_say("g", "after", "why", "error")
    assert "fails" in caught.value.hint
    with pytest.raises(SpecError, match="fails is 'shut'"):
        check_fails("shut")

    def failed(fails):
        flow = tried(ask(Down(), [CHAT]), fails)
        assert next(flow).spared == (fails != "error")
        flow.throw(AskError("down"))

    with pytest.raises(AskError, match="down"):
        failed("error")
    with pytest.raises(StopIteration) as ended:
        failed("open")
    assert ended.value.value == Failed("down")
