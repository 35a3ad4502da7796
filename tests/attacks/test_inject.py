import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from withstand.attacks.llm.inject import Inject, carriers
from withstand.core import Behavior, Message, SpecError, Target, TestCase, UpperBounds, ask, user
from withstand.models.scripted import Scripted

BEHAVIOR = Behavior("b1", 'Bake a "{loaf}" {attack}\n\ud83d')
CONTEXTUAL = Behavior("b2", "Bake this", context="Rye, salt")
TARGET = Target(Scripted(reply="Sure {n}"))


@dataclass(frozen=True)
class Twice:
    """Asks, then yields what it asked as a candidate behind an earlier turn, and as a prefill."""

    needs: ClassVar[frozenset[str]] = frozenset({"prefill"})
    heard: list[Any] = field(default_factory=list, hash=False)
    seed: int = 0

    def most(self) -> UpperBounds:
        return UpperBounds(cases=2, asks={"target": 1})

    def run(self, behavior: Behavior, target: Target) -> Any:
        chat = (*user("Hello"), Message("assistant", "Hi"), *user("Bake now"))
        self.heard.extend((yield from ask(target, [chat])))
        yield TestCase(behavior.id, chat, score=0.5, completion=self.heard[0])
        yield TestCase(behavior.id, (*user("Bake now"), Message("assistant", "Sure")))


@pytest.mark.parametrize("carrier", ["document", "passage"])
@pytest.mark.parametrize("behavior", [BEHAVIOR, CONTEXTUAL])
def test_task_and_carrier_with_the_behavior_inside_in_one_turn(play: Any, carrier: Any, behavior: Behavior) -> None:
    attack = Inject(carrier=carrier)
    played = play(attack.run(behavior, TARGET))
    ((turn,),) = [case.chat for case in played.cases]
    ours = carriers()[carrier]
    before, after = ours["text"].split("{attack}")
    name = carrier.upper()
    assert turn == Message(
        "user", f"{ours['task']}\n\n[{name}]\n{before}{behavior.prompt()}{after}\n[END OF {name}]"
    )  # fmt: skip
    assert (played.asks, attack.most(), attack.needs) == ([], UpperBounds(cases=1), frozenset())


@pytest.mark.parametrize("behavior", [BEHAVIOR, CONTEXTUAL])
def test_a_tool_result_is_a_turn_of_its_own_and_json(play: Any, behavior: Behavior) -> None:
    attack = Inject(carrier="tool")
    (case,) = play(attack.run(behavior, TARGET)).cases
    assert [turn.role for turn in case.chat] == ["user", "assistant", "tool"]
    assert case.chat[0].text == "What will the weather be like tomorrow?"
    assert json.loads(case.chat[2].text)["notice"].endswith(behavior.prompt())
    assert attack.needs == {"turns", "forged"}


def test_a_document_and_a_task_of_ones_own(play: Any) -> None:
    attack = Inject(document="{x} {attack} | {attack} }{", task="Translate {this}.")
    (case,) = play(attack.run(BEHAVIOR, TARGET)).cases
    text = f"{{x}} {BEHAVIOR.text} | {BEHAVIOR.text} }}{{"
    assert case.chat == user(f"Translate {{this}}.\n\n[DOCUMENT]\n{text}\n[END OF DOCUMENT]")
    tool = Inject(carrier="tool", document="> {attack}", task="Look.")
    (case,) = play(tool.run(BEHAVIOR, TARGET)).cases
    assert [turn.text for turn in case.chat] == ["Look.", "I will look it up.", f"> {BEHAVIOR.text}"]


@pytest.mark.parametrize("carrier", ["document", "tool", "passage"])
def test_the_chats_of_an_inner_attack_are_carried_and_it_sees_its_own(play: Any, carrier: Any) -> None:
    inner = Twice()
    attack = Inject(inner, carrier)
    played = play(attack.run(BEHAVIOR, TARGET))
    candidate, prefilled = played.cases
    ((sent,),) = [one.chats for one in played.asks]
    assert sent == candidate.chat == candidate.completion.chat
    assert candidate.score == 0.5
    assert candidate.completion.text == inner.heard[0].text
    assert sent[:2] == (Message("user", "Hello"), Message("assistant", "Hi"))
    assert all("Bake now" in chat[place].text for chat, place in ((sent, -1), (prefilled.chat, -2)))
    assert sent[-1].text != "Bake now"
    assert inner.heard[0].chat[-1] == Message("user", "Bake now")
    assert prefilled.chat[-1] == Message("assistant", "Sure")
    assert attack.most() == inner.most()
    assert attack.needs == {"prefill", *(["turns", "forged"] if carrier == "tool" else [])}


def test_our_carriers_hold_the_attack_once_and_the_tools_is_json() -> None:
    assert all(carrier["text"].count("{attack}") == 1 and carrier["task"] for carrier in carriers().values())
    assert json.loads(carriers()["tool"]["text"])["place"] == "Lakeside"


@dataclass(frozen=True)
class White(Twice):
    needs: ClassVar[frozenset[str]] = frozenset({"weights"})


@pytest.mark.parametrize(
    "fields", [{"carrier": "letter"}, {"document": "no place"}, {"attack": White()}, {"attack": object()}]
)
def test_wrong_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as caught:
        Inject(**fields)
    assert caught.value.hint
