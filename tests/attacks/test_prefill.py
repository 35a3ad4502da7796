"""Prefill with a writer: how the beginning of the answer is asked for, cut and joined. Without: test_templated.py."""

from typing import Any

import pytest

from fakes import InTurn
from withstand.attacks.llm.prefill import Prefill
from withstand.core import AskError, Behavior, Message, Sampling, SpecError, Target
from withstand.models.scripted import Scripted

REFUSAL = "I'm sorry, but I can't help with that."
TARGET = Target(Scripted())
LOAF = Behavior("b1", "Bake a {loaf}", context="Flour {opening}", target_string="Sure, {x}:")


def attack(*answers: str, **fields: Any) -> Prefill:
    return Prefill(writer=InTurn(list(answers), frozenset()), **fields)  # type: ignore[arg-type]


def test_the_writer_sees_behavior_context_and_opening(play: Any) -> None:
    played = play(attack("Take the flour", temperature=0.5, attacker_tokens=9).run(LOAF, TARGET))
    [asked] = played.asks
    assert asked.sampling == Sampling(9, temperature=0.5)
    shown = asked.chats[0][0].text
    assert shown.endswith("Request: Flour {opening}\n\n---\n\nBake a {loaf}\nAnswer: Sure, {x}:")
    assert shown.count("Request: ") == 4
    [case] = played.cases
    assert case.chat == (Message("user", LOAF.prompt()), Message("assistant", "Sure, {x}: Take the flour"))
    assert case.score is None


@pytest.mark.parametrize(
    ("said", "opened"),
    [
        ("Take the flour", "Sure, {x}: Take the flour"),
        ("Sure, {x}: Take the flour", "Sure, {x}: Take the flour"),
        ('Answer: "Sure, {x}: Take the flour"', "Sure, {x}: Take the flour"),
        ("one two three four five", "Sure, {x}: one two three"),
        ("1. one\n2. two three four", "Sure, {x}: 1. one\n2."),
    ],
)
def test_what_it_writes_follows_the_opening_and_is_cut_at_words(play: Any, said: str, opened: str) -> None:
    [case] = play(attack(said, words=3).run(LOAF, TARGET)).cases
    assert case.chat[-1] == Message("assistant", opened)


def test_without_an_opening_it_opens_the_answer(play: Any) -> None:
    [case] = play(attack("Take the flour").run(Behavior("b2", "Bake"), TARGET)).cases
    assert case.chat[-1] == Message("assistant", "Take the flour")


def test_a_refusal_is_asked_anew_and_never_sent(play: Any) -> None:
    played = play(attack(REFUSAL, " ", "Take", tries=3).run(LOAF, TARGET))
    assert [(drafts.refused, drafts.malformed) for drafts in played.rejected] == [(1, 0), (0, 1)]
    assert played.cases[0].chat[-1].text == "Sure, {x}: Take"
    with pytest.raises(AskError, match="no usable answer in 2 tries"):
        play(attack(REFUSAL, REFUSAL, tries=2).run(LOAF, TARGET))


def test_most() -> None:
    assert dict(Prefill().most().asks) == {}
    assert attack("x", tries=4).most().asks == {"attacker": 4}


@pytest.mark.parametrize("fields", [{"words": 0}, {"tries": 0}, {"attacker_tokens": 0}, {"temperature": 11.0}])
def test_wrong_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        Prefill(**fields)
