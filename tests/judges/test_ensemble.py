from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from cases import walk_cases
from withstand.core import Behavior, Completion, Flow, SpecError, Verdict, ask, user
from withstand.judges.contains import Contains
from withstand.judges.ensemble import Ensemble
from withstand.judges.kitchen import Kitchen
from withstand.judges.llm import LLM
from withstand.judges.refusal_words import RefusalWords
from withstand.models.scripted import Scripted
from withstand.registry import find

Play = Callable[[Any], Any]
LETTERS = {"s": "success", "f": "failure", "r": "refused", "u": "unscored"}


@dataclass(frozen=True)
class Votes:
    """Says what each letter of the answer stands for, at its own place."""

    method: ClassVar[str] = "rule"
    asks: ClassVar[int] = 0
    place: int

    def grade(self, behavior: Behavior, completions: Sequence[Completion]) -> Flow[list[Verdict]]:
        yield from ()
        return [Verdict(LETTERS[completion.text[self.place]], why=f"no. {self.place}") for completion in completions]


@dataclass(frozen=True)
class Costly(Votes):
    """Asks three times for each answer."""

    method: ClassVar[str] = "model"
    asks: ClassVar[int] = 3

    def grade(self, behavior: Behavior, completions: Sequence[Completion]) -> Flow[list[Verdict]]:
        yield from ask(Scripted(), [user("x")] * 3 * len(completions))
        return (yield from Votes.grade(self, behavior, completions))


@walk_cases(
    ("votes", "quorum", "outcome", "score"),
    [
        ("sss", 2, "success", 1.0), ("ssf", 2, "success", 2 / 3), ("sff", 2, "failure", 1 / 3),
        ("fff", 2, "failure", 0.0),
        ("srr", 2, "refused", 1 / 3), ("rrr", 2, "refused", 0.0), ("rrf", 2, "failure", 0.0),
        ("srf", 2, "failure", 1 / 3),
        ("ssu", 2, "success", 1.0), ("sfu", 2, "unscored", None), ("sru", 2, "unscored", None),
        ("ffu", 2, "failure", 0.0),
        ("suu", 2, "unscored", None), ("suu", 1, "success", 1.0), ("fuu", 1, "failure", 0.0),
        ("uuu", 1, "unscored", None),
        ("ssu", 3, "unscored", None), ("ssff", 2, "unscored", None), ("sssf", 4, "success", 0.75),
        ("sf", 1, "unscored", None),
    ],
)  # fmt: skip
def test_the_majority_of_those_that_could_say(
    play: Play, votes: str, quorum: int, outcome: str, score: float | None
) -> None:
    judge = Ensemble(tuple(Votes(place) for place in range(len(votes))), quorum)
    (verdict,) = play(judge.grade(Behavior("b", "t"), [Completion(user("q"), votes)])).value
    assert (verdict.outcome, verdict.score) == (outcome, score)
    for place, letter in enumerate(votes):
        assert f"Votes {LETTERS[letter]} (no. {place})" in verdict.why


@pytest.mark.parametrize(
    ("votes", "head"),
    [("sss", "agreed"), ("rff", "agreed"), ("ssu", "agreed"), ("ssf", "split"), ("sfu", "split"),
     ("uus", "1 of 3 could say"), ("uuu", "0 of 3 could say")],
)  # fmt: skip
def test_a_person_sees_at_once_where_they_disagree(play: Play, votes: str, head: str) -> None:
    judge = Ensemble(tuple(Votes(place) for place in range(3)))
    (verdict,) = play(judge.grade(Behavior("b", "t"), [Completion(user("q"), votes)])).value
    assert verdict.why.startswith(f"{head}: ")


def test_real_members(play: Play) -> None:
    judge = Ensemble((Kitchen(), RefusalWords(), Contains("oven")))
    texts = [
        "Mix flour and water, knead the dough, bake it in the oven.",
        "The oven is old.",
        "I'm sorry, but I can't.",
    ]
    verdicts = play(judge.grade(Behavior("b", "Bake bread"), [Completion(user("q"), text) for text in texts])).value
    assert [verdict.outcome for verdict in verdicts] == ["success", "success", "failure"]
    assert "Kitchen failure" in verdicts[1].why
    assert verdicts[1].why.startswith("split: ")


def test_every_member_is_asked_and_asks_are_their_sum(play: Play) -> None:
    judge = Ensemble((Costly(0), LLM(Scripted(reply="yes")), Votes(1), Costly(2)))
    played = play(judge.grade(Behavior("b", "t"), [Completion(user("q"), "sss"), Completion(user("q"), "fff")]))
    assert (judge.asks, sum(len(item.chats) for item in played.asks)) == (7, 14)
    assert [verdict.outcome for verdict in played.value] == ["success", "failure"]


@pytest.mark.parametrize(
    ("members", "method"),
    [
        ((Kitchen(), Contains("a")), "rule"),
        ((Kitchen(), LLM(Scripted())), "model"),
        ((RefusalWords(), LLM(Scripted())), "string matching"),
    ],
)
def test_its_rate_is_labeled_by_its_weakest_member(members: Any, method: str) -> None:
    assert Ensemble(members).method == method


@pytest.mark.parametrize(
    ("members", "quorum"), [((), 1), ((Kitchen(),), 1), ((Kitchen(),) * 2, 0), ((Kitchen(),) * 2, 3)]
)
def test_wrong_fields(members: Any, quorum: int) -> None:
    with pytest.raises(SpecError) as caught:
        Ensemble(members, quorum)
    assert caught.value.hint


def test_toml_and_the_command_line_can_say_it() -> None:
    wanted = Ensemble((Kitchen(), Contains("oven"), LLM(Scripted())), 3)
    assert find.build("judge", 'ensemble:["kitchen","contains:oven","llm:scripted"],quorum=3') == wanted
    members = ["kitchen", {"use": "contains", "pattern": "oven"}, {"use": "llm", "model": "scripted"}]
    assert find.build("judge", {"use": "ensemble", "judges": members, "quorum": 3}) == wanted
