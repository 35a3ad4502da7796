"""The guard: any judge before or after the model."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest

from fakes import ByRule, InTurn, Prepared
from withstand import api
from withstand.core import (
    AskError,
    Behavior,
    Completion,
    Flow,
    Message,
    Model,
    Sampling,
    SpecError,
    Target,
    TestCase,
    UpperBounds,
    Verdict,
    ask,
    intercept,
    user,
)
from withstand.core.errors import DownError, FatalAskError
from withstand.defenses.erase_and_check import EraseAndCheck
from withstand.defenses.guard import Guard
from withstand.defenses.self_check import SelfCheck
from withstand.judges.contains import Contains
from withstand.judges.ensemble import Ensemble
from withstand.judges.guard import Guard as Moderator
from withstand.judges.llm import LLM
from withstand.judges.openai_moderation import OpenAIModeration
from withstand.models.scripted import Scripted
from withstand.registry import find
from withstand.runner.adaptive import knowledge
from withstand.runner.flows import defended

SAMPLING = Sampling(max_tokens=8)
TALK = (
    Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello"),
    Message("user", "Bake {it}", ("a.png",)), Message("assistant", "Sure:"),
)  # fmt: skip
seen: list[tuple[Behavior, Completion]] = []


@dataclass(frozen=True)
class Spy:
    """A judge whose score stands in the text, as in "0.7", and that keeps what it was shown. No number: unscored."""

    version: ClassVar[int] = 1
    method: ClassVar[Any] = "rule"
    asks: ClassVar[int] = 0
    name: str = "spy"
    scores: bool = True

    def grade(self, behavior: Behavior, completions: Sequence[Completion]) -> Flow[list[Verdict]]:
        yield from ()
        seen.extend((behavior, completion) for completion in completions)
        return [self.verdict(completion.text) for completion in completions]

    def verdict(self, text: str) -> Verdict:
        score = next((float(word) for word in text.split() if word.replace(".", "").isdigit()), None)
        if score is None:
            return Verdict("unscored", why="no number")
        return Verdict("success" if score >= 0.5 else "failure", score if self.scores else None)


@dataclass(frozen=True)
class Second(Spy):
    """Another judge, of the opposite opinion: 1 minus the number."""

    def verdict(self, text: str) -> Verdict:
        verdict = Spy.verdict(self, text)
        return verdict if verdict.score is None else Verdict(
            "failure" if verdict.outcome == "success" else "success", 1 - verdict.score
        )  # fmt: skip


def answered(play: Any, guard: Guard, texts: Sequence[str], model: Model | None = None) -> list[Completion]:
    model = model or Scripted()
    return play(guard.answer(model, [user(text) for text in texts], SAMPLING)).value


def test_a_prompt_is_blocked_before_the_model_is_asked(play):
    guard = Guard((Spy(),), refusal="No.")
    played = play(guard.answer(InTurn(["one", "two"]), [user("0.2"), user("0.7"), user("0.4")], SAMPLING))
    assert [item.chats for item in played.asks] == [(user("0.2"), user("0.4"))]
    passed, stopped, last = played.value
    assert (passed.text, passed.finish, passed.suspicion) == ("one", "stop", pytest.approx(0.4))
    assert (stopped.text, stopped.finish, stopped.chat) == ("No.", "filtered", user("0.7"))
    assert [(c.by, c.stage, c.blocked, c.failed) for c in stopped.checks] == [
        (f"guard:{find.name_of(Spy)}", "before", True, "")
    ]
    assert (stopped.suspicion, last.suspicion) == (pytest.approx(1.4), pytest.approx(0.8))
    assert guard.scan([user("0.2"), user("0.7")]) == pytest.approx([0.4, 1.4])
    assert (guard.suspicion, Guard((Spy(),), reads="answer").scan, guard.asks) == (None, None, 1)
    assert Guard((Spy(scores=False),)).scan([user("0.2"), user("0.7")]) == [0.0, 1.0]
    assert answered(play, Guard((Spy(scores=False),)), ["0.2"])[0].suspicion is None


def test_an_answer_is_withheld_and_its_cost_is_not(play):
    costly = Prepared(answer=Completion((), "0.9", prompt_tokens=3, answer_tokens=4, cost=0.5, flops=2.0))
    rater = Prepared(answer=Completion((), "yes", prompt_tokens=10, answer_tokens=1, cost=0.25, flops=1.0))
    guard = Guard((LLM(rater),), reads="answer")
    target = Target(costly, guard)
    [gone] = play(intercept(ask(target, [user("q")], SAMPLING), defended)).value
    assert (gone.text, gone.finish, gone.asks) == ("", "filtered", 2)
    assert (gone.prompt_tokens, gone.answer_tokens, gone.cost, gone.flops) == (13, 5, 0.75, 3.0)
    assert gone.checks[0].stage == "after"
    silent = Prepared(answer=Completion((), " "))
    assert answered(play, guard, ["q"], silent)[0].checks == ()  # nothing that could be read
    assert (guard.asks, replace(guard, judges=(LLM(rater, rubric="{generation}?"),), reads="both").asks) == (2, 3)


def test_what_a_judge_of_texts_reads(play):
    seen.clear()
    spy = replace(Guard((Spy(),), reads="both"), fails="open")
    play(spy.answer(InTurn(["0.1"]), [TALK], SAMPLING))
    (asked, prompt), (behavior, answer) = seen
    assert (asked, prompt.text, prompt.chat) == (Behavior("", ""), "Hi\n\nBake {it}\n\nSure:", ())
    assert (behavior, answer.text, answer.chat) == (Behavior("", "Hi\n\nBake {it}\n\nSure:"), "0.1", TALK)


@dataclass(frozen=True)
class Tired(Scripted):
    """A guard's model that nobody reaches after some answers."""

    place: ClassVar[str] = "tired"
    after: int = 3
    reply: str = "no"
    given: list[int] = field(default_factory=list, hash=False, compare=False, metadata={"key": False})

    def generate(self, chats: Sequence[Any], sampling: Sampling, seeds: Sequence[int]) -> list[Any]:
        self.given.extend(seeds)
        first = len(self.given) - len(chats)
        return [
            Completion(chat, self.reply) if first + place < self.after else DownError("nobody listens")
            for place, chat in enumerate(chats)
        ]


def test_a_guard_that_fails_in_mid_run(tmp_path):
    """What it could not say is an error, or counted; the run goes on where the spec says so, and nothing is safe."""
    ends = {}
    for fails in ("error", "open", "closed"):
        judge = {"use": "llm", "model": {"use": f"{__name__}:Tired"}, "rubric": "Ovens? {generation}"}
        run = api.run(
            {
                "suite": "kitchen", "limit": 12, "target": "scripted-kitchen", "attack": "direct", "benign": "none",
                "defense": {"use": "guard", "judges": [judge], "fails": fails},
            },
            store=tmp_path / f"{fails}.db",
        )  # fmt: skip
        [cell] = run.cells
        ends[fails] = [cell[name] for name in ("cases", "unscored", "filtered")]
        assert ("incomplete" in run.summary["run"]["state"]) == (fails == "error")
        assert (cell["asr_bounds"] or [0, 1])[1] >= {"error": 1, "open": 0, "closed": 9 / 12}[fails]
    assert ends == {"error": [12, 0, 0], "open": [12, 0, 0], "closed": [12, 9, 0]}


@dataclass(frozen=True)
class Plain:
    """An attack that sends a prompt without a word of the behavior."""

    version: ClassVar[int] = 1
    needs: frozenset[str] = frozenset()
    seed: int = 0

    def most(self) -> UpperBounds:
        return UpperBounds()

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        yield TestCase(behavior.id, user("0.1 plain"))


def test_no_guard_is_shown_the_behavior(tmp_path):
    seen.clear()
    (tmp_path / "s.csv").write_text("id,text,context,target,tags,category\nsecret1,secret2,secret3,secret4,secret5,x\n")
    suite = {
        "use": "csv", "path": str(tmp_path / "s.csv"), "context": "context", "target_string": "target", "tags": "tags",
    }  # fmt: skip
    api.run(
        {
            "suite": suite, "target": "scripted-kitchen", "attack": f"{__name__}:Plain", "judge": "contains:x",
            "defense": {"use": "guard", "judges": [f"{__name__}:Spy"], "reads": "both", "fails": "open"},
        },
        store=tmp_path / "s.db",
    )  # fmt: skip
    assert len(seen) == 2
    assert "secret" not in repr(seen)


UNSAFE = Completion((), "unsafe\nS1", logprobs=((("unsafe", -0.1), ("safe", -2.3)),))


def test_a_moderation_model_reads_a_prompt_as_a_turn_of_the_user(play):
    """Its template rates the last turn: an answer, even an empty one, would be rated in the prompt's place."""
    moderator = Moderator(Prepared(answer=UNSAFE))
    guard = Guard((moderator,))
    played = play(guard.answer(Scripted(), [TALK], SAMPLING))
    (item,) = played.asks
    assert item.chats == (
        (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Bake {it}\n\nSure:")),
    )
    assert played.value[0].suspicion == pytest.approx(0.9002 / 0.5, rel=1e-3)
    assert (guard.scan, guard.asks) == (None, 2)
    assert play(guard.suspicion(Scripted(), [user("a"), user("b")])).value == pytest.approx([1.8] * 2, rel=1e-3)
    policy = play(Guard((replace(moderator, policy="No soup."),)).answer(Scripted(), [user("Bake")], SAMPLING)).asks[0]
    assert policy.chats[0][0] == Message("system", "No soup.")
    assert policy.chats[0][1].text.startswith("[USER ")
    wild = "Harmful request: {}\nResponse refusal: n/a\nHarmful response: n/a"
    for word, blocked in (("yes", True), ("no", False)):
        said = Moderator(Prepared(answer=Completion((), wild.format(word))))
        assert answered(play, Guard((said,)), ["q"])[0].checks[0].blocked == blocked


def test_all_prompts_of_a_search_are_asked_about_at_once(play):
    """Each still bears its own cost, and one that the guard cannot read fails alone."""

    def rating(chat: Any, number: int) -> str:
        return {"q1": "yes", "q2": "hm", "q3": "no"}[chat[0].text.partition("? ")[2]]

    rater = LLM(ByRule(rule=rating), rubric="Ovens? {generation}")
    guard = Guard((rater,), fails="open", refusal="No.")
    played = play(guard.answer(Scripted(), [user(f"q{n}") for n in (1, 2, 3)], SAMPLING))
    assert [len(item.chats) for item in played.asks] == [3, 2]
    assert [(a.finish, bool(a.checks[0].failed)) for a in played.value] == [
        ("filtered", False), ("stop", True), ("stop", False)
    ]  # fmt: skip


def test_other_judges_that_ask_read_a_prompt_too(play):
    flagged = json.dumps({"flagged": True, "categories": ["a"], "scores": {"a": 0.3}})
    [answer] = answered(play, Guard((OpenAIModeration(Prepared(answer=Completion((), flagged))),)), ["q"])
    assert (answer.finish, answer.suspicion) == ("filtered", 1.0)  # its own flags decide, so that it is blocked
    own = LLM(Prepared(answer=Completion((), "yes")), rubric="Is this about ovens? {generation}")
    vote = Guard((Ensemble((own, Moderator(Prepared(answer=UNSAFE)))),))
    played = play(vote.answer(Scripted(), [TALK], SAMPLING))
    said = [item.chats[0][-1].text for item in played.asks]
    assert said == ["Is this about ovens? Hi\n\nBake {it}\n\nSure:", "Bake {it}\n\nSure:"]
    assert played.value[0].finish == "filtered"


def test_in_a_cascade_who_is_sure_decides(play):
    guard = Guard((Spy(), Second()), pass_below=(0.2,), block_above=(0.8,), threshold=0.75)
    low, high, unsure, mild = answered(play, guard, ["0.1", "0.9", "0.25", "0.5"])
    by = [answer.checks[0].by.rpartition(":")[2] for answer in (low, high, unsure, mild)]
    assert by == ["Spy", "Spy", "Second", "Second"]
    assert [answer.finish for answer in (low, high, unsure, mild)] == ["stop", "filtered", "filtered", "stop"]
    assert [answer.suspicion for answer in (low, high, unsure, mild)] == pytest.approx(
        [0.1 / 0.8, 0.9 / 0.8, 1.0, 0.5 / 0.75]
    )
    labels = Guard((Contains("oven"), Spy()), pass_below=(0.0,), block_above=(1.0,))
    assert [a.finish for a in answered(play, labels, ["the oven 0.1", "the pan 0.1", "the pan 0.6"])] == [
        "filtered", "stop", "filtered"
    ]  # fmt: skip


def test_who_cannot_say_leaves_it_to_the_next_and_the_last_fails(play):
    guard = Guard((Spy(), Contains("oven")), pass_below=(0.2,), block_above=(0.8,))
    assert [answer.finish for answer in answered(play, guard, ["the oven", "the pan"])] == ["filtered", "stop"]
    mute = Guard((Spy(),))
    with pytest.raises(AskError, match="could not say whether to block the prompt: no number") as caught:
        answered(play, mute, ["the pan"])
    assert "fails" in caught.value.hint
    [passed] = answered(play, replace(mute, fails="open"), ["the pan"])
    assert (passed.finish, passed.checks[0].failed, passed.unmeasured) == ("stop", "no number", "")
    [closed] = answered(play, replace(mute, fails="closed"), ["the pan"])
    assert (closed.finish, bool(closed.unmeasured), closed.suspicion) == ("filtered", True, None)
    assert [replace(mute, fails=fails).scan([user("x")]) for fails in ("error", "closed", "open")] == [
        [1.0],
        [1.0],
        [0.0],
    ]
    with pytest.raises(AskError, match="it gives no score, which a threshold needs"):
        answered(play, Guard((Contains("oven"),), threshold=0.5), ["the oven"])


@dataclass(frozen=True)
class Odd(Spy):
    """A judge that says one thing of everything."""

    says: Any = None

    def verdict(self, text: str) -> Any:
        return self.says


def test_what_is_no_verdict_or_no_score_passes_nothing(play):
    odd = [Verdict(label, score) for label in ("success", "failure") for score in (float("nan"), float("inf"), -1.0)]
    for says in [*odd, Verdict("blocked"), "failure", None]:  # type: ignore[arg-type]
        for threshold in (None, 0.5):
            judge = Odd(says=says)
            for defense in (Guard((judge,), threshold=threshold), EraseAndCheck(judge=judge, threshold=threshold)):
                with pytest.raises(AskError, match="which is no"):
                    play(defense.answer(Scripted(), [user("pan")], SAMPLING))
                [closed] = play(replace(defense, fails="closed").answer(Scripted(), [user("pan")], SAMPLING)).value
                assert "which is no" in closed.unmeasured


def test_an_unknown_form_and_a_model_that_is_down(play):
    odd = Guard((Moderator(Prepared(answer=Completion((), "I like soup"))),))
    with pytest.raises(FatalAskError, match=r"said 'I like soup'\. The known forms: Llama Guard"):
        answered(play, odd, ["q"])
    [closed] = answered(play, replace(odd, fails="closed"), ["q"])
    assert closed.unmeasured.startswith("guard:guard failed and blocked the prompt: the moderation model said")

    def down(item: Any) -> Flow[Any]:
        if item.model == odd.judges[0].model:
            assert item.spared
            raise AskError("nobody listens")
        return (yield item)

    flow = intercept(replace(odd, fails="open").answer(Scripted(), [user("q")] * 2, SAMPLING), down)
    assert [(a.finish, a.checks[0].failed) for a in play(flow).value] == [("stop", "nobody listens")] * 2


def test_a_search_does_not_go_on_without_the_guard_that_it_should_know(play):
    def down(item: Any) -> Flow[Any]:
        raise AskError("nobody listens")
        yield item

    asked = Prepared(answer=Completion((), "no"))
    for defense in (Guard((Moderator(asked),)), SelfCheck(asked, reads="prompt"), EraseAndCheck(model=asked)):
        flows = {
            fails: intercept(replace(defense, fails=fails).suspicion(Scripted(), [user("q")]), down)
            for fails in ("open", "closed", "error")
        }
        assert [play(flows[fails]).value for fails in ("open", "closed")] == [[0.0], [1.0]]
        with pytest.raises(AskError, match="nobody listens"):
            play(flows["error"])


WRONG = [
    ("guard", "guard needs judges"),
    ("guard:[]", "a guard needs a judge"),
    ("guard:kitchen,reads=thought", "reads = 'thought' does not fit"),
    ("guard:kitchen,fails=shut", "fails = 'shut' does not fit"),
    ("guard:kitchen,threshold=0", "threshold is 0"),
    ("guard:kitchen,threshold=1.5", "threshold is 1.5"),
    ("guard:human", "human waits for people"),
    ("guard:multiple_choice", "multiple_choice needs the behavior of a suite"),
    ("guard:refusal_words,reads=answer", "refusal_words needs the behavior of a suite, or calls all but refusals"),
    ("guard:canary", "canary needs the behavior"),
    ("guard:[\"ensemble:['kitchen','yes_no']\"]", "ensemble needs the behavior"),
    ("guard:llm:scripted", "llm cannot read a prompt alone"),
    ("guard:tool_called:x,reads=both", "tool_called cannot read a prompt alone"),
    ('guard:["kitchen","contains:x"]', "pass_below has 0 numbers for 2 judges"),
    ('guard:["kitchen","contains:x"],pass_below=0.5', "block_above has 0 numbers for 2 judges"),
    ('guard:["kitchen","contains:x"],pass_below=0.5,block_above=0.5', "pass_below is 0.5 and block_above 0.5"),
    ("guard:kitchen,pass_below=0.5", "pass_below has 1 numbers for 1 judges"),
    ('guard:["kitchen","kitchen"],pass_below=0,block_above=1', "the cascade holds kitchen twice"),
    (
        "guard:[\"kitchen\",\"ensemble:['kitchen','contains:x']\"],pass_below=0,block_above=1",
        "the cascade holds kitchen twice",
    ),
    ("guard:nobody", "no judge is called 'nobody'"),
]


def test_a_guard_that_cannot_be_is_an_error_that_says_why():
    for spec, message in WRONG:
        with pytest.raises(SpecError) as caught:
            find.build("defense", spec)
        assert message in str(caught.value), spec
        assert caught.value.hint, spec


def test_a_cascade_in_a_file_that_names_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.txt").write_text("ensemble:@c.txt")
    with pytest.raises(SpecError, match="ensemble contains itself") as caught:
        find.build("defense", "guard:@c.txt")
    assert "@" in caught.value.hint


def test_what_an_attack_knows_of_a_guard():
    gcg = replace(Plain(), needs=frozenset({"weights"}))
    asking = Guard((Moderator(Prepared(answer=UNSAFE)),))
    assert knowledge(gcg, Guard((Contains("oven"),))) == knowledge(gcg, asking) == "adaptive"
    assert knowledge(gcg, Guard((Contains("oven"),), reads="answer")) == "static"
    for reads, number in (("prompt", 2), ("answer", 2), ("both", 4)):
        texts = Guard((Contains("oven"),), reads=reads).bypasses
        assert len(texts) == number
        assert all("{prompt}" in text and text.format(prompt="x") for text in texts)


def test_a_judge_that_also_guards_the_answers_calls_nothing_safe(withstand):
    """What the guard misses its judge misses too: 0% broken is then no figure of the target."""
    run = ("run", "--suite", "kitchen", "--limit", 12, "--target", "scripted-kitchen", "--attack", "story")
    own = "judged by kitchen, which also blocks its answers"
    for reads, held in (("answer", True), ("prompt", False)):
        assert withstand(*run, "--defense", f"guard:kitchen,reads={reads}", "--name", reads).code == 0
        gate = withstand("gate", reads, "--max-asr", 0.9)
        assert ("its judge also blocks its answers, see the note" in gate.out, own in gate.err) == (held, held), gate
        assert not held or "UNDECIDED" in gate.out
        assert (own in withstand("report", reads, "--format", "md", "-o", "-").out) == held
