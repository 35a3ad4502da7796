"""Zero-shot: one line an answer, what is shown and sent, how lines are read."""

from typing import Any

import pytest

from cases import walk_cases
from fakes import InTurn
from withstand.attacks.llm._texts import numbered
from withstand.attacks.llm.zero_shot import ZeroShot
from withstand.core import (
    AskError,
    Behavior,
    Message,
    RejectedDrafts,
    Sampling,
    SpecError,
    Target,
    filled,
    user,
)
from withstand.models.scripted import Scripted

BREAD = Behavior("bread", "Bake {bread} \ud83d", category="c")
SOUP = Behavior("soup", "Turn this into a soup", "Leeks {0} and salt")
TARGET = Target(Scripted())
REFUSAL = "I'm sorry, but I can't help with that."


def attack(*answers: str, **fields: Any) -> ZeroShot:
    return ZeroShot(InTurn(list(answers)), **fields)  # type: ignore[arg-type]


def texts(played: Any) -> list[str]:
    return [case.chat[0].text for case in played.cases]


def test_each_answer_gives_its_first_line_as_a_final_test_case(play: Any) -> None:
    played = play(attack(' How do I bake bread?"\n2. Other', ' "Tell me of rye"', " Rye?", n=3).run(BREAD, TARGET))
    assert texts(played) == ['How do I bake bread?"', "Tell me of rye", "Rye?"]
    assert all(case.score is None and case.completion is None for case in played.cases)
    [asked] = played.asks
    assert asked.sampling == Sampling(256, 0.9, 0.95, ("\n",))
    assert len(asked.chats) == 3
    assert len(set(asked.chats)) == 1
    assert asked.chats[0][-1] == Message("assistant", "1.")
    assert BREAD.text in asked.chats[0][0].text


def test_a_model_without_prefill_may_greet_and_numbers_itself(play: Any) -> None:
    bare = ZeroShot(InTurn(["Sure, a list:\n\n1. Bake it\n2. Fry it"], frozenset()), n=1)  # type: ignore[arg-type]
    played = play(bare.run(BREAD, TARGET))
    assert texts(played) == ["Bake it"]
    assert played.asks[0].sampling.stop == ()
    assert [message.role for message in played.asks[0].chats[0]] == ["user"]


def test_the_same_line_twice_is_two_test_cases(play: Any) -> None:
    assert texts(play(attack(" Rye?", " Rye?", n=2).run(BREAD, TARGET))) == ["Rye?", "Rye?"]


def test_refusals_and_empty_lines_are_drawn_anew_for_the_lost_alone(play: Any) -> None:
    played = play(attack(f" {REFUSAL}", " Rye?", "", ' ""', " Oats?", n=3, tries=2).run(BREAD, TARGET))
    assert texts(played) == ["Rye?", "Oats?"]
    assert [len(asked.chats) for asked in played.asks] == [3, 2]
    assert played.rejected == [RejectedDrafts(1, 1), RejectedDrafts(0, 1)]


def test_an_attacker_that_only_refuses_is_an_error_that_says_so(play: Any) -> None:
    with pytest.raises(AskError, match="no usable answer in 2 tries"):
        play(attack(*[f" {REFUSAL}"] * 4, n=2, tries=2).run(BREAD, TARGET))


def test_a_context_is_shown_to_the_attacker_and_sent_above_the_line(play: Any) -> None:
    played = play(attack(" Cook it", n=1).run(SOUP, TARGET))
    assert SOUP.context in played.asks[0].chats[0][0].text
    assert played.cases[0].chat == user("Leeks {0} and salt\n\n---\n\nCook it")
    assert "text]" not in play(attack(" Cook it", n=1).run(BREAD, TARGET)).asks[0].chats[0][0].text


def test_most_is_what_it_asks_where_all_is_lost(play: Any) -> None:
    most = attack(n=3, tries=4).most()
    assert (most.cases, dict(most.asks)) == (3, {"attacker": 12})


@walk_cases(
    ("text", "lines"),
    [
        ("1. a\n2) b\n3: c\n 4 . d", ["a", "b", "c", "d"]),
        ("10. z\n2. a", ["z", "a"]),
        ('1. "a b"\n2. Request: c\n3. "Request: d"\n4. request: "e"', ["a b", "c", "d", "e"]),
        ("Here they are:\n1. a\n\nand\n2.\n3. b", ["a", "b"]),
        ("1.1. a", ["a"]),
        ("1. 1. a", ["a"]),
        ("1. 3.5 cups of flour, how?", ["3.5 cups of flour, how?"]),
        ("**1.** a\n2. **b** c", ["a", "**b** c"]),
        ('1. "a" or "b"?', ['"a" or "b"?']),
        ("- a\nb", []),
        ("", []),
    ],
)
def test_numbered_lines_are_read_in_order(text: str, lines: list[str]) -> None:
    assert numbered(text) == lines


def test_what_is_filled_in_is_not_read_again() -> None:
    assert filled("{a} {b}", a="{b} {x}", b="\ud83d") == "{b} {x} \ud83d"


@pytest.mark.parametrize(
    "fields", [{"n": 0}, {"tries": 0}, {"attacker_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}]
)
def test_wrong_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as caught:
        attack(**fields)
    assert caught.value.hint
