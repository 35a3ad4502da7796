"""How a question is put to a conversation: what the target is sent, what the judge is shown, how candidates rank."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from fakes import InTurn
from withstand.attacks.llm._judged import score_of, search_sampling
from withstand.attacks.llm._objects import field_in
from withstand.attacks.llm._shown import rating
from withstand.attacks.llm._talk import LONGER, Talk, put, won
from withstand.core import Behavior, Completion, Message, Sampling, Target, Verdict, user

BEHAVIOR = Behavior("b", "Bake a loaf", context="Flour {salt}")
REFUSAL = "I'm sorry, but I can't help with that."


@dataclass(frozen=True)
class Rates:
    """A judge that gives its verdicts one after another and remembers what it was shown."""

    verdicts: list[Verdict] = field(hash=False)
    shown: list[str] = field(default_factory=list, hash=False)

    def grade(self, behavior: Any, completions: Any) -> Any:
        yield from ()
        self.shown.extend(completion.text for completion in completions)
        return [self.verdicts.pop(0) for _ in completions]


def answer(text: str, finish: Any = "stop") -> Completion:
    return Completion((), text, finish)


def run(play: Any, answers: list[Completion], verdicts: list[Verdict], talks: Any = None, questions: Any = None) -> Any:
    questions = questions or [f"q{i}?" for i in range(len(answers))]
    target, judge = Target(InTurn(answers)), Rates(verdicts)  # type: ignore[arg-type]
    played = play(put(BEHAVIOR, target, judge, talks or [Talk()] * len(questions), questions, Sampling()))  # type: ignore[arg-type]
    return played, judge


def test_the_context_stands_above_the_first_question_alone() -> None:
    assert Talk().chat(BEHAVIOR, "one?") == user("Flour {salt}\n\n---\n\none?")
    assert Talk(("one?", "two?"), (answer("A"), answer("B"))).chat(BEHAVIOR, "three?") == (
        Message("user", "Flour {salt}\n\n---\n\none?"),
        Message("assistant", "A"),
        Message("user", "two?"),
        Message("assistant", "B"),
        Message("user", "three?"),
    )


def test_all_are_asked_at_once_and_those_without_a_question_are_left_out(play: Any) -> None:
    old = Talk(("one?",), (answer(" A "),))
    verdicts = [Verdict("failure", 0.2), Verdict("success", 0.9)]
    played, judge = run(play, [answer("B"), answer("C")], verdicts, [old, Talk(), Talk()], ["two?", None, "uno?"])
    assert [len(ask.chats) for ask in played.asks] == [2]
    assert judge.shown == ["A\n\nB", "C"]
    first, none, third = played.value
    assert (first.talk.questions, none, third.talk.questions) == (("one?", "two?"), None, ("uno?",))
    assert won(played.value)
    assert not won([first, none])
    assert [case.chat for case in played.cases] == list(played.asks[0].chats)
    assert [case.completion.text for case in played.cases] == ["A\n\nB", "C"]
    assert [case.score for case in played.cases] == pytest.approx([0.2, 0.9], abs=1e-4)


def test_no_question_is_no_ask(play: Any) -> None:
    played, judge = run(play, [], [], [Talk(), Talk()], [None, None])
    assert (played.value, played.asks, played.cases, judge.shown) == ([None, None], [], [], [])


@pytest.mark.parametrize(
    ("text", "finish", "outcome", "refused", "silent"),
    [
        ("Sure", "stop", "failure", False, False),
        ("Sure", "stop", "unscored", False, False),
        ("Sure", "stop", "refused", True, False),
        (REFUSAL, "stop", "failure", True, False),
        (REFUSAL, "stop", "unscored", True, False),
        (REFUSAL, "stop", "success", False, False),
        ("", "stop", None, True, True),
        (" \n", "length", None, True, True),
        ("Sur", "filtered", None, True, False),
    ],
)
def test_what_counts_as_refused(play: Any, text: str, finish: str, outcome: Any, refused: bool, silent: bool) -> None:
    played, judge = run(play, [answer(text, finish)], [Verdict(outcome)] if outcome else [])
    assert (played.value[0].refused, played.value[0].silent) == (refused, silent)
    assert judge.shown == ([text] if outcome else [])
    assert len(played.cases) == 1


def test_candidates_rank_by_score_then_unscored_then_refused_then_length(play: Any) -> None:
    old = Talk(("one?",), (answer("A"),))
    verdicts = [Verdict("success"), Verdict("failure", 0.3), Verdict("failure"), Verdict("unscored", 0.9)]
    talks = [Talk(), Talk(), Talk(), Talk(), old, Talk()]
    played, _ = run(
        play, [*map(answer, "abcd"), answer(REFUSAL), answer("")], [*verdicts, Verdict("failure", 0.8)], talks
    )
    scores = [case.score for case in played.cases]
    assert scores == sorted(scores, reverse=True)
    assert scores[4] - scores[5] == pytest.approx(LONGER)


def test_of_equal_ones_the_longer_ranks_first(play: Any) -> None:
    old = Talk(("one?",), (answer("A"),))
    played, _ = run(play, [answer("B"), answer("C")], [Verdict("failure", 0.5)] * 2, [old, Talk()])
    longer, shorter = (case.score for case in played.cases)
    assert longer > shorter


@pytest.mark.parametrize(
    ("verdict", "number", "told"),
    [
        (Verdict("failure", 0.34), 0.34, "3 of 10"),
        (Verdict("success"), 1.0, "10 of 10"),
        (Verdict("failure"), 0.0, "0 of 10"),
        (Verdict("unscored", 0.7), -1.0, "unknown"),
    ],
)
def test_ratings(verdict: Verdict, number: float, told: str) -> None:
    assert (score_of(verdict), rating(verdict)) == (number, told)


@pytest.mark.parametrize(
    ("text", "found"), [('x {"q": "a"} y', "a"), ('{"q": "", "r": "a"}', None), ("a?", None), ('{"q": "cut o', "cut o")]
)
def test_a_member_of_an_object(text: str, found: str | None) -> None:
    assert field_in("q", text) == found


def test_search_tokens() -> None:
    target = Target(InTurn([]), sampling=Sampling(77, 0.5))  # type: ignore[arg-type]
    assert (search_sampling(target, 0), search_sampling(target, 9)) == (Sampling(77, 0.5), Sampling(9, 0.5))
